"""Effect sizes between two groups of rows, with 95% limits."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import TypeAlias

import numpy as np
from scipy.special import chndtrinc

Interval: TypeAlias = tuple[float, float]
_Z = 1.96


def wilson(hits: int, n: float) -> Interval:
    """95% limits of a share (E. B. Wilson 1927)."""
    return _wilson_of(hits / n, n)


def _wilson_of(share: float, n: float) -> Interval:
    z2 = _Z**2
    middle, half = share + z2 / (2 * n), _Z * sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, (middle - half) / (1 + z2 / n)), min(1.0, (middle + half) / (1 + z2 / n))


def newcombe(ours: tuple[int, int], theirs: tuple[int, int]) -> Interval:
    """95% limits of a difference of two shares (R. G. Newcombe 1998, method 10)."""
    (a, n), (b, m) = ours, theirs
    p, q = a / n, b / m
    (p_low, p_high), (q_low, q_high) = wilson(a, n), wilson(b, m)
    below = sqrt((p - p_low) ** 2 + (q_high - q) ** 2)
    above = sqrt((p_high - p) ** 2 + (q - q_low) ** 2)
    return p - q - below, p - q + above


def fisher_greater(ours: tuple[int, int], theirs: tuple[int, int]) -> float:
    """Fisher's exact one-sided p: that our share of hits among n is the greater one by chance."""
    from scipy.stats import fisher_exact  # slow to import

    table = np.array([[hits, n - hits] for hits, n in (ours, theirs)])
    return float(fisher_exact(table, "greater").pvalue)


def cramers_v_limits(chi2: float, df: int, rows: float) -> Interval:
    """95% limits of Cramér's V from those of the noncentrality (M. Smithson 2003, *Confidence Intervals*)."""
    ends = (max(0.0, float(np.nan_to_num(chndtrinc(chi2, df, tail)))) for tail in (0.975, 0.025))
    low, high = (min(1.0, sqrt(end / rows)) for end in ends)
    return low, high


def cliffs_delta(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Cliff's delta with 95% limits: Wilson's of the area under the curve, with the number of rows that
    DeLong's variance (1988) amounts to.
    """
    a, b = np.sort(np.asarray(ours, float)), np.sort(np.asarray(theirs, float))
    over = (np.searchsorted(b, a, "left") + np.searchsorted(b, a, "right")) / (2 * len(b))
    under = (np.searchsorted(a, b, "left") + np.searchsorted(a, b, "right")) / (2 * len(a))
    area = float(over.mean())
    spread = sum(float(side.var(ddof=1)) / len(side) for side in (over, under) if len(side) > 1)
    n = area * (1 - area) / spread if spread > 0 and 0 < area < 1 else min(len(a), len(b))
    low, high = _wilson_of(area, max(1.0, n))
    return 2 * area - 1, 2 * low - 1, 2 * high - 1
