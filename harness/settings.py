"""Options, ini keys and environment as one frozen, validated object, read once."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, TypeAlias

from harness.atomic import what_is_at
from harness.errors import UsageError
from harness.fields import LARGEST, LARGEST_SEED, LONGEST_TEXT, shown_value

GatePolicy: TypeAlias = Literal["release", "regression"]
RehearsalMode: TypeAlias = Literal["script", "train"]
LadderMode: TypeAlias = Literal["first", "all"]

_DIGITS = re.compile(r"0|-?[1-9][0-9]{0,17}")  # int() takes 1_0, +1 and the digits of other scripts, too
_AMOUNT = re.compile(r"([0-9]{1,15}\.?[0-9]{0,15}|\.[0-9]{1,15})(e-?[0-9]{1,2})?", re.IGNORECASE)
MOST_USD = 1e12
MOST_MARGIN = 0.5
MOST_LOOKS = 10  # more save little and widen the final interval

VARIABLES = ("HARNESS_CACHE", "HARNESS_FAST")

AGAINST_MARGIN = 0.05  # in score units: what a score may lose against the reference run


@dataclass(frozen=True, slots=True)
class Settings:
    """What one run was asked to do. Built by :func:`parse_settings`.

    ``lists`` only lists the candidates that there are.
    ``final`` judges gates on the suites' final rows; ``plan`` shows what a run would do and does nothing.
    ``max_interim_looks`` is the most looks at which judging may stop early (1: every row is judged).
    ``max_usd`` caps what hosted models may cost in this run; None: no cap. ``rehearse`` asks a local twin
    instead of them: it answers by ``script``, or really trains (``train``) with the built-in model.
    ``fresh`` asks every model again, whatever is kept.
    ``reference_runs`` are records of earlier runs, whose uses of held-out rows are carried on.
    ``shared`` is the address that ``store`` is shared at; see ``harness.store.shared``.
    ``executor`` names where trainings run, and ``ray_address`` and ``ray_task`` Ray's cluster and what one
    training has of it; see ``training.executor.find_executor``.
    ``ladder`` tries candidates from the cheapest up, to the first that is GO or ``all``; ``ladder_order``
    names those that come first.
    ``against`` is the reference run, and ``against_margin`` what a score may lose against it, in score units.
    ``bless`` writes one after a GO, to ``bless_to`` (None: beside the suites), for the reason ``bless_why``.
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
    shared: str = ""
    ray_address: str = ""
    ray_task: str = ""
    lists: bool = False
    fresh: bool = False
    reference_runs: tuple[Path, ...] = ()
    ladder: LadderMode | None = None
    ladder_order: tuple[str, ...] = ()
    against: Path | None = None
    against_margin: float = AGAINST_MARGIN
    bless: bool = False
    bless_to: Path | None = None
    bless_why: str = ""


def parse_settings(raw: Mapping[str, object], root: Path) -> Settings:
    """Validate raw option values (strings, lists or None where nothing was given) into settings.

    Raises:
        UsageError: naming the option, the value and what it takes. An empty value is refused, too: it is what
            a variable that is not set leaves behind.
    """
    for option, value in raw.items():
        for text in value if isinstance(value, list | tuple) else [value]:
            if isinstance(text, str):
                _require_text(option, text)
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
    ladder = _ladder(raw.get("ladder"))
    bless, bless_to = _bless(raw)
    for option in ("against", "bless"):
        if looks > 1 and raw.get(option):
            raise UsageError(
                f"--{option} with --max-interim-looks: judging that stops early leaves rows out.\n"
                "  hint: leave --max-interim-looks out, so that every row is judged."
            )
    store = str(raw.get("harness-store") or ".harness")
    is_shared = "://" in store
    return Settings(
        candidates=tuple(str(name) for name in named or (("*",) if ladder else ())),
        baseline=str(raw["baseline"]) if raw.get("baseline") else None,
        sizes=_sizes(str(raw.get("sizes") or "all")),
        seeds=seeds,
        gate="regression" if gate == "regression" else "release",
        store=_folder("harness-store", ".harness" if is_shared else store, root),
        shared=store if is_shared else "",
        reports=_folder("report-dir", str(raw.get("report-dir") or "reports"), root),
        root=root,
        rehearse=_rehearsal(raw.get("rehearse")),
        lists=bool(raw.get("list")),
        executor=str(raw.get("executor") or "local"),
        ray_address=str(raw.get("ray-address") or os.environ.get("RAY_ADDRESS") or ""),
        ray_task=str(raw.get("ray-task") or ""),
        final=bool(raw.get("final")),
        fresh=bool(raw.get("fresh")),
        reference_runs=_files(raw.get("reference-run"), root),
        plan=bool(raw.get("plan")),
        max_interim_looks=looks,
        max_usd=_max_usd(str(raw["max-usd"])) if raw.get("max-usd") else None,
        ladder=ladder,
        ladder_order=_names("ladder-order", str(raw.get("ladder-order") or "")),
        against=root / str(raw["against"]) if raw.get("against") else None,
        against_margin=_margin(str(raw.get("against-margin") or AGAINST_MARGIN)),
        bless=bless,
        bless_to=None if bless_to is None else root / bless_to,
        bless_why=str(raw.get("bless-why") or ""),
    )


def require_known_variables(environment: Mapping[str, str]) -> None:
    """Refuse a variable that is nearly one of ours. Others that begin with HARNESS_ are Harness CI's.

    Raises:
        UsageError: names the nearest.
    """
    for name in environment:
        near = get_close_matches(name.upper(), VARIABLES, n=1, cutoff=0.85)
        if near and name not in VARIABLES:
            raise UsageError(f"unknown environment variable {name}. Did you mean {near[0]}?")
    fast = environment.get("HARNESS_FAST", "1")
    if fast not in ("", "0", "1"):
        raise UsageError(f"HARNESS_FAST={fast}: use 0 (plain paths only), or 1.")


