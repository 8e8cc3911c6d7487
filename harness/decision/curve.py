"""The learning curve's forecast: the likely score at more training rows, and the value of such rows.

The score at ``m`` training rows follows a bounded power law, ``y(m) = a - b m^(-c)`` with ``b >= 0`` and
``0 <= y <= a <= 1``. A few sizes cannot tell its exponent, so none is chosen: the forecast is averaged over a
grid of exponents, each weighted by how well it explains the points. docs/decision.md has the prior and its
sources; benchmarks/quality/curve.py measures error and coverage.

The forecast is of the curve on these held-out rows, averaged over training seeds. All sizes are scored on the
same rows, so the draw of the rows moves all points together and is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from harness.decision.student import Values
from harness.records import Kind

LEAST_SIZES = 3
LEVEL = 0.90  # of the forecast's interval
SMALL_GAIN = 0.01
_P_FLAT = 0.1
_HEAD_STARTS = ((0.0, 0.9), (2.0, 0.1))  # in units of the smallest size, with their prior weights
_EXPONENTS = (0.1, 3.0, 40)  # lowest, highest, how many; evenly spaced in log
_EXPONENT_MEDIAN, _EXPONENT_LOG_SD = 0.7, 0.6
_NODES = 15  # along each of the two linear parameters; with 40 exponents, limits err by 0.2 points at most
_TAIL = 1e-5
# the noise of one training before its curve is seen, in score units, and how many trainings that is worth
_NOISE_SEEDS = (0.01, 2.0)  # where seeds show their spread, which soon outweighs it
_NOISE_ROWS = (0.5, 4.0)  # of the squared standard error over rows; and its worth
_NOISE_UNKNOWN = (0.02, 2.0)


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
    """The curve's posterior, given the points: weighted curves, as arrays of one length.

    ``y(m) = start + gap (1 - ((m + head) / (smallest + head))^(-exponent))``.
    """

    smallest: int  # training size that the curves were fitted to
    start: Values
    gap: Values
    exponent: Values
    head: Values
    weight: Values  # sums to 1

    def at(self, size: int) -> Forecast:
        """The curve's score at ``size`` rows."""
        scores, weight = self.scores(size), self.weight
        order = np.argsort(scores)
        middles = np.cumsum(weight[order]) - weight[order] / 2.0
        tail = (1.0 - LEVEL) / 2.0
        low, high = np.interp([tail, 1.0 - tail], middles, scores[order])
        return Forecast(float(scores @ weight), float(low), float(high))

    def p_gain_below(self, epsilon: float, size_from: int, size_to: int) -> float:
        """The probability that going from one size to another gains less than ``epsilon`` (score units)."""
        gains = self.scores(size_to) - self.scores(size_from)
        return min(float(self.weight[gains < epsilon].sum()), 1.0)

    def scores(self, size: int) -> Values:
        """The score of each weighted curve at ``size`` rows."""
        left = ((size + self.head) / (self.smallest + self.head)) ** -self.exponent
        scores: Values = np.clip(self.start + self.gap * (1.0 - left), 0.0, 1.0)
        return scores


def fit_curve(points: Sequence[ScoredTraining]) -> CurveFit | str:
    """Fit the curve; a reason where it cannot be fitted: fewer than three training sizes.

    Trainings of one size are repeats; their noise is taken as independent and alike at all sizes.
    """
    sizes = sorted({point.size for point in points})
    if len(sizes) < LEAST_SIZES:
        listed = ", ".join(f"{size:,}" for size in sizes) or "none"
        return f"a forecast takes at least {LEAST_SIZES} training sizes; there are {len(sizes)}: {listed}"
    groups = [np.array([point.mean for point in points if point.size == size]) for size in sizes]
    errors = [point.standard_error for point in points if point.standard_error]
    if any(len(group) > 1 for group in groups):
        noise, worth = _NOISE_SEEDS
    elif errors:
        share, worth = _NOISE_ROWS
        noise = sqrt(share * sum(error**2 for error in errors) / len(errors))
    else:
        noise, worth = _NOISE_UNKNOWN
    within = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    return _posterior(
        _Pooled(
            sizes=np.array(sizes, dtype=np.float64),
            means=np.array([group.mean() for group in groups], dtype=np.float64),
            counts=np.array([len(group) for group in groups], dtype=np.float64),
            squares=within + worth * noise**2,
            freedom=worth,
        )
    )


