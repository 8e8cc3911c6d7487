"""What can go wrong, as one tree. Imports nothing, so every room may raise from it.

HarnessError                 anything this package raises on purpose
├── UsageError               a wrong option, setting or call; nothing was run
│   └── UnknownName          a candidate, model or score that does not exist; lists those that do
├── DataError                rows that cannot be used; names file, line and hint
│   └── LeakError            training rows that also stand in a held-out file
├── ModelError               a model that cannot be fetched, read or loaded
├── TrainingError            training that cannot start or did not finish
├── BudgetReached            the next call could pass --max-usd; what was paid for is kept
│   └── HostedTrainingError  the same at a tuning service, with its code, message and parameter
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
        hint: what to do about it.
    """

    def __init__(self, where: str, problem: str, hint: str) -> None:
        self.where, self.problem, self.hint = where, problem, hint
        super().__init__(f"{where}: {problem}\n  hint: {hint}")


class LeakError(DataError):
    """Training rows that also stand in a held-out file: the evaluation would be a memory test."""


class ModelError(HarnessError):
    """A model that cannot be fetched, read or loaded."""


class TrainingError(HarnessError):
    """Training that cannot start or did not finish."""


class HostedTrainingError(TrainingError):
    """A tuning service refused a file or a job, or a job there did not end well.

    Args:
        problem: what is wrong, in one sentence.
        hint: what to do about it.
        code, message, param: the service's own words; None where it said nothing.
        where: ``file:line`` of the row that the message names, one each.
        job: the job's id, where there is one.
    """

    def __init__(
        self,
        problem: str,
        hint: str,
        *,
        code: str | None = None,
        message: str | None = None,
        param: str | None = None,
        where: tuple[str, ...] = (),
        job: str | None = None,
    ) -> None:
        self.problem, self.hint, self.where, self.job = problem, hint, where, job
        self.code, self.message, self.param = code, message, param
        said = [f"{name} {value}" for name, value in (("code", code), ("param", param)) if value]
        lines = [problem]
        if message:
            lines.append(f"  the service: {message}" + (f" ({', '.join(said)})" if said else ""))
        elif said:
            lines.append(f"  the service: {', '.join(said)}")
        lines += [f"  at: {place}" for place in where]
        super().__init__("\n".join([*lines, f"  hint: {hint}"]))


class BudgetReached(HarnessError):  # noqa: N818 - not a fault: the cap did its work
    """The next call could pass the cap on spending. Nothing was sent beyond it, and answers are kept.

    Args:
        max_usd: the cap.
        spent_usd: what this run has paid, at most: calls whose bill is not known count at their upper bound.
        reserved_usd: what calls still on their way may cost.
        next_usd: the most that the refused call may cost.
        missing: what has not been done, such as ``1,203 of 2,000 answers of gpt-4o-mini``.
    """

    def __init__(
        self, max_usd: float, spent_usd: float, reserved_usd: float, next_usd: float, missing: str = ""
    ) -> None:
        self.max_usd, self.spent_usd = max_usd, spent_usd
        self.reserved_usd, self.next_usd, self.missing = reserved_usd, next_usd, missing
        on_their_way = f", {_usd(reserved_usd)} is on its way" if reserved_usd else ""
        super().__init__(
            f"--max-usd={max_usd:g} is reached: {_usd(spent_usd)} is spent{on_their_way}, and the next step"
            f" may cost {_usd(next_usd)}.\n"
            + (f"  missing: {missing}\n" if missing else "")
            + "  hint: run the same command again with a higher --max-usd; what was paid for is kept and not"
            " paid for again."
        )

    @property
    def may_fit_later(self) -> bool:
        """Whether the step could fit once what is on its way has been billed."""
        return self.reserved_usd > 0 and self.spent_usd + self.next_usd <= self.max_usd

    def naming(self, missing: str) -> BudgetReached:
        """The same, saying what is missing."""
        return BudgetReached(self.max_usd, self.spent_usd, self.reserved_usd, self.next_usd, missing)


def _usd(amount: float) -> str:
    return f"{amount:.2f} USD" if amount >= 1 else f"{amount:.2g} USD"


class StoreError(HarnessError):
    """A record on disk that cannot be read."""


class Undecided(Exception):  # noqa: N818 - a third truth value, not an error
    """Raised by ``bool(claim)`` when the evidence shows neither the claim nor its opposite."""
