"""Several judges as one: their mean or majority, and how many independent ones they weigh as.

A jury of models of different families is less partial than one model (Verga et al. 2024, "Replacing Judges
with Juries"), as far as their errors are their own; judges that err alike are one judge, paid several times.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import pairwise
from typing import Literal

from harness.errors import DataError, UsageError
from harness.records import TIE, Admission, Answer, Json, Kind, Rate, Row, Score
from harness.scoring.admission import admit_on, in_words
from harness.scoring.drift import Given, as_answered, known_of
from harness.scoring.judges import (
    Judge,
    JudgeEstimate,
    Oracle,
    TriedJudge,
    Trust,
    judged_rows,
    needs_baseline,
    require_trust,
    tried_out,
)
from harness.scoring.labels import Label, enough_labels, label_material, read_labels
from harness.scoring.pair_labels import (
    MOST_UNJUDGED,
    VALUES,
    PairLabel,
    Verdict,
    admit_pairs,
    pair_material,
    pairs_by_majority,
    read_pair_labels,
    require_both_sides,
)
from harness.scoring.rubric import best_threshold
from harness.scoring.text import short
from harness.scoring.votes import agreement_of, complete, effective_votes

MIN_SHARE = 0.5  # of the judges that have to give a row a score
_VERDICTS: dict[float, Verdict] = {value: verdict for verdict, value in VALUES.items()}
_REASON_CHARACTERS = 120  # of each judge's


@dataclass(frozen=True)
class Panel:
    """Several judges of one kind, which vote as one. Not yet calibrated.

        CRITERIA = "The summary holds every fact that a support agent needs, and none that is not there."
        LABELS = dict(labels="judge_labels.jsonl", field="summary")
        jury = Panel(
            (
                Rubric(RemoteModel("gpt-4o-mini"), CRITERIA, name="mini", **LABELS),
                Rubric(RemoteModel("mistral-small", base_url=OTHER), CRITERIA, name="mistral", **LABELS),
                LikelihoodJudge(name="likelihood", **LABELS),
            ),
        )

    A row has a score where at least half of the judges gave one; otherwise it is a failure. The panel is
    admitted on its own scores of the labels, whatever its members' admissions say.

    Args:
        judges: at least two, all of single answers or all of pairs, with one ``field`` and names of their
            own.
        labels: JSONL of labelled replies, or pairs, that tests the panel; default that of its judges.
        combine: "mean", of judges of single answers the default; or "majority", the value on which more than
            half of the judges that gave a row a score agree: good or not, or the side preferred (a tie where
            there is none). Judges of pairs have only the latter.
        name: the label in a report.
        seed: of the split into calibration and test half, as in its judges.
        trust: "run-labels": its gates advise until this run's own answers are labelled. "transfer": admitted
            on labels from elsewhere, it decides.
    """

    judges: tuple[Judge, ...]
    labels: str = dataclasses.field(default="", kw_only=True)
    combine: Literal["mean", "majority"] | None = dataclasses.field(default=None, kw_only=True)
    name: str = dataclasses.field(default="panel", kw_only=True)
    seed: int = dataclasses.field(default=0, kw_only=True)
    trust: Trust = dataclasses.field(default="run-labels", kw_only=True)
    # left out of equality, so that a suite's bound judge is found under the user's module constant
    known: tuple[Given, ...] | None = dataclasses.field(default=None, compare=False, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.judges, list | tuple) or not all(isinstance(j, Judge) for j in self.judges):
            raise UsageError("Panel(judges=...): write several judges, such as (Rubric(...), Rubric(...)).")
        object.__setattr__(self, "judges", tuple(self.judges))
        if len(self.judges) < 2:
            raise UsageError("Panel(judges=...): it takes at least two judges.")
        names = [judge.name for judge in self.judges]
        if len(set(names)) < len(names):
            raise UsageError(f"Panel: two of its judges have one name ({', '.join(names)}); set name=.")
        if len({needs_baseline(judge) for judge in self.judges}) > 1:
            raise UsageError(
                f"Panel: some of its judges ({', '.join(names)}) judge single answers and others pairs.\n"
                "  hint: make a panel of each."
            )
        if self.combine not in (None, "mean", "majority"):
            raise UsageError(f"Panel(combine={self.combine!r}): there are: mean, majority.")
        if self.needs_baseline and self.combine == "mean":
            raise UsageError("Panel(combine='mean'): a preference is won, lost or tied; write 'majority'.")
        require_trust("Panel", self.trust)
        if not self.name.strip():
            raise UsageError("Panel needs name: say in words what is meant.")
        object.__setattr__(self, "labels", self.labels or self._common("labels", ""))
        if not self.labels:
            raise UsageError("Panel: its judges have no labels; set labels=.")
        for what in ("field", "anchors"):
            self._common(what, None)
        if not self.needs_baseline:
            self._require_one_split()

    def _common(self, what: str, default: str | None) -> str | None:
        """What the judges that have such an attribute all have under it."""
        found = dict.fromkeys(getattr(judge, what) for judge in self.judges if hasattr(judge, what))
        if len(found) > 1:
            shown = ", ".join(repr(one) for one in found)
            raise UsageError(f"Panel: its judges have different {what} ({shown}); give them one.")
        return next(iter(found), default)

    def _require_one_split(self) -> None:
        """A judge that was calibrated on a label cannot be tested on it."""
        for judge in self.judges:
            own = getattr(judge, "labels", self.labels), getattr(judge, "seed", self.seed)
            if own != (self.labels, self.seed):
                raise UsageError(
                    f"Panel: {judge.name} is calibrated on {own[0]} (seed {own[1]}), the panel is tested on"
                    f" {self.labels} (seed {self.seed}), and what calibrates must not test.\n"
                    "  hint: give all of them one file and one seed."
                )

    @property
    def needs_baseline(self) -> bool:
        """Whether it sets answers against a baseline's."""
        return needs_baseline(self.judges[0])

    @property
    def kind(self) -> Kind:
        """Of pairs a preference; else graded, or of a majority right or wrong."""
        if self.needs_baseline:
            return Kind.PREFERENCE
        return Kind.BINARY if self.combine == "majority" else Kind.GRADED

    @property
    def field(self) -> str | None:
        """The field of JSON answers that its judges judge; None for the whole text."""
        return self._common("field", None)

    @property
    def known_anchors(self) -> tuple[Given, ...]:
        """The anchors that its judges have of their own, once they were read."""
        return next(filter(None, (known_of(judge, "known_anchors") for judge in self.judges)), ())

    @property
    def pairs(self) -> list[PairLabel]:
        """Its labels of pairs, once they were read."""
        return [label for label in self.known or () if isinstance(label, PairLabel)]

    @property
    def replies(self) -> list[Label]:
        """Its labels of replies, once they were read."""
        return [label for label in self.known or () if isinstance(label, Label)]

    def spec(self) -> Mapping[str, Json]:
        """Everything that shapes the score; the labels by their content, once bound."""
        material = (
            pair_material(self.pairs, self.labels)
            if self.needs_baseline
            else label_material(self.replies, self.labels, self.seed)
        )
        return {
            "check": "Panel",
            "judges": [_told(judge.spec()) for judge in self.judges],
            "combine": "majority" if self.needs_baseline else self.combine or "mean",
            "labels": material,
            "seed": self.seed,
        }

    def bind(self, read: Callable[[str], str]) -> Panel:
        """Itself and its judges with their labels read; DataError as they raise it."""
        bound = replace(self, judges=tuple(judge.bind(read) for judge in self.judges))
        if self.needs_baseline:
            return replace(bound, known=read_pair_labels(read, self.labels))
        # a judge on a scale reads levels, which others cannot
        known = next(filter(None, map(known_of, bound.judges)), None)
        return replace(bound, known=known or read_labels(read, self.labels, self.field or "reply"))

    def require_ready(self, oracle: Oracle) -> None:
        """What its judges raise."""
        for judge in self.judges:
            judge.require_ready(oracle)

    def estimate(self, rows: Sequence[Row]) -> JudgeEstimate | None:
        """What each of its judges asks; the panel's labels are theirs."""
        found = [one for judge in self.judges if (one := judge.estimate(rows)) is not None]
        every = [replace(one, others=()) for each in found for one in each.every]
        return replace(every[0], others=tuple(every[1:])) if every else None

    def redirected(self, url: str) -> Panel:
        """See ``Judge``."""
        return replace(self, judges=tuple(judge.redirected(url) for judge in self.judges))

    def calibrated(self, oracle: Oracle) -> CalibratedPanel:
        """Calibrate its judges, take the threshold from one half of the labels and test on the other.

        Of judges of pairs nothing is fitted, and all labels test.

        Raises:
            UsageError: it is not bound.
            DataError: too few labels, or too few of them scored.
        """
        tried = tuple(tried_out(judge, oracle) for judge in self.judges)
        untested = CalibratedPanel(self, tried, None)
        if self.known is None:
            raise UsageError(f"{self.name}: its labels have not been read; bind it first.")
        if self.needs_baseline:
            admission = _of_pairs(untested, self.pairs, oracle)
        else:
            admission = _of_labels(untested, self.replies, oracle)
        return replace(untested, tested=admission)

    def combined(self, scores: Sequence[Score]) -> Score:
        """The panel's score of a row from those of its judges."""
        values = [score.value for score in scores if score.value is not None]
        if len(values) < MIN_SHARE * len(scores):
            why = next((score.failure for score in scores if score.failure is not None), "not judged")
            lost = len(scores) - len(values)
            return Score(None, failure=f"{lost} of {len(scores)} judges gave no score: {why}")
        reason = "; ".join(
            f"{judge.name} {'none' if score.value is None else f'{score.value:.2g}'}:"
            f" {short(score.failure or score.reason, _REASON_CHARACTERS)}"
            for judge, score in zip(self.judges, scores, strict=True)
        )
        if self.needs_baseline:
            wins, losses = (sum(value == side for value in values) for side in (1.0, 0.0))
            return Score(1.0 if 2 * wins > len(values) else 0.0 if 2 * losses > len(values) else TIE, reason)
        if self.combine == "majority":
            return Score(float(2 * sum(values) > len(values)), reason)
        return Score(sum(values) / len(values), reason)