@dataclass(frozen=True, slots=True)
class MoreRows:
    """The expected worth of more training rows, less their cost."""

    points: float  # expected gain of the best choice, in percentage points
    usd: float  # worth of those points over the horizon
    net_usd: float
    sentence: str  # the same for the report


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
        size_now, size_then: training rows that there are, and that there would be.
        usd_per_point_over_horizon: worth of one percentage point.
        usd_for_rows: cost of collecting the rows and of training on them.
        best_other: score of the best alternative (the baseline's mean) on the same held-out rows, if any.
        kind: of the score, for the sentence.
    """
    floor = 0.0 if best_other is None else best_other
    now = max(float(fit.scores(size_now) @ fit.weight), floor)
    then = float(np.maximum(fit.scores(size_then), floor) @ fit.weight)
    gained = max(100.0 * (then - now), 0.0)  # below 0 by rounding alone
    usd = gained * usd_per_point_over_horizon
    net = usd - usd_for_rows
    beside = "" if best_other is None else f" (the best alternative has {_score(best_other, kind)})"
    sentence = (
        f"{size_then:,} rows instead of {size_now:,} are expected to add {gained:.1f} points to the best "
        f"choice{beside}: worth {_usd(usd)} over the horizon, for {_usd(usd_for_rows)}; {_usd(net)} net."
    )
    return MoreRows(gained, usd, net, sentence)


def forecast_sentence(fit: CurveFit, size_from: int, size_to: int, kind: Kind = Kind.BINARY) -> str:
    """The forecast for the report, and the probability that it gains less than a point.

    Both scores are the fitted curve's, which may differ from the mean measured at ``size_from``.
    """
    there, here = fit.at(size_to), fit.at(size_from)
    step = "doubling" if size_to == 2 * size_from else f"going from {size_from:,} to {size_to:,}"
    p = fit.p_gain_below(SMALL_GAIN, size_from, size_to)
    probability = "< 1%" if p < 0.01 else "> 99%" if p > 0.99 else f"= {100 * p:.0f}%"
    return (
        f"At {size_to:,} rows: {_score(there.mean, kind)} [{100 * there.low:.1f}, {100 * there.high:.1f}] "
        f"({100 * LEVEL:g}% interval), against {_score(here.mean, kind)} at {size_from:,}, both by the "
        f"fitted curve. P({step} gains less than 1 point) {probability}."
    )


def _score(mean: float, kind: Kind) -> str:
    return f"{100 * mean:.1f}{'%' if kind is Kind.BINARY else ''}"


def _usd(usd: float) -> str:
    sign = "\N{MINUS SIGN}" if round(usd, 2) < 0 else ""
    return f"{sign}${abs(usd):,.0f}" if abs(usd) >= 100 else f"{sign}${abs(usd):,.2f}"


# --------------------------------------------------------------------------- the posterior on a grid
@dataclass(frozen=True, slots=True)
class _Pooled:
    """The points by size, ascending; ``squares / freedom`` is one training's variance before the fit."""

    sizes: Values
    means: Values  # over the trainings of each size
    counts: Values  # trainings of each size
    squares: float  # the prior's sum of squares and that within the sizes
    freedom: float  # the prior's degrees of freedom; those of the trainings are counted with them

    def misfit(self, fitted: Values) -> Values:
        """Weighted sum of squared residuals; sizes are the last axis of ``fitted``."""
        squares: Values = (self.counts * (self.means - fitted) ** 2).sum(axis=-1)
        return squares

    def log_likelihood(self, misfit: Values) -> Values:
        """Of the means, the variance integrated out (a multivariate t); up to a constant."""
        log: Values = np.log(self.squares + misfit)
        return -(self.freedom + float(self.counts.sum())) / 2.0 * log

    def scale(self, misfit: float) -> tuple[float, float]:
        """The noise of one training, and how many standard errors hold all that matters."""
        from scipy.special import stdtrit

        freedom = max(self.freedom + float(self.counts.sum()) - 2.0, 1.0)
        return sqrt((self.squares + misfit) / freedom), float(stdtrit(freedom, 1.0 - _TAIL))


def _posterior(data: _Pooled) -> CurveFit:
    """The power laws of every exponent and head start, and the flat curves, weighted."""
    first = data.sizes[0]
    lowest, highest, count = _EXPONENTS
    grid = np.geomspace(lowest, highest, count)
    prior = np.exp(-0.5 * (np.log(grid / _EXPONENT_MEDIAN) / _EXPONENT_LOG_SD) ** 2)
    exponent = np.tile(grid, len(_HEAD_STARTS))
    head = np.repeat([units * first for units, _ in _HEAD_STARTS], count)
    share = np.repeat([share for _, share in _HEAD_STARTS], count)
    log_prior = np.log((1.0 - _P_FLAT) * share * np.tile(prior / prior.sum(), len(_HEAD_STARTS)))
    # (shapes, sizes): the share of the gap that is closed at each size
    progress = 1.0 - ((data.sizes + head[:, None]) / (first + head)[:, None]) ** -exponent[:, None]
    start, gap, log_weight = _weigh(data, progress)
    flat, log_flat = _weigh_flat(data)
    log_all = np.concatenate([(log_weight + log_prior[:, None, None]).ravel(), log_flat])
    weight = np.exp(log_all - log_all.max())

    def along(values: Values, of_flat: Values) -> Values:
        return np.concatenate([np.broadcast_to(values, gap.shape).ravel(), of_flat])

    return CurveFit(
        smallest=int(first),
        start=along(start[..., None], flat),
        gap=along(gap, np.zeros_like(flat)),
        exponent=along(exponent[:, None, None], np.ones_like(flat)),
        head=along(head[:, None, None], np.zeros_like(flat)),
        weight=weight / weight.sum(),
    )


def _weigh(data: _Pooled, u: Values) -> tuple[Values, Values, Values]:
    """Nodes for ``start`` (shapes, nodes) and ``gap`` (shapes, nodes, nodes), and the latter's log weights.

    Given its shape, the progress ``u``, a curve is linear in both, and their posterior a bivariate t cut off
    where the prior ends. The nodes follow it: the sums stay accurate for small noise and at the edges.
    """
    n, y = data.counts, data.means
    nu, nuu, nuy, ny = (n * u).sum(axis=1), (n * u * u).sum(axis=1), (n * u * y).sum(axis=1), (n * y).sum()
    # for each shape the start that fits best: the optimum lies inside, or at one of the two edges of the gap
    inside = np.clip((nuu * ny - nu * nuy) / (n.sum() * nuu - nu**2), 0.0, 1.0)
    no_gap = np.full_like(inside, ny / n.sum())
    up_to_1 = np.clip((n * (1.0 - u) * (y - u)).sum(axis=1) / (n * (1.0 - u) ** 2).sum(axis=1), 0.0, 1.0)
    starts = np.stack([inside, no_gap, up_to_1])
    gaps = np.clip((nuy - starts * nu) / nuu, 0.0, 1.0 - starts)
    misfits = data.misfit(starts[..., None] + gaps[..., None] * u)
    centre = np.take_along_axis(starts, misfits.argmin(axis=0)[None], axis=0)[0]
    unit, reach = data.scale(float(misfits.min()))
    error = unit * np.sqrt(nuu / (n.sum() * nuu - nu**2))
    start, start_width = _nodes(centre, error, reach, np.ones_like(centre), _NODES)
    room = 1.0 - start
    free = (nuy[:, None] - start * nu[:, None]) / nuu[:, None]  # the gap that fits best, were it not limited
    gap_error = np.broadcast_to(unit / np.sqrt(nuu)[:, None], free.shape)
    gap, gap_width = _nodes(np.clip(free, 0.0, room), gap_error, reach, room, _NODES)
    least_here = data.misfit(start[..., None] + free[..., None] * u[:, None, :])
    misfit = least_here[..., None] + nuu[:, None, None] * (gap - free[..., None]) ** 2
    density = np.log(2.0 * start_width[..., None] * gap_width)  # the prior's triangle has the area 1/2
    return start, gap, data.log_likelihood(misfit) + density


def _weigh_flat(data: _Pooled) -> tuple[Values, Values]:
    """Nodes for the level of a curve that is flat, with their log weights."""
    mean = np.average(data.means, weights=data.counts)
    unit, reach = data.scale(float(data.misfit(np.full_like(data.means, mean))))
    error = unit / sqrt(float(data.counts.sum()))
    nodes, widths = _nodes(np.array([mean]), np.array([error]), reach, np.ones(1), 10 * _NODES)
    level = nodes[0]
    return level, data.log_likelihood(data.misfit(level[:, None])) + np.log(_P_FLAT * widths[0])


def _nodes(centre: Values, scale: Values, reach: float, high: Values, count: int) -> tuple[Values, Values]:
    """Midpoints and their widths, covering the part of ``centre ± reach scale`` within [0, ``high``].

    Even in the inverse hyperbolic sine: dense around the centre, sparse in the tails.
    """
    first = np.arcsinh(np.maximum(-centre / scale, -reach))
    last = np.arcsinh(np.minimum((high - centre) / scale, reach))
    step = ((last - first) / count)[..., None]
    at = first[..., None] + step * (np.arange(count) + 0.5)
    offset = np.sinh(at)
    nodes = np.clip(centre[..., None] + scale[..., None] * offset, 0.0, high[..., None])
    widths = scale[..., None] * np.sqrt(1.0 + offset**2) * step
    return nodes, np.maximum(widths, np.finfo(np.float64).tiny)  # no room has no weight, but a logarithm
