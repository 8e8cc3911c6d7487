"""Tango's score interval for a difference of paired proportions.

T. Tango (1998), "Equivalence test and confidence interval for the difference in proportions for the
paired-sample design", Statistics in Medicine 17:891-908.

Of ``n`` rows, ``gained`` are right for the candidate alone and ``lost`` for the baseline alone; the
difference is ``(gained - lost) / n``. The limits are the differences that the score test does not
reject. A Wald or bootstrap interval collapses where few rows differ, which is where a fine-tune and
its base model usually stand; this one does not: with no discordant row at all the limits are
``±z² / (n + z²)``.
"""

from __future__ import annotations

from math import copysign, inf, sqrt

from scipy.special import ndtr, ndtri

from harness.errors import UsageError


def tango_interval(gained: int, lost: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """Both one-sided ``1 - alpha`` limits of the difference, in [-1, 1]; together, ``1 - 2 alpha``.

    Swapping ``gained`` and ``lost`` mirrors the limits exactly.

    Raises:
        UsageError: counts that cannot be, or ``alpha`` outside (0, 0.5).
    """
    _check(gained, lost, n)
    if not 0.0 < alpha < 0.5:
        raise UsageError(f"alpha must be above 0 and below 0.5, for example 0.05; it is {alpha}.")
    z = -float(ndtri(alpha))
    return _lower_limit(gained, lost, n, z), -_lower_limit(lost, gained, n, z)


def tango_p(gained: int, lost: int, n: int, bound: float = 0.0) -> float:
    """One-sided p of the score test of "the difference is at most ``bound``"."""
    return float(ndtr(-tango_z(gained, lost, n, bound)))


def tango_z(gained: int, lost: int, n: int, difference: float) -> float:
    """The score statistic of a hypothesised ``difference`` in [-1, 1]; it falls as that rises.

    Where nothing differs and nothing is claimed to differ the statistic is 0/0, taken as 0.
    """
    _check(gained, lost, n)
    if not -1.0 <= difference <= 1.0:
        raise UsageError(f"a difference of proportions lies in [-1, 1]; {difference} does not.")
    excess = gained - lost - n * difference
    variance = n * null_variance(gained, lost, n, difference)
    if variance <= 0.0:
        return copysign(inf, excess) if excess else 0.0
    return excess / sqrt(variance)


def null_variance(gained: int, lost: int, n: int, difference: float) -> float:
    """Variance of one row's difference at the maximum-likelihood estimate under ``difference``.

    The estimate of the share lost is the larger root of ``2n q² + B q - lost Δ(1 - Δ) = 0`` with
    ``B = (2n - gained + lost) Δ - gained - lost``.
    """
    if difference < 0.0:  # by symmetry; this also makes the limits exactly antisymmetric
        return null_variance(lost, gained, n, -difference)
    slope = (2 * n - gained + lost) * difference - gained - lost
    product = lost * difference * (1.0 - difference)
    root = sqrt(slope * slope + 8 * n * product)
    # of the two equal forms of the root, the one that subtracts no near-equal numbers
    share_lost = 2.0 * product / (slope + root) if slope > 0.0 else (root - slope) / (4 * n)
    return 2.0 * share_lost + difference * (1.0 - difference)


def _lower_limit(gained: int, lost: int, n: int, z: float) -> float:
    if lost == n:
        return -1.0
    # The variance vanishes at the estimate in these two cases: a false root for the finder.
    if gained == lost == 0:
        return -z * z / (n + z * z)
    if gained == n:
        return (n - z * z) / (n + z * z)

    def excess(difference: float) -> float:
        return gained - lost - n * difference - z * sqrt(n * null_variance(gained, lost, n, difference))

    from scipy.optimize import brentq  # slow to import

    return float(brentq(excess, -1.0, (gained - lost) / n, xtol=1e-13, rtol=1e-13))


def _check(gained: int, lost: int, n: int) -> None:
    if n < 1 or gained < 0 or lost < 0 or gained + lost > n:
        raise UsageError(f"gained={gained} and lost={lost} of n={n} rows: counts must fit into n >= 1 rows.")
