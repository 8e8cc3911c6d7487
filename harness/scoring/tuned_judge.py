"""A judge that is trained on its labels: a logistic head on what small local models read.

The readings of a reply are nearness (cosines of sentence embeddings, as in ``Similarity``), likelihoods (of
the reply once message and reference were read, and of the reference once the reply was, as in
``LikelihoodJudge``), the one token that these explain least, and numbers that stand on one side only. Heads
are cross-fitted (``harness.scoring.cross_fit``): all labels train, all test, and none does both to one head.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.errors import DataError, UsageError
from harness.extras import require_extra
from harness.records import Admission, Json, Row, Score
from harness.scoring.admission import MIN_TPR, admit_on, in_words, same_words, wilson
from harness.scoring.cross_fit import ANCHOR_WEIGHT, FOLDS, REPEATS, CrossFitted, Labelled, cross_fit
from harness.scoring.frame import CalibratedForm, LocalJudge
from harness.scoring.judge import CONTEXT, CONTINUATION, NULL_CONTEXT
from harness.scoring.judges import BUILTIN_EMBEDDER, Oracle, embedder_of, token_logprobs_of
from harness.scoring.labels import Label, by_majority, label_material
from harness.scoring.mentions import words
from harness.scoring.rubric_prompt import Case
from harness.scoring.similarity import cosines
from harness.scoring.unseen import seen

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FULL_CONTEXT = (
    "A customer message and two summaries of it.\nMessage: {message}\nFirst summary: {given}\nSecond summary:"
)
READINGS = (
    "cosine of reference and reply",
    "cosine of message and reply",
    "numbers of the reply that are in neither reference nor message",
    "numbers of the reference that are not in the reply",
    "mean log-probability of the reply",
    "mean log-probability of the reply after message and reference",
    "least gain of a token of the reply from message and reference",
    "mean log-probability of the reference",
    "mean log-probability of the reference after the reply",
    "least gain of a token of the reference from the reply",
)

Triple = tuple[str, str, str]  # message, reference, reply


@dataclass(frozen=True)
class TunedJudge(LocalJudge):
    """A grader that the harness trains on labels; no hosted model is asked. Not yet trained.

    Each label is scored, for admission and wherever it is met again, by heads that never saw its message.
    What is new is scored by the mean of all heads. A reference, given as a reply, is good by definition:
    heads are fitted with that, and a judge that calls more than a fifth of them bad is not admitted.

    Args:
        field: judge this field of JSON answers and references; default the whole text.
        labels: JSONL of labelled replies (see ``parse_labels``), relative to the suite's file. The
            reply stands under ``field``, or under "reply" where the judge has none.
        model: the encoder, as a ``Similarity``'s.
        name: the label in a report.
        seed: of the folds.
        trust: as a ``LikelihoodJudge``'s.
    """

    model: str = dataclasses.field(default=BUILTIN_EMBEDDER, kw_only=True)

    default_name: ClassVar[str] = "tuned"
    passes: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "model", str(self.model))  # a Path is no JSON

    def spec(self) -> Mapping[str, Json]:
        """Everything that shapes the score but the models' content; the labels by theirs, once bound."""
        return {
            "check": "TunedJudge",
            "field": self.field,
            "labels": label_material(self.known, self.labels, self.seed),
            "model": self.model,
            "seed": self.seed,
            "readings": list(READINGS),
            "cross_fit": f"{REPEATS} times {FOLDS} folds, whole messages; references weigh {ANCHOR_WEIGHT:g}",
            "contexts": [NULL_CONTEXT, CONTEXT, FULL_CONTEXT, CONTINUATION],
        }

    def require_ready(self, oracle: Oracle) -> None:
        """HarnessError where the extra ``local`` is not installed, or the encoder cannot be read."""
        require_extra("local", f"the judge {self.name!r} reads with local models, which")
        embedder_of(oracle, self.model)

    def calibrated(self, oracle: Oracle) -> TrainedJudge:
        """Train the heads, and test them for admission on all labels.

        Raises:
            UsageError: it is not bound, or the oracle does not read.
            DataError: too few labels of a kind, or a model that gave no number for one.
            HarnessError: the encoder cannot be had.
        """
        import numpy as np

        if self.known is None:
            raise UsageError(f"{self.name}: its labels have not been read; bind it first.")
        distinct = {label.digest(0): label for label in by_majority(self.known)}
        labels = [distinct[digest] for digest in sorted(distinct)]
        groups = [same_words(seen(label.message).strip()) for label in labels]
        self._require_enough(labels, groups)
        own = [_triple(label.message, label.reference, label.reply) for label in labels]
        references = [(message, reference, reference) for message, reference, _ in own]
        features = readings([*own, *references], oracle, self.model)
        if not np.isfinite(features).all():
            problem = f"{self.name}: a model gave no number for some label"
            raise DataError(self.labels, problem, "look at the encoder, and for labels without any letter")
        good = np.array([label.good for label in labels])
        kinds = [label.kind for label in labels]
        fitted = cross_fit(
            Labelled(features[: len(own)], good, groups, kinds, features[len(own) :]), self.seed
        )
        values = [_probability(u) for u in fitted.log_odds(features, [*groups, *groups])]
        admission = admit_on(
            self.name,
            labels,
            values[: len(own)],
            threshold=0.5,
            n_calibration=len(labels) - math.ceil(len(labels) / FOLDS),
            known=self.known,
            is_half=False,
        )
        return TrainedJudge(self, with_references(admission, values[len(own) :]), fitted)

    def _require_enough(self, labels: Sequence[Label], groups: Sequence[str]) -> None:
        for kind, of in (("good", True), ("bad", False)):
            n = len({group for group, label in zip(groups, labels, strict=True) if label.good is of})
            if n < 2 * FOLDS:
                problem = f"{kind} replies to {n} different messages, too few to train a judge and to test it"
                hint = f"label {kind} replies to at least {2 * FOLDS} messages; 25 of each may admit it"
                raise DataError(self.labels, problem, hint)


