"""The estimates behind a comparison: rows in pairs, and a difference with its limits.

Which estimate fits which rows is told in :mod:`harness.decision.paired`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from harness.decision.clusters import Clusters, clustered_limits, clustered_p, design_effect
from harness.decision.sparse import sparse_interval, sparse_p
from harness.decision.student import Values, error_of_mean, mean_and_residuals, t_limits, t_p
from harness.decision.tango import null_variance
from harness.errors import UsageError
from harness.records import Kind, ScoreVector

MIN_ROWS = 10
MIN_CLUSTERS = 10
NO_SPREAD = 1e-12
_TIE = 0.5  # the value of a preference for neither

Codes: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]


def points(value: float) -> str:
    """A difference in percentage points, signed: ``+12.4``."""
    return f"{round(100 * value, 1) + 0.0:+.1f}"  # + 0.0 turns -0.0 into 0.0


@dataclass(frozen=True, slots=True)
class Rows:
    """The two sides row by row, nan where the score failed; ``clusters`` is None where rows stand alone.

    Where a side was trained with several seeds, its values are means over them, ``by_seed`` holds both sides
    as tables of (rows, seeds), and ``kind`` is graded.
    """

    candidate: Values
    baseline: Values
    clusters: Codes | None
    kind: Kind
    number: float | None  # the baseline, where it is a plain number
    by_seed: tuple[Values, Values] | None = None

    @property
    def differences(self) -> Values:
        """Candidate less baseline, row by row."""
        return self.candidate - self.baseline

    @property
    def wins_and_losses(self) -> tuple[Mask, Mask] | None:
        """Rows that one side alone has right, or that were preferred; None for other scores."""
        if self.kind is Kind.PREFERENCE:
            return self.candidate > _TIE, self.candidate < _TIE
        if self.kind is Kind.BINARY and self.number is None:
            return self.candidate > self.baseline, self.candidate < self.baseline
        return None

    @property
    def usable(self) -> Mask:
        """Rows with a value on both sides."""
        return ~(np.isnan(self.candidate) | np.isnan(self.baseline))

    @property
    def count(self) -> int:
        """Independent units: clusters, or rows where there are none."""
        return len(self.candidate) if self.clusters is None else len(np.unique(self.clusters))

    def only(self, mask: Mask) -> Rows:
        """The rows that ``mask`` holds true."""
        clusters = None if self.clusters is None else self.clusters[mask]
        tables = None if self.by_seed is None else (self.by_seed[0][mask], self.by_seed[1][mask])
        return replace(
            self,
            candidate=self.candidate[mask],
            baseline=self.baseline[mask],
            clusters=clusters,
            by_seed=tables,
        )

    def worst_case(self) -> Rows:
        """What is missing taken against the claim; rows missing on both sides are left out."""
        kept = self.only(~(np.isnan(self.candidate) & np.isnan(self.baseline)))
        return replace(
            kept,
            candidate=np.nan_to_num(kept.candidate, nan=0.0),
            baseline=np.nan_to_num(kept.baseline, nan=1.0),
            by_seed=kept.by_seed
            and (np.nan_to_num(kept.by_seed[0], nan=0.0), np.nan_to_num(kept.by_seed[1], nan=1.0)),
        )


def pair(candidate: ScoreVector, baseline: ScoreVector | float) -> Rows:
    """The rows of two vectors, or of one and a number; UsageError where they do not belong together."""
    values = _values(candidate)
    clusters = _clusters(candidate.groups)
    if isinstance(baseline, ScoreVector):
        _check_same(candidate, baseline)
        if candidate.kind is Kind.PREFERENCE:
            raise UsageError(
                f"{candidate.score} is a preference: {candidate.subject} has been set against a baseline "
                "already. Compare it with a number: 0.5 is as many wins as losses."
            )
        others = _values(baseline)
        tables = _tables(candidate, baseline, values, others)
        return Rows(values, others, clusters, candidate.kind if tables is None else Kind.GRADED, None, tables)
    if not 0.0 <= baseline <= 1.0:
        raise UsageError(f"a threshold must lie in [0, 1], as scores do (85% is 0.85); it is {baseline}.")
    others = np.full(len(values), float(baseline))
    tables = _tables(candidate, None, values, others)
    kind = candidate.kind if tables is None else Kind.GRADED
    return Rows(values, others, clusters, kind, float(baseline), tables)


def _tables(
    candidate: ScoreVector, baseline: ScoreVector | None, values: Values, others: Values
) -> tuple[Values, Values] | None:
    """Both sides by row and seed; one without seeds is the same at each. None where neither has several."""
    counts = {len(side.by_seed[0]) for side in (candidate, baseline) if side is not None and side.by_seed}
    if not counts:
        return None
    if len(counts) > 1:
        raise UsageError(
            f"{candidate.subject} and {baseline.subject if baseline else ''} were trained with different"
            f" numbers of seeds ({', '.join(map(str, sorted(counts)))}): give both the same --train-seeds."
        )
    shape = len(values), counts.pop()

    def table(side: ScoreVector | None, means: Values) -> Values:
        told = side is not None and side.by_seed
        return np.array(told, dtype=np.float64) if told else np.broadcast_to(means[:, np.newaxis], shape)

    return table(candidate, values), table(baseline, others)


def _values(vector: ScoreVector) -> Values:
    if not len(vector.values) == len(vector.groups) == len(vector.row_ids):
        raise UsageError(f"{vector.subject}, {vector.score}: row ids, values and groups differ in length.")
    values = np.array(vector.values, dtype=np.float64)  # None becomes nan
    kind = Kind.GRADED if vector.by_seed else vector.kind  # a mean over seeds is neither right nor wrong
    allowed, rule = _ALLOWED.get(kind, ((), "a score lies in [0, 1]"))
    known = ~np.isnan(values)
    bad = known & ~np.isin(values, allowed) if allowed else (values < 0.0) | (values > 1.0)
    if bad.any():
        first = int(np.argmax(bad))
        raise UsageError(
            f"{vector.subject}, {vector.score}, row {vector.row_ids[first]}: {rule}; "
            f"this one is {vector.values[first]}."
        )
    return values


_ALLOWED = {
    Kind.BINARY: ((0.0, 1.0), "a binary score is 0 or 1"),
    Kind.PREFERENCE: ((0.0, _TIE, 1.0), "a preference is 0, 0.5 or 1"),
}


def _clusters(groups: tuple[str | None, ...]) -> Codes | None:
    if groups.count(None) == len(groups):
        return None
    named = {group: code for code, group in enumerate(dict.fromkeys(groups)) if group is not None}
    # a row without a group is its own cluster: its number, above all the named ones
    codes = [named[group] if group is not None else len(groups) + at for at, group in enumerate(groups)]
    return None if len(set(codes)) == len(codes) else np.array(codes, dtype=np.int64)


def _check_same(candidate: ScoreVector, baseline: ScoreVector) -> None:
    names = f"{candidate.subject} and {baseline.subject}"
    if candidate.row_ids != baseline.row_ids:
        odd = sorted(set(candidate.row_ids) ^ set(baseline.row_ids))[:3]
        raise UsageError(
            f"{names} were scored on different rows ({len(candidate.row_ids)} and {len(baseline.row_ids)}; "
            f"{f'for example {odd}' if odd else 'in another order'}): compare scores of one suite and one "
            "held-out file."
        )
    if (candidate.score, candidate.kind) != (baseline.score, baseline.kind):
        raise UsageError(
            f"{names}: {candidate.score!r} ({candidate.kind}) cannot be compared with {baseline.score!r} "
            f"({baseline.kind}): ask both for the same score."
        )
    if candidate.groups != baseline.groups:
        raise UsageError(f"{names}: their rows are grouped differently; take both from one suite.")


def check_levels(bound: float, alpha: float) -> None:
    """UsageError unless ``bound`` lies in (-1, 1) and ``alpha`` in (0, 0.5)."""
    if not -1.0 < bound < 1.0:
        raise UsageError(
            f"a margin of {abs(bound):g} can decide nothing: scores lie in [0, 1], 2 points are 0.02."
        )
    if not 0.0 < alpha < 0.5:
        raise UsageError(f"alpha must be above 0 and below 0.5, for example 0.05; it is {alpha}.")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A difference with its limits. Variances are of one row, any design effect included."""

    method: str
    difference: float
    low: float
    high: float
    p: float
    variance: float  # as observed
    variance_at_bound: float  # under "the difference is the bound"


