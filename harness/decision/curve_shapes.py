"""Learning curves of given shapes, ``y(m) = start + gap S(m / smallest)``, averaged over shapes.

Five families are in use for learning curves (T. Viering and M. Loog, "The shape of learning curves: a
review", IEEE TPAMI 2023): the power law with and without a head start, the exponential,
Morgan-Mercer-Flodin (a Hill curve, an S in the log of m) and Weibull. No few sizes tell them apart, so none
is chosen. Given its shape, a curve is linear in ``start`` and ``gap``, both at least 0 and together at most
1, uniform there before the data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from harness.decision.student import Values

P_FLAT = 0.1  # that more rows change nothing
_NODES = 32  # quasi-random draws of (start, gap) for each shape
_HEAVY = 5.0  # degrees of freedom of the draws: heavier tails than the posterior's
_WIDER = 1.2
_LEVELS = 401  # of the flat curves, evenly spaced from 0 to 1


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The points by size, ascending."""

    sizes: Values
    means: Values  # over the trainings of each size
    counts: Values  # trainings of each size
    variances: Values  # of one training's mean, from rows
    squares: Values  # within each size: squared differences of its trainings from their mean

    def log_within(self, spread: Values) -> Values:
        """The log likelihood of the differences between trainings of one size; ``spread`` is (any, 1)."""
        variance = self.variances + spread**2
        log: Values = (self.squares / variance + (self.counts - 1.0) * np.log(variance)).sum(axis=1)
        return -0.5 * log


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Weighted curves, not normalised. ``at`` gives their scores at a size."""

    at: Callable[[float], Values]
    log_weight: Values


@dataclass(frozen=True, slots=True, eq=False)
class _Shapes:
    """Every shape of every family. ``of`` one family, in its own parameters ``a`` and ``b``."""

    family: tuple[str, ...]
    a: Values
    b: Values
    prior: Values  # sums to 1

    def progress(self, r: Values) -> Values:
        """``S(r)``, (shapes, len(r)); ``r`` is the size over the smallest one."""
        found = np.empty((len(self.a), len(r)))
        for name in set(self.family):
            at = np.array([family == name for family in self.family])
            found[at] = _PROGRESS[name](self.a[at, None], self.b[at, None], r[None, :])
        return found


def _power(exponent: Values, head: Values, r: Values) -> Values:
    progress: Values = 1.0 - ((r + head) / (1.0 + head)) ** -exponent
    return progress


def _exponential(rate: Values, _: Values, r: Values) -> Values:
    progress: Values = -np.expm1(-rate * (r - 1.0))
    return progress


def _mmf(slope: Values, middle: Values, r: Values) -> Values:
    progress: Values = 1.0 / (1.0 + (r / middle) ** -slope)
    return progress


def _weibull(slope: Values, middle: Values, r: Values) -> Values:
    progress: Values = -np.expm1(-((r / middle) ** slope))
    return progress


_PROGRESS = {
    "power": _power,
    "power with a head start": _power,
    "exponential": _exponential,
    "mmf": _mmf,
    "weibull": _weibull,
}


@cache
def _shapes() -> _Shapes:
    """The grid, and the prior on it: log-normal in each parameter, the families alike."""
    nothing, heads = np.zeros(1), np.array([1.0, 3.0, 10.0])
    slopes, middles = np.geomspace(0.4, 6.0, 14), np.geomspace(0.15, 40.0, 14)
    grids = {
        "power": (np.geomspace(0.1, 3.0, 24), nothing, (0.7, 0.6), None),
        "power with a head start": (np.geomspace(0.15, 6.0, 16), heads, (0.9, 0.7), None),
        "exponential": (np.geomspace(0.03, 2.0, 16), nothing, (0.3, 0.8), None),
        "mmf": (slopes, middles, (1.3, 0.6), (2.0, 1.5)),
        "weibull": (slopes, middles, (1.3, 0.6), (2.0, 1.5)),
    }
    family: list[str] = []
    parts: list[tuple[Values, Values, Values]] = []
    for name, (a, b, of_a, of_b) in grids.items():
        each_a, each_b = (grid.ravel() for grid in np.meshgrid(a, b, indexing="ij"))
        log_prior = _log_normal(each_a, *of_a) + (0.0 if of_b is None else _log_normal(each_b, *of_b))
        prior = np.exp(log_prior)
        family += [name] * len(each_a)
        parts.append((each_a, each_b, prior / prior.sum() / len(grids)))
    a, b, prior = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _Shapes(tuple(family), a, b, prior)


def _log_normal(x: Values, median: float, log_sd: float) -> Values:
    log: Values = -0.5 * (np.log(x / median) / log_sd) ** 2
    return log


@cache
def _draws() -> tuple[Values, Values]:
    """Quasi-random pairs of Student's t, (nodes, 2), and their log densities."""
    from scipy.stats import qmc, t

    uniform = qmc.Sobol(2, seed=1).random(2 * _NODES)[:_NODES]
    pairs = t.ppf(np.clip(uniform, 1e-4, 1.0 - 1e-4), _HEAVY)
    return pairs, t.logpdf(pairs, _HEAVY).sum(axis=1)


