"""A judge that is asked: a larger model grades each answer by criteria, on a scale, with a reason.

Pointwise grading after G-Eval (Liu et al. 2023) and "LLM-as-a-judge" (Zheng et al. 2023). Such graders have
habits of their own (long answers, their own style), so this one, too, votes only if it is admitted on labels.
The model comes in as a ``Grader``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.errors import DataError, UsageError
from harness.records import Admission, Answer, Json, Kind, Row, Score
from harness.scoring.admission import admit
from harness.scoring.check import no_expectation, pair_up, unanswered
from harness.scoring.judges import Failure, Grader, GradingModel, JudgeEstimate, Oracle
from harness.scoring.labels import Label, enough_labels, read_labels
from harness.scoring.rubric_prompt import (
    CLOSING,
    CODE_CHARACTERS,
    CODES_IN_A_PROMPT,
    Case,
    as_prompt,
    instructions,
    reply_schema,
)
from harness.scoring.rubric_reply import Judgment, read_judgment
from harness.scoring.text import judged_text

MOST_SCALE = 100
MOST_UNJUDGED = 0.1  # of the labels of the test half: beyond it the others are too few to admit a judge


@dataclass(frozen=True)
class Rubric:
    """A hosted model that grades each answer by criteria. Not yet calibrated.

        clear = Rubric(
            RemoteModel("gpt-4o-mini"),
            "The summary holds every fact that a support agent needs, and none that the message does not.",
            labels="judge_labels.jsonl",
            field="summary",
        )

    The score is (level - 1) / (scale - 1), its reason the grader's. A reply that cannot be read as a judgment
    is a failure.

    Args:
        model: the grader; asked at temperature 0, with structured output where its service offers that.
        criteria: of a good answer, in plain words.
        labels: JSONL of labelled replies (see ``parse_labels``), relative to the suite's file. The reply
            stands under ``field``, or under "reply" where the rubric has none.
        scale: levels run from 1 to this.
        lowest: the meaning of 1.
        highest: the meaning of ``scale``.
        field: judge this field of JSON answers and references; default the whole text.
        name: the label in a report.
        max_tokens: longest judgment; a model that thinks first needs more.
        seed: of the split into calibration and test half.
    """

    model: GradingModel
    criteria: str
    labels: str = dataclasses.field(kw_only=True)
    scale: int = dataclasses.field(default=5, kw_only=True)
    lowest: str = dataclasses.field(default="misses the criteria altogether", kw_only=True)
    highest: str = dataclasses.field(default="meets the criteria fully", kw_only=True)
    field: str | None = dataclasses.field(default=None, kw_only=True)
    name: str = dataclasses.field(default="rubric", kw_only=True)
    max_tokens: int = dataclasses.field(default=400, kw_only=True)
    seed: int = dataclasses.field(default=0, kw_only=True)
    # left out of equality, so that a suite's bound judge is found under the user's module constant
    known: tuple[Label, ...] | None = dataclasses.field(default=None, compare=False, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.model, GradingModel):
            raise UsageError(f"Rubric(model={self.model!r}): write RemoteModel(...), with the name in it.")
        if not 2 <= self.scale <= MOST_SCALE:
            raise UsageError(f"Rubric(scale={self.scale}): levels run from 1 to between 2 and {MOST_SCALE}.")
        if self.max_tokens < 1:
            raise UsageError(f"Rubric(max_tokens={self.max_tokens}): must be at least 1.")
        for key in ("criteria", "lowest", "highest", "name"):
            if not getattr(self, key).strip():
                raise UsageError(f"Rubric needs {key}: say in words what is meant.")

    @property
    def kind(self) -> Kind:
        """Levels; of two, right or wrong."""
        return Kind.BINARY if self.scale == 2 else Kind.GRADED

    @property
    def instructions(self) -> str:
        """The system message."""
        return instructions(self.criteria, self.scale, self.lowest, self.highest)

    def spec(self) -> Mapping[str, Json]:
        """Everything that shapes the score; the labels by their content, once bound."""
        digests = (
            None if self.known is None else [(lb.digest(self.seed), lb.good, lb.kind) for lb in self.known]
        )
        return {
            "check": "Rubric",
            "model": dict(self.model.identity()),
            "field": self.field,
            "labels": digests or self.labels,
            "instructions": self.instructions,
            "closing": CLOSING,
            "scale": self.scale,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
        }

    def bind(self, read: Callable[[str], str]) -> Rubric:
        """Itself with its labels read.

        Raises:
            DataError: the file is missing or holds a line that is no label.
        """
        return dataclasses.replace(self, known=read_labels(read, self.labels, self.field or "reply"))

    def require_ready(self, oracle: Oracle) -> None:
        """See that the model can be asked and paid for; sends nothing.

        Raises:
            HarnessError: there is no key, or under a cap no price.
        """
        self.grader(oracle)

    def estimate(self, rows: Sequence[Row]) -> JudgeEstimate:
        """See ``Judge``."""
        known = (Case(label.message, label.reference, label.reply) for label in self.known or ())
        cases = [case for case in map(self.case_before, rows) if case is not None]
        return JudgeEstimate(
            model=self.model,
            labels=[as_prompt(self.instructions, case) for case in dict.fromkeys(known)],
            rows=[as_prompt(self.instructions, case) for case in cases],
            references=[case.reference for case in cases],
            max_tokens=self.max_tokens,
            # the code in a prompt's tags is another one for each answer: at worst every character is a token
            extra_tokens=CODES_IN_A_PROMPT * CODE_CHARACTERS,
            schema=json.dumps(reply_schema(self.scale)),
        )

    def redirected(self, url: str) -> Rubric:
        """See ``Judge``."""
        return dataclasses.replace(self, model=self.model.redirected(url))

    def calibrated(self, oracle: Oracle) -> CalibratedRubric:
        """See ``calibrate_rubric``.

        Raises:
            UsageError: it is not bound.
        """
        if self.known is None:
            raise UsageError(f"{self.name}: its labels have not been read; bind it first.")
        return calibrate_rubric(self, self.known, self.grader(oracle))

    def grader(self, oracle: Oracle) -> Grader:
        """Its model, ready to be asked."""
        return oracle.grader(self.model, reply_schema(self.scale), self.max_tokens)

    def judgments(self, cases: Sequence[Case], grader: Grader) -> tuple[Judgment | Failure, ...]:
        """One judgment a case, in order. Equal cases are asked once."""
        distinct = list(dict.fromkeys(cases))
        if not distinct:
            return ()
        system = self.instructions
        replies = grader.ask([as_prompt(system, case) for case in distinct])
        found = {
            case: reply if isinstance(reply, Failure) else read_judgment(reply, self.scale)
            for case, reply in zip(distinct, replies, strict=True)
        }
        return tuple(found[case] for case in cases)

    def case_before(self, row: Row) -> Case | None:
        """A row's case before it is answered; None where its reference holds nothing to judge by."""
        reference, _ = judged_text(row.reference, self.field)
        # the turns before the reply, without instructions; a single message is its own text
        turns = [turn for turn in row.prompt if turn.role not in ("system", "developer")]
        whole = "\n\n".join(f"{turn.role}: {turn.content}" for turn in turns)
        message = turns[0].content if len(turns) == 1 else whole
        return Case(message, reference, "") if reference else None

    def value(self, judgment: Judgment) -> float:
        """The level in [0, 1]."""
        return (judgment.level - 1) / (self.scale - 1)


