"""The cards that people judge: all answers to a drawn row that came, equal ones once.

An answer that never came needs no person: it counts as worth nothing on its side. So a row to which none came
is not drawn, and in the decision its probability is 1. In a pair, the side without an answer is shown empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from harness.decision.sampling import correlation, expected_errors, spread
from harness.decision.student import Values
from harness.decision.vectors import over_seeds, recorded_vector
from harness.records import Answer, Json, ScoreInfo, SuiteRow, Trial
from harness.report.trial_pairs import Pair
from harness.scoring.run_labels import ScoreLabels, answer_digest
from harness.scoring.text import in_unicode, judged_text

_ALIKE = 1e-9  # the size of a row whose judged and true differences are both 0

Line: TypeAlias = Mapping[str, Json]  # of a labels file, without its annotator
Mode: TypeAlias = Literal["good", "scale", "pairs"]


@dataclass(frozen=True, slots=True)
class Card:
    """One thing to judge: a text, or the two of a pair. ``lines`` are its labels, but for what was said."""

    key: str  # tells nothing of the side
    row: int  # place among the drawn rows
    texts: tuple[str, ...]
    wholes: tuple[str, ...]  # the answers that the texts are fields of; empty where they are whole answers
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Side:
    """The answers of one trial, by row."""

    trial: Trial
    answers: Mapping[str, Answer]

    def came(self, row_id: str) -> bool:
        """Whether the row's answer came."""
        return self.answers[row_id].failure is None


class Sides:
    """What one score of one candidate, and of its baseline, has to be labelled; one side a training seed."""

    def __init__(self, run: str, pair: Pair, info: ScoreInfo, mode: Mode, field: str | None) -> None:
        self.run, self.suite, self.score, self.mode, self.field = run, pair.suite.name, info.name, mode, field
        trials = [trial for trial in pair.trials if trial.size == pair.lead.size]
        self.mine, self.theirs = (
            [Side(trial, {answer.row_id: answer for answer in trial.answers}) for trial in some]
            for some in (trials, pair.baselines)
        )
        self.all = (*self.mine, *self.theirs)
        by_seed = {side.trial.seed: side for side in reversed(self.theirs)}
        self.couples = [(side, by_seed.get(side.trial.seed, self.theirs[0])) for side in self.mine]
        self.threshold = info.admission.threshold if info.admission else 0.5
        there = {row.id for row in pair.suite.rows}.intersection(*(side.answers for side in self.all))
        self.values: list[Mapping[str, float | None]] = []
        for some in (trials, pair.baselines):
            self.values.append({})  # of the baseline's side, in a preference
            if all(info.name in trial.scores for trial in some):
                each = [recorded_vector(pair.suite, trial, info.name) for trial in some]
                vector = over_seeds(each, [trial.seed or 0 for trial in some])
                self.values[-1] = dict(zip(vector.row_ids, vector.values, strict=True))
                there &= set(vector.row_ids)  # judging may have stopped early
        self.judged = self.mine if mode == "pairs" else self.all
        came = {row_id for row_id in there if any(side.came(row_id) for side in self.judged)}
        self.rows = [row for row in pair.suite.rows if row.id in came]

    @property
    def subject(self) -> str:
        """Candidate and baseline."""
        return f"{self.mine[0].trial.label} and {self.theirs[0].trial.label}"

    def sizes(self, rows: Sequence[SuiteRow]) -> Values:
        """Each row's expected error of the judge: nearly none where all answers are the same."""
        scores = [
            np.array([self._score(values, sides, row.id) for row in rows])
            for values, sides in zip(self.values, (self.mine, self.theirs), strict=True)
        ]
        alike = [len({side.answers[row.id].text for side in self.all}) == 1 for row in rows]
        return np.where(alike, _ALIKE, expected_errors(scores[0], scores[1], self.threshold))

    @staticmethod
    def _score(values: Mapping[str, float | None], sides: Sequence[Side], row_id: str) -> float:
        """What the judge said; 0 where no answer came, and nan where it is not known."""
        value = values.get(row_id)
        if value is None:
            return np.nan if any(side.came(row_id) for side in sides) else 0.0
        return value

    def measured(self, labels: ScoreLabels) -> tuple[int, float | None, float | None]:
        """Of rows that were labelled earlier: their number, how judged and true differences correlate, and
        the standard deviation of the true ones.
        """
        sides = (self.mine,) if self.mode == "pairs" else (self.mine, self.theirs)
        found: list[tuple[float, float, float]] = []
        for row_id, probability in labels.probabilities.get(self.mine[0].trial.label, {}).items():
            said = [self._said(labels, some, row_id) for some in sides]
            judged = [values.get(row_id) for values in self.values[: len(sides)]]
            known = [value for value in (*judged, *said) if value is not None]
            if len(known) == 2 * len(sides):
                f, y = known[: len(sides)], known[len(sides) :]
                found.append((f[0] - sum(f[1:]), y[0] - sum(y[1:]), probability))
        columns = np.array(found, np.float64).reshape(-1, 3).T
        correlated = correlation(columns[0], columns[1], columns[2])
        return len(found), correlated, spread(columns[1], columns[2])

    def _said(self, labels: ScoreLabels, sides: Sequence[Side], row_id: str) -> float | None:
        """The mean label over the sides' seeds; None where one has none."""
        wanted = {(side.trial.label, side.trial.seed, self.mode == "pairs") for side in sides}
        found = [
            values[row_id]
            for (side, seed, against), values in labels.values.items()
            if (side, seed, bool(against)) in wanted and row_id in values
        ]
        return sum(found) / len(found) if len(found) == len(wanted) else None

    def cards(self, row: SuiteRow, place: int, probability: float) -> list[Card]:
        """What is asked about the row, the ``place``-th that was drawn."""
        shown: list[tuple[tuple[Side, ...], Line]]
        if self.mode == "pairs":
            shown = [((one, other), self._line(row, one, probability, other)) for one, other in self.couples]
        else:
            shown = [((side,), self._line(row, side, probability)) for side in self.all]
        lines: dict[tuple[str, ...], list[Line]] = {}
        for sides, line in shown:
            if not sides[0].came(row.id):
                continue
            lines.setdefault(tuple(side.answers[row.id].text for side in sides), []).append(line)
        return [self._card(place, row, texts, same) for texts, same in lines.items()]

    def _card(self, place: int, row: SuiteRow, answers: Sequence[str], lines: Sequence[Line]) -> Card:
        wholes = tuple(map(in_unicode, answers))
        # an answer without the field is shown as it is
        texts = tuple((judged_text(text, self.field)[0] if self.field else "") or text for text in wholes)
        return Card(
            key=answer_digest("\n".join((self.run, self.suite, self.score, row.id, *wholes))),
            row=place,
            texts=texts,
            wholes=() if texts == wholes else wholes,
            lines=tuple(lines),
        )

    def _line(self, row: SuiteRow, side: Side, probability: float, other: Side | None = None) -> Line:
        against = {} if other is None else {"against": other.trial.label}
        return {
            "run": self.run,
            "suite": self.suite,
            "score": self.score,
            "row": row.id,
            "side": side.trial.label,
            **against,
            "seed": side.trial.seed,
            "answer": answer_digest(side.answers[row.id].text),
            "probability": probability,
        }
