"""Options, ini keys and environment as one frozen, validated object, read once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from harness.errors import UsageError

GatePolicy: TypeAlias = Literal["release", "regression"]
RehearsalMode: TypeAlias = Literal["script", "train"]

MOST_LOOKS = 10  # more save little and widen the final interval

# options that are named in the interface and come with later releases
LATER = ("against", "bless")


@dataclass(frozen=True, slots=True)
class Settings:
    """What one run was asked to do. Built by :func:`parse_settings`.

    ``lists`` only lists the candidates that there are.
    ``final`` judges gates on the suites' final rows; ``plan`` shows what a run would do and does nothing.
    ``max_interim_looks`` is the most looks at which judging may stop early (1: every row is judged).
    ``max_usd`` caps what hosted models may cost in this run; None: no cap. ``rehearse`` asks a local twin
    instead of them: it answers by ``script``, or really trains (``train``) with the built-in model.
    ``fresh`` asks every model again, whatever is kept.
    ``executor`` names where trainings run; see ``training.executor.find_executor``.
    ``sizes`` is empty for "all rows". Each of ``seeds`` draws subsets of its own and seeds a training.
    """

    candidates: tuple[str, ...]
    baseline: str | None
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    gate: GatePolicy
    store: Path
    reports: Path
    root: Path
    alpha: float = 0.05
    final: bool = False
    plan: bool = False
    max_interim_looks: int = 1
    max_usd: float | None = None
    rehearse: RehearsalMode | None = None
    executor: str = "local"
    lists: bool = False
    fresh: bool = False


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
    seeds = _seeds(str(raw.get("train-seeds") or "0"))
    looks = _looks(str(raw.get("max-interim-looks") or "1"))
    if looks > 1 and len(seeds) > 1:
        raise UsageError(
            "--max-interim-looks with several --train-seeds: stopping early is worked out for one seed.\n"
            "  hint: leave --max-interim-looks out, so that every row is judged; or judge one seed."
        )
    return Settings(
        candidates=tuple(str(name) for name in named),
        baseline=str(raw["baseline"]) if raw.get("baseline") else None,
        sizes=_sizes(str(raw.get("sizes") or "")),
        seeds=seeds,
        gate="regression" if gate == "regression" else "release",
        store=root / str(raw.get("harness-store") or ".harness"),
        reports=root / str(raw.get("report-dir") or "reports"),
        root=root,
        rehearse=_rehearsal(raw.get("rehearse")),
        lists=bool(raw.get("list")),
        executor=str(raw.get("executor") or "local"),
        final=bool(raw.get("final")),
        fresh=bool(raw.get("fresh")),
        plan=bool(raw.get("plan")),
        max_interim_looks=looks,
        max_usd=_max_usd(str(raw["max-usd"])) if raw.get("max-usd") else None,
    )


def _rehearsal(given: object) -> RehearsalMode | None:
    if given in (None, "", False, "false"):
        return None
    if given in (True, "true", "script"):
        return "script"
    if given == "train":
        return "train"
    raise UsageError(f"--rehearse={given}: use script (answers by script, the default) or train.")


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


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(sorted({int(part) for part in text.split(",") if part.strip()}))
    except ValueError as error:
        raise UsageError(
            f"--train-seeds={text}: use whole numbers with commas, such as --train-seeds=0,1,2."
        ) from error
    if not seeds or seeds[0] < 0:
        raise UsageError(f"--train-seeds={text}: every seed is a whole number of 0 or more.")
    return seeds


def _looks(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_LOOKS:
        raise UsageError(f"--max-interim-looks={text}: use 1 (judge every row) to {MOST_LOOKS}, such as 5.")
    return int(text)


def _max_usd(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not (math.isfinite(amount) and amount >= 0):
        raise UsageError(f"--max-usd={text}: use an amount of US dollars, such as --max-usd=5.")
    return amount