# --------------------------------------------------------------------------- calibration
@dataclass(frozen=True)
class CalibratedRubric:
    """A rubric with the score from which a reply counts as good, and how well that agrees with people."""

    rubric: Rubric
    threshold: float
    admission: Admission

    @property
    def name(self) -> str:
        """The rubric's."""
        return self.rubric.name

    @property
    def kind(self) -> Kind:
        """The rubric's."""
        return self.rubric.kind

    def spec(self) -> Mapping[str, Json]:
        """The rubric's, and its calibration."""
        return {**self.rubric.spec(), "threshold": self.threshold}

    def score_many(self, rows: Sequence[Row], answers: Sequence[Answer], oracle: Oracle) -> tuple[Score, ...]:
        """One score a row, in order; the model is asked for all of them at once.

        An answer that is empty, is not JSON, or lacks the field is worth 0.0 and not put to the model. A
        judgment that did not come, or cannot be read, is a failure.

        Raises:
            UsageError: rows and answers do not belong together.
        """
        field = self.rubric.field
        found: list[Case | Score] = []
        for row, answer in pair_up(self.name, rows, answers):
            case = self.rubric.case_before(row)
            judged, problem = judged_text(answer.text, field)
            if (failure := unanswered(answer)) is not None:
                found.append(failure)
            elif case is None:
                lacking = "reference" if field is None else f"text under {field!r} in its reference"
                found.append(no_expectation(row, lacking))
            else:
                found.append(dataclasses.replace(case, answer=judged) if judged else Score(0.0, problem))
        cases = [case for case in found if isinstance(case, Case)]
        judgments = iter(self.rubric.judgments(cases, self.rubric.grader(oracle)) if cases else ())
        return tuple(one if isinstance(one, Score) else self._score(next(judgments)) for one in found)

    def _score(self, judgment: Judgment | Failure) -> Score:
        if isinstance(judgment, Failure):
            return Score(None, failure=f"not judged: {judgment.reason}")
        reason = f"{judgment.level} of {self.rubric.scale}: {judgment.reason}"
        return Score(self.rubric.value(judgment), reason)


