"""The learning curve's forecast: the likely score at more training rows, and the value of such rows.

The score at ``m`` training rows follows a bounded power law, ``y(m) = a - b m^(-c)`` with ``b >= 0`` and
``0 <= y <= a <= 1`` (Cortes et al. 1993, NeurIPS 6; Figueroa et al. 2012, BMC Medical Informatics and
Decision Making 12:8; Hestness et al. 2017, arXiv:1712.00409; shapes at large: Viering and Loog 2023, IEEE
TPAMI 45:7799). A few sizes cannot tell its exponent, so none is chosen: the forecast is averaged over a
grid of exponents, each weighted by how well it explains the points (Bayesian extrapolation of learning
curves: Domhan et al. 2015, IJCAI; Adriaensen et al. 2023, NeurIPS 36). The prior knows nothing of the task:

- score at the smallest size, and asymptote ``a``: uniform where ``0 <= y(smallest) <= a <= 1``.
- ``c``: log-normal around 0.7, cut off at 0.1 and 3. Theory has rates of 1/2 and 1; Hestness et al.
  measured slower ones on large data.
- A tenth of the weight: more rows change nothing (``b = 0``). A score that falls reads as that, with noise.
- A tenth of the rest: the base model behaves as if it had seen twice the smallest size in rows, and ``m``
  counts from there (pretraining as data transferred: Hernandez et al. 2021, arXiv:2102.01293). Such a
  curve is straighter in ``log m``; without it the interval is far too narrow for curves of that shape.
- Noise of one training: unknown, which makes the tails Student's. Its variance is learnt from the spread
  of the seeds at each size and from the misfit, pooled over sizes, beside a prior of 1 point that is worth
  two trainings.

**The forecast is of the curve on these held-out rows**: the score on them, averaged over training seeds.
All sizes are scored on the same rows, so the draw of the rows moves all points together: it blurs neither
the curve's shape nor a gain nor a comparison on the same rows, and is left out. (For the population of
rows, the standard error over rows comes on top: to levels, hardly to gains.) Only where no size has two
trainings is the noise of one taken from that standard error: half its square is taken, as if the answers of
two trainings were right on the same rows with a correlation of one half. That is an assumption; two seeds
at one size replace it by a measurement.

Error and coverage are measured in benchmarks/quality/curve.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from harness.decision.curve_grid import Weighted, pool, posterior
from harness.decision.student import Values
from harness.errors import UsageError
from harness.records import Kind

LEAST_SIZES = 3


@dataclass(frozen=True, slots=True)
class ScoredTraining:
    """One training, scored.

    Args:
        size: training rows.
        seed: of the training; None where it is not known, which counts as a seed of its own.
        mean: over the held-out rows, in [0, 1].
        standard_error: of that mean, from rows. None or 0: not known.
    """

    size: int
    seed: int | None
    mean: float
    standard_error: float | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """The curve's score at ``size`` rows: its expectation and the equal-tailed interval of ``level``."""

    size: int
    mean: float
    low: float
    high: float
    level: float


@dataclass(frozen=True, slots=True, eq=False)
class CurveFit:
    """The curve's posterior, given the points.

    Args:
        sizes: the training sizes it was fitted to, ascending.
        level: of the intervals.
        curves: weighted power laws.
    """

    sizes: tuple[int, ...]
    level: float
    curves: Weighted

    def at(self, size: int) -> Forecast:
        """The curve's score at ``size`` rows; UsageError below one row."""
        scores, weight = self.scores(size), self.curves.weight
        order = np.argsort(scores)
        middles = np.cumsum(weight[order]) - weight[order] / 2.0
        tail = (1.0 - self.level) / 2.0
        low, high = np.interp([tail, 1.0 - tail], middles, scores[order])
        return Forecast(size, float(scores @ weight), float(low), float(high), self.level)

    def p_gain_below(self, epsilon: float, size_from: int, size_to: int) -> float:
        """The probability that going from one size to another gains less than ``epsilon`` (score units)."""
        gains = self.scores(size_to) - self.scores(size_from)
        return min(float(self.curves.weight[gains < epsilon].sum()), 1.0)

    def scores(self, size: int) -> Values:
        """The score of each weighted curve at ``size`` rows."""
        if size < 1:
            raise UsageError(f"a training size is at least 1 row; this one is {size}.")
        curves, first = self.curves, self.sizes[0]
        left = ((size + curves.head) / (first + curves.head)) ** -curves.exponent
        scores: Values = np.clip(curves.start + curves.gap * (1.0 - left), 0.0, 1.0)
        return scores


@dataclass(frozen=True, slots=True)
class MoreRows:
    """The expected worth of more training rows, against their cost.

    Args:
        points: expected gain of the best choice, in percentage points.
        usd: worth of those points over the horizon.
        usd_for_rows: cost of the rows.
        net_usd: ``usd - usd_for_rows``.
        sentence: the same for the report.
    """

    size_now: int
    size_then: int
    points: float
    usd: float
    usd_for_rows: float
    net_usd: float
    sentence: str


