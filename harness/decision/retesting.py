"""Trying often on the same held-out rows: how often some GO is then false, and the level of a grown file.

Each decision has its own chance of a false GO, so many of them have a larger one between them. And a
candidate that is judged again each time rows have been added, until it is GO, is judged too often (optional
stopping; P. Armitage, C. K. McPherson and B. C. Rowe 1969, J. R. Stat. Soc. A 132:235). The first test had
the whole level; those after it have levels that fall so fast that their sum stays small.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.records import HeldoutUse
from harness.words import plural

FIRST = 0.1  # the level of the first test after rows were added, as a part of the whole
NEXT = 0.5  # that of each further one, as a part of the one before
NEARLY_SURE = 0.995  # a bound above this is said in words


def percent(level: float, digits: int = 3) -> str:
    """A level, or a p that is read against one, in percent: ``1.25%``; a half is rounded up."""
    return "below 0.01%" if level < 1e-4 else f"{100 * level * (1 + 1e-9):.{digits}g}%"


def level_after(alpha: float, growths: int) -> float:
    """The level of each one-sided test of a candidate whose rows have grown so often since it was judged."""
    return alpha if growths == 0 else alpha * FIRST * NEXT ** (growths - 1)


def whole_level(level: float, growths: int) -> float:
    """The ``alpha`` of which ``level`` is ``level_after`` so many growths."""
    return round(level / level_after(1.0, growths), 12)


def next_level(level: float, growths: int) -> float:
    """The level once the rows have grown again, after a test at ``level``."""
    return level * (FIRST if growths == 0 else NEXT)


def level_note(level: float, grown_from: Sequence[int]) -> str:
    """Why a gate was judged at ``level``; ``grown_from`` are earlier numbers of rows."""
    rows = ", then ".join(f"{n:,}" for n in grown_from)
    return f"Judged at {percent(level)}, as these rows grew from {rows} that gave no GO."


@dataclass(frozen=True, slots=True)
class Tries:
    """Decisions that the same held-out rows have served."""

    candidates: int  # a candidate counts once a run
    runs: int  # of candidates that were judged each for itself, as many as there were
    is_known: bool  # whether it is known of all which run took them

    def bound(self, alpha: float) -> float:
        """The most often that some GO among them is false, with each run's at most ``alpha``."""
        return 1.0 - (1.0 - alpha) ** self.runs


def count_tries(uses: Iterable[HeldoutUse]) -> Tries:
    """Count the decisions; one that several suites of a run share is one."""
    each = {(use.run, use.identity or use.candidate) if use.run else (use.decision,): use for use in uses}
    runs = {use.run or use.decision for use in each.values()}
    return Tries(len(each), len(runs), all(use.run for use in each.values()))


def tries_note(tries: Tries, alpha: float) -> str:
    """What trying so often does to a GO, in a sentence; empty for a first decision."""
    if tries.candidates < 2:
        return ""
    count = f"{tries.candidates:,} decisions"
    if tries.runs < tries.candidates and tries.is_known:
        count = f"{plural(tries.candidates, 'candidate')} in {plural(tries.runs, 'run')}"
    most = tries.bound(alpha)
    chance = "up to " + (f"{100 * most:.0f}%" if most < NEARLY_SURE else "nearly 100%")
    note = f"{count} on these rows: {chance} that at least one GO among them is false"
    if tries.runs == 1:
        return f"{note}."
    power = f"1 - {1 - alpha:g}^{tries.runs}"
    return f"{note} ({power}); judge the winner on rows that have judged none (Suite(final=...) and --final)."
