"""The learning curve's forecast: the likely score at more training rows, and the value of such rows.

A few sizes cannot tell a curve's shape, so none is chosen: the forecast averages five families of curves
(``curve_shapes``) and monotone curves without a formula (``curve_process``), each weighted by how well it
explains the points. docs/decision.md has the priors and their sources, and error and coverage on real curves.

The forecast is of the curve on these held-out rows, averaged over training seeds. All sizes are scored on the
same rows, so the draw of the rows moves all points together, and half of its variance is left out.

What was measured at the largest size stands: the expected score at more rows is not below it, and gains are
counted from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.decision.curve_process import weigh_process
from harness.decision.curve_shapes import Curves, Measured, weigh_shapes
from harness.decision.student import Values
from harness.records import Kind

LEAST_SIZES = 3
LEVEL = 0.90  # of the forecast's interval
SMALL_GAIN = 0.01
LIKELY, UNLIKELY = 0.8, 0.2  # beyond these a small gain is called so
_OWN_SHARE = 0.5  # of the variance over rows: what differs between trainings that are scored on the same rows
_ROWS_UNKNOWN = 0.02  # standard error over rows where none is given
# what one training may deviate from its curve beyond that, and how likely; seeds that show it may show more
_SPREADS, _SPREAD_SHARES = np.array([0.003, 0.01, 0.02, 0.04]), np.array([0.2, 0.4, 0.3, 0.1])
_SEEN_SPREADS = np.geomspace(0.003, 0.16, 7)
_SEEN_MEDIAN, _SEEN_LOG_SD = 0.012, 1.0
# the score falls where each size has less than the one before, and the first is ahead of the last by so many
# standard errors, with such a spread
_FALL_ERRORS, _FALL_SPREAD = 3.0, 0.02


@dataclass(frozen=True, slots=True)
class ScoredTraining:
    """One training, scored. Where the ``seed`` is not known, it counts as a seed of its own."""

    size: int  # training rows
    seed: int | None
    mean: float  # over the held-out rows, in [0, 1]
    standard_error: float | None  # of that mean, from rows; None or 0: not known


@dataclass(frozen=True, slots=True)
class Forecast:
    """The curve's score at a size: its expectation and the equal-tailed 90% interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class CurveFit:
    """The curve's posterior, given the points: weighted curves."""

    largest: int  # training size that was measured
    measured: float  # mean score there, over its trainings
    parts: tuple[Curves, ...]
    weight: Values  # of the curves of all parts; sums to 1
    falls: bool  # the score falls with more rows: the parts are of what it misses of a full score

    def at(self, size: int) -> Forecast:
        """The curve's score at ``size`` rows, at least as many as were measured."""
        scores = self.scores(size)
        order = np.argsort(scores)
        middles = np.cumsum(self.weight[order]) - self.weight[order] / 2.0
        tail = (1.0 - LEVEL) / 2.0
        low, high = np.interp([tail, 1.0 - tail], middles, scores[order])
        mean = float(scores @ self.weight)
        return Forecast(mean, min(float(low), mean), max(float(high), mean))

    def p_gain_below(self, epsilon: float, size: int) -> float:
        """The probability that ``size`` rows score less than ``epsilon`` (score units) above the measured."""
        gains = self.scores(size) - self.measured
        return min(float(self.weight[gains < epsilon].sum()), 1.0)

    def scores(self, size: int) -> Values:
        """The score of each curve at ``size`` rows.

        Where the curves expect less than what was measured, the shares that they miss of a full score shrink
        alike, until they expect what was measured. A score that falls is expected to miss no less.

        Raises:
            ValueError: ``size`` is below the largest that was measured.
        """
        if size < self.largest:
            raise ValueError(f"a forecast at {size} rows, where {self.largest} were measured")
        if size == self.largest:
            return np.full_like(self.weight, self.measured)
        scores = np.clip(np.concatenate([part.at(size) for part in self.parts]), 0.0, 1.0)
        measured = 1.0 - self.measured if self.falls else self.measured
        mean = float(scores @ self.weight)
        if mean < measured:
            scores = 1.0 - (1.0 - scores) * (1.0 - measured) / (1.0 - mean)
        found: Values = 1.0 - scores if self.falls else scores
        return found


