"""What judges have in common, and what they may ask: models come in as arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from harness.records import Admission, Answer, Json, Kind, Message, Row, Score


@dataclass(frozen=True, slots=True)
class Failure:
    """A judgment that could not be had, and why. It is counted, and never a zero."""

    reason: str


class Scorer(Protocol):
    """A local model that reads."""

    def logprob(self, prompts: Sequence[tuple[str, str]]) -> Sequence[float]:
        """Mean natural log-probability a token of each continuation, given (context, continuation)."""


class Grader(Protocol):
    """A model that is asked for judgments."""

    def ask(self, prompts: Sequence[Sequence[Message]]) -> Sequence[str | Failure]:
        """What it says to each prompt, in their order."""


@runtime_checkable
class GradingModel(Protocol):
    """A model behind an endpoint, as users write it: frozen and hashable. ``RemoteModel`` is one."""

    @property
    def model(self) -> str:
        """Its name."""

    def identity(self) -> Mapping[str, Json]:
        """Everything that shapes an answer but the question."""

    def require_ready(self) -> None:
        """See that it can be asked; sends nothing."""


class Oracle(Scorer, Protocol):
    """Everything that a judge may ask."""

    def grader(self, model: GradingModel, schema: Mapping[str, Json], max_tokens: int) -> Grader:
        """``model``, ready to be asked; nothing is sent yet.

        Args:
            model: which.
            schema: JSON schema that its answers are bound to, where its service offers that.
            max_tokens: longest answer.

        Raises:
            HarnessError: it cannot be asked or paid for: there is no key, or under a cap no price.
        """


class Calibrated(Protocol):
    """A judge that has been tested on labels."""

    @property
    def name(self) -> str:
        """The judge's."""

    @property
    def admission(self) -> Admission:
        """Whether it has earned its vote."""

    def score_many(
        self, rows: Sequence[Row], answers: Sequence[Answer], oracle: Oracle, /
    ) -> tuple[Score, ...]:
        """One score a row, in order; models are asked for all of them at once."""


@runtime_checkable
class Judge(Protocol):
    """A score that a model gives, and that votes only if it is admitted on labels. Must be hashable."""

    @property
    def name(self) -> str:
        """The label in a report."""

    @property
    def kind(self) -> Kind:
        """How its values are distributed."""

    def spec(self) -> Mapping[str, Json]:
        """Everything that shapes the score, as JSON; under ``labels``, once they were read, their content."""

    def bind(self, read: Callable[[str], str]) -> Judge:
        """Itself with its labels read; ``read`` takes a path relative to the suite's file."""

    def require_ready(self, oracle: Oracle) -> None:
        """See that it can be asked and paid for; loads and sends nothing."""

    def calibrated(self, oracle: Oracle) -> Calibrated:
        """Itself, calibrated on one half of its labels and tested on the other."""