def calibrate_rubric(rubric: Rubric, labels: Sequence[Label], grader: Grader) -> CalibratedRubric:
    """Takes the threshold from one half of the labels and tests for admission on the other.

    Labels that the grader gave no judgment of are left out. Where they are more than a tenth of the test
    half, the rubric is not admitted, whatever the others say.

    Raises:
        DataError: fewer than 10 good or 10 bad labels, or too few of them judged to calibrate or test.
    """
    calibration, test = enough_labels(labels, rubric.labels, rubric.seed)
    cases = [Case(label.message, label.reference, label.reply) for label in (*calibration, *test)]
    judgments = rubric.judgments(cases, grader)
    fitted = _judged(rubric, calibration, judgments[: len(calibration)], "calibration")
    tested = _judged(rubric, test, judgments[len(calibration) :], "test")
    threshold = best_threshold(
        [value for value, _ in fitted],
        [good for _, good in fitted],
        [rubric.value(Judgment(level, "")) for level in range(2, rubric.scale + 1)],
    )
    admission = admit(
        rubric.name,
        [good for _, good in tested],
        [value >= threshold for value, _ in tested],
        threshold=threshold,
        n_calibration=len(fitted),
    )
    lost = len(test) - len(tested)
    if lost > MOST_UNJUDGED * len(test):
        reason = f"{lost} of {len(test)} test labels were not judged: {_first_failure(judgments)}"
        admission = dataclasses.replace(admission, admitted=False, reasons=(*admission.reasons, reason))
    return CalibratedRubric(rubric, threshold, admission)


def _judged(
    rubric: Rubric, labels: Sequence[Label], judgments: Sequence[Judgment | Failure], half: str
) -> list[tuple[float, bool]]:
    """Value and label of each label that was judged."""
    pairs = [
        (rubric.value(judgment), label.good)
        for label, judgment in zip(labels, judgments, strict=True)
        if isinstance(judgment, Judgment)
    ]
    if len({good for _, good in pairs}) < 2:
        raise DataError(
            rubric.labels,
            f"{rubric.name}: of {len(labels)} {half} labels {len(pairs)} were judged, too few of a kind;"
            f" {_first_failure(judgments)}",
            f"read the replies of {rubric.model.model}; a model that thinks first needs more max_tokens",
        )
    return pairs


def _first_failure(judgments: Sequence[Judgment | Failure]) -> str:
    reasons = [judgment.reason for judgment in judgments if isinstance(judgment, Failure)]
    return f"the first: {reasons[0]}" if reasons else "none failed"


def best_threshold(values: Sequence[float], good: Sequence[bool], cuts: Sequence[float]) -> float:
    """The one of ``cuts`` from which replies count as good with the largest TPR + TNR - 1 (Youden's J, 1950).

    Of several as good, the middle one (of an even number the higher of the two), for the room on both sides.
    ``cuts`` rise; labels are of both kinds.
    """
    n_good = sum(good)
    n_bad = len(good) - n_good
    pairs = list(zip(values, good, strict=True))

    def gain(cut: float) -> int:
        """J times both counts, in whole numbers, so that ties are ties."""
        hits = sum(value >= cut for value, is_good in pairs if is_good)
        alarms = sum(value >= cut for value, is_good in pairs if not is_good)
        return hits * n_bad - alarms * n_good

    most = max(map(gain, cuts))
    best = [cut for cut in cuts if gain(cut) == most]
    return best[len(best) // 2]
