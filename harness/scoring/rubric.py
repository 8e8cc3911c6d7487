"""A judge that is asked: a larger model grades each answer by criteria, on a scale, with a reason.

Pointwise grading after G-Eval (Liu et al. 2023) and "LLM-as-a-judge" (Zheng et al. 2023). Such graders have
habits of their own (long answers, their own style), so this one, too, votes only if it is admitted on labels.
The model comes in as a ``Grader``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from harness.errors import DataError, UsageError
from harness.records import Json, Kind, Row, Score
from harness.scoring.admission import admit_on
from harness.scoring.frame import CalibratedForm, HostedJudge, asked
from harness.scoring.judges import Failure, Grader, JudgeEstimate, Oracle, message_of
from harness.scoring.labels import Label, LevelsRead, enough_labels, label_material, read_labels
from harness.scoring.rubric_prompt import (
    CLOSING,
    CODE_CHARACTERS,
    CODES_IN_A_PROMPT,
    GRADER,
    RULES,
    SCALE,
    Case,
    Judgment,
    as_prompt,
    read_judgment,
    reply_schema,
)
from harness.scoring.text import judged_text

MOST_SCALE = 100
MOST_UNJUDGED = 0.1  # of the labels of the test half: beyond it the others are too few to admit a judge


@dataclass(frozen=True)
class Rubric(HostedJudge[Label]):
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
        trust: "run-labels": its gates advise until this run's own answers are labelled. "transfer": admitted
            on labels from elsewhere, it decides, with narrower margins.
        good_from: the level from which a reply counts as good where labels are levels; default those above
            the middle of the scale, 4 of 5.
        anchors: JSONL of labels that every run judges again to see whether the model moved; default 40 of
            ``labels``.
    """

    scale: int = dataclasses.field(default=5, kw_only=True)
    lowest: str = dataclasses.field(default="misses the criteria altogether", kw_only=True)
    highest: str = dataclasses.field(default="meets the criteria fully", kw_only=True)
    name: str = dataclasses.field(default="rubric", kw_only=True)
    seed: int = dataclasses.field(default=0, kw_only=True)
    good_from: int | None = dataclasses.field(default=None, kw_only=True)

    in_words: ClassVar[tuple[str, ...]] = ("criteria", "lowest", "highest", "name")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.scale <= MOST_SCALE:
            raise UsageError(f"Rubric(scale={self.scale}): levels run from 1 to between 2 and {MOST_SCALE}.")
        if self.good_from is not None and self.good_from not in range(2, self.scale + 1):
            raise UsageError(
                f"Rubric(good_from={self.good_from!r}): a level from 2 to {self.scale}; below it is bad."
            )

    @property
    def kind(self) -> Kind:
        """Levels; of two, right or wrong."""
        return Kind.BINARY if self.scale == 2 else Kind.GRADED

    @property
    def instructions(self) -> str:
        """The system message; the same for every case, so that services can cache it."""
        ends = SCALE.format(scale=self.scale, lowest=self.lowest.strip(), highest=self.highest.strip())
        return GRADER + self.criteria.strip() + ends + RULES

    def spec(self) -> Mapping[str, Json]:
        """Everything that shapes the score; the labels by their content, once bound."""
        anchors = self.anchors and label_material(self.known_anchors, self.anchors, self.seed)
        return {
            "check": "Rubric",
            "model": dict(self.model.identity()),
            "field": self.field,
            "labels": label_material(self.known, self.labels, self.seed),
            "instructions": self.instructions,
            "closing": CLOSING,
            "scale": self.scale,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            **({"anchors": anchors} if anchors else {}),
        }

    def labels_in(self, read: Callable[[str], str], path: str) -> tuple[Label, ...]:
        """See ``HostedJudge``."""
        levels = LevelsRead(self.scale, self.good_from or self.scale // 2 + 1 + self.scale % 2)
        return read_labels(read, path, self.field or "reply", levels)

    def schema(self) -> Mapping[str, Json]:
        """See ``HostedJudge``."""
        return reply_schema(self.scale)

    def estimate(self, rows: Sequence[Row]) -> JudgeEstimate:
        """See ``Judge``."""
        labels = (*(self.known or ()), *(self.known_anchors or ()))
        known = (Case(label.message, label.reference, label.reply) for label in labels)
        references = ((row, judged_text(row.reference, self.field)[0]) for row in rows)
        cases = [Case(message_of(row), reference, "") for row, reference in references if reference]
        return JudgeEstimate(
            model=self.model,
            labels=[as_prompt(self.instructions, case) for case in dict.fromkeys(known)],
            rows=[as_prompt(self.instructions, case) for case in cases],
            references=[case.reference for case in cases],
            max_tokens=self.max_tokens,
            # the code in a prompt's tags is another one for each answer: at worst every character is a token
            extra_tokens=CODES_IN_A_PROMPT * CODE_CHARACTERS,
            schema=json.dumps(self.schema()),
        )

    def calibrated(self, oracle: Oracle) -> CalibratedRubric:
        """Take the threshold from one half of the labels and test for admission on the other.

        Labels that the grader gave no judgment of are left out. Where they are more than a tenth of the test
        half, the rubric is not admitted, whatever the others say.

        Raises:
            UsageError: it is not bound.
            DataError: a half without good or without bad labels, or too few of them judged to calibrate or
                test.
        """
        if self.known is None:
            raise UsageError(f"{self.name}: its labels have not been read; bind it first.")
        calibration, test = enough_labels(self.known, self.labels, self.seed, self.known_anchors)
        cases = [Case(label.message, label.reference, label.reply) for label in (*calibration, *test)]
        judgments = self.judgments(cases, self.grader(oracle))
        fitted = _judged(self, calibration, judgments[: len(calibration)], "calibration")
        tested = _judged(self, test, judgments[len(calibration) :], "test")
        threshold = best_threshold(
            [self.value(said.level) for _, said in fitted],
            [label.good for label, _ in fitted],
            [self.value(level) for level in range(2, self.scale + 1)],
        )
        admission = admit_on(
            self.name,
            [label for label, _ in tested],
            [self.value(said.level) for _, said in tested],
            threshold=threshold,
            n_calibration=len(fitted),
            known=self.known,
            levels=[said.level for _, said in tested],
            scale=self.scale,
            reasons=[said.reason for _, said in tested],
        )
        lost = len(test) - len(tested)
        if lost > MOST_UNJUDGED * len(test):
            reason = f"{lost} of {len(test)} test labels were not judged: {_first_failure(judgments)}"
            admission = dataclasses.replace(admission, admitted=False, reasons=(*admission.reasons, reason))
        return CalibratedRubric(self, admission, threshold)

    def judgments(self, cases: Sequence[Case], grader: Grader) -> tuple[Judgment | Failure, ...]:
        """One judgment a case, in order. Equal cases are asked once."""
        found = asked(
            cases, grader, partial(as_prompt, self.instructions), partial(read_judgment, scale=self.scale)
        )
        return tuple(found[case] for case in cases)

    def value(self, level: int) -> float:
        """The level in [0, 1]."""
        return (level - 1) / (self.scale - 1)


# --------------------------------------------------------------------------- calibration
@dataclass(frozen=True)
class CalibratedRubric(CalibratedForm[Rubric]):
    """A rubric with the score from which a reply counts as good, and how well that agrees with people."""

    threshold: float

    def scores(self, cases: Sequence[Case], rows: Sequence[Row], oracle: Oracle) -> Iterable[Score]:
        """See ``CalibratedForm``."""
        return map(self._score, self.judge.judgments(cases, self.judge.grader(oracle)))

    def _score(self, judgment: Judgment | Failure) -> Score:
        if isinstance(judgment, Failure):
            return Score(None, failure=f"not judged: {judgment.reason}")
        reason = f"{judgment.level} of {self.judge.scale}: {judgment.reason}"
        return Score(self.judge.value(judgment.level), reason)


def _judged(
    rubric: Rubric, labels: Sequence[Label], judgments: Sequence[Judgment | Failure], half: str
) -> list[tuple[Label, Judgment]]:
    """Each label that was judged, with its judgment."""
    pairs = [
        (label, judgment)
        for label, judgment in zip(labels, judgments, strict=True)
        if isinstance(judgment, Judgment)
    ]
    if len({label.good for label, _ in pairs}) < 2:
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
