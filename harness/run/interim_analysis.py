"""Judging that may stop early: rows are judged in a fixed random order, no further than a claim needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from harness.decision.group_sequential import GroupSequentialDesign, design_looks, row_order
from harness.decision.vectors import at_places
from harness.records import Answer, Row, Score, ScoreVector, Trial
from harness.run.suite_loading import LoadedSuite

JudgeRows: TypeAlias = Callable[[Sequence[Row], Sequence[Answer]], Sequence[Score]]
NOT_JUDGED = Score(None, "not judged: the judging had stopped")


@dataclass
class InterimAnalysis:
    """One trial's scores by one judge, made as they are needed: the interim scores of a sequential design.

    Args:
        suite: its rows are judged.
        get: returns the trial, with the scores so far.
        put: stores the trial with more of them.
        score: the judge's name.
        judge: scores rows with their answers.
        looks: the most interim looks, the last one included.
        alpha: level of each one-sided test, over all looks.
        name: the subject of the vectors.
        advisory: whether the judge has no vote.
        shows: see ``ScoreVector``.
        n_candidates: that share the level of the run.
    """

    suite: LoadedSuite
    get: Callable[[], Trial]
    put: Callable[[Trial], None]
    score: str
    judge: JudgeRows
    looks: int
    alpha: float
    name: str
    advisory: bool
    shows: tuple[float, float] = (1.0, 1.0)
    n_candidates: int = 1

    def __post_init__(self) -> None:
        units = self.suite.units
        self.order = row_order(units.row_ids, 0, units.groups)
        groups = [units.groups[at] for at in self.order]
        self.design: GroupSequentialDesign = design_looks(len(self.order), self.looks, self.alpha, groups)

    def upto(self, n_rows: int) -> ScoreVector:
        """The first ``n_rows`` rows in the order of judging."""
        wanted = self.order[:n_rows]
        trial = self.get()
        scores = list(trial.scores[self.score])
        missing = [at for at in wanted if not scores[at].was_judged]
        if missing:
            rows = [self.suite.scored_rows[at] for at in missing]
            found = self.judge(rows, [trial.answers[at] for at in missing])
            for at, score in zip(missing, found, strict=True):
                scores[at] = score
            trial = replace(trial, scores={**trial.scores, self.score: tuple(scores)})
            self.put(trial)
        vector = self.suite.vector(trial, self.score, advisory=self.advisory)
        vector = replace(vector, subject=self.name, shows=self.shows)
        places = {row_id: at for at, row_id in enumerate(vector.row_ids)}
        return at_places(vector, [places[self.suite.rows[at].id] for at in wanted])
