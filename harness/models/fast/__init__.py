"""Faster ways than the libraries' own to answer and to train, each beside a plain one.

Some of them call names that transformers does not document. They are taken only where the installed libraries
are of versions that they were tested with, and where each such name is there with the parameters that it had.
Else the plain way is taken, which gives the same answers and losses later; ``HARNESS_FAST=0`` asks for it.

``FastPaths`` is a part of the ``DevicePlan``: it is decided once, travels with every model and training, and
is in their cache keys.
"""

from __future__ import annotations

import importlib
import inspect
import re
import warnings
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from operator import attrgetter


class SlowPathWarning(UserWarning):
    """A faster way cannot be taken with the installed libraries; results are the same."""


@dataclass(frozen=True, slots=True)
class FastPaths:
    """Which of the faster ways are taken.

    Args:
        attention: grouped keys and values are read in place (``attention.py``; on a CPU).
        decoding: finished answers leave their batch (``decoding.py``).
        prefix: a beginning that all prompts share is read once (``prefix.py``; needs ``attention``).
        heads: only positions whose logits are wanted reach the output head (``heads.py``).
        loss: the same in training, whose batches go through the model in parts (``training/local/sft.py``).
        memory: freed memory is kept for the next step (``memory.py``; changes no number).
        reasons: why some of them are not, one sentence each.
    """

    attention: bool = True
    decoding: bool = True
    prefix: bool = True
    heads: bool = True
    loss: bool = True
    memory: bool = True
    reasons: tuple[str, ...] = field(default=(), compare=False)

    @property
    def off(self) -> tuple[str, ...]:
        """Names of those that are not taken."""
        return tuple(name for name in NAMES if not getattr(self, name))


NAMES = ("attention", "decoding", "prefix", "heads", "loss", "memory")
ALL_ON = FastPaths()
ALL_OFF = FastPaths(False, False, False, False, False, False, ("HARNESS_FAST=0 is set",))

# the first version that a way was tested with, and the first that it was not: (major, minor)
TESTED = {
    "torch": ((2, 9), (3, 0)),
    "transformers": ((5, 0), (5, 24)),
    "trl": ((1, 0), (2, 0)),
}
NEEDS = {
    "attention": ("torch", "transformers"),
    "decoding": ("torch", "transformers"),
    "prefix": ("torch", "transformers"),
    "loss": ("torch", "transformers", "trl"),
}
# names that each way calls, replaces or stands in for, with their first parameters; None: any parameters
CALLED: dict[str, tuple[tuple[str, tuple[str, ...] | None], ...]] = {
    "attention": (
        ("transformers:AttentionInterface.register", ("key", "value")),
        ("transformers:AttentionMaskInterface.register", ("key", "value")),
        ("transformers.masking_utils:eager_mask", None),
        (
            "transformers.models.llama.modeling_llama:eager_attention_forward",
            ("module", "query", "key", "value", "attention_mask", "scaling", "dropout"),
        ),
    ),
    "decoding": (
        ("transformers:GenerationMixin._prefill", ("self", "input_ids", "generation_config", "model_kwargs")),
        (
            "transformers:GenerationMixin._update_model_kwargs_for_generation",
            ("self", "outputs", "model_kwargs"),
        ),
        (
            "transformers:GenerationMixin.prepare_inputs_for_generation",
            ("self", "input_ids", "next_sequence_length"),
        ),
        ("transformers:Cache.batch_select_indices", ("self", "indices")),
    ),
    "prefix": (
        ("transformers:Cache.__init__", ("self", "layers")),
        ("transformers.cache_utils:DynamicLayer.__init__", ("self",)),
        ("transformers.cache_utils:DynamicLayer.update", ("self", "key_states", "value_states")),
        ("transformers.cache_utils:DynamicLayer.get_seq_length", ("self",)),
    ),
    "loss": (
        ("transformers:Trainer.training_step", ("self", "model", "inputs", "num_items_in_batch")),
        (
            "transformers:Trainer.compute_loss",
            ("self", "model", "inputs", "return_outputs", "num_items_in_batch"),
        ),
    ),
}
# where those names are defined; a library that was changed in place is examined again
EXAMINED_FILES = (
    "cache_utils.py",
    "generation/utils.py",
    "masking_utils.py",
    "modeling_utils.py",
    "models/llama/modeling_llama.py",
    "trainer.py",
)


def installed() -> dict[str, str]:
    """What the decision depends on, read without importing any of the libraries."""
    found = {}
    for package in TESTED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    for name in EXAMINED_FILES:
        try:
            state = distribution("transformers").locate_file(f"transformers/{name}").stat()  # type: ignore[attr-defined]  # a Path
            found[name] = f"{state.st_size} bytes of {state.st_mtime_ns}"
        except (PackageNotFoundError, OSError):
            found[name] = "none"
    return found


def examine() -> FastPaths:
    """Decide for the installed libraries. Imports torch and transformers, which takes seconds."""
    reasons: dict[str, str] = {}
    for path, packages in NEEDS.items():
        problem = next(filter(None, map(_version_problem, packages)), None)
        if problem is None:
            problem = next(filter(None, (_problem(*called) for called in CALLED[path])), None)
        if problem is not None:
            reasons[path] = problem
    if "attention" in reasons:
        reasons.setdefault("prefix", reasons["attention"])
    return FastPaths(
        attention="attention" not in reasons,
        decoding="decoding" not in reasons,
        prefix="prefix" not in reasons,
        loss="loss" not in reasons,
        reasons=tuple(f"{path}: {problem}" for path, problem in reasons.items()),
    )


def _version_problem(package: str) -> str | None:
    least, beyond = TESTED[package]
    text = version(package)
    if least <= tuple(map(int, re.findall(r"\d+", text)[:2])) < beyond:
        return None
    tested = f"from {least[0]}.{least[1]} to below {beyond[0]}.{beyond[1]}"
    return f"{package} {text} is not among the versions tested, {tested}"


def _problem(target: str, expected: tuple[str, ...] | None) -> str | None:
    """How a name differs from what is called here: it is gone, or takes other parameters."""
    module, _, path = target.partition(":")
    try:
        found = attrgetter(path)(importlib.import_module(module))
    except (ImportError, AttributeError):
        return f"{target.replace(':', '.')} is gone"
    if expected is None:
        return None
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = [p for p in inspect.signature(found).parameters.values() if p.kind not in variadic]
    names = tuple(p.name for p in parameters)
    needs_more = any(p.default is inspect.Parameter.empty for p in parameters[len(expected) :])
    if names[: len(expected)] == expected and not needs_more:
        return None
    return f"{target.replace(':', '.')} takes ({', '.join(names)}), not ({', '.join(expected)})"


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