def with_references(admission: Admission, values: Sequence[float]) -> Admission:
    """The admission with the share of references that are called good; withdrawn where that is too low."""
    rate = wilson(sum(value >= 0.5 for value in values), len(values))
    told = in_words(rate)
    facts = (
        ("trained", f"{REPEATS} times {FOLDS} folds; no label was scored by a head that saw its message"),
        ("references called good", told),
    )
    missed = (
        [f"of its labels' own references, given as replies, it calls {told} good, below {MIN_TPR:g}"]
        if rate.value < MIN_TPR
        else []
    )
    return dataclasses.replace(
        admission,
        admitted=admission.admitted and not missed,
        reasons=(*admission.reasons, *missed),
        facts=(*admission.facts, *facts),
    )


@dataclass(frozen=True)
class TrainedJudge(CalibratedForm[TunedJudge]):
    """A ``TunedJudge`` with its heads."""

    fitted: CrossFitted

    def scores(self, cases: Sequence[Case], rows: Sequence[Row], oracle: Oracle) -> Iterable[Score]:
        """See ``CalibratedForm``."""
        read = [_triple(case.message, case.reference, case.answer) for case in cases]
        features = readings(read, oracle, self.judge.model)
        log_odds = self.fitted.log_odds(features, [same_words(message) for message, *_ in read])
        return map(_score, log_odds, features)


def _score(log_odds: float, features: npt.NDArray[np.float64]) -> Score:
    if not math.isfinite(log_odds):
        return Score(None, failure="a local model gave no number for this answer")
    cosine, _, others, lacking, _, after, *_ = features
    told = [f"cosine {cosine:.2f}", f"{after:+.2f} nats a token after message and reference"]
    told += ["a number that is nowhere else"] if others else []
    told += ["a number of the reference is missing"] if lacking else []
    return Score(_probability(log_odds), "; ".join(told))


def _probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds)) if log_odds >= 0 else math.exp(log_odds) / (1 + math.exp(log_odds))


def _triple(*texts: str) -> Triple:
    message, reference, reply = (seen(text).strip() for text in texts)
    return message, reference, reply


# --------------------------------------------------------------------------- readings
def readings(read: Sequence[Triple], oracle: Oracle, encoder: str) -> npt.NDArray[np.float64]:
    """``READINGS`` of each reply, of shape (replies, readings); NaN where a model gave no number."""
    import numpy as np

    if not read:
        return np.zeros((0, len(READINGS)))
    embedder = embedder_of(oracle, encoder)
    near = cosines([pair for m, a, b in read for pair in ((a, b), (m, b))], embedder)
    alone = {text: (NULL_CONTEXT, _continued(text)) for _, a, b in read for text in (a, b)}
    prompts = [
        prompt
        for m, a, b in read
        for prompt in (
            alone[b],
            (FULL_CONTEXT.format(message=_flat(m), given=_flat(a)), _continued(b)),
            alone[a],
            (CONTEXT.format(given=_flat(b)), _continued(a)),
        )
    ]
    distinct = list(dict.fromkeys(prompts))
    tokens = dict(zip(distinct, map(np.asarray, token_logprobs_of(oracle, distinct)), strict=True))
    found = []
    for at, triple in enumerate(read):
        own = [tokens[prompt] for prompt in prompts[4 * at : 4 * at + 4]]
        likelihoods = [
            value
            for before, after in (own[:2], own[2:])
            for value in (before.mean(), after.mean(), (after - before).min())
        ]
        found.append([*near[2 * at : 2 * at + 2], *_numbers_apart(*triple), *likelihoods])
    return np.array(found, dtype=float)


def _flat(text: str) -> str:
    return " ".join(text.split())


def _continued(text: str) -> str:
    return CONTINUATION.format(text=_flat(text))


def _numbers_apart(message: str, reference: str, reply: str) -> tuple[float, float]:
    """Whether the reply has a number that neither other text has, and lacks one of the reference."""
    asked, wanted, got = (
        {word for word in words(text)[0] if any(map(str.isdigit, word))}
        for text in (message, reference, reply)
    )
    return float(bool(got - wanted - asked)), float(bool(wanted - got))