def estimate_difference(rows: Rows, bound: float, alpha: float) -> Estimate | str:
    """The estimate that fits the rows, or the reason why there is none."""
    n = len(rows.candidate)
    if n < MIN_ROWS:
        return f"{n} usable rows are too few for an interval: it takes at least {MIN_ROWS}"
    if rows.clusters is not None and rows.count < MIN_CLUSTERS:
        return f"{rows.count} groups are too few for an interval: it takes at least {MIN_CLUSTERS}"
    if rows.wins_and_losses is not None:
        return _of_wins_and_losses(rows, *rows.wins_and_losses, bound, alpha)
    if rows.clusters is not None:
        return _t(rows, bound, alpha, "cluster-robust t and Hall")
    if rows.number is not None and rows.kind is Kind.BINARY:
        return _wilson(rows.candidate, rows.number, bound, alpha)
    return _t(rows, bound, alpha, "paired t and Hall" if rows.number is None else "one-sample t and Hall")


def _t(rows: Rows, bound: float, alpha: float, method: str) -> Estimate | str:
    differences, n = rows.differences, len(rows.candidate)
    if rows.clusters is None:
        mean, residuals = mean_and_residuals(differences)
    else:
        sizes, sums = cluster_sums(rows.clusters, np.ones(n), differences)
        mean, residuals = mean_and_residuals(sums, sizes)
    error, middle = float(error_of_mean(residuals, n)), float(mean)
    if error < NO_SPREAD:
        return (
            f"all differences are equal ({points(middle)} points, n={n})"
            if np.ptp(differences) < NO_SPREAD
            else f"the groups' mean differences are all equal ({points(middle)} points, n={n})"
        ) + ": without any spread there is no interval"
    low, high = t_limits(mean, residuals, n, alpha)
    p = float(t_p(mean, residuals, n, bound))
    return Estimate(method, middle, float(low), float(high), p, n * error**2, n * error**2)