def _told(spec: Mapping[str, Json]) -> Mapping[str, Json]:
    """A judge's spec with its labels, which are many, by one fingerprint."""
    labels = json.dumps(spec.get("labels"), sort_keys=True, default=str)
    return {**spec, "labels": sha256(labels.encode()).hexdigest()[:16]}


# --------------------------------------------------------------------------- scores
@dataclass(frozen=True)
class CalibratedPanel:
    """A panel whose judges are calibrated, and how well they together agree with people."""

    panel: Panel
    tried: tuple[TriedJudge, ...]
    tested: Admission | None

    @property
    def name(self) -> str:
        """The panel's."""
        return self.panel.name

    @property
    def admission(self) -> Admission:
        """Whether it has earned its vote."""
        assert self.tested is not None
        return self.tested

    def score_many(self, rows: Sequence[Row], answers: Sequence[Answer], oracle: Oracle) -> tuple[Score, ...]:
        """One score a row, in order; every judge is asked for all of them at once."""
        return tuple(map(self.panel.combined, self.each(rows, answers, None, oracle)))

    def prefer_many(
        self, rows: Sequence[Row], answers: Sequence[Answer], against: Sequence[Answer], oracle: Oracle
    ) -> tuple[Score, ...]:
        """The same of judges that set answers against a baseline's."""
        return tuple(map(self.panel.combined, self.each(rows, answers, against, oracle)))

    def each(
        self,
        rows: Sequence[Row],
        answers: Sequence[Answer],
        against: Sequence[Answer] | None,
        oracle: Oracle,
    ) -> list[tuple[Score, ...]]:
        """The scores of every judge, row by row; of a majority, whether it calls the answer good."""
        by_judge = []
        for judge, tried in zip(self.panel.judges, self.tried, strict=True):
            scores = judged_rows(judge, tried, rows, answers, oracle, against)
            if self.panel.kind is Kind.BINARY and tried.admission is not None:
                bar = tried.admission.threshold
                scores = tuple(
                    replace(one, value=None if one.value is None else float(one.value >= bar))
                    for one in scores
                )
            by_judge.append(scores)
        return list(zip(*by_judge, strict=True))

    def each_label(self, labels: Sequence[Given], oracle: Oracle) -> list[tuple[Score, ...]]:
        """The scores of every judge, label by label."""
        shown = [as_answered(label, self.panel.field) for label in labels]
        rows, answers, against = zip(*shown, strict=True)
        return self.each(rows, answers, [one for one in against if one is not None] or None, oracle)


