"""The frame of the judges here: how their labels are read, and what is scored without asking a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, Self, TypeVar

from harness.errors import UsageError
from harness.records import Admission, Answer, Json, Kind, Message, Row, Score
from harness.scoring.checks import no_expectation, pair_up, unanswered
from harness.scoring.drift import require_anchors
from harness.scoring.judges import (
    Failure,
    Grader,
    GradingModel,
    JudgeEstimate,
    Oracle,
    Trust,
    message_of,
    require_trust,
)
from harness.scoring.labels import Label, read_labels
from harness.scoring.pair_labels import PairLabel
from harness.scoring.rubric_prompt import Case
from harness.scoring.text import in_unicode, judged_text
from harness.scoring.unseen import seen

_L = TypeVar("_L", Label, PairLabel)
_C = TypeVar("_C")
_V = TypeVar("_V")


@dataclass(frozen=True)
class LocalJudge:
    """A judge of labelled replies that reads with models on this machine. Not yet calibrated."""

    field: str | None = None
    labels: str = dataclasses.field(kw_only=True)
    name: str = dataclasses.field(default="", kw_only=True)
    seed: int = dataclasses.field(default=0, kw_only=True)
    trust: Trust = dataclasses.field(default="run-labels", kw_only=True)
    # left out of equality, so that a suite's bound judge is found under the user's module constant
    known: tuple[Label, ...] | None = dataclasses.field(default=None, compare=False, repr=False, kw_only=True)

    kind: ClassVar[Kind] = Kind.GRADED
    default_name: ClassVar[str] = "local"
    passes: ClassVar[int] = 0  # of the built-in model over one reply; contexts are shared

    def __post_init__(self) -> None:
        require_trust(type(self).__name__, self.trust)
        if not self.name:
            object.__setattr__(self, "name", self.field or self.default_name)

    def bind(self, read: Callable[[str], str]) -> Self:
        """Itself with its labels read; DataError if the file is missing or holds a line that is no label."""
        return dataclasses.replace(self, known=read_labels(read, self.labels, self.field or "reply"))

    def estimate(self, rows: Sequence[Row]) -> JudgeEstimate | None:
        """See ``Judge``: nothing is hosted."""
        return None

    def redirected(self, url: str) -> Self:
        """See ``Judge``: nothing is hosted."""
        return self


@dataclass(frozen=True)
class HostedJudge(Generic[_L]):
    """A judge that asks a hosted model about labelled replies, or pairs. Not yet calibrated."""

    model: GradingModel
    criteria: str
    labels: str = dataclasses.field(kw_only=True)
    field: str | None = dataclasses.field(default=None, kw_only=True)
    name: str = dataclasses.field(default="hosted", kw_only=True)
    max_tokens: int = dataclasses.field(default=400, kw_only=True)
    trust: Trust = dataclasses.field(default="run-labels", kw_only=True)
    anchors: str | None = dataclasses.field(default=None, kw_only=True)
    # left out of equality, as a ``LocalJudge``'s
    known: tuple[_L, ...] | None = dataclasses.field(default=None, compare=False, repr=False, kw_only=True)
    known_anchors: tuple[_L, ...] | None = dataclasses.field(
        default=None, compare=False, repr=False, kw_only=True
    )

    in_words: ClassVar[tuple[str, ...]] = ("criteria", "name")  # settings that may not be empty

    def __post_init__(self) -> None:
        owner = type(self).__name__
        if not isinstance(self.model, GradingModel):
            raise UsageError(f"{owner}(model={self.model!r}): write RemoteModel(...), with the name in it.")
        require_trust(owner, self.trust)
        if self.max_tokens < 1:
            raise UsageError(f"{owner}(max_tokens={self.max_tokens}): must be at least 1.")
        for key in self.in_words:
            if not getattr(self, key).strip():
                raise UsageError(f"{owner} needs {key}: say in words what is meant.")

    def schema(self) -> Mapping[str, Json]:
        """The JSON schema of a reply."""
        raise NotImplementedError

    def labels_in(self, read: Callable[[str], str], path: str) -> tuple[_L, ...]:
        """The labels of the file ``path``; DataError if it is missing or holds a line that is no label."""
        raise NotImplementedError

    def bind(self, read: Callable[[str], str]) -> Self:
        """Itself with its labels read; DataError if the file is missing or holds a line that is no label."""
        known, anchors = (
            None if path is None else self.labels_in(read, path) for path in (self.labels, self.anchors)
        )
        frozen = None if anchors is None else require_anchors(anchors, str(self.anchors))
        return dataclasses.replace(self, known=known, known_anchors=frozen)

    def require_ready(self, oracle: Oracle) -> None:
        """HarnessError where there is no key, or under a cap no price; sends nothing."""
        self.grader(oracle)

    def redirected(self, url: str) -> Self:
        """See ``Judge``."""
        return dataclasses.replace(self, model=self.model.redirected(url))

    def grader(self, oracle: Oracle) -> Grader:
        """Its model, ready to be asked."""
        return oracle.grader(self.model, self.schema(), self.max_tokens)


def asked(
    cases: Iterable[_C],
    grader: Grader,
    prompt: Callable[[_C], Sequence[Message]],
    read: Callable[[str], _V | Failure],
) -> dict[_C, _V | Failure]:
    """What the grader says of each case. Equal cases are asked once, in one call with all others."""
    distinct = list(dict.fromkeys(cases))
    replies = grader.ask([prompt(case) for case in distinct])
    return {
        case: reply if isinstance(reply, Failure) else read(reply)
        for case, reply in zip(distinct, replies, strict=True)
    }


# --------------------------------------------------------------------------- scores
class _Named(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def field(self) -> str | None: ...


_J = TypeVar("_J", bound=_Named)


@dataclass(frozen=True)
class CalibratedForm(Generic[_J]):
    """A judge of single answers, calibrated, and how well it agrees with people."""

    judge: _J
    admission: Admission

    @property
    def name(self) -> str:
        """The judge's."""
        return self.judge.name

    def score_many(self, rows: Sequence[Row], answers: Sequence[Answer], oracle: Oracle) -> tuple[Score, ...]:
        """One score a row, in order; models are asked for all of them at once.

        A judgment that did not come, or cannot be read, is a failure.
        """
        found = readable(self.name, self.judge.field, rows, answers)
        return filled(found, lambda cases: self.scores(cases, rows, oracle))

    def scores(self, cases: Sequence[Case], rows: Sequence[Row], oracle: Oracle) -> Iterable[Score]:
        """One score for each of ``cases``, in order; ``rows`` are all, with those that are no case."""
        raise NotImplementedError