def cluster_sums(clusters: Codes, *each: Values) -> list[Values]:
    """The sum of each over every cluster."""
    _, codes = np.unique(clusters, return_inverse=True)
    return [np.bincount(codes, weights=one).astype(np.float64) for one in each]


def _of_wins_and_losses(rows: Rows, won: Mask, lost: Mask, bound: float, alpha: float) -> Estimate:
    """Tango's interval; of a preference the half, about the middle, which is its mean less the number."""
    if rows.number is None:
        return _tango(rows.clusters, won, lost, bound, alpha)
    middle = _TIE - rows.number
    share_bound = min(max(2.0 * (bound - middle), -1.0), 1.0)
    found = _tango(rows.clusters, won, lost, share_bound, alpha)
    return replace(
        found,
        difference=found.difference / 2 + middle,
        low=found.low / 2 + middle,
        high=found.high / 2 + middle,
        variance=found.variance / 4,
        variance_at_bound=found.variance_at_bound / 4,
    )


def _tango(clusters: Codes | None, won: Mask, lost: Mask, bound: float, alpha: float) -> Estimate:
    n, gains, losses = len(won), int(np.count_nonzero(won)), int(np.count_nonzero(lost))
    difference = (gains - losses) / n
    variance = (gains + losses) / n - difference**2
    at_bound = null_variance(gains, losses, n, bound)
    if clusters is None:
        low, high = sparse_interval(gains, losses, n, alpha)
        p = sparse_p(gains, losses, n, bound)
        return Estimate("Tango", difference, low, high, p, variance, at_bound)
    sums = cluster_sums(clusters, won.astype(np.float64), lost.astype(np.float64), np.ones(n))
    seen = Clusters(*sums)
    effect = float(design_effect(seen))
    low, high = clustered_limits(seen, alpha)
    p = float(clustered_p(seen, bound))
    method = "cluster-robust t and Tango"
    return Estimate(method, difference, low, high, p, effect * variance, effect * at_bound)


def _wilson(values: Values, number: float, bound: float, alpha: float) -> Estimate:
    from scipy.stats import binomtest  # scipy.stats takes a second to import

    n, right = len(values), int(values.sum())
    interval = binomtest(right, n).proportion_ci(1.0 - 2.0 * alpha, method="wilson")
    rate, null_rate = right / n, min(max(number + bound, 0.0), 1.0)
    at_bound = null_rate * (1.0 - null_rate)
    excess = rate - number - bound
    # without variance under the bound (a threshold of 0 or 1), one row beyond it settles the matter
    p = float(ndtr(-excess * sqrt(n / at_bound))) if at_bound > 0.0 else float(excess <= 0.0)
    low, high = float(interval.low) - number, float(interval.high) - number
    return Estimate("Wilson", rate - number, low, high, p, rate * (1.0 - rate), at_bound)
