"""From a trial to the vector that comparisons read: one score, row by row, in the suite's order."""

from __future__ import annotations

from harness.errors import UnknownName, UsageError
from harness.records import Score, ScoreVector, SuiteInfo, Trial


def score_vector(suite: SuiteInfo, trial: Trial, score: str, advisory: bool = False) -> ScoreVector:
    """The values of ``score`` over the suite's rows; a failed score is None, with its failure as reason.

    ``advisory`` marks a vector that rests on a judge that was not admitted.

    Raises:
        UnknownName: the suite or the trial has no such score.
        UsageError: the trial is of another suite, or its rows are not the suite's rows.
    """
    if trial.suite != suite.name:
        raise UsageError(
            f"{trial.label} was evaluated on suite {trial.suite!r}, not on {suite.name!r}: "
            "take the trial of the same suite."
        )
    info = next((known for known in suite.scores if known.name == score), None)
    if info is None:
        raise UnknownName("score", score, (known.name for known in suite.scores), f"Suite: {suite.name}.")
    if score not in trial.scores:
        raise UnknownName("score", score, trial.scores, f"Trial: {trial.label} on {suite.name}.")
    scores = _in_order_of(suite, trial, trial.scores[score])
    return ScoreVector(
        subject=trial.label,
        score=score,
        kind=info.kind,
        row_ids=tuple(row.id for row in suite.rows),
        values=tuple(None if one.failure is not None else one.value for one in scores),
        groups=tuple(row.group for row in suite.rows),
        reasons=tuple(one.failure or one.reason for one in scores),
        advisory=advisory,
    )


def _in_order_of(suite: SuiteInfo, trial: Trial, scores: tuple[Score, ...]) -> tuple[Score, ...]:
    wanted = [row.id for row in suite.rows]
    had = [answer.row_id for answer in trial.answers]
    if len(scores) != len(had):
        raise UsageError(f"{trial.label} on {suite.name} has {len(had)} answers but {len(scores)} scores.")
    if had == wanted:
        return scores
    by_id = dict(zip(had, scores, strict=True))
    if len(by_id) != len(had) or by_id.keys() != set(wanted):
        odd = sorted(set(wanted) ^ by_id.keys())[:3] or "some ids stand twice"
        raise UsageError(
            f"{trial.label} answered {len(had)} rows, which are not the {len(wanted)} rows of suite "
            f"{suite.name} ({odd}): evaluate it again on {suite.heldout}."
        )
    return tuple(by_id[row_id] for row_id in wanted)