def filled(
    found: Sequence[_C | Score], scores: Callable[[Sequence[_C]], Iterable[Score]]
) -> tuple[Score, ...]:
    """``found``, with the scores of what is none; nothing is asked where all are."""
    cases = [one for one in found if not isinstance(one, Score)]
    asked_for = iter(scores(cases) if cases else ())
    return tuple(one if isinstance(one, Score) else next(asked_for) for one in found)


def half_a_character(whose: str, text: str) -> Score | None:
    """The failure of a text that no model can be given; None where it can."""
    why = f"{whose}: the text to be judged holds half a surrogate pair, which is no character"
    return None if text == in_unicode(text) else Score(None, failure=why)


def readable(
    name: str, field: str | None, rows: Sequence[Row], answers: Sequence[Answer]
) -> list[Case | Score]:
    """What is judged of each row, or the score that it has without being judged.

    An answer that is empty, is not JSON, or lacks the ``field`` is worth 0.0. One with half a surrogate pair,
    which no model can be given, is a failure. Characters that show nothing are left out.
    """
    found: list[Case | Score] = []
    for row, answer in pair_up(name, rows, answers):
        reference, _ = judged_text(row.reference, field)
        reply, problem = judged_text(answer.text, field)
        reference, reply = seen(reference).strip(), seen(reply).strip()
        if (failure := unanswered(answer)) is not None:
            found.append(failure)
        elif not reference:
            lacking = "reference" if field is None else f"text under {field!r} in its reference"
            found.append(no_expectation(row, lacking))
        elif (failure := half_a_character(name, reply)) is not None:
            found.append(failure)
        else:
            found.append(Case(message_of(row), reference, reply) if reply else Score(0.0, problem))
    return found
