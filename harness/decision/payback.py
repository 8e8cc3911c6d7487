"""Dollars a day with their limits, and the days after which they have paid for the training.

Limits are two one-sided ``1 - alpha`` limits, as those of comparisons. Prices, requests a day and the cost of
training are taken as known; what varies are the rows that happened to be held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import mean, stdev
from typing import TypeAlias

from harness.records import Payback, PricedScore

Limits: TypeAlias = tuple[float, float]

MIN_ROWS = 10  # as for comparisons: fewer give no interval
POINTS = 100.0  # in a score's unit


def payback(usd_per_day: float, limits: Limits | None, usd_once: float, horizon_days: float) -> Payback:
    """What remains over the horizon, and the days until ``usd_once`` is paid, if ever."""
    low, high = limits or (None, None)
    return Payback(
        usd_per_day=usd_per_day,
        low_usd_per_day=low,
        high_usd_per_day=high,
        usd_over_horizon=usd_per_day * horizon_days - usd_once,
        days=_days(usd_once, usd_per_day),
        soonest_days=None if high is None else _days(usd_once, high),
        latest_days=None if low is None else _days(usd_once, low),
    )


def _days(usd_once: float, usd_per_day: float) -> float | None:
    return usd_once / usd_per_day if usd_per_day > 0 else None


def limits_of_mean(centre: float, differences: Sequence[float], alpha: float) -> Limits | None:
    """Student's limits of a mean over rows, around ``centre``; None below 10 rows.

    ``centre`` differs from the mean of ``differences`` where rows failed on one side only.
    """
    n = len(differences)
    if n < MIN_ROWS:
        return None
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, 1.0 - alpha)) * stdev(differences, mean(differences)) / sqrt(n)
    return centre - half, centre + half


def with_points(
    usd_per_day: float,
    limits: Limits | None,
    priced: Sequence[PricedScore],
    usd_once: float,
    horizon_days: float,
) -> Payback | None:
    """Tokens and measured differences together; None where nothing is priced, or not all of it was measured.

    To leave out one that was not measured could hide what the others cost. The limits are added up, as though
    all erred the same way: scores of the same rows often do, and the interval is too wide rather than too
    narrow where they do not.
    """
    values = [usd_of_points(one) for one in priced]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    total = usd_per_day + sum(value for value, _, _ in known)
    summed = None
    if limits is not None:
        summed = limits[0] + sum(low for _, low, _ in known), limits[1] + sum(high for _, _, high in known)
    return payback(total, summed, usd_once, horizon_days)


def usd_of_points(score: PricedScore) -> tuple[float, float, float] | None:
    """Dollars a day of a measured difference, with its limits; None where it was not measured.

    Nothing counts beyond the 100 points that a score has.
    """
    if score.difference is None or score.low is None or score.high is None:
        return None
    each = (score.difference, score.low, score.high)
    middle, low, high = (min(max(x, -1.0), 1.0) * POINTS * score.usd_per_point_per_day for x in each)
    return middle, low, high
