"""The estimates behind a comparison: rows in pairs, and a difference with its limits.

Which estimate fits which rows is told in :mod:`harness.decision.paired`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, stdtr, stdtrit

from harness.decision.tango import null_variance, tango_interval, tango_p
from harness.errors import UsageError
from harness.records import Kind, ScoreVector

MIN_ROWS = 10
MIN_CLUSTERS = 10
NO_SPREAD = 1e-12

Values: TypeAlias = npt.NDArray[np.float64]  # one a row; nan where the score failed
Codes: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]


def points(value: float) -> str:
    """A difference in percentage points, signed: ``+12.4``."""
    return f"{round(100 * value, 1) + 0.0:+.1f}"  # + 0.0 turns -0.0 into 0.0


@dataclass(frozen=True, slots=True)
class Rows:
    """The two sides row by row; ``clusters`` is None where every row stands alone."""

    candidate: Values
    baseline: Values
    clusters: Codes | None
    kind: Kind
    number: float | None  # the baseline, where it is a plain number

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
        return replace(self, candidate=self.candidate[mask], baseline=self.baseline[mask], clusters=clusters)

    def worst_case(self) -> Rows:
        """What is missing taken against the claim; rows missing on both sides are left out."""
        kept = self.only(~(np.isnan(self.candidate) & np.isnan(self.baseline)))
        return replace(
            kept,
            candidate=np.nan_to_num(kept.candidate, nan=0.0),
            baseline=np.nan_to_num(kept.baseline, nan=1.0),
        )


def pair(candidate: ScoreVector, baseline: ScoreVector | float) -> Rows:
    """The rows of two vectors, or of one and a number; UsageError where they do not belong together."""
    values = _values(candidate)
    clusters = _clusters(candidate.groups)
    if isinstance(baseline, ScoreVector):
        _check_same(candidate, baseline)
        return Rows(values, _values(baseline), clusters, candidate.kind, None)
    if not 0.0 <= baseline <= 1.0:
        raise UsageError(f"a threshold must lie in [0, 1], as scores do (85% is 0.85); it is {baseline}.")
    return Rows(values, np.full(len(values), float(baseline)), clusters, candidate.kind, float(baseline))


def _values(vector: ScoreVector) -> Values:
    if not len(vector.values) == len(vector.groups) == len(vector.row_ids):
        raise UsageError(f"{vector.subject}, {vector.score}: row ids, values and groups differ in length.")
    values = np.array(vector.values, dtype=np.float64)  # None becomes nan
    if vector.kind is Kind.BINARY:
        bad, rule = ~(np.isnan(values) | (values == 0.0) | (values == 1.0)), "a binary score is 0 or 1"
    else:
        bad, rule = (values < 0.0) | (values > 1.0), "a score lies in [0, 1]"
    if bad.any():
        first = int(np.argmax(bad))
        raise UsageError(
            f"{vector.subject}, {vector.score}, row {vector.row_ids[first]}: {rule}; "
            f"this one is {vector.values[first]}."
        )
    return values


def _clusters(groups: tuple[str | None, ...]) -> Codes | None:
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
    if rows.clusters is not None:
        if rows.count < MIN_CLUSTERS:
            return f"{rows.count} groups are too few for an interval: it takes at least {MIN_CLUSTERS}"
        return _t(rows, bound, alpha, "cluster-robust t")
    if rows.kind is Kind.GRADED:
        return _t(rows, bound, alpha, "paired t" if rows.number is None else "one-sample t")
    if rows.number is None:
        return _tango(rows, bound, alpha)
    return _wilson(rows.candidate, rows.number, bound, alpha)


def _t(rows: Rows, bound: float, alpha: float, method: str) -> Estimate | str:
    differences = rows.candidate - rows.baseline
    n = len(differences)
    mean = float(differences.mean())
    sums = _cluster_sums(differences - mean, rows.clusters)
    units = len(sums)
    variance = units / (units - 1) * float(sums @ sums) / n
    error = sqrt(variance / n)
    if error < NO_SPREAD:
        return (
            f"all differences are equal ({points(mean)} points, n={n})"
            if np.ptp(differences) < NO_SPREAD
            else f"the groups' mean differences are all equal ({points(mean)} points, n={n})"
        ) + ": without any spread there is no interval"
    reach = float(stdtrit(units - 1, 1.0 - alpha)) * error
    p = float(stdtr(units - 1, (bound - mean) / error))
    return Estimate(method, mean, mean - reach, mean + reach, p, variance, variance)


def _cluster_sums(residuals: Values, clusters: Codes | None) -> Values:
    if clusters is None:
        return residuals
    _, codes = np.unique(clusters, return_inverse=True)
    return np.bincount(codes, weights=residuals).astype(np.float64)


def _tango(rows: Rows, bound: float, alpha: float) -> Estimate:
    n = len(rows.candidate)
    gained = int(np.count_nonzero(rows.candidate > rows.baseline))
    lost = int(np.count_nonzero(rows.candidate < rows.baseline))
    low, high = tango_interval(gained, lost, n, alpha)
    difference = (gained - lost) / n
    variance = (gained + lost) / n - difference**2
    at_bound = null_variance(gained, lost, n, bound)
    return Estimate("Tango", difference, low, high, tango_p(gained, lost, n, bound), variance, at_bound)


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
