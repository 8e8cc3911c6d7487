"""A judge for free text without an oracle: how likely the reference is, once the reply has been read.

A small local model answers no questions about quality, but it reads: after a reply that says the
same, the reference is less surprising (GPTScore, Fu et al. 2023; BARTScore, Yuan et al. 2021).
The statistic is calibrated to the probability that people would call the reply good
(``harness.scoring.calibration``). The model comes in as a ``Scorer``. The judge votes only if it is admitted.

It sees a reply about something else. A model of 135M parameters does not see one digit or one name
changed in a reply whose words are otherwise the reference's own.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from harness.errors import UsageError
from harness.extras import require_extra
from harness.records import Json, Row, Score
from harness.scoring.calibration import Platt, calibrated_on_labels
from harness.scoring.frame import CalibratedForm, LocalJudge
from harness.scoring.judges import Oracle, Scorer
from harness.scoring.labels import label_material
from harness.scoring.rubric_prompt import Case
from harness.scoring.text import judged_text
from harness.scoring.unseen import seen

Statistic: TypeAlias = Literal["reference_given_reply", "pmi", "both"]

# Measured against wordings that also show the message: these separate better, for the message
# already gives the reference away.
CONTEXT = "Two summaries of the same customer message.\nFirst summary: {given}\nSecond summary:"
NULL_CONTEXT = "A summary of a customer message.\nSummary:"
CONTINUATION = " {text}"


@dataclass(frozen=True)
class LikelihoodJudge(LocalJudge):
    """How likely the reference is under a small model that has read the reply. Not yet calibrated.

    Args:
        field: judge this field of JSON answers and references; default the whole text.
        labels: JSONL of labelled replies (see ``parse_labels``), relative to the suite's file. The
            reply stands under ``field``, or under "reply" where the judge has none.
        name: the label in a report.
        statistic: in natural-log units a token, higher is better.
            ``reference_given_reply``: mean log-probability of the reference after the reply.
            ``pmi``: the same less the reference's own log-probability, so that an odd reference is
            not held against its reply (pointwise mutual information a token).
            ``both``: the mean of that and of the reply's after the reference.
        threshold: the calibrated probability from which a reply counts as good.
        seed: of the split into calibration and test half.
        trust: "run-labels": its gates advise until this run's own answers are labelled. "transfer": admitted
            on labels from elsewhere, it decides, with narrower margins.
    """

    statistic: Statistic = dataclasses.field(default="pmi", kw_only=True)
    threshold: float = dataclasses.field(default=0.5, kw_only=True)

    default_name: ClassVar[str] = "likelihood"
    passes: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.statistic not in ("reference_given_reply", "pmi", "both"):
            known = "reference_given_reply, pmi, both"
            raise UsageError(f"LikelihoodJudge: unknown statistic {self.statistic!r}; there are: {known}")
        if not 0 < self.threshold < 1:
            raise UsageError(f"LikelihoodJudge: the threshold is a probability, not {self.threshold}")
        super().__post_init__()

    model = "smollm2-135m"  # the built-in one

    def spec(self) -> Mapping[str, Json]:
        """Everything that shapes the score but the model; the labels by their content, once bound."""
        return {
            "check": "LikelihoodJudge",
            "field": self.field,
            "labels": label_material(self.known, self.labels, self.seed),
            "statistic": self.statistic,
            "threshold": self.threshold,
            "seed": self.seed,
            "context": CONTEXT,
            "null_context": NULL_CONTEXT,
            "continuation": CONTINUATION,
        }

    def require_ready(self, oracle: Oracle) -> None:
        """UsageError where the extra ``local`` is not installed: the built-in model cannot run here."""
        require_extra("local", f"the judge {self.name!r} reads with the built-in model, which")

    def calibrated(self, scorer: Scorer) -> CalibratedJudge:
        """Fit the calibration on one half of the labels and test for admission on the other.

        Raises:
            UsageError: it is not bound.
            DataError: a half without good or without bad labels, or a scorer that gave no number.
        """
        platt, admission = calibrated_on_labels(self, lambda pairs: self.statistics(pairs, scorer))
        return CalibratedJudge(self, admission, platt)

    def statistics(
        self, pairs: Sequence[tuple[str, str]], scorer: Scorer, references: Sequence[str] = ()
    ) -> tuple[float, ...]:
        """The statistic of each (reference, reply).

        The likelihoods of references alone are asked for in a call of their own, in which ``references`` come
        first whether or not they have a reply: a scorer with a cache then reads them once for all candidates.
        """
        asked = [] if self.statistic == "reference_given_reply" else [*references, *(r for r, _ in pairs)]
        alone = _logprobs([_prompt(NULL_CONTEXT, reference) for reference in asked], scorer)
        # by pair: the reference after the reply; for "both" the reply after the reference, and alone
        prompts = [[_prompt(CONTEXT.format(given=seen(reply)), reference)] for reference, reply in pairs]
        if self.statistic == "both":
            for of_pair, (reference, reply) in zip(prompts, pairs, strict=True):
                of_pair += [_prompt(CONTEXT.format(given=reference), reply), _prompt(NULL_CONTEXT, reply)]
        found = _logprobs([prompt for of_pair in prompts for prompt in of_pair], scorer)
        statistics = []
        for of_pair, (reference, _) in zip(prompts, pairs, strict=True):
            forward, *reverse = (found[prompt] for prompt in of_pair)
            statistic = forward - alone.get(_prompt(NULL_CONTEXT, reference), 0.0)
            if reverse:
                given_reference, reply_alone = reverse
                statistic = (statistic + given_reference - reply_alone) / 2
            statistics.append(statistic)
        return tuple(statistics)


def _logprobs(prompts: Sequence[tuple[str, str]], scorer: Scorer) -> dict[tuple[str, str], float]:
    """The scorer's answer to every distinct prompt, from one call."""
    distinct = list(dict.fromkeys(prompts))
    return dict(zip(distinct, scorer.logprob(distinct), strict=True)) if distinct else {}


def _prompt(context: str, text: str) -> tuple[str, str]:
    return context, CONTINUATION.format(text=" ".join(seen(text).split()))


# --------------------------------------------------------------------------- calibration
@dataclass(frozen=True)
class CalibratedJudge(CalibratedForm[LikelihoodJudge]):
    """A judge with its calibration."""

    platt: Platt

    def scores(self, cases: Sequence[Case], rows: Sequence[Row], oracle: Oracle) -> Iterable[Score]:
        """See ``CalibratedForm``."""
        references = [text for row in rows if (text := judged_text(row.reference, self.judge.field)[0])]
        pairs = [(case.reference, case.answer) for case in cases]
        return map(self._score, self.judge.statistics(pairs, oracle, references))

    def _score(self, statistic: float) -> Score:
        if not math.isfinite(statistic):
            return Score(None, failure=f"the scorer gave no number: {statistic}")
        value = self.platt.probability(statistic)
        return Score(value, f"{self.judge.statistic} {statistic:+.2f} nats a token")
