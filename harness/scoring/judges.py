"""What judges have in common, and what they may ask: models come in as arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from harness.errors import UsageError
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

    @property
    def batch(self) -> bool:
        """Whether calls go through a batch API, at its price."""

    @property
    def is_tuned(self) -> bool:
        """Whether it is priced as a fine-tune."""

    @property
    def url(self) -> str:
        """The address that it is asked at."""

    def redirected(self, url: str) -> GradingModel:
        """The same, asked at a local stand-in of its service."""

    def identity(self) -> Mapping[str, Json]:
        """Everything that shapes an answer but the question."""

    def require_ready(self) -> None:
        """See that it can be asked; sends nothing."""


@dataclass(frozen=True)
class JudgeEstimate:
    """The calls that a judge makes to a hosted model, before there is an answer to judge.

    Args:
        model: which is asked, and paid.
        labels: prompts about its labels, asked once a run.
        rows: for each held-out row, the prompt with an empty answer in place of the candidate's.
        references: for each of ``rows``, a text as long as an answer is expected to be.
        max_tokens: longest judgment.
        short_tokens: length of an ordinary judgment.
        extra_tokens: tokens by which a prompt may be longer than shown, apart from the answer.
        schema: JSON that a service may put before each prompt.
    """

    model: GradingModel
    labels: Sequence[tuple[Message, ...]]
    rows: Sequence[tuple[Message, ...]]
    references: Sequence[str]
    max_tokens: int
    short_tokens: int = 40
    extra_tokens: int = 0
    schema: str = ""


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

    def estimate(self, rows: Sequence[Row]) -> JudgeEstimate | None:
        """What it asks of a hosted model about these rows, for ``--plan``; None where nothing is hosted."""

    def redirected(self, url: str) -> Judge:
        """The same with every request going to ``url``, a local stand-in of the service; itself where nothing
        is hosted. Afterwards ``estimate`` must name that address.
        """

    def calibrated(self, oracle: Oracle) -> Calibrated:
        """Itself, calibrated on one half of its labels and tested on the other."""


JUDGE_MEMBERS = tuple(name for name in vars(Judge) if not name.startswith("_"))


def require_complete(score: object, suite: str) -> None:
    """Check that a score that judges has all that a judge needs: the plan and the rehearsal ask it, too.

    Args:
        score: one of a suite's.
        suite: its name, for the message.

    Raises:
        UsageError: it has some of a judge's own methods and lacks others; names them.
    """
    if not hasattr(score, "calibrated"):
        return  # a check
    missing = [name for name in JUDGE_MEMBERS if not hasattr(score, name)]
    if missing:
        raise UsageError(
            f"suite {suite}: {type(score).__name__} lacks {', '.join(missing)} of a judge.\n"
            "  hint: write them: estimate(rows) returns None and redirected(url) returns self where no hosted"
            " model is asked; docs/judges.md shows a whole judge."
        )
