"""From a trial to the vector that comparisons read: one score, row by row, in the suite's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.errors import UnknownName, UsageError
from harness.records import Score, ScoreVector, SuiteInfo, Trial


def score_vector(suite: SuiteInfo, trial: Trial, score: str, advisory: bool = False) -> ScoreVector:
    """The values of ``score`` over the suite's rows; a failed score is None, with its failure as reason.

    Rows that were not judged, because the judging stopped early, are left out.

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
    whole = ScoreVector(
        subject=trial.label,
        score=score,
        kind=info.kind,
        row_ids=tuple(row.id for row in suite.rows),
        values=tuple(None if one.failure is not None else one.value for one in scores),
        groups=tuple(row.group for row in suite.rows),
        reasons=tuple(one.failure or one.reason for one in scores),
        advisory=advisory,
    )
    judged = [at for at, one in enumerate(scores) if one.was_judged]
    return whole if len(judged) == len(scores) else at_places(whole, judged)


def common_rows(first: ScoreVector, second: ScoreVector) -> tuple[ScoreVector, ScoreVector]:
    """Both vectors on the rows that both have: judging may have stopped at different rows."""
    if first.row_ids == second.row_ids:
        return first, second
    both = set(first.row_ids) & set(second.row_ids)
    sides = [at_places(v, [at for at, name in enumerate(v.row_ids) if name in both]) for v in (first, second)]
    return sides[0], sides[1]


def over_seeds(vectors: Sequence[ScoreVector], seeds: Sequence[int]) -> ScoreVector:
    """One vector of several seeds' vectors of the same rows. A row's value is the mean over its seeds.

    A row that failed at one seed has no mean: it is a failure, as it is for one seed.
    """
    if len(vectors) == 1:
        return vectors[0]
    by_seed = tuple(zip(*(vector.values for vector in vectors), strict=True))
    said = zip(*(vector.reasons for vector in vectors), strict=True)
    return replace(
        vectors[0],
        values=tuple(_mean(values) for values in by_seed),
        reasons=tuple(
            "; ".join(f"seed {seed}: {why}" for seed, why in zip(seeds, reasons, strict=True) if why)
            for reasons in said
        ),
        by_seed=by_seed,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def only_rows(suite: SuiteInfo, vector: ScoreVector, where: Mapping[str, str]) -> ScoreVector:
    """The part of a vector whose rows have these values in the suite's slice fields; empty: all of it.

    Raises:
        UnknownName: a field that the suite does not slice by, or a value that no row has.
    """
    if not where:
        return vector
    for field, value in where.items():
        if field not in suite.slices:
            raise UnknownName("slice field", field, suite.slices, f"Suite: {suite.name}.")
        known = {row.slices[field] for row in suite.rows if field in row.slices}
        if value not in known:
            raise UnknownName(f"value of {field}", value, known, f"Suite: {suite.name}.")
    places = [
        at
        for at, row in enumerate(suite.rows)
        if all(row.slices.get(field) == value for field, value in where.items())
    ]
    told = ", ".join(f"{field}={value}" for field, value in where.items())
    return replace(at_places(vector, places), rows=told)


def at_places(vector: ScoreVector, places: Sequence[int]) -> ScoreVector:
    """The vector at some of its rows."""
    return replace(
        vector,
        row_ids=tuple(vector.row_ids[at] for at in places),
        values=tuple(vector.values[at] for at in places),
        groups=tuple(vector.groups[at] for at in places),
        reasons=tuple(vector.reasons[at] for at in places) if vector.reasons else (),
        by_seed=tuple(vector.by_seed[at] for at in places) if vector.by_seed else (),
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
