"""Faster ways than the libraries' own to answer and to train, each beside a plain one.

Some of them call names that transformers does not document. They are taken only where the installed libraries
are of versions that they were tested with, and where each such name is there with the parameters that it had.
Else the plain way is taken, which gives the same answers and losses later; ``HARNESS_FAST=0`` asks for it.
"""

from __future__ import annotations

import ctypes
import inspect
import re
import sys
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pkgutil import resolve_name

# names of mallopt's parameters in glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 2**31 - 1  # mallopt takes an int
LARGEST_BLOCK_BYTES = 2**30


class SlowPathWarning(UserWarning):
    """A faster way cannot be taken with the installed libraries; results are the same."""


@dataclass(frozen=True, slots=True)
class FastPaths:
    """Which of the faster ways are taken: a part of the ``DevicePlan``, and so of cache keys."""

    attention: bool = True  # grouped keys and values are read in place (attention.py; on a CPU)
    decoding: bool = True  # finished answers leave their batch (decoding.py)
    prefix: bool = True  # a beginning that all prompts share is read once (attention.py; needs ``attention``)
    heads: bool = True  # only positions whose logits are wanted reach the output head (heads.py)
    products: bool = True  # weights are packed once, adapters add in place (products.py; on an x86 CPU)
    loss: bool = True  # the same in training, whose batches go in parts (training/local/sft.py)
    blocks: bool = True  # frozen blocks below all adapters read a row once (training/local/lower_blocks.py)
    memory: bool = True  # freed memory is kept for the next step; changes no number
    reasons: tuple[str, ...] = field(default=(), compare=False)  # why some are not, one sentence each

    @property
    def off(self) -> tuple[str, ...]:
        """Names of those that are not taken."""
        return tuple(name for name in NAMES if not getattr(self, name))


NAMES = ("attention", "decoding", "prefix", "heads", "products", "loss", "blocks", "memory")
ALL_ON = FastPaths()
ALL_OFF = FastPaths(*(False,) * 8, reasons=("HARNESS_FAST=0 is set",))

# the first version that a way was tested with, and the first that it was not: (major, minor)
TESTED = {"torch": ((2, 13), (3, 0)), "transformers": ((5, 12), (5, 24)), "trl": ((1, 8), (2, 0))}
NEEDED = {"products": ("torch",), "loss": ("torch", "transformers", "trl")}
# names that each way calls, replaces or stands in for, and their first parameters
CALLED = {
    "attention": (
        "transformers:AttentionInterface.register(key, value)",
        "transformers:AttentionMaskInterface.register(key, value)",
        "transformers.masking_utils:eager_mask",
        "transformers.models.llama.modeling_llama:eager_attention_forward"
        "(module, query, key, value, attention_mask, scaling, dropout)",
    ),
    "decoding": (
        "transformers:GenerationMixin._prefill(self, input_ids, generation_config, model_kwargs)",
        "transformers:GenerationMixin._update_model_kwargs_for_generation(self, outputs, model_kwargs)",
        "transformers:GenerationMixin.prepare_inputs_for_generation(self, input_ids, next_sequence_length)",
        "transformers:Cache.batch_select_indices(self, indices)",
    ),
    "prefix": (
        "transformers:Cache.__init__(self, layers)",
        "transformers.cache_utils:DynamicLayer.__init__(self)",
        "transformers.cache_utils:DynamicLayer.update(self, key_states, value_states)",
        "transformers.cache_utils:DynamicLayer.get_seq_length(self)",
    ),
    "products": ("torch:ops.mkldnn._linear_pointwise", "torch:ops.mkldnn._reorder_linear_weight"),
    "loss": (
        "transformers:Trainer.training_step(self, model, inputs, num_items_in_batch)",
        "transformers:Trainer.compute_loss(self, model, inputs, return_outputs, num_items_in_batch)",
    ),
}


def installed() -> dict[str, str]:
    """What the decision depends on, read without importing any of the libraries."""
    found = dict.fromkeys(TESTED, "none")
    for package in TESTED:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def examine() -> FastPaths:
    """Decide for the installed libraries. Imports torch and transformers, which takes seconds."""
    reasons: dict[str, str] = {}
    for path, called in CALLED.items():
        problems = chain(
            map(_version_problem, NEEDED.get(path, ("torch", "transformers"))), map(_problem, called)
        )
        problem = next(filter(None, problems), None)
        if problem is not None:
            reasons[path] = problem
    if "attention" in reasons:
        reasons.setdefault("prefix", reasons["attention"])
    return FastPaths(
        attention="attention" not in reasons,
        decoding="decoding" not in reasons,
        prefix="prefix" not in reasons,
        products="products" not in reasons,
        loss="loss" not in reasons,
        reasons=tuple(f"{path}: {problem}" for path, problem in reasons.items()),
    )


def _version_problem(package: str) -> str | None:
    (major, minor), beyond = TESTED[package]
    try:
        text = version(package)
    except PackageNotFoundError:
        return f"{package} is not installed"
    if (major, minor) <= tuple(map(int, re.findall(r"\d+", text)[:2])) < beyond:
        return None
    tested = f"from {major}.{minor} to below {beyond[0]}.{beyond[1]}"
    return f"{package} {text} is not among the versions tested, {tested}"


def _problem(called: str) -> str | None:
    """How a name differs from what is called here: it is gone, or takes other parameters."""
    target, is_called, listed = called.partition("(")
    name = target.replace(":", ".")
    try:
        found = resolve_name(target)
    except (ImportError, AttributeError, RuntimeError):  # transformers' lazy imports raise RuntimeError too
        return f"{name} is gone"
    if not is_called:
        return None
    if not callable(found):
        return f"{name} cannot be called"
    expected = listed.rstrip(")").split(", ")
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = [p for p in inspect.signature(found).parameters.values() if p.kind not in variadic]
    names = [p.name for p in parameters]
    needs_more = any(p.default is inspect.Parameter.empty for p in parameters[len(expected) :])
    if names[: len(expected)] == expected and not needs_more:
        return None
    return f"{name} takes ({', '.join(names)}), not ({listed}"


@cache  # once a process
def warn_of(paths: FastPaths) -> None:
    """Warn that ways are off because of the installed libraries."""
    if paths.off and paths != ALL_OFF:
        warnings.warn(
            f"harness: plain, slower ways are taken for {', '.join(paths.off)}. {'; '.join(paths.reasons)}."
            " Answers and losses are the same. `harness doctor` lists them all.",
            SlowPathWarning,
            stacklevel=3,
        )


def keep_freed_memory() -> None:
    """Ask glibc not to return freed memory to the system. It costs no memory beyond the peak.

    glibc hands every large block back as soon as it is freed, and the system clears it page by page when it
    is asked for again; a training step frees and asks for the same gigabyte every time.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK_BYTES)


def return_freed_memory() -> None:
    """Let glibc return what it keeps, after all: what follows needs less."""
    if sys.platform.startswith("linux") and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
