"""Judging that may stop early: rows are judged in a fixed random order, no further than a claim needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from harness.decision.group_sequential import LookPlan, plan_looks, row_order
from harness.decision.vectors import at_places, score_vector
from harness.records import Answer, Row, Score, ScoreVector, SuiteInfo, Trial

Judge = Callable[[Sequence[Row], Sequence[Answer]], Sequence[Score]]
NOT_JUDGED = Score(None, "not judged: the judging had stopped")


@dataclass
class InterimAnalysis:
    """One trial's scores by one judge, made as they are asked for.

    Args:
        info: of the suite.
        rows: of the suite, in its order.
        get: the trial whose answers are judged, with the scores so far.
        put: takes the trial with more of them.
        score: the judge's name.
        judge: rows and answers in, scores out.
        looks: the most looks.
        alpha: level of each one-sided test, over all looks.
        name: what the vectors are called.
        advisory: whether the judge was not admitted.
    """

    info: SuiteInfo
    rows: Sequence[Row]
    get: Callable[[], Trial]
    put: Callable[[Trial], None]
    score: str
    judge: Judge
    looks: int
    alpha: float
    name: str
    advisory: bool

    def __post_init__(self) -> None:
        groups = [row.group for row in self.info.rows]
        self.order = row_order([row.id for row in self.rows], 0, groups)
        self.plan: LookPlan = plan_looks(
            len(self.rows), self.looks, self.alpha, [groups[at] for at in self.order]
        )

    def upto(self, rows: int) -> ScoreVector:
        """The first ``rows`` rows in the order of judging."""
        wanted = self.order[:rows]
        trial = self.get()
        scores = list(trial.scores[self.score])
        missing = [at for at in wanted if not scores[at].was_judged]
        if missing:
            found = self.judge([self.rows[at] for at in missing], [trial.answers[at] for at in missing])
            for at, score in zip(missing, found, strict=True):
                scores[at] = score
            trial = replace(trial, scores={**trial.scores, self.score: tuple(scores)})
            self.put(trial)
        vector = replace(
            score_vector(self.info, trial, self.score, advisory=self.advisory), subject=self.name
        )
        places = {row_id: at for at, row_id in enumerate(vector.row_ids)}
        return at_places(vector, [places[self.rows[at].id] for at in wanted])