def _require_text(option: str, text: str) -> None:
    if not text.strip():
        raise UsageError(
            f"--{option}= is empty.\n"
            f"  hint: give it a value, or leave it out; is a variable of the script or of CI not set?"
        )
    if not text.isprintable() or len(text) > LONGEST_TEXT:
        raise UsageError(
            f"--{option}={shown_value(text)}: use one line of at most {LONGEST_TEXT:,} printable characters."
        )


def _folder(option: str, text: str, root: Path) -> Path:
    folder = root / text
    if os.path.lexists(folder) and what_is_at(folder) != "folder":
        raise UsageError(
            f"--{option}={text} cannot be made: something is called so, and is no folder.\n"
            "  hint: name another folder, or take that away."
        )
    return folder


def _files(given: object, root: Path) -> tuple[Path, ...]:
    named = given or ()
    assert isinstance(named, (list, tuple))
    return tuple(dict.fromkeys(root / str(name) for name in named))


def _rehearsal(given: object) -> RehearsalMode | None:
    if given in (None, "", False, "false"):
        return None
    if given in (True, "true", "script"):
        return "script"
    if given == "train":
        return "train"
    raise UsageError(f"--rehearse={given}: use script (answers by script, the default) or train.")


def _ladder(given: object) -> LadderMode | None:
    if given in (None, "", False, "false"):
        return None
    if given in (True, "true", "first"):
        return "first"
    if given == "all":
        return "all"
    raise UsageError(f"--ladder={given}: use first (end at the first rung that holds, the default) or all.")


def _names(option: str, text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",")] if text else []
    twice = [name for name in names if names.count(name) > 1]
    if twice or not all(names):
        problem = f"{twice[0]} stands there twice" if all(names) else "a name is empty"
        raise UsageError(f"--{option}={text}: {problem}; write candidates with commas, the cheapest first.")
    return tuple(names)


def _whole_numbers(option: str, text: str, example: str) -> tuple[int, ...]:
    """Numbers with commas, as they were written."""
    parts = [part.strip() for part in text.split(",")]
    if not all(map(_DIGITS.fullmatch, parts)):
        raise UsageError(f"--{option}={text}: use whole numbers with commas, such as --{option}={example}.")
    numbers = tuple(map(int, parts))
    twice = [number for number in numbers if numbers.count(number) > 1]
    if twice:
        raise UsageError(f"--{option}={text}: {twice[0]} stands there twice; write each number once.")
    return numbers


def _sizes(text: str) -> tuple[int, ...]:
    if text.strip() == "all":
        return ()
    sizes = _whole_numbers("sizes", text, "50,100,200,400")
    if not all(1 <= size <= LARGEST for size in sizes):
        raise UsageError(f"--sizes={text}: every size is a number of training rows, at least 1.")
    if list(sizes) != sorted(sizes):
        in_order = ",".join(map(str, sorted(sizes)))
        raise UsageError(
            f"--sizes={text}: write the smallest first; gates are judged at the largest.\n"
            f"  hint: --sizes={in_order}."
        )
    return sizes


def _seeds(text: str) -> tuple[int, ...]:
    seeds = _whole_numbers("train-seeds", text, "0,1,2")
    if not all(0 <= seed <= LARGEST_SEED for seed in seeds):
        raise UsageError(
            f"--train-seeds={text}: every seed is a whole number of 0 or more, at most {LARGEST_SEED}."
        )
    return tuple(sorted(seeds))


def _looks(text: str) -> int:
    if not _DIGITS.fullmatch(text) or not 1 <= int(text) <= MOST_LOOKS:
        raise UsageError(f"--max-interim-looks={text}: use 1 (judge every row) to {MOST_LOOKS}, such as 5.")
    return int(text)


def _margin(text: str) -> float:
    if not _AMOUNT.fullmatch(text) or float(text) > MOST_MARGIN:
        raise UsageError(
            f"--against-margin={text}: use a loss in score units, from 0 to {MOST_MARGIN}; 5 points are 0.05."
        )
    return float(text)


def _bless(raw: Mapping[str, object]) -> tuple[bool, str | None]:
    """Whether to, and the file where one is named."""
    given = raw.get("bless")
    if given in (None, "", False, "false"):
        return False, None
    if given not in (True, "true", "yes") and not str(given).endswith(".json"):
        raise UsageError(f"--bless={given}: name a file that ends in .json, or leave the name out.")
    if not raw.get("bless-why"):
        raise UsageError(
            '--bless without a reason.\n  hint: add --bless-why="why this is the new reference".'
        )
    if raw.get("rehearse") not in (None, "", False, "false"):
        raise UsageError("--bless with --rehearse: a rehearsal says nothing of the real models.")
    return True, None if given in (True, "true", "yes") else str(given)


def _max_usd(text: str) -> float:
    if not _AMOUNT.fullmatch(text) or float(text) > MOST_USD:
        raise UsageError(f"--max-usd={text}: use an amount of US dollars, such as --max-usd=5.")
    if not float(text):
        raise UsageError(
            f"--max-usd={text}: nothing hosted could be asked under it, and elsewhere 0 means no cap.\n"
            "  hint: leave it out for no cap; name the smallest amount that you would pay, such as 0.01; or"
            " see with --plan what is paid for already."
        )
    return float(text)
