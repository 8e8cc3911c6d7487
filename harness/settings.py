"""Options, ini keys and environment as one frozen, validated object, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from harness.errors import UsageError

GatePolicy: TypeAlias = Literal["release", "regression"]

# options that are named in the interface and come with later releases
LATER = ("plan", "max-usd", "executor", "rehearse", "against", "bless")


@dataclass(frozen=True, slots=True)
class Settings:
    """What one run was asked to do. Built by :func:`parse_settings`.

    ``sizes`` is empty for "all rows". ``seed`` draws the subsets and seeds the training.
    """

    candidates: tuple[str, ...]
    baseline: str | None
    sizes: tuple[int, ...]
    seed: int
    gate: GatePolicy
    store: Path
    reports: Path
    root: Path
    alpha: float = 0.05


def parse_settings(raw: Mapping[str, object], root: Path) -> Settings:
    """Validate raw option values (strings, lists or None) into settings.

    Raises:
        UsageError: naming the option, the value and what it takes.
    """
    gate = str(raw.get("gate") or "release")
    if gate not in ("release", "regression"):
        raise UsageError(
            f"--gate={gate}: use release (anything but GO fails) or regression (only REFUTED fails)."
        )
    named = raw.get("candidate") or ()
    assert isinstance(named, (list, tuple))
    return Settings(
        candidates=tuple(str(name) for name in named),
        baseline=str(raw["baseline"]) if raw.get("baseline") else None,
        sizes=_sizes(str(raw.get("sizes") or "")),
        seed=_one_seed(str(raw.get("train-seeds") or "0")),
        gate="regression" if gate == "regression" else "release",
        store=root / str(raw.get("harness-store") or ".harness"),
        reports=root / str(raw.get("report-dir") or "reports"),
        root=root,
    )


def _sizes(text: str) -> tuple[int, ...]:
    if not text.strip() or text.strip() == "all":
        return ()
    try:
        sizes = sorted({int(part) for part in text.split(",") if part.strip()})
    except ValueError as error:
        raise UsageError(
            f"--sizes={text}: use whole numbers with commas, such as --sizes=50,100,200,400."
        ) from error
    if not sizes or sizes[0] <= 0:
        raise UsageError(f"--sizes={text}: every size is a number of training rows, at least 1.")
    return tuple(sizes)


def _one_seed(text: str) -> int:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--train-seeds={text}: use a whole number, such as --train-seeds=0.") from error
    if seeds[0] < 0:
        raise UsageError(f"--train-seeds={text}: a seed is a whole number of 0 or more.")
    if len(seeds) > 1:
        raise UsageError(
            f"--train-seeds={text}: one seed a run for now; a verdict over several seeds comes later."
        )
    return seeds[0]
