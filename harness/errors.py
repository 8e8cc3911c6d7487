"""What can go wrong, as one tree. Imports nothing, so every room may raise from it.

HarnessError                 anything this package raises on purpose
├── UsageError               a wrong option, setting or call; nothing was run
│   └── UnknownName          a candidate, model or score that does not exist; lists those that do
├── DataError                rows that cannot be used; names file, line and mend
│   └── LeakError            training rows that also stand in a held-out file
├── ModelError               a model that cannot be fetched, read or loaded
├── TrainingError            training that cannot start or did not finish
└── StoreError               a record on disk that cannot be read

Undecided                    not an error: a gate whose evidence is not enough (raised by ``bool()``)
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class HarnessError(Exception):
    """Base of every error raised on purpose. ``str()`` of it fits one screen and says what to do."""


class UsageError(HarnessError):
    """An option, setting or call that cannot be right. Nothing has been run."""


class UnknownName(UsageError):  # noqa: N818 - what is wrong says it
    """A name that does not exist, with those that do."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        names = sorted(known)
        lines = [f"unknown {kind} {name!r}."]
        close = get_close_matches(name, names, n=1)
        if close:
            lines.append(f"Did you mean {close[0]!r}?")
        lines.append(f"There are: {', '.join(names)}." if names else f"There is no {kind} at all.")
        if hint:
            lines.append(hint)
        super().__init__(" ".join(lines))


class DataError(HarnessError):
    """Rows that cannot be used.

    Args:
        where: ``file`` or ``file:line``.
        problem: what is wrong, in one sentence.
        mend: what to do about it.
    """

    def __init__(self, where: str, problem: str, mend: str) -> None:
        self.where, self.problem, self.mend = where, problem, mend
        super().__init__(f"{where}: {problem}\n  mend: {mend}")


class LeakError(DataError):
    """Training rows that also stand in a held-out file: the evaluation would be a memory test."""


class ModelError(HarnessError):
    """A model that cannot be fetched, read or loaded."""


class TrainingError(HarnessError):
    """Training that cannot start or did not finish."""


class StoreError(HarnessError):
    """A record on disk that cannot be read."""


class Undecided(Exception):  # noqa: N818 - a third truth value, not an error
    """Raised by ``bool(claim)`` when the evidence shows neither the claim nor its opposite."""
