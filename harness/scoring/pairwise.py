"""A judge of pairs: a larger model is shown the baseline's and the candidate's answer, in both orders.

Such models prefer the answer in one place to some extent whatever it says (Zheng et al. 2023, "Judging
LLM-as-a-judge with MT-Bench and Chatbot Arena"; Wang et al. 2023, "Large language models are not fair
evaluators"). So each pair is judged twice, and a preference that does not survive the change of places is a
tie, as in the first of these. The judge votes only if it is admitted on labels. The model comes in as a
``Grader``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from harness.errors import UsageError
from harness.records import Admission, Answer, Json, Kind, Rate, Row, Score
from harness.scoring.admission import in_words, wilson
from harness.scoring.checks import pair_up, unanswered
from harness.scoring.frame import HostedJudge, asked, filled, half_a_character
from harness.scoring.judges import Failure, Grader, JudgeEstimate, Oracle, message_of
from harness.scoring.pair_labels import (
    PairLabel,
    Verdict,
    admit_pairs,
    pair_material,
    pairs_by_majority,
    read_pair_labels,
    require_both_sides,
)
from harness.scoring.pair_prompt import (
    CLOSING,
    CODES_IN_A_PROMPT,
    COMPARER,
    RULES,
    SCHEMA,
    PairCase,
    PairVerdict,
    as_pair_prompt,
    read_verdict,
)
from harness.scoring.rubric_prompt import CODE_CHARACTERS
from harness.scoring.text import judged_text
from harness.scoring.unseen import seen

#: of pairs that people gave to one side. A choice: beyond it a verdict in four says where an answer stood
MOST_FLIPS = 0.25
WON, LOST = "preferred in both orders", "the baseline's is preferred in both orders"
TIED, FLIPPED = "a tie in both orders", "depends on the order, so a tie"


@dataclass(frozen=True)
class Pairwise(HostedJudge[PairLabel]):
    """A hosted model that says which of two answers to one row is better. Not yet calibrated.

        better = Pairwise(
            RemoteModel("gpt-4o-mini"),
            "The better summary tells a support agent more of what has to be done, and nothing wrong.",
            labels="pair_labels.jsonl",
            field="summary",
        )

        def test_preferred(candidate):
            assert candidate.preferred(better) > 0.5

    The score of a candidate's row is 1 where its answer is preferred to the baseline's in both orders, 0
    where the baseline's is, and .5 otherwise. The baseline itself has no such score. A reply that cannot be
    read as a verdict is a failure.

    Args:
        model: the grader; asked twice a row, at temperature 0, with structured output where its service
            offers that.
        criteria: of the better answer, in plain words.
        labels: JSONL of labelled pairs (see ``parse_pair_labels``), relative to the suite's file.
        field: compare this field of JSON answers; default the whole text.
        name: the label in a report.
        max_tokens: longest judgment; a model that thinks first needs more.
        trust: "run-labels": its gates advise until this run's own answers are labelled. "transfer": admitted
            on labels from elsewhere, it decides.
        anchors: JSONL of labelled pairs that every run judges again to see whether the model moved; default
            40 of ``labels``.
    """

    name: str = dataclasses.field(default="preference", kw_only=True)

    kind: ClassVar[Kind] = Kind.PREFERENCE
    needs_baseline: ClassVar[bool] = True

    @property
    def instructions(self) -> str:
        """The system message; the same for every pair, so that services can cache it."""
        return COMPARER + self.criteria.strip() + RULES

    def spec(self) -> Mapping[str, Json]:
        """Everything that shapes the score; the labels by their content, once bound."""
        return {
            "check": "Pairwise",
            "model": dict(self.model.identity()),
            "field": self.field,
            "labels": pair_material(self.known, self.labels),
            "instructions": self.instructions,
            "closing": CLOSING,
            "max_tokens": self.max_tokens,
            **({"anchors": pair_material(self.known_anchors, self.anchors)} if self.anchors else {}),
        }

    def labels_in(self, read: Callable[[str], str], path: str) -> tuple[PairLabel, ...]:
        """See ``HostedJudge``."""
        return read_pair_labels(read, path)

    def schema(self) -> Mapping[str, Json]:
        """See ``HostedJudge``."""
        return SCHEMA

    def estimate(self, rows: Sequence[Row]) -> JudgeEstimate:
        """See ``Judge``; both orders are asked."""
        labels = map(_labelled, (*(self.known or ()), *(self.known_anchors or ())))
        cases = [PairCase(message_of(row), judged_text(row.reference, self.field)[0], "", "") for row in rows]
        return JudgeEstimate(
            model=self.model,
            labels=[as_pair_prompt(self.instructions, case) for case in _both_orders(labels)],
            rows=[as_pair_prompt(self.instructions, case) for case in cases for _ in range(2)],
            references=[case.reference for case in cases for _ in range(2)],
            max_tokens=self.max_tokens,
            # see ``Rubric.estimate``
            extra_tokens=CODES_IN_A_PROMPT * CODE_CHARACTERS,
            schema=json.dumps(SCHEMA),
            answers=2,
        )

    def calibrated(self, oracle: Oracle) -> CalibratedPairwise:
        """Test for admission on the labels, each in both orders; nothing is fitted.

        Raises:
            UsageError: it is not bound.
            DataError: no labels for one of the sides, or none of them judged.
        """
        if self.known is None:
            raise UsageError(f"{self.name}: its labels have not been read; bind it first.")
        labels = pairs_by_majority(self.known)
        require_both_sides(labels, self.labels)
        found = self.compared([_labelled(label) for label in labels], self.grader(oracle))
        verdicts = [one.verdict if isinstance(one, Compared) else None for one in found]
        admission = admit_pairs(self.name, labels, verdicts, self.labels, self.known)
        decided = [
            one
            for one, label in zip(found, labels, strict=True)
            if isinstance(one, Compared) and label.label != "tie"
        ]
        flips = wilson(sum(one.is_flipped for one in decided), len(decided))
        shown_first = wilson(sum(one.for_shown_first for one in decided), 2 * len(decided))
        reasons = admission.reasons
        if flips.value > MOST_FLIPS:
            said = f"verdicts that depend on the order: {in_words(flips)}, which is above {MOST_FLIPS:g}"
            reasons = (*reasons, said)
        failures = [one.reason for one in found if isinstance(one, Failure)]
        facts = (
            ("verdicts that depend on the order, where people saw a better one", in_words(flips)),
            ("verdicts for the answer shown first", f"{shown_first.value:.2f} (n={shown_first.n})"),
            *admission.facts,
            *([("first failure", failures[0])] if failures else []),
        )
        return CalibratedPairwise(
            self, replace(admission, admitted=not reasons, reasons=reasons, facts=facts)
        )

    def compared(self, cases: Sequence[PairCase], grader: Grader) -> tuple[Compared | Failure, ...]:
        """What both orders say of each case. Equal cases are asked once, in one call with all others."""
        found = asked(_both_orders(cases), grader, partial(as_pair_prompt, self.instructions), read_verdict)
        return tuple(_reconciled(found[case], found[case.swapped]) for case in cases)


def _labelled(label: PairLabel) -> PairCase:
    return PairCase(label.message, label.reference, label.first, label.second)


def _both_orders(cases: Iterable[PairCase]) -> tuple[PairCase, ...]:
    """Each once, beside its other order."""
    return tuple(dict.fromkeys(order for case in cases for order in (case, case.swapped)))


# --------------------------------------------------------------------------- both orders
@dataclass(frozen=True, slots=True)
class Compared:
    """The verdicts on a pair as it stands and in the other order, both by the places of the pair as it
    stands.
    """

    as_it_stands: PairVerdict
    other_order: PairVerdict

    @property
    def is_flipped(self) -> bool:
        """Whether the verdict depends on the order."""
        return self.as_it_stands.verdict != self.other_order.verdict

    @property
    def verdict(self) -> Verdict:
        """That of both orders; a tie where they differ."""
        return "tie" if self.is_flipped else self.as_it_stands.verdict

    @property
    def for_shown_first(self) -> int:
        """How many of the two verdicts are for the answer that was shown first."""
        return (self.as_it_stands.verdict == "first") + (self.other_order.verdict == "second")


def _reconciled(as_it_stands: PairVerdict | Failure, other: PairVerdict | Failure) -> Compared | Failure:
    if isinstance(as_it_stands, Failure):
        return as_it_stands
    return other if isinstance(other, Failure) else Compared(as_it_stands, other.swapped)


def order_effect(scores: Sequence[Score]) -> Rate | None:
    """The share of a trial's rows on which the verdict depends on the order, by the reasons of the scores.

    Of those that were asked in both orders; None where there is none.
    """
    asked = [score.reason for score in scores if score.reason.startswith((WON, LOST, TIED, FLIPPED))]
    return wilson(sum(one.startswith(FLIPPED) for one in asked), len(asked)) if asked else None


# --------------------------------------------------------------------------- scores
@dataclass(frozen=True)
class CalibratedPairwise:
    """A judge of pairs, and how well it agrees with people."""

    pairwise: Pairwise
    admission: Admission

    @property
    def name(self) -> str:
        """The judge's."""
        return self.pairwise.name

    def score_many(self, rows: Sequence[Row], answers: Sequence[Answer], oracle: Oracle) -> tuple[Score, ...]:
        """Failures: a preference takes the baseline's answers; see ``prefer_many``."""
        return (Score(None, failure=f"{self.name}: no answer of a baseline to compare with"),) * len(rows)

    def prefer_many(
        self, rows: Sequence[Row], answers: Sequence[Answer], against: Sequence[Answer], oracle: Oracle
    ) -> tuple[Score, ...]:
        """One score a row, in order; the model is asked for all of them, in both orders, at once.

        An answer that never came, on either side, and a judgment that did not, are failures. The same text
        twice is a tie, and an answer without text loses to one with text: neither is asked about.
        """
        found = [
            self._without_asking(row, mine, theirs)
            for (row, mine), (_, theirs) in zip(
                pair_up(self.name, rows, answers), pair_up(self.name, rows, against), strict=True
            )
        ]
        pairwise = self.pairwise
        return filled(found, lambda cases: map(_score, pairwise.compared(cases, pairwise.grader(oracle))))

    def _without_asking(self, row: Row, mine: Answer, theirs: Answer) -> Score | PairCase:
        """The score of a row that no model has to be asked about, or what is asked."""
        field = self.pairwise.field
        if (failure := unanswered(mine)) is not None:
            return failure
        if (failure := unanswered(theirs)) is not None:
            return Score(None, failure=f"the baseline's answer never came: {failure.failure}")
        (answer, problem), (other, others) = (judged_text(one.text, field) for one in (mine, theirs))
        answer, other = seen(answer).strip(), seen(other).strip()
        if answer == other:
            return Score(0.5, "the same text" if answer else f"neither has text: {problem}")
        if not answer or not other:
            return Score(1.0, f"the baseline's: {others}") if answer else Score(0.0, problem)
        for whose, text in ((self.name, answer), (f"{self.name}, the baseline's", other)):
            if (failure := half_a_character(whose, text)) is not None:
                return failure
        return PairCase(message_of(row), judged_text(row.reference, field)[0], answer, other)


def _score(compared: Compared | Failure) -> Score:
    if isinstance(compared, Failure):
        return Score(None, failure=f"not judged: {compared.reason}")
    one, other = compared.as_it_stands, compared.other_order
    if compared.is_flipped:
        named = {"first": "the candidate's", "second": "the baseline's", "tie": "a tie"}
        return Score(
            0.5,
            f"{FLIPPED}: with the candidate's first, {named[one.verdict]}: {one.reason}; with the"
            f" baseline's first, {named[other.verdict]}: {other.reason}",
        )
    value, said = {"first": (1.0, WON), "second": (0.0, LOST), "tie": (0.5, TIED)}[one.verdict]
    return Score(value, f"{said}: {one.reason}")
