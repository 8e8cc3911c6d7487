"""Tango's interval, widened where so few rows differ that their number is a small lattice.

There Tango's normal approximation is skewed and coarse. So the critical value is

    z + γ (z² - 1) / 6 + 0.38 |γ|

with γ the skewness of the score under the hypothesis. The second term is the correction of J. J. Gart and
J. Nam (1990), Biometrics 46:637, as of P. J. Laud (2017), Pharmaceutical Statistics 16:334; the third is
one for continuity, which fades as gains and losses balance. The wider of this and Tango's own is taken. At
a hypothesised difference of 0 γ is 0, so a target is judged by McNemar's score test. docs/evidence.md has
the error rates.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from harness.decision.student import Values
from harness.decision.tango import null_variance, tango_interval, tango_p

TINY = 1e-200  # smaller variances count as none: their third power and root are out of a float's reach
STEP = 0.38  # of a step of the lattice


def sparse_interval(gained: float, lost: float, n: float, alpha: float = 0.05) -> tuple[float, float]:
    """Both one-sided ``1 - alpha`` limits of the difference (gained - lost) / n; raises as Tango's does."""
    low, high = tango_interval(gained, lost, n, alpha)
    z = -float(ndtri(alpha))
    return _lower_limit(gained, lost, n, z, low), -_lower_limit(lost, gained, n, z, -high)


def sparse_p(gained: npt.ArrayLike, lost: npt.ArrayLike, n: npt.ArrayLike, bound: float = 0.0) -> Values:
    """One-sided p of "the difference is at most ``bound``"; the counts broadcast and are not checked."""
    gains, losses, rows = (np.asarray(each, dtype=np.float64) for each in (gained, lost, n))
    variance = null_variance(gains, losses, rows, bound)
    some = variance > TINY
    safe = np.where(some, variance, 1.0)
    spread = np.sqrt(rows * safe)
    skewness = _third_moment(safe, bound) / safe / spread
    bend = skewness / 6
    # the corrected z solves: statistic = z + bend (z² - 1) + STEP |skewness|
    target = (gains - losses - rows * bound) / spread + bend - STEP * np.abs(skewness)
    z = 2 * target / (1 + np.sqrt(np.maximum(1 + 4 * bend * target, 0.0)))
    return np.maximum(tango_p(gains, losses, rows, bound), np.where(some, ndtr(-z), 0.0))


def _lower_limit(gained: float, lost: float, n: float, z: float, tango_low: float) -> float:
    """The lower of Tango's limit and the corrected one."""

    def excess(difference: float) -> float:
        variance = float(null_variance(gained, lost, n, difference))
        if variance <= 0.0:
            return gained - lost - n * difference
        step = float(_third_moment(np.float64(variance), difference)) / variance
        reach = z * sqrt(n * variance) + step * (z * z - 1) / 6 + STEP * abs(step)
        return gained - lost - n * difference - reach

    if excess(tango_low) >= 0.0:
        return tango_low
    from scipy.optimize import brentq  # slow to import

    return float(brentq(excess, -1.0, tango_low, xtol=1e-13, rtol=1e-13))


def _third_moment(variance: Values | np.float64, difference: float) -> Values | np.float64:
    """The third central moment of one row's difference."""
    discordant = variance + difference**2
    gained, lost = (discordant + difference) / 2, (discordant - difference) / 2
    same = (1 - discordant) * difference**3
    return gained * (1 - difference) ** 3 - lost * (1 + difference) ** 3 - same