def weigh_shapes(data: Measured, spread: float) -> Curves:
    """The curves of all shapes, and the flat ones, given the data.

    ``spread`` is the standard deviation of one training about its curve, beyond that from rows.
    """
    first, y = data.sizes[0], data.means
    variance = (data.variances + spread**2) / data.counts
    shapes = _shapes()
    progress = shapes.progress(data.sizes / first)
    start, gap, log_density = _proposed(progress, y, 1.0 / variance)
    fitted = start[..., None] + gap[..., None] * progress[:, None, :]
    is_score = (start >= 0.0) & (gap >= 0.0) & (start + gap <= 1.0)
    # the prior's triangle has the area 1/2
    log_prior = np.log(2.0 * (1.0 - P_FLAT) * shapes.prior / _NODES)[:, None]
    log_weight = np.where(is_score, _log_fit(y, fitted, variance) - log_density + log_prior, -np.inf)
    level = np.linspace(0.0, 1.0, _LEVELS)
    flat = _log_fit(y, level[:, None], variance) + np.log(P_FLAT / _LEVELS)

    def at(size: float) -> Values:
        there = shapes.progress(np.array([size / first]))
        return np.concatenate([(start + gap * there).ravel(), level])

    return Curves(at, np.concatenate([log_weight.ravel(), flat]))


def _log_fit(y: Values, fitted: Values, variance: Values) -> Values:
    log: Values = -0.5 * ((y - fitted) ** 2 / variance).sum(axis=-1) - 0.5 * np.log(variance).sum()
    return log


def _proposed(progress: Values, y: Values, precision: Values) -> tuple[Values, Values, Values]:
    """Start and gap, (shapes, nodes), drawn around each shape's least squares, with their log densities."""
    s, s1, s2 = precision.sum(), progress @ precision, (progress * progress) @ precision
    t, t1 = (precision * y).sum(), progress @ (precision * y)
    ridge = 1e-9 * s
    determinant = np.maximum((s + ridge) * (s2 + ridge) - s1**2, 1e-12 * s * s)
    gap = np.clip(((s + ridge) * t1 - s1 * t) / determinant, 0.0, 1.0)
    start = np.clip((t - gap * s1) / s, 0.0, 1.0 - gap)
    correlation = np.clip(-s1 / np.sqrt((s2 + ridge) * (s + ridge)), -0.995, 0.995)
    # a shape that the sizes hardly tell from a flat curve has no more room than the scores have
    start_sd, gap_sd = (
        _WIDER * np.sqrt(np.minimum(each / determinant, 0.25)) for each in (s2 + ridge, s + ridge)
    )
    draws, log_draws = _draws()
    rest = np.sqrt(1.0 - correlation**2)
    starts = start[:, None] + start_sd[:, None] * draws[:, 0]
    gaps = gap[:, None] + gap_sd[:, None] * (correlation[:, None] * draws[:, 0] + rest[:, None] * draws[:, 1])
    return starts, gaps, log_draws - np.log(start_sd * gap_sd * rest)[:, None]
