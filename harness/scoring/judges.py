"""What judges have in common, and what they may ask: models come in as arguments."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args, runtime_checkable

from harness.errors import HarnessError, UsageError
from harness.records import Admission, Answer, Json, Kind, Message, Rate, Row, Score
from harness.scoring.taken import failed, taken_all
from harness.scoring.text import in_unicode

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BUILTIN_EMBEDDER = "all-minilm-l6-v2"  # the encoder that needs no folder; see ``harness.models.embeddings``


@dataclass(frozen=True, slots=True)
class Failure:
    """A judgment that could not be had, and why. It is counted, and never a zero."""

    reason: str


class Scorer(Protocol):
    """A local model that reads."""

    def logprob(self, prompts: Sequence[tuple[str, str]]) -> Sequence[float]:
        """Mean natural log-probability a token of each continuation, given (context, continuation)."""


class Embedder(Protocol):
    """A local encoder of texts."""

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One vector a text, in order; an array of shape (texts, dimensions)."""


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
    """The calls that a judge makes to a hosted model, before there is an answer to judge."""

    model: GradingModel  # which is asked, and paid
    labels: Sequence[tuple[Message, ...]]  # prompts about its labels, asked once a run
    rows: Sequence[tuple[Message, ...]]  # for each held-out row, the prompt around an empty answer
    references: Sequence[str]  # for each of ``rows``, a text as long as an answer is expected to be
    max_tokens: int  # longest judgment
    short_tokens: int = 40  # length of an ordinary judgment
    extra_tokens: int = 0  # by which a prompt may be longer than shown, apart from the answer
    schema: str = ""  # JSON that a service may put before each prompt
    answers: int = 1  # in the prompt of a row
    others: tuple[JudgeEstimate, ...] = ()  # what else it asks, of other models

    @property
    def every(self) -> tuple[JudgeEstimate, ...]:
        """This and the others, one for each model that is asked."""
        return (self, *self.others)


class Oracle(Scorer, Protocol):
    """Everything that a judge may ask."""

    def grader(self, model: GradingModel, schema: Mapping[str, Json], max_tokens: int) -> Grader:
        """``model``, ready to be asked; nothing is sent yet.

        Its answers are bound to the JSON ``schema`` where its service offers that.

        Raises:
            HarnessError: it cannot be asked or paid for: there is no key, or under a cap no price.
        """


@runtime_checkable
class EmbeddingOracle(Protocol):
    """What an oracle also has where judges may compare texts by their vectors; the harness's own has it."""

    def embedder(self, model: str = BUILTIN_EMBEDDER) -> Embedder:
        """The encoder of that name or in that folder; nothing is fetched or loaded yet.

        Raises:
            HarnessError: there is none, or it cannot be read.
        """


def embedder_of(oracle: Oracle, model: str = BUILTIN_EMBEDDER) -> Embedder:
    """The oracle's encoder; raises as ``EmbeddingOracle.embedder`` does, and UsageError where it has none."""
    if not isinstance(oracle, EmbeddingOracle):
        raise UsageError(f"{type(oracle).__name__} has no encoders: give it embedder(model).")
    return oracle.embedder(model)


@runtime_checkable
class TokenOracle(Protocol):
    """What an oracle also has where judges may look at single tokens; the harness's own has it."""

    def token_logprobs(self, prompts: Sequence[tuple[str, str]]) -> Sequence[Sequence[float]]:
        """The natural log-probability of each token of each continuation, given (context, continuation)."""


def token_logprobs_of(oracle: Oracle, prompts: Sequence[tuple[str, str]]) -> Sequence[Sequence[float]]:
    """What the oracle reads; UsageError where it does not show single tokens."""
    if not isinstance(oracle, TokenOracle):
        raise UsageError(f"{type(oracle).__name__} shows no single tokens: give it token_logprobs(prompts).")
    return oracle.token_logprobs(prompts)


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
class PairCalibrated(Calibrated, Protocol):
    """A judge that sets the two sides' answers side by side, tested on labels."""

    def prefer_many(
        self, rows: Sequence[Row], answers: Sequence[Answer], against: Sequence[Answer], oracle: Oracle, /
    ) -> tuple[Score, ...]:
        """One score a row, in order: 1 where the answer is better than that of ``against``, 0 where it is
        worse, .5 for a tie. Models are asked for all of them at once.
        """


def needs_baseline(judge: object) -> bool:
    """Whether a judge sets a candidate's answers against its baseline's.

    Such a judge has ``needs_baseline = True``, the kind ``Kind.PREFERENCE``, and a calibrated form with
    ``prefer_many``. It scores candidates only.
    """
    return bool(getattr(judge, "needs_baseline", False))


@runtime_checkable
class Judge(Protocol):
    """A score that a model gives, and that votes only if it is admitted on labels. Must be hashable.

    It may have an attribute ``trust``, see ``trust_of``; and ``model``, the name of the model that judges or
    a ``GradingModel``, by which the report says whether it judges its own family.
    """

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


Trust: TypeAlias = Literal["run-labels", "transfer"]
TRUSTS = get_args(Trust)


def trust_of(judge: object) -> Trust:
    """What an admitted judge needs to decide, by its optional attribute ``trust``.

    "run-labels", the default: labels of the run's own answers. "transfer": nothing more; what holds on the
    labels that admitted it is taken to hold in the run.
    """
    return "transfer" if getattr(judge, "trust", "run-labels") == "transfer" else "run-labels"


