"""The posterior behind a learning curve's forecast: bounded power laws on a grid, with their weights.

:mod:`harness.decision.curve` describes the model, its prior and the sources of error that it leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from harness.decision.student import Values

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
class Pooled:
    """The points by size, ascending; ``squares / freedom`` is one training's variance before the fit.

    Args:
        sizes: training rows.
        means: over the trainings of each size.
        counts: trainings of each size.
        squares: prior sum of squares and that within the sizes.
        freedom: degrees of freedom of the prior; those of the trainings are counted with them.
    """

    sizes: Values
    means: Values
    counts: Values
    squares: float
    freedom: float

    def misfit(self, fitted: Values) -> Values:
        """Weighted sum of squared residuals; sizes are the last axis of ``fitted``."""
        squares: Values = (self.counts * (self.means - fitted) ** 2).sum(axis=-1)
        return squares

    def log_likelihood(self, misfit: Values) -> Values:
        """Of the means, the variance integrated out (a multivariate t); up to a constant."""
        log: Values = np.log(self.squares + misfit)
        return -(self.freedom + float(self.counts.sum())) / 2.0 * log


@dataclass(frozen=True, slots=True)
class Weighted:
    """Curves and their posterior probabilities: arrays of one length.

    ``y(m) = start + gap (1 - ((m + head) / (first + head))^(-exponent))``.
    """

    start: Values
    gap: Values
    exponent: Values
    head: Values
    weight: Values


def pool(means_by_size: Mapping[int, Sequence[float]], standard_errors: Sequence[float]) -> Pooled:
    """Means by size; the errors are read only where no size has two trainings to show their spread."""
    sizes = sorted(means_by_size)
    groups = [np.array(means_by_size[size], dtype=np.float64) for size in sizes]
    if any(len(group) > 1 for group in groups):
        noise, worth = _NOISE_SEEDS
    elif standard_errors:
        share, worth = _NOISE_ROWS
        noise = sqrt(share * sum(error**2 for error in standard_errors) / len(standard_errors))
    else:
        noise, worth = _NOISE_UNKNOWN
    within = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    return Pooled(
        sizes=np.array(sizes, dtype=np.float64),
        means=np.array([group.mean() for group in groups], dtype=np.float64),
        counts=np.array([len(group) for group in groups], dtype=np.float64),
        squares=within + worth * noise**2,
        freedom=worth,
    )


def posterior(data: Pooled) -> Weighted:
    """The power laws of every exponent and head start, and the flat curves, weighted."""
    shapes = _shapes(data.sizes)
    start, gap, log_weight = _weigh(data, shapes)
    flat, log_flat = _weigh_flat(data)
    log_all = np.concatenate([log_weight.ravel(), log_flat])
    weight = np.exp(log_all - log_all.max())

    def along(values: Values, of_flat: Values) -> Values:
        return np.concatenate([np.broadcast_to(values, gap.shape).ravel(), of_flat])

    return Weighted(
        start=along(start[..., None], flat),
        gap=along(gap, np.zeros_like(flat)),
        exponent=along(shapes.exponent[:, None, None], np.ones_like(flat)),
        head=along(shapes.head[:, None, None], np.zeros_like(flat)),
        weight=weight / weight.sum(),
    )


@dataclass(frozen=True, slots=True)
class _Shapes:
    """An entry for each exponent with each head start; given these, a curve is linear in the rest."""

    exponent: Values
    head: Values
    log_prior: Values
    progress: Values  # (shapes, sizes): the share of the gap that is closed at each size


def _shapes(sizes: Values) -> _Shapes:
    lowest, highest, count = _EXPONENTS
    grid = np.geomspace(lowest, highest, count)
    prior = np.exp(-0.5 * (np.log(grid / _EXPONENT_MEDIAN) / _EXPONENT_LOG_SD) ** 2)
    exponent = np.tile(grid, len(_HEAD_STARTS))
    head = np.repeat([units * sizes[0] for units, _ in _HEAD_STARTS], count)
    share = np.repeat([share for _, share in _HEAD_STARTS], count)
    log_prior = np.log((1.0 - _P_FLAT) * share * np.tile(prior / prior.sum(), len(_HEAD_STARTS)))
    left = ((sizes + head[:, None]) / (sizes[0] + head)[:, None]) ** -exponent[:, None]
    return _Shapes(exponent, head, log_prior, 1.0 - left)


def _weigh(data: Pooled, shapes: _Shapes) -> tuple[Values, Values, Values]:
    """Nodes for ``start`` (shapes, nodes) and ``gap`` (shapes, nodes, nodes), and the latter's log weights.

    Given its shape a curve is linear in both, and their posterior a bivariate t cut off where the prior
    ends. The nodes follow it, so that the sums stay accurate for small noise and at the edges.
    """
    n, y, u = data.counts, data.means, shapes.progress
    nu, nuu, nuy = (n * u).sum(axis=1), (n * u * u).sum(axis=1), (n * u * y).sum(axis=1)
    centre, least = _best_start(data, u)
    unit, reach = _scale(data, least)
    error = unit * np.sqrt(nuu / (n.sum() * nuu - nu**2))
    start, start_width = _nodes(centre, error, reach, np.ones_like(centre), _NODES)
    room = 1.0 - start
    free = (nuy[:, None] - start * nu[:, None]) / nuu[:, None]  # the gap that fits best, were it not limited
    gap_error = np.broadcast_to(unit / np.sqrt(nuu)[:, None], free.shape)
    gap, gap_width = _nodes(np.clip(free, 0.0, room), gap_error, reach, room, _NODES)
    least_here = data.misfit(start[..., None] + free[..., None] * u[:, None, :])
    misfit = least_here[..., None] + nuu[:, None, None] * (gap - free[..., None]) ** 2
    density = np.log(2.0 * start_width[..., None] * gap_width)  # the prior's triangle has the area 1/2
    return start, gap, data.log_likelihood(misfit) + density + shapes.log_prior[:, None, None]


def _best_start(data: Pooled, u: Values) -> tuple[Values, float]:
    """For each shape the start that fits best, its gap being free within its limits; and the least misfit."""
    n, y = data.counts, data.means
    nu, nuu, nuy, ny = (n * u).sum(axis=1), (n * u * u).sum(axis=1), (n * u * y).sum(axis=1), (n * y).sum()
    free = np.clip((nuu * ny - nu * nuy) / (n.sum() * nuu - nu**2), 0.0, 1.0)
    no_gap = np.full_like(free, ny / n.sum())
    up_to_1 = np.clip((n * (1.0 - u) * (y - u)).sum(axis=1) / (n * (1.0 - u) ** 2).sum(axis=1), 0.0, 1.0)
    starts = np.stack([free, no_gap, up_to_1])  # the optimum lies inside, or at one of the two edges
    gaps = np.clip((nuy - starts * nu) / nuu, 0.0, 1.0 - starts)
    misfit = data.misfit(starts[..., None] + gaps[..., None] * u)
    best = np.take_along_axis(starts, misfit.argmin(axis=0)[None], axis=0)[0]
    return best, float(misfit.min())


def _weigh_flat(data: Pooled) -> tuple[Values, Values]:
    """Nodes for the level of a curve that is flat, with their log weights."""
    mean = np.average(data.means, weights=data.counts)
    unit, reach = _scale(data, float(data.misfit(np.full_like(data.means, mean))))
    error = unit / sqrt(float(data.counts.sum()))
    nodes, widths = _nodes(np.array([mean]), np.array([error]), reach, np.ones(1), 10 * _NODES)
    level = nodes[0]
    return level, data.log_likelihood(data.misfit(level[:, None])) + np.log(_P_FLAT * widths[0])


def _scale(data: Pooled, misfit: float) -> tuple[float, float]:
    """The noise of one training, and how many standard errors hold all that matters."""
    from scipy.special import stdtrit

    freedom = max(data.freedom + float(data.counts.sum()) - 2.0, 1.0)
    return sqrt((data.squares + misfit) / freedom), float(stdtrit(freedom, 1.0 - _TAIL))


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
