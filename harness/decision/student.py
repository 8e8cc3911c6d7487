"""Student's t interval of a mean, widened where the differences are skewed. Works on many samples at once.

Each limit is the wider of two: Student's, and that of P. Hall (1992), "On the removal of skewness by
transformation", J. R. Stat. Soc. B 54:221, whose monotone cubic takes the skewness out of the t statistic.
No method sees a loss that the sample does not hold. docs/evidence.md has figures, and the alternatives.
"""

from __future__ import annotations

from math import sqrt
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

Values: TypeAlias = npt.NDArray[np.float64]


def mean_and_residuals(differences: Values, sizes: Values | None = None) -> tuple[Values, Values]:
    """Means (...,) of rows and residuals (..., units) of samples (..., units).

    With ``sizes``, ``differences`` holds the sums of clusters of those numbers of rows. Their residuals are
    CR2's (Bell and McCaffrey 2002, Survey Methodology 28:169; J. E. Pustejovsky and E. Tipton 2018,
    J. Bus. Econ. Stat. 36:672) over those of clusters of one size: a large cluster draws the mean towards
    itself, and its residual is larger for it.
    """
    if sizes is None:
        mean = np.asarray(differences.mean(axis=-1))
        return mean, differences - mean[..., None]
    units, n = len(sizes), sizes.sum()
    mean = np.asarray(differences.sum(axis=-1) / n)
    scale = np.sqrt((1.0 - 1.0 / units) / (1.0 - sizes / n))
    return mean, (differences - mean[..., None] * sizes) * scale


def cluster_freedom(sizes: Values) -> float:
    """Bell and McCaffrey's degrees of freedom of the variance of a mean; of clusters of one size, one less.

    The working model is of independent rows. With ``h`` each cluster's share of the rows, the matrix of which
    they are ``trace² / sum of squares`` has the elements ``(δ h_i - h_i h_j) / sqrt((1 - h_i)(1 - h_j))``.
    """
    h = sizes / sizes.sum()
    pulled = h**2 / (1.0 - h)
    return float(1.0 / ((h**2).sum() + pulled.sum() ** 2 - (pulled**2).sum()))


def effective_clusters(sizes: Values) -> float:
    """How many clusters of one size would weigh as unequally: ``(Σn)² / Σn²`` (L. Kish 1965)."""
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def mean_size(sizes: Values) -> float:
    """The mean size of a row's cluster, ``Σn² / Σn``."""
    return float((sizes**2).sum() / sizes.sum())


def error_of_mean(residuals: Values, n: float) -> Values:
    """Standard error of the mean over ``n`` rows; CR2 where the residuals are sums of clusters."""
    units = residuals.shape[-1]
    return np.asarray(np.sqrt(units / (units - 1) * (residuals**2).sum(axis=-1)) / n)


def t_limits(
    mean: Values,
    residuals: Values,
    n: float,
    alpha: float,
    freedom: float | None = None,
    skewness: float = 1.0,
) -> tuple[Values, Values]:
    """Both one-sided ``1 - alpha`` limits of the mean (...,); the residuals must have some spread.

    ``freedom`` are the degrees of freedom where they are not one less than the units; ``skewness`` is the
    part of the sample's that Hall's limits take into account.
    """
    error, scaled = error_of_mean(residuals, n), skewness * _scaled_skewness(residuals)
    quantile = float(stdtrit(freedom or residuals.shape[-1] - 1, 1.0 - alpha))
    above = np.maximum(quantile, _hall_inverse(quantile, scaled))
    below = np.minimum(-quantile, _hall_inverse(-quantile, scaled))
    return mean - above * error, mean - below * error


def t_p(
    mean: Values,
    residuals: Values,
    n: float,
    bound: float,
    freedom: float | None = None,
    skewness: float = 1.0,
) -> Values:
    """One-sided p of "the mean is at most ``bound``": below alpha just where the lower limit is above it.

    0 where the residuals have no spread: there another method has to decide.
    """
    error, scaled = error_of_mean(residuals, n), skewness * _scaled_skewness(residuals)
    spread = error > 0.0
    statistic = np.where(spread, (mean - bound) / np.where(spread, error, 1.0), np.inf)
    with np.errstate(invalid="ignore"):  # inf - inf, where there is no spread
        smaller = np.minimum(statistic, _hall(statistic, scaled))
    return np.where(spread, stdtr(freedom or residuals.shape[-1] - 1, -smaller), 0.0)


def skewed_quantile(quantile: float, skewness: float, units: int) -> float:
    """What a lower limit takes for Student's ``quantile`` where units are skewed so much; see the module."""
    scaled = np.asarray(skewness * sqrt(units - 1) / (units - 2))
    return max(quantile, float(_hall_inverse(quantile, scaled)))


def _scaled_skewness(residuals: Values) -> Values:
    """The adjusted Fisher-Pearson coefficient over the root of the number of units."""
    units = residuals.shape[-1]
    squares = residuals * residuals
    second, third = squares.mean(axis=-1), (squares * residuals).mean(axis=-1)  # a power of 3 is slow
    spread = second > 0.0
    raw = np.where(spread, third / np.where(spread, second, 1.0) ** 1.5, 0.0)
    return np.asarray(raw * sqrt(units - 1) / (units - 2))


def _hall(statistic: Values, scaled: Values) -> Values:
    return np.asarray(statistic + scaled * statistic**2 / 3 + scaled**2 * statistic**3 / 27 + scaled / 6)


def _hall_inverse(value: float, scaled: Values) -> Values:
    straight = np.abs(scaled) < 1e-6
    safe = np.where(straight, 1.0, scaled)
    bent = 3.0 / safe * (np.cbrt(1.0 + safe * (value - safe / 6.0)) - 1.0)
    return np.where(straight, value, bent)
