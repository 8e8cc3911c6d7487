"""The protocol of a score: from a row and an answer to a value with its reason, or a failure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.errors import HarnessError, UsageError
from harness.records import Answer, Json, Kind, Row, Score
from harness.scoring.text import short


class Check(Protocol):
    """The protocol of every score of a suite. Must be hashable: suites use checks as keys."""

    @property
    def name(self) -> str:
        """The label in a report."""

    @property
    def kind(self) -> Kind:
        """How its values are distributed."""

    def spec(self) -> Mapping[str, Json]:
        """Everything that shapes the score, as JSON: the material of its fingerprint."""

    def bind(self, read: Callable[[str], str]) -> Check:
        """Itself with its files read; ``read`` takes a path relative to the suite's file."""

    def score(self, row: Row, answer: Answer) -> Score:
        """The worth of ``answer`` to ``row``."""


def score_all(check: Check, rows: Sequence[Row], answers: Sequence[Answer]) -> tuple[Score, ...]:
    """One score a row, in order.

    An exception inside a check becomes that row's failure. The harness's own errors pass through:
    they say that the suite is wrong, not the answer.

    Raises:
        UsageError: rows and answers do not belong together.
    """
    scores = []
    for row, answer in pair_up(check.name, rows, answers):
        try:
            scores.append(check.score(row, answer))
        except HarnessError:
            raise
        except Exception as error:  # noqa: BLE001 - a user's check may raise anything; it is counted
            scores.append(Score(None, failure=f"{type(error).__name__}: {short(str(error))}"))
    return tuple(scores)


def pair_up(name: str, rows: Sequence[Row], answers: Sequence[Answer]) -> Iterator[tuple[Row, Answer]]:
    """Each row with its answer; ``name`` is the score's, for the message.

    Raises:
        UsageError: they are not one each, in one order.
    """
    if [row.id for row in rows] != [answer.row_id for answer in answers]:
        raise UsageError(f"{name}: the answers do not belong to the rows, one each and in their order")
    return zip(rows, answers, strict=True)


def unanswered(answer: Answer) -> Score | None:
    """The failure of an answer that never came, else None."""
    return None if answer.failure is None else Score(None, failure=answer.failure)


def no_expectation(row: Row, lacking: str) -> Score:
    """The failure of a row that lacks what the score compares the answer with."""
    place = f" ({row.where})" if row.where else ""
    return Score(None, failure=f"row {row.id}{place} has no {lacking}")


def verdict(passed: bool, reason: str) -> Score:
    """1 or 0; the reason is shown for 0."""
    return Score(1.0) if passed else Score(0.0, reason)


@dataclass(frozen=True)
class NamedCheck:
    """Base of the checks: a name with a default, and failures of answers passed on."""

    name: str = dataclasses.field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self._default_name())

    @property
    def kind(self) -> Kind:
        """Right or wrong."""
        return Kind.BINARY

    def spec(self) -> Mapping[str, Json]:
        """Its class and its parameters."""
        shaping = (f.name for f in dataclasses.fields(self) if f.compare and f.name != "name")
        return {"check": type(self).__name__, **{name: getattr(self, name) for name in shaping}}

    def bind(self, read: Callable[[str], str]) -> Check:
        """Itself: it has no files."""
        del read
        return self

    def score(self, row: Row, answer: Answer) -> Score:
        """Failure of the answer first, then the check's own verdict."""
        return unanswered(answer) or self._score(row, answer)

    def _default_name(self) -> str:
        raise NotImplementedError

    def _score(self, row: Row, answer: Answer) -> Score:
        raise NotImplementedError
