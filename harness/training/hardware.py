"""What training a base takes in memory, against what a machine has, and what to use.

docs/hardware.md has the table, and the published figures that it is held to.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import ceil
from typing import Literal, TypeAlias

from harness.records import Json
from harness.training.memory import CONTEXT_BYTES, FEWEST_TOKENS, BaseShape, Memory, predict_memory

GB = 1e9
CARDS_GB = (8, 12, 16, 24, 32, 40, 48, 80, 141, 192)
USABLE = 0.9  # of a card; the rest goes to the allocator's fragments and to whatever else runs
LARGEST_CARD_GB = 80  # of those that nodes usually have
RANKS = (8, 16, 64, 256)
# model types whose feed-forward network has no gate, or whose blocks are no attention: other sums
OTHER_SHAPES = (
    ("bloom", "codegen", "falcon", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gptj", "mpt", "nemotron"),
    ("opt", "phi", "starcoder2", "mamba", "mamba2", "rwkv", "jamba", "deepseek_v2", "deepseek_v3"),
)

Method: TypeAlias = Literal["LoRA", "QLoRA", "all weights"]


@dataclass(frozen=True, slots=True)
class Need:
    """The memory of one way to train."""

    method: Method
    checkpointing: bool  # whether blocks are computed again in the backward pass
    memory: Memory

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.method}, gradient checkpointing" if self.checkpointing else self.method

    @property
    def gigabytes(self) -> float:
        """The whole of it, as ``nvidia-smi`` shows it."""
        return (self.memory.total + CONTEXT_BYTES) / GB

    @property
    def card(self) -> int | None:
        """The smallest usual card, in GB, that it fits on; None: none."""
        return next((card for card in CARDS_GB if self.gigabytes <= USABLE * card), None)


def device_memory() -> tuple[float, str]:
    """What this machine trains in: its card, or its memory where there is none; in GB, and in words."""
    if find_spec("torch") is not None:
        import torch

        if torch.cuda.is_available():
            card = torch.cuda.get_device_properties(0)
            room = card.total_memory / GB
            return room, f"this machine's {card.name} ({room:.0f} GB)"
    room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB
    return room, f"this machine's {room:.0f} GB (it has no card of CUDA's)"


def adapters_at_once(
    config: Mapping[str, Json],
    r: int,
    targets: Sequence[str],
    layers: int | None,
    *,
    nf4: bool,
    base_bytes: int,
) -> int:
    """How many adapters this machine has memory for, trained side by side on one base; 1 if not known.

    ``layers`` are the upper blocks that each is on (None: all).
    """
    try:
        shape = shape_of(config)
        weights = shape.adapter_weights(r, targets, layers)
    except (ValueError, KeyError):
        return 1

    def total(count: int) -> float:
        return predict_memory(
            shape,
            tokens=FEWEST_TOKENS,
            labelled=FEWEST_TOKENS,
            adapter_weights=count * weights,
            nf4=nf4,
            base_bytes=base_bytes,
            adapted_layers=layers,
        ).total

    room = USABLE * device_memory()[0] * GB - CONTEXT_BYTES
    return 1 + max(0, int((room - total(1)) // (total(2) - total(1))))


def shape_of(config: Mapping[str, Json]) -> BaseShape:
    """The shape of a base, or of the language model in a multimodal one, from its ``config.json``.

    Raises:
        ValueError: it is not of Llama's shape, and why.
    """
    inner = config.get("text_config")
    nested = {**config, **inner} if isinstance(inner, Mapping) else config
    kind = nested.get("model_type")
    if any(kind in group for group in OTHER_SHAPES):
        raise ValueError(f"model_type {kind!r} is not of Llama's shape")
    try:
        return BaseShape.of(nested)
    except KeyError as error:
        raise ValueError(f"it has no {error}") from error
    except TypeError as error:
        raise ValueError(f"{error} is no number of one size") from error


def needs(shape: BaseShape, *, tokens: int, r: int) -> list[Need]:
    """What each way takes, from the best to the smallest; all positions are labelled."""
    adapters = shape.adapter_weights(r, tuple(shape.linears))

    def need(method: Method, checkpointing: bool) -> Need:
        memory = predict_memory(
            shape,
            tokens=tokens,
            labelled=tokens,
            adapter_weights=None if method == "all weights" else adapters,
            nf4=method == "QLoRA",
            checkpointing=checkpointing,
        )
        return Need(method, checkpointing, memory)

    methods: tuple[Method, ...] = ("all weights", "LoRA", "QLoRA")
    return [need(method, again) for method in methods for again in (False, True)]


def best_need(found: Sequence[Need], room_gb: float) -> Need | None:
    """What to use on a device: LoRA where it fits, then with checkpointing, then QLoRA."""
    order = [one for one in found if one.method != "all weights"]
    return next((one for one in order if one.gigabytes <= USABLE * room_gb), None)


def of_own_trainer(found: Sequence[Need]) -> list[Need]:
    """Those that the harness's own trainer can do: it has no gradient checkpointing."""
    return [one for one in found if not one.checkpointing]


def cards_for_all(found: Sequence[Need]) -> int:
    """How many cards of 80 GB hold the training of all weights, sharded."""
    whole = _all_weights(found).memory
    free = USABLE * LARGEST_CARD_GB - CONTEXT_BYTES / GB - (whole.activations + whole.logits) / GB
    return ceil((whole.weights + whole.optimiser) / GB / max(free, 1.0))


def _all_weights(found: Sequence[Need]) -> Need:
    return next(one for one in found if one.method == "all weights" and one.checkpointing)


def advice(found: Sequence[Need], room_gb: float, where: str) -> Iterator[str]:
    """What to use on a device of so many GB, and what all weights would take."""
    best = best_need(found, room_gb)
    if best is None:
        least = min(found, key=lambda one: one.gigabytes)
        card = f"a card of {least.card} GB" if least.card else "several cards"
        yield (
            f"nothing fits in {where}: the least, {least.name}, takes {least.gigabytes:.1f} GB and wants"
            f" {card}. Shorten the rows, or take a smaller base."
        )
    else:
        yield f"use {best.name} in {where}: {best.gigabytes:.1f} GB of it."
        if best.checkpointing:
            own = best_need(of_own_trainer(found), room_gb)
            instead = f"{own.name} fits ({own.gigabytes:.1f} GB)" if own else "shorten the rows"
            yield f"the harness's own trainer has no gradient checkpointing: there, {instead}."
    cards, whole = cards_for_all(found), _all_weights(found)
    many = f"{cards} cards of {LARGEST_CARD_GB} GB, sharded" if cards > 1 else f"one of {LARGEST_CARD_GB} GB"
    nodes = ", which are several nodes" if cards > 8 else ""
    yield f"all weights: {whole.gigabytes:,.0f} GB, {many}{nodes}; the harness trains them on one device."


def rank_advice(shape: BaseShape) -> str:
    """What ranks cost, and which to begin with."""
    sizes = [shape.adapter_weights(r, tuple(shape.linears)) for r in RANKS]
    # weight, bfloat16 copy, gradient and two moments of each
    costs = "; ".join(
        f"r={r}: {size / 1e6:,.0f} M weights, {size * 18 / GB:.1f} GB"
        for r, size in zip(RANKS, sizes, strict=True)
    )
    return (
        f"rank, on all linear layers: {costs}. Begin with 16: for form, classes and tone from some thousand"
        " rows a higher one rarely helps; try 64 or 256 where the training loss stays high, or many rows"
        " bring new knowledge."
    )
