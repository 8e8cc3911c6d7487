"""Tango's score interval for a difference of paired proportions.

T. Tango (1998), "Equivalence test and confidence interval for the difference in proportions for the
paired-sample design", Statistics in Medicine 17:891-908.

Of ``n`` rows, ``gained`` are right for the candidate alone and ``lost`` for the baseline alone; the
difference is ``(gained - lost) / n``. The limits are the differences that the score test does not
reject; with no discordant row at all they are ``±z² / (n + z²)``.
"""

from __future__ import annotations

from math import inf, sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from harness.decision.student import Values
from harness.errors import UsageError


def tango_interval(gained: float, lost: float, n: float, alpha: float = 0.05) -> tuple[float, float]:
    """Both one-sided ``1 - alpha`` limits of the difference, in [-1, 1].

    Swapping ``gained`` and ``lost`` mirrors the limits exactly. The counts need not be whole: they may
    have been divided by a design effect.

    Raises:
        UsageError: counts that cannot be, or ``alpha`` outside (0, 0.5).
    """
    # counts that were divided by a design effect carry rounding errors
    if n < 1 or gained < 0 or lost < 0 or gained + lost > n * (1 + 1e-12):
        raise UsageError(f"gained={gained} and lost={lost} of n={n} rows: counts must fit into n >= 1 rows.")
    if not 0.0 < alpha < 0.5:
        raise UsageError(f"alpha must be above 0 and below 0.5, for example 0.05; it is {alpha}.")
    z = -float(ndtri(alpha))
    return _lower_limit(gained, lost, n, z), -_lower_limit(lost, gained, n, z)


def tango_p(gained: npt.ArrayLike, lost: npt.ArrayLike, n: npt.ArrayLike, bound: float = 0.0) -> Values:
    """One-sided p of "the difference is at most ``bound``"; the counts broadcast and are not checked."""
    gains, losses, rows = (np.asarray(each, dtype=np.float64) for each in (gained, lost, n))
    excess = gains - losses - rows * bound
    spread = np.sqrt(rows * null_variance(gains, losses, rows, bound))
    some = spread > 0.0
    # where nothing differs and nothing is claimed to differ, the statistic is 0/0 and is taken as 0
    without = np.where(excess == 0.0, 0.0, np.copysign(inf, excess))
    return np.asarray(ndtr(-np.where(some, excess / np.where(some, spread, 1.0), without)))


def null_variance(
    gained: Values | float, lost: Values | float, n: Values | float, difference: float
) -> Values:
    """Variance of one row's difference at the maximum-likelihood estimate under ``difference``.

    The estimate of the share lost is the larger root of ``2n q² + B q - lost Δ(1 - Δ) = 0`` with
    ``B = (2n - gained + lost) Δ - gained - lost``.
    """
    if difference < 0.0:  # by symmetry; this also makes the limits exactly antisymmetric
        return null_variance(lost, gained, n, -difference)
    slope = (2 * n - gained + lost) * difference - gained - lost
    product = lost * difference * (1.0 - difference)
    root = np.sqrt(slope * slope + 8 * n * product)
    # of the two equal forms of the root, the one that subtracts no near-equal numbers
    rising = slope > 0.0
    share_lost = np.where(
        rising, 2.0 * product / np.where(rising, slope + root, 1.0), (root - slope) / (4 * n)
    )
    return np.asarray(2.0 * share_lost + difference * (1.0 - difference))


def _lower_limit(gained: float, lost: float, n: float, z: float) -> float:
    from scipy.optimize import brentq  # slow to import

    if lost == n:
        return -1.0
    # The variance vanishes at the estimate in these two cases: a false root for the finder.
    if gained == lost == 0:
        return -z * z / (n + z * z)
    if gained == n:
        return (n - z * z) / (n + z * z)

    def excess(difference: float) -> float:
        spread = sqrt(n * float(null_variance(gained, lost, n, difference)))
        return gained - lost - n * difference - z * spread

    return float(brentq(excess, -1.0, (gained - lost) / n, xtol=1e-13, rtol=1e-13))
