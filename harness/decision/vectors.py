"""From scores to the vector that comparisons read: one score, row by row, in the suite's order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.errors import UnknownName, UsageError
from harness.records import Kind, Score, ScoreVector, SuiteInfo, Trial


@dataclass(frozen=True, slots=True)
class SuiteUnits:
    """The held-out rows of a suite as comparisons see them, in the suite's order."""

    suite: str  # its name, for messages
    row_ids: tuple[str, ...]
    groups: tuple[str | None, ...]  # each row's cluster; None where the row stands alone
    slices: tuple[Mapping[str, str], ...]  # each row's values of the suite's slice fields


def score_vector(
    units: SuiteUnits,
    answered: Sequence[str],
    scores: Sequence[Score],
    *,
    subject: str,
    score: str,
    kind: Kind,
    advisory: bool = False,
    unanswered: Collection[str] = (),
) -> ScoreVector:
    """The values of one score over a suite's rows; a failed score is None, with its failure as the reason.

    Rows that were not judged, because the judging stopped early, are left out.

    Args:
        units: the suite's rows.
        answered: ids of the rows that ``scores`` belong to, in any order.
        scores: one for each id in ``answered``.
        subject: the candidate that was scored, such as ``tuned@500``.
        score, kind: the score's name and kind.
        advisory: whether it rests on a judge that has no vote.
        unanswered: ids of the rows whose answers never came.

    Raises:
        UsageError: ``answered`` and ``scores`` differ in length, or the ids are not those of ``units``.
    """
    if len(scores) != len(answered):
        raise UsageError(f"{subject} on {units.suite} has {len(answered)} answers but {len(scores)} scores.")
    if tuple(answered) != units.row_ids:
        by_id = dict(zip(answered, scores, strict=True))
        odd = sorted(set(units.row_ids) ^ by_id.keys())
        if odd or len(by_id) != len(answered):
            raise UsageError(
                f"{subject} answered {len(answered)} rows, which are not the {len(units.row_ids)} rows"
                f" of suite {units.suite} ({odd[:3] or 'some ids stand twice'}): evaluate it again."
            )
        scores = [by_id[row_id] for row_id in units.row_ids]
    whole = ScoreVector(
        subject=subject,
        score=score,
        kind=kind,
        row_ids=units.row_ids,
        values=tuple([None if one.failure is not None else one.value for one in scores]),
        groups=units.groups,
        reasons=tuple([one.failure or one.reason for one in scores]),
        advisory=advisory,
        unanswered=tuple(row_id in unanswered for row_id in units.row_ids) if unanswered else (),
    )
    if None not in whole.values:
        return whole
    judged = [at for at, one in enumerate(scores) if one.was_judged]
    return whole if len(judged) == len(scores) else at_places(whole, judged)


def recorded_units(suite: SuiteInfo) -> SuiteUnits:
    """The held-out rows of a suite in a run's record."""
    return SuiteUnits(
        suite.name,
        tuple([row.id for row in suite.rows]),
        tuple([row.group for row in suite.rows]),
        tuple([row.slices for row in suite.rows]),
    )


def recorded_vector(suite: SuiteInfo, trial: Trial, score: str) -> ScoreVector:
    """The vector of one score of a trial in a run's record; see :func:`score_vector`.

    Raises:
        UnknownName: the suite or the trial has no such score.
        UsageError: the trial is of another suite, or its rows are not the suite's rows.
    """
    if trial.suite != suite.name:
        raise UsageError(
            f"{trial.label} was evaluated on suite {trial.suite!r}, not on {suite.name!r}: "
            "take the trial of the same suite."
        )
    kinds = {info.name: info.kind for info in suite.scores}
    if score not in kinds:
        raise UnknownName("score", score, kinds, f"Suite: {suite.name}.")
    if score not in trial.scores:
        raise UnknownName("score", score, trial.scores, f"Trial: {trial.label} on {suite.name}.")
    return score_vector(
        recorded_units(suite),
        [answer.row_id for answer in trial.answers],
        trial.scores[score],
        subject=trial.label,
        score=score,
        kind=kinds[score],
        unanswered=frozenset(answer.row_id for answer in trial.answers if answer.failure is not None),
    )


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
    known = ([value for value in values if value is not None] for values in by_seed)
    means = tuple(sum(values) / len(values) if len(values) == len(vectors) else None for values in known)
    reasons = tuple(
        "; ".join(f"seed {seed}: {why}" for seed, why in zip(seeds, of_row, strict=True) if why)
        for of_row in zip(*(vector.reasons for vector in vectors), strict=True)
    )
    flags = [vector.unanswered for vector in vectors if vector.unanswered]
    unanswered = tuple(map(any, zip(*flags, strict=True)))
    return replace(vectors[0], values=means, reasons=reasons, by_seed=by_seed, unanswered=unanswered)


def only_rows(units: SuiteUnits, vector: ScoreVector, where: Mapping[str, str]) -> ScoreVector:
    """The part of a vector whose rows have these values in the suite's slice fields; empty: all of it.

    Raises:
        UnknownName: a field that the suite does not slice by, or a value that no row has.
    """
    if not where:
        return vector
    for field, value in where.items():
        values = {slices[field] for slices in units.slices if field in slices}
        if not values:
            fields = {name for slices in units.slices for name in slices}
            raise UnknownName("slice field", field, fields, f"Suite: {units.suite}.")
        if value not in values:
            raise UnknownName(f"value of {field}", value, values, f"Suite: {units.suite}.")
    places = [at for at, slices in enumerate(units.slices) if where.items() <= slices.items()]
    label = ", ".join(f"{field}={value}" for field, value in where.items())
    return replace(at_places(vector, places), rows=label)


def at_places(vector: ScoreVector, places: Sequence[int]) -> ScoreVector:
    """The vector at some of its rows."""
    return replace(
        vector,
        row_ids=tuple(map(vector.row_ids.__getitem__, places)),
        values=tuple(map(vector.values.__getitem__, places)),
        groups=tuple(map(vector.groups.__getitem__, places)),
        reasons=tuple(map(vector.reasons.__getitem__, places)) if vector.reasons else (),
        by_seed=tuple(map(vector.by_seed.__getitem__, places)) if vector.by_seed else (),
        unanswered=tuple(map(vector.unanswered.__getitem__, places)) if vector.unanswered else (),
    )