def require_trust(owner: str, trust: str) -> None:
    """UsageError unless ``trust`` is one of ``TRUSTS``."""
    if trust not in TRUSTS:
        raise UsageError(f"{owner}(trust={trust!r}): there are: {', '.join(TRUSTS)}.")


def why_advisory(judge: object, admission: Admission) -> str:
    """Why the judge's gates decide nothing, and the mend; empty where they decide."""
    if not admission.admitted:
        return "its judge was not admitted"
    if trust_of(judge) == "transfer":
        return ""
    return (
        "its judge was admitted on labels from elsewhere, and those cannot show whether it favours a side of"
        " this run. Label 25 or more of this run's rows (harness label RUN) and decide with them (harness"
        " decide RUN --labels FILE), or give the judge trust='transfer'"
    )


JUDGE_MEMBERS = tuple(name for name in vars(Judge) if not name.startswith("_"))


def require_complete(score: object, suite: str) -> None:
    """UsageError if a score of the ``suite`` can be calibrated, as a judge can, and lacks other members."""
    missing = [name for name in JUDGE_MEMBERS if not hasattr(score, name)]
    if missing and hasattr(score, "calibrated"):
        raise UsageError(
            f"suite {suite}: {type(score).__name__} lacks {', '.join(missing)} of a judge.\n"
            "  hint: write them: estimate(rows) returns None and redirected(url) returns self where no hosted"
            " model is asked; docs/architecture.md shows a whole judge."
        )


@dataclass(frozen=True, slots=True)
class TriedJudge:
    """A judge that has been calibrated and tested, or why it could not be: then all that it scores fails."""

    calibrated: Calibrated | None
    admission: Admission | None
    problem: tuple[Score, ...] = ()  # one failure, where there is no calibrated judge


def tried_out(judge: Judge, oracle: Oracle) -> TriedJudge:
    """The judge, calibrated and tested; whatever a judge of the project's own raises is its problem.

    Ctrl-C and the harness's own errors pass through: labels are too few, a budget is reached, or a service
    refuses every call.
    """
    try:
        calibrated = judge.calibrated(oracle)
        return TriedJudge(calibrated, _plain_admission(calibrated.admission))
    except (HarnessError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a judge of the project's own may raise anything
        return TriedJudge(None, None, failed(error, f"{judge.name}: not calibrated"))


_OTHER_RATES = ("weighted_kappa", "slope", "length_effect", "alpha")  # of an admission, where it has them


def _plain_admission(given: object) -> Admission:
    """The admission with plain values that a record can hold; TypeError or ValueError where it has others."""
    if not isinstance(given, Admission):
        raise TypeError(f"its admission is of the type {type(given).__name__}, and no Admission")
    kappa, tpr, tnr, *others = (
        None if r is None else Rate(float(r.value), float(r.low), float(r.high), int(r.n))
        for r in (given.kappa, given.tpr, given.tnr, *(getattr(given, name) for name in _OTHER_RATES))
    )
    if kappa is None or tpr is None or tnr is None:
        raise TypeError("its admission lacks kappa, TPR or TNR")
    rates = [rate for rate in (kappa, tpr, tnr, *others) if rate is not None]
    numbers = (n for rate in rates for n in (rate.value, rate.low, rate.high))
    if not all(map(math.isfinite, (*numbers, given.threshold))):
        raise ValueError("its admission holds a number that is not finite")
    return replace(
        given,
        judge=in_unicode(str(given.judge)),
        admitted=bool(given.admitted),
        kappa=kappa,
        tpr=tpr,
        tnr=tnr,
        threshold=float(given.threshold),
        n_calibration=int(given.n_calibration),
        n_test=int(given.n_test),
        reasons=tuple(in_unicode(str(reason)) for reason in given.reasons),
        n_annotators=int(given.n_annotators),
        n_ties=int(given.n_ties),
        concerns=tuple(in_unicode(str(concern)) for concern in given.concerns),
        anchors=None,  # the run looks at them (``scoring.drift``), and no judge itself
        attacks=None,
        by_kind=dict(given.by_kind),
        annotators=tuple(map(str, given.annotators)),
        disagreements=tuple(given.disagreements),
        facts=tuple((in_unicode(str(what)), in_unicode(str(value))) for what, value in given.facts),
        **dict(zip(_OTHER_RATES, others, strict=True)),
    )


def judged_rows(
    judge: Judge,
    tried: TriedJudge,
    rows: Sequence[Row],
    answers: Sequence[Answer],
    oracle: Oracle,
    against: Sequence[Answer] | None = None,
) -> tuple[Score, ...]:
    """One score a row, in order; what a judge raises, or gives in place of scores, is a failure of its rows.

    Ctrl-C and the harness's own errors pass through: a budget is reached, or a service refuses every call.

    Args:
        against: the baseline's answers to the same rows, for a judge that needs them.
    """
    calibrated = tried.calibrated
    if calibrated is None:
        return tried.problem * len(rows)
    try:
        given: object
        if against is not None and isinstance(calibrated, PairCalibrated):
            given = calibrated.prefer_many(rows, answers, against, oracle)
        else:
            given = calibrated.score_many(rows, answers, oracle)
        return taken_all(given, len(rows), judge.name, Kind(judge.kind))
    except (HarnessError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a judge of the project's own may raise anything
        return failed(error, judge.name, len(rows))


def message_of(row: Row) -> str:
    """The turns before the reply, without instructions; a single message is its own text."""
    turns = [turn for turn in row.prompt if turn.role not in ("system", "developer")]
    whole = "\n\n".join(f"{turn.role}: {turn.content}" for turn in turns)
    return turns[0].content if len(turns) == 1 else whole
