"""What can go wrong, as one tree. Imports nothing of the harness, so every room may raise from it."""

from __future__ import annotations

import errno
import os
import re
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
        lines += [f"Did you mean {close!r}?" for close in get_close_matches(name, names, n=1)]
        lines.append(f"There are: {', '.join(names)}." if names else f"There is no {kind} at all.")
        super().__init__(" ".join([*lines, hint] if hint else lines))


class DataError(HarnessError):
    """Rows that cannot be used. ``where`` is ``file`` or ``file:line``; ``hint`` says what to do about it."""

    def __init__(self, where: str, problem: str, hint: str) -> None:
        self.where, self.problem, self.hint = where, problem, hint
        super().__init__(f"{where}: {problem}\n  hint: {hint}")


class LeakError(DataError):
    """Training rows that also stand in a held-out file: the evaluation would be a memory test."""


class ModelError(HarnessError):
    """A model that cannot be fetched, read or loaded."""


class CandidateError(UsageError):
    """A candidate, or a function of a project's own, raised something or gave what it must not give.

    What it raised is the ``__cause__``.
    """


class TrainingError(HarnessError):
    """Training that cannot start or did not finish."""


class HostedTrainingError(TrainingError):
    """A tuning service refused a file or a job, or a job there did not end well.

    Args:
        problem, hint: what is wrong, in one sentence, and what to do about it.
        code, message, param: the service's own words; None where it said nothing.
        where: ``file:line`` of each row that the message names.
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
        said = ", ".join(f"{name} {value}" for name, value in (("code", code), ("param", param)) if value)
        if message:
            said = f"{message} ({said})" if said else message
        lines = [problem, f"  the service: {said}"] if said else [problem]
        lines += [f"  at: {place}" for place in where]
        super().__init__("\n".join([*lines, f"  hint: {hint}"]))


class BudgetReached(HarnessError):  # noqa: N818 - not a fault: the cap did its work
    """The next call could pass the cap on spending. Nothing was sent beyond it, and answers are kept.

    Args:
        spent_usd: calls whose bill is not known count at their upper bound.
        reserved_usd: what calls still on their way may cost.
        next_usd: the most that the refused call may cost.
        missing: what has not been done, such as ``1,203 of 2,000 answers of gpt-4o-mini``.
    """

    def __init__(
        self, max_usd: float, spent_usd: float, reserved_usd: float, next_usd: float, missing: str = ""
    ) -> None:
        self._amounts_usd = max_usd, spent_usd, reserved_usd, next_usd
        spent, reserved, step = (
            f"{usd:.2f} USD" if usd >= 1 else f"{usd:.2g} USD" for usd in (spent_usd, reserved_usd, next_usd)
        )
        on_their_way = f", {reserved} is on its way" if reserved_usd else ""
        super().__init__(
            f"--max-usd={max_usd:g} is reached: {spent} is spent{on_their_way}, and the next step"
            f" may cost {step}.\n"
            + (f"  missing: {missing}\n" if missing else "")
            + "  hint: run the same command again with a higher --max-usd; what was paid for is kept and not"
            " paid for again."
        )

    @property
    def may_fit_later(self) -> bool:
        """Whether the step could fit once what is on its way has been billed."""
        max_usd, spent_usd, reserved_usd, next_usd = self._amounts_usd
        return reserved_usd > 0 and spent_usd + next_usd <= max_usd

    def naming(self, missing: str) -> BudgetReached:
        """The same, saying what is missing."""
        return BudgetReached(*self._amounts_usd, missing)


class StoreError(HarnessError):
    """A record on disk that cannot be read, or a disk that cannot be written."""


_KEPT = "then run again: what was made and paid for until then is kept"
#: What to do about a disk, by what it says of itself.
_DISK = {
    errno.ENOSPC: f"free some room on that disk, {_KEPT}.",
    errno.EDQUOT: f"free some room within your quota, {_KEPT}.",
    errno.EROFS: f"that disk can only be read: make it writable, or name another folder, {_KEPT}.",
    errno.EIO: f"that disk fails: look at the system's log, copy what you need, {_KEPT}.",
}


def disk_error(error: BaseException, where: object = "") -> StoreError | None:
    """What a disk that is full, failing or read-only has raised, on one screen; None for any other error.

    Args:
        where: the file or folder that was written, where the error does not name it. Libraries in Rust
            (safetensors, tokenizers) raise classes of their own, and the system's error is in their text.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := re.search(r"\(os error (\d+)\)", str(error))):
        number = int(found[1])
    if number not in _DISK:
        return None
    named = getattr(error, "filename", None) or where or "a file"
    return StoreError(f"{named} cannot be written ({os.strerror(number)}).\n  hint: {_DISK[number]}")


class Undecided(Exception):  # noqa: N818 - a third truth value, not an error
    """Raised by ``bool(claim)`` when the evidence shows neither the claim nor its opposite."""