def fit_curve(points: Sequence[ScoredTraining]) -> CurveFit | str:
    """Fit the curve; a reason where it cannot be fitted: fewer than three training sizes."""
    sizes = sorted({point.size for point in points})
    if len(sizes) < LEAST_SIZES:
        listed = ", ".join(f"{size:,}" for size in sizes) or "none"
        return f"a forecast takes at least {LEAST_SIZES} training sizes; there are {len(sizes)}: {listed}"
    groups = [[point for point in points if point.size == size] for size in sizes]
    means = [np.array([point.mean for point in group]) for group in groups]
    if any(
        len(group) > 1 for group in groups
    ):  # what differs between trainings is seen, and need not be derived
        variances, spreads = np.zeros(len(sizes)), _SEEN_SPREADS
        shares = np.exp(-0.5 * (np.log(spreads / _SEEN_MEDIAN) / _SEEN_LOG_SD) ** 2)
        shares /= shares.sum()
    else:
        errors = np.array([group[0].standard_error or _ROWS_UNKNOWN for group in groups])
        variances, spreads, shares = _OWN_SHARE * errors**2, _SPREADS, _SPREAD_SHARES
    level = np.array([group.mean() for group in means])
    counts = np.array([len(group) for group in means], dtype=np.float64)
    noise = np.sqrt(((variances + _FALL_SPREAD**2) / counts)[[0, -1]].sum())
    falls = bool((np.diff(level) < 0.0).all() and level[0] - level[-1] > _FALL_ERRORS * noise)
    data = Measured(
        sizes=np.array(sizes, dtype=np.float64),
        means=1.0 - level if falls else level,
        counts=counts,
        variances=variances,
        squares=np.array([((group - group.mean()) ** 2).sum() for group in means]),
    )
    shaped = [weigh_shapes(data, spread) for spread in spreads]
    within = data.log_within(spreads[:, None]) + np.log(shares)
    by_shape = np.concatenate([one.log_weight + log for one, log in zip(shaped, within, strict=True)])
    process = weigh_process(data, spreads, shares)
    weight = _normalised(np.concatenate([by_shape, process.log_weight]))
    return CurveFit(sizes[-1], float(level[-1]), (*shaped, process), weight, falls)


def _normalised(log_weight: Values) -> Values:
    weight: Values = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    return weight


@dataclass(frozen=True, slots=True)
class MoreRows:
    """The expected worth of more training rows, less their cost."""

    points: float  # expected gain of the best choice, in percentage points
    usd: float  # worth of those points over the horizon
    net_usd: float


def value_of_more_rows(
    fit: CurveFit,
    size: int,
    usd_per_point_over_horizon: float,
    usd_for_rows: float,
    best_other: float | None,
) -> MoreRows:
    """The expected value of the best choice with more rows and without them, minus their cost.

    Without them, the choice is the better of the candidate, as it was measured, and the best alternative.
    With them, one sees where the candidate lands before choosing: the expectation of the better of the two,
    which is more than the better of the expectations. That nobody sees it without noise is left out, so the
    value is a little too high where the two are close.

    Args:
        fit: the candidate's curve.
        size: training rows that there would be, against the largest size measured.
        usd_per_point_over_horizon: worth of one percentage point.
        usd_for_rows: cost of collecting the rows and of training on them.
        best_other: score of the best alternative (the baseline's mean) on the same held-out rows, if any.
    """
    floor = 0.0 if best_other is None else best_other
    then = float(np.maximum(fit.scores(size), floor) @ fit.weight)
    gained = max(100.0 * (then - max(fit.measured, floor)), 0.0)  # below 0 by rounding alone
    usd = gained * usd_per_point_over_horizon
    return MoreRows(gained, usd, usd - usd_for_rows)


def forecast_sentence(fit: CurveFit, size: int, kind: Kind = Kind.BINARY) -> str:
    """The forecast for the report, and in words how likely it is to gain less than a point.

    In words, since these probabilities are not calibrated to the digit; docs/decision.md has how often each
    came true on real curves.
    """
    there = fit.at(size)
    p = fit.p_gain_below(SMALL_GAIN, size)
    chance = "likely" if p >= LIKELY else "unlikely" if p <= UNLIKELY else "open"
    return (
        f"At {size:,} rows: {_score(there.mean, kind)} [{100 * there.low:.1f}, {100 * there.high:.1f}] "
        f"expected; {_score(fit.measured, kind)} was measured at {fit.largest:,}. "
        f"That it gains less than 1 point is {chance}."
    )


def _score(mean: float, kind: Kind) -> str:
    return f"{100 * mean:.1f}{'%' if kind is Kind.BINARY else ''}"