def fit_curve(points: Sequence[ScoredTraining], level: float = 0.90) -> CurveFit | str:
    """Fit the curve; a reason where it cannot be fitted: fewer than three training sizes.

    Trainings of one size are repeats; their noise is taken as independent and alike at all sizes.

    Raises:
        UsageError: a mean outside [0, 1], a size below 1, a negative standard error, or a level outside
            (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise UsageError(f"the level of an interval lies between 0 and 1, for example 0.9; it is {level}.")
    for point in points:
        if point.size < 1:
            raise UsageError(f"a training size is at least 1 row; this one is {point.size}.")
        if not 0.0 <= point.mean <= 1.0:
            raise UsageError(f"{point.size} rows: a mean score lies in [0, 1]; this one is {point.mean}.")
        error = point.standard_error
        if error is not None and not (isfinite(error) and error >= 0.0):
            raise UsageError(f"{point.size} rows: a standard error is 0 or more; this one is {error}.")
    means: dict[int, list[float]] = {}
    for point in points:
        means.setdefault(point.size, []).append(point.mean)
    sizes = tuple(sorted(means))
    if len(sizes) < LEAST_SIZES:
        listed = ", ".join(f"{size:,}" for size in sizes) or "none"
        return f"a forecast takes at least {LEAST_SIZES} training sizes; there are {len(sizes)}: {listed}"
    errors = [point.standard_error for point in points if point.standard_error]
    return CurveFit(sizes, level, posterior(pool(means, errors)))


def value_of_more_rows(
    fit: CurveFit,
    size_now: int,
    size_then: int,
    usd_per_point_over_horizon: float,
    usd_for_rows: float,
    best_other: float | None,
    kind: Kind = Kind.BINARY,
) -> MoreRows:
    """The expected value of the best choice with more rows and without them, minus their cost.

    Without them, the choice is the better of the candidate as it stands, by the expected score, and the
    best alternative. With them, one sees where the candidate lands before choosing: the expectation of the
    better of the two, which is more than the better of the expectations. That nobody sees it without noise
    is left out, so the value is a little too high where the two are close.

    Args:
        fit: the candidate's curve.
        size_now: training rows that there are.
        size_then: training rows that there would be.
        usd_per_point_over_horizon: worth of one percentage point.
        usd_for_rows: cost of collecting the rows and of training on them.
        best_other: score of the best alternative (the baseline's mean) on the same held-out rows, if any.
        kind: of the score, for the sentence.

    Raises:
        UsageError: ``size_then`` not above ``size_now``, negative dollars, or a score outside [0, 1].
    """
    if not size_then > size_now:
        raise UsageError(f"more rows than {size_now:,} are needed to value them; asked for {size_then:,}.")
    for usd in (usd_per_point_over_horizon, usd_for_rows):
        if not (isfinite(usd) and usd >= 0.0):
            raise UsageError(f"dollars for points and rows are finite and 0 or more; one is {usd}.")
    if best_other is not None and not 0.0 <= best_other <= 1.0:
        raise UsageError(f"a score lies in [0, 1]; the best alternative's is {best_other}.")
    floor = 0.0 if best_other is None else best_other
    now = max(float(fit.scores(size_now) @ fit.curves.weight), floor)
    then = float(np.maximum(fit.scores(size_then), floor) @ fit.curves.weight)
    gained = max(100.0 * (then - now), 0.0)  # below 0 by rounding alone
    usd = gained * usd_per_point_over_horizon
    net = usd - usd_for_rows
    beside = "" if best_other is None else f" (the best alternative has {_score(best_other, kind)})"
    sentence = (
        f"{size_then:,} rows instead of {size_now:,} are expected to add {gained:.1f} points to the best "
        f"choice{beside}: worth {_usd(usd)} over the horizon, for {_usd(usd_for_rows)}; {_usd(net)} net."
    )
    return MoreRows(size_now, size_then, gained, usd, usd_for_rows, net, sentence)


def forecast_sentence(
    fit: CurveFit, size_from: int, size_to: int, epsilon: float = 0.01, kind: Kind = Kind.BINARY
) -> str:
    """The forecast for the report, and the probability that it gains less than ``epsilon``.

    Both scores are the fitted curve's, which may differ from the mean measured at ``size_from``.
    """
    there, here = fit.at(size_to), fit.at(size_from)
    low, high = (f"{100 * limit:.1f}" for limit in (there.low, there.high))
    step = "doubling" if size_to == 2 * size_from else f"going from {size_from:,} to {size_to:,}"
    least = f"{100 * epsilon:g} point{'' if epsilon == 0.01 else 's'}"
    p = fit.p_gain_below(epsilon, size_from, size_to)
    probability = "< 1%" if p < 0.01 else "> 99%" if p > 0.99 else f"= {100 * p:.0f}%"
    return (
        f"At {size_to:,} rows: {_score(there.mean, kind)} [{low}, {high}] ({100 * fit.level:g}% interval), "
        f"against {_score(here.mean, kind)} at {size_from:,}, both by the fitted curve. "
        f"P({step} gains less than {least}) {probability}."
    )


def _score(mean: float, kind: Kind) -> str:
    return f"{100 * mean:.1f}{'%' if kind is Kind.BINARY else ''}"


def _usd(usd: float) -> str:
    sign = "\N{MINUS SIGN}" if round(usd, 2) < 0 else ""
    return f"{sign}${abs(usd):,.0f}" if abs(usd) >= 100 else f"{sign}${abs(usd):,.2f}"