# --------------------------------------------------------------------------- admission
def _of_labels(panel: CalibratedPanel, known: Sequence[Label], oracle: Oracle) -> Admission:
    own = panel.panel
    calibration, test = enough_labels(known, own.labels, own.seed)
    labels = (*calibration, *test)
    each = panel.each_label(labels, oracle)
    scored = [(one, own.combined(scores)) for one, scores in zip(labels, each, strict=True)]
    halves = scored[: len(calibration)], scored[len(calibration) :]
    fitted, tested = (
        [(label, score.value, score.reason) for label, score in half if score.value is not None]
        for half in halves
    )
    for half, of in ((fitted, calibration), (tested, test)):
        if len({label.good for label, *_ in half}) < 2:
            failures = [score.failure for _, score in scored if score.failure]
            problem = f"{own.name}: of {len(of)} labels {len(half)} were scored, too few of a kind"
            raise DataError(own.labels, problem, f"look at the first failure: {(*failures, 'none')[0]}")
    values = sorted({value for _, value, _ in fitted})
    cuts = [(low + high) / 2 for low, high in pairwise(values)] or [TIE]
    threshold = best_threshold([value for _, value, _ in fitted], [label.good for label, *_ in fitted], cuts)
    admission = admit_on(
        own.name,
        [label for label, *_ in tested],
        [value for _, value, _ in tested],
        threshold=threshold,
        n_calibration=len(fitted),
        known=known,
        reasons=[reason for *_, reason in tested],
    )
    lost = len(test) - len(tested)
    if lost > MOST_UNJUDGED * len(test):
        reason = f"{lost} of {len(test)} test labels were not scored"
        admission = replace(admission, admitted=False, reasons=(*admission.reasons, reason))
    truth = [float(label.good) for label in test]
    bars = [TIE if one.admission is None else one.admission.threshold for one in panel.tried]
    bars = [TIE if own.kind is Kind.BINARY else bar for bar in bars]
    return _with_facts(panel, admission, each[len(calibration) :], truth, bars)


