"""The learning curve's forecast: the likely score at more training rows, and the value of such rows.

A few sizes cannot tell a curve's shape, so none is chosen: the forecast averages five families of curves
(``curve_shapes``) and monotone curves without a formula (``curve_process``), each weighted by how well it
explains the points. docs/evidence.md has the priors and their sources, and error and coverage on real curves.

The forecast is of the curve on these held-out rows, averaged over training seeds. All sizes are scored on the
same rows, so the draw of the rows moves all points together, and half of its variance is left out.

What was measured at the largest size stands: the expected score at more rows is not below it, and gains are
counted from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

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
_SPREADS = np.array([0.003, 0.01, 0.02, 0.04, 0.08])
_SPREAD_SHARES = np.array([0.15, 0.3, 0.3, 0.17, 0.08])
_SEEN_SPREADS = np.geomspace(0.003, 0.16, 7)
_SEEN_MEDIAN, _SEEN_LOG_SD = 0.012, 1.0
# one size is behind another where it has less by so many standard errors, with such a spread at least
_FALL_ERRORS, _FALL_SPREAD = 3.0, 0.02
_NEGLIGIBLE = 1e-9  # weight of a curve that moves no limit

Chance: TypeAlias = Literal["likely", "open", "unlikely"]


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
    #: nothing shown says that more rows gain: the largest size is behind another by more than noise, or each
    #: is behind the one before within it. What was measured is expected to stay
    stays: bool

    def at(self, size: int) -> Forecast:
        """The curve's score at ``size`` rows, at least as many as were measured.

        That the expectation is held at what was measured takes nothing from the interval, which reaches as
        far as the curves do: a full score on few rows is no certain one.
        """
        scores, weight = self.scores(size), self.weight
        mean = self.measured  # the rules are in ``scores``; here they are kept to the last digit
        if not self.stays:
            mean = (min if self.falls else max)(min(float(scores @ weight), 1.0), self.measured)
        tail = (1.0 - LEVEL) / 2.0
        pairs = [_quantiles(each, weight, (tail, 1.0 - tail)) for each in (scores, self._unheld(size))]
        low, high = min(low for low, _ in pairs), max(high for _, high in pairs)
        return Forecast(mean, min(low, mean), max(high, mean))

    def chance_of_small_gain(self, size: int) -> Chance:
        """How likely ``size`` rows gain less than a point over the measured, in a word; open where it stays.

        In words, since these probabilities are not calibrated to the digit; docs/evidence.md has how often
        each came true on real curves.
        """
        p = self.p_gain_below(SMALL_GAIN, size)
        if self.stays:
            return "open"
        return "likely" if p >= LIKELY else "unlikely" if p <= UNLIKELY else "open"

    def p_gain_below(self, epsilon: float, size: int) -> float:
        """The probability that ``size`` rows score less than ``epsilon`` (score units) above the measured."""
        gains = self.scores(size) - self.measured
        return min(float(self.weight[gains < epsilon].sum()), 1.0)

    def scores(self, size: int) -> Values:
        """The score of each curve at ``size`` rows.

        Where the curves expect less than what was measured, the shares that they miss of a full score shrink
        alike, until they expect what was measured. Where they expect more of a score that falls, or of one
        that nothing shown says to rise, the scores shrink alike.

        Raises:
            ValueError: ``size`` is below the largest that was measured.
        """
        if size < self.largest:
            raise ValueError(f"a forecast at {size} rows, where {self.largest} were measured")
        if size == self.largest:
            return np.full_like(self.weight, self.measured)
        scores = self._unheld(size)
        expected = float(scores @ self.weight)
        if expected < self.measured and not self.falls:
            scores = 1.0 - (1.0 - scores) * (1.0 - self.measured) / (1.0 - expected)
        elif expected > self.measured and (self.falls or self.stays):
            scores = scores * (self.measured / expected)
        return scores

    def _unheld(self, size: int) -> Values:
        """The score of each curve, whatever was measured."""
        scores: Values = np.clip(np.concatenate([part.at(size) for part in self.parts]), 0.0, 1.0)
        return 1.0 - scores if self.falls else scores


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
    squares = np.array([((group - group.mean()) ** 2).sum() for group in means])
    seen = squares.sum() / max((counts - 1.0).sum(), 1.0)
    error = np.sqrt((variances + max(_FALL_SPREAD**2, seen)) / counts)
    behind = level - level[-1] > _FALL_ERRORS * np.hypot(error, error[-1])
    falls = bool((np.diff(level) < 0.0).all() and behind[0])
    stays = not falls and bool(behind.any() or (np.diff(level) < 0.0).all())
    data = Measured(
        sizes=np.array(sizes, dtype=np.float64),
        means=1.0 - level if falls else level,
        counts=counts,
        variances=variances,
        squares=squares,
    )
    shaped = [weigh_shapes(data, spread) for spread in spreads]
    within = data.log_within(spreads[:, None]) + np.log(shares)
    by_shape = np.concatenate([one.log_weight + log for one, log in zip(shaped, within, strict=True)])
    process = weigh_process(data, spreads, shares)
    weight = _normalised(np.concatenate([by_shape, process.log_weight]))
    return CurveFit(sizes[-1], float(level[-1]), (*shaped, process), weight, falls, stays)


def _quantiles(values: Values, weight: Values, at: tuple[float, float]) -> tuple[float, float]:
    kept = weight > _NEGLIGIBLE
    values, weight = values[kept], weight[kept]
    order = np.argsort(values)
    middles = np.cumsum(weight[order]) - weight[order] / 2.0
    low, high = np.interp(at, middles, values[order])
    return float(low), float(high)


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
    """The forecast, what was measured, and in words how likely it is to gain less than a point."""
    there = fit.at(size)
    return (
        f"At {size:,} rows: {_score(there.mean, kind)} [{100 * there.low:.1f}, {100 * there.high:.1f}] "
        f"expected; {_score(fit.measured, kind)} was measured at {fit.largest:,}. "
        f"That it gains less than 1 point is {fit.chance_of_small_gain(size)}."
    )


def _score(mean: float, kind: Kind) -> str:
    return f"{100 * mean:.1f}{'%' if kind is Kind.BINARY else ''}"
