"""Several adapters trained at once on one frozen base, each as it would be alone. Imports torch.

Each training has its own trainer, on a thread: optimiser, schedule, clipping, order, seed and measurements.
Only forward and backward are shared: when all have their next batch, the base computes the rows of all, and
each row meets its own adapter (as in serving many adapters, Chen et al. 2023, Punica). It pays where one
adapter's batch does not fill the device. Losses differ from those of a training alone by rounding. Where
something is not finite, does not fit, or is not as expected, each computes the step alone.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, cast

import torch
from torch.nn import functional

from harness.models.fast import SlowPathWarning
from harness.training.local.batches import part_tokens, parts
from harness.training.local.losses import autocast, token_losses
from harness.training.local.packing import can_pack, read_lengths
from harness.training.local.tokens import IGNORED
from harness.training.memory import ADAM_BYTES

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer
    from transformers import PreTrainedModel

    from harness.models.device import DevicePlan

# padded tokens that fill a device: beyond them, rows of other lengths go through by themselves
FULL = 4_096
ADAPTER = "default"  # PEFT's name of the one that a model has
FILLS = {"input_ids": 0, "attention_mask": 0, "labels": IGNORED}  # what rows are padded with

#: Loss a labelled item of the step, that a labelled token, and the share of tokens that were the likeliest.
Made: TypeAlias = tuple[torch.Tensor, float, float]


class OtherTokensError(RuntimeError):
    """A layer was given something other than the tokens of the batch."""


class Member:
    """One training in a group."""

    def __init__(self, group: SideBySide, model: torch.nn.Module) -> None:
        causal: torch.nn.Module = model.get_base_model()  # type: ignore[operator]
        self.layers = {
            name: cast("LoraLayer", part) for name, part in causal.named_modules() if hasattr(part, "lora_A")
        }
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]
        self.batch: tuple[Mapping[str, torch.Tensor], torch.Tensor | int] | None = None
        self.made: Made | None = None
        self.turn = group.turn
        self.steps = 0  # that were computed with others
        self._group = group

    def step(self, inputs: Mapping[str, torch.Tensor], items: torch.Tensor | int) -> Made | None:
        """Add the gradients of a batch, whose losses are divided by ``items``. None: nothing was done."""
        self._group.meet(self, inputs, items)
        self.steps += self.made is not None
        return self.made


class SideBySide:
    """Trainings whose steps are computed together by ``model``: the base, without an adapter of its own."""

    def __init__(self, plan: DevicePlan, model: PreTrainedModel) -> None:
        self.turn = threading.Lock()  # what computes beside the shared steps takes turns
        self._plan, self._model = plan, model.train()
        with autocast(plan):
            self._packs = can_pack(model)
        self._members: list[Member] = []
        self._adapted: set[str] = set()  # names of the layers that some member has an adapter on
        self._met = threading.Condition()
        self._owners: torch.Tensor | None = None  # of each token that goes through: index of its member
        self._scales: dict[tuple[int, ...], torch.Tensor] = {}
        self._limit = 0  # tokens that go through at once

    @contextmanager
    def joined(self, model: torch.nn.Module) -> Iterator[Member]:
        """Within it, a PEFT model without dropout steps with the others."""
        member = Member(self, model)
        with self._met:
            self._members.append(member)
            for name in member.layers.keys() - self._adapted:
                layer = self._model.get_submodule(name)
                layer.forward = partial(self._forward, name, layer.forward)
            self._adapted |= member.layers.keys()
            begun = sum(weight.numel() for one in self._members if one.steps for weight in one.weights)
            trained = sum(weight.numel() for one in self._members for weight in one.weights)
            self._limit = part_tokens(
                self._model, self._plan, trained * (4 + ADAM_BYTES) - begun * ADAM_BYTES
            )
        try:
            yield member
        finally:
            with self._met:
                self._members.remove(member)
                self._met.notify_all()  # it may be the one that the others wait for

    def meet(self, member: Member, inputs: Mapping[str, torch.Tensor], items: torch.Tensor | int) -> None:
        """Wait until every member has a batch; the last one computes."""
        with self._met:
            member.batch = inputs, items
            while member.batch is not None:
                if all(one.batch is not None for one in self._members):
                    self._compute()
                    self._met.notify_all()
                else:
                    self._met.wait()

    def _compute(self) -> None:
        made: Sequence[Made | None] = [None] * len(self._members)
        if len(self._members) > 1:
            try:
                with self.turn:
                    made = self._together([one.batch for one in self._members if one.batch is not None])
            except RuntimeError as error:  # no memory above all
                problem = f"harness: a step of {len(made)} trainings is computed by each alone: {error}"
                warnings.warn(problem, SlowPathWarning, stacklevel=2)
        if made[0] is None:
            for weight in (weight for one in self._members for weight in one.weights):
                weight.grad = None
        for one, its in zip(self._members, made, strict=True):
            one.batch, one.made = None, its

    def _together(
        self, batches: Sequence[tuple[Mapping[str, torch.Tensor], torch.Tensor | int]]
    ) -> Sequence[Made | None]:
        """The gradients of all, and what each made; nothing where one of them is not finite."""
        device = batches[0][0]["input_ids"].device
        width = max(inputs["input_ids"].shape[1] for inputs, _ in batches)
        whole = {
            name: torch.cat(
                [
                    functional.pad(inputs[name], (0, width - inputs[name].shape[1]), value=fill)
                    for inputs, _ in batches
                ]
            )
            for name, fill in FILLS.items()
        }
        counts = torch.tensor([len(inputs["input_ids"]) for inputs, _ in batches])
        whole["owner"] = torch.repeat_interleave(counts)[:, None].to(device)
        items = torch.stack(
            [torch.as_tensor(given, device=device, dtype=torch.float32) for _, given in batches]
        )
        sums = torch.zeros(3, len(batches), device=device)  # losses, likeliest tokens, labelled ones
        for part in parts(whole, self._limit, full=FULL):
            owner = part.pop("owner")[:, 0]
            read = read_lengths(part["labels"]) if self._packs else part["input_ids"].shape[1]
            self._owners, self._scales = owner.repeat_interleave(read), {}
            with autocast(self._plan):
                losses, right, rows = token_losses(self._model, part, packs=self._packs, shares=False)
            (losses / items[owner[rows]]).sum().backward()
            sums.index_add_(1, owner[rows], torch.stack([losses.detach(), right, torch.ones_like(losses)]))
        gradients = [w.grad for one in self._members for w in one.weights if w.grad is not None]
        if not torch.nn.utils.get_total_norm(gradients).isfinite():
            return [None] * len(batches)  # what is not finite in one row spoils the sums of all
        losses, right, labelled = sums
        means, shares = (losses / labelled).tolist(), (right / labelled).tolist()
        return list(zip((losses / items).unbind(), means, shares, strict=True))

    def _forward(
        self,
        name: str,
        forward: Callable[..., torch.Tensor],
        hidden: torch.Tensor,
        *args: object,
        **kwargs: object,
    ) -> torch.Tensor:
        """A layer's output, and to each token's what its own adapter adds."""
        result = forward(hidden, *args, **kwargs)
        layers = {k: one.layers[name] for k, one in enumerate(self._members) if name in one.layers}
        tokens = hidden.flatten(0, -2)
        if not layers or self._owners is None:
            return result
        if len(tokens) != len(self._owners):
            raise OtherTokensError(f"{name} is given {len(tokens)} tokens of {len(self._owners)}")
        down = torch.cat([layer.lora_A[ADAPTER].weight for layer in layers.values()])
        up = torch.cat([layer.lora_B[ADAPTER].weight for layer in layers.values()], dim=1)
        # all ranks at once, and nothing from those of others: fewer and larger products than one an adapter
        inner = functional.linear(tokens, down) * self._scale(layers)
        return result + functional.linear(inner, up).view_as(result).to(result.dtype)

    def _scale(self, layers: Mapping[int, LoraLayer]) -> torch.Tensor:
        """(tokens, ranks of all): an adapter's scale where the token is its own, else 0."""
        ours = tuple(layers)
        if ours not in self._scales:
            assert self._owners is not None
            wide = [
                (k, layer.scaling[ADAPTER]) for k, layer in layers.items() for _ in range(layer.r[ADAPTER])
            ]
            column, scale = torch.tensor(wide, device=self._owners.device).T
            self._scales[ours] = torch.where(self._owners[:, None] == column, scale, 0.0)
        return self._scales[ours]