def _of_pairs(panel: CalibratedPanel, known: Sequence[PairLabel], oracle: Oracle) -> Admission:
    own, every = panel.panel, known
    known = pairs_by_majority(every)
    require_both_sides(known, own.labels)
    each = panel.each_label(known, oracle)
    values = [own.combined(scores).value for scores in each]
    verdicts = [None if value is None else _VERDICTS[value] for value in values]
    admission = admit_pairs(own.name, known, verdicts, own.labels, every)
    return _with_facts(panel, admission, each, [VALUES[label.label] for label in known], None)


def _in_words(rate: Rate | None) -> str:
    return "not known: nothing differs" if rate is None else in_words(rate)


def _with_facts(
    panel: CalibratedPanel,
    admission: Admission,
    each: Sequence[Sequence[Score]],
    truth: Sequence[float],
    bars: Sequence[float] | None,
) -> Admission:
    """How far the judges agree, and how many they weigh as, on labels of which all of them judged.

    Args:
        each: the judges' scores, label by label.
        truth: the labels, on the scale of the scores.
        bars: the score from which each judge calls an answer good; None where scores are verdicts.
    """
    facts = list(admission.facts)
    for judge, tried in zip(panel.panel.judges, panel.tried, strict=True):
        if panel.panel.needs_baseline and tried.admission is not None:
            facts += [(f"{judge.name}: {what}", value) for what, value in tried.admission.facts]
    places, values = complete([[score.value for score in scores] for scores in each])
    n_judges = len(panel.tried)
    if len(places) > 1:
        import numpy as np

        votes = effective_votes(values, [truth[at] for at in places])
        agreement = agreement_of(values if bars is None else (values >= np.array(bars)).astype(float))
        facts.append((f"independent votes that {n_judges} judges weigh as", _in_words(votes)))
        facts.append(("agreement of the judges (Krippendorff's alpha)", _in_words(agreement)))
    return replace(admission, facts=tuple(facts))
