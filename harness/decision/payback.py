"""Days until a saving has paid for what is paid once, and draws of the rows that happened to be held out."""

from __future__ import annotations

from math import ceil, sqrt

import numpy as np

from harness.decision.estimates import Codes, cluster_sums
from harness.decision.student import Values
from harness.records import Amount, PricedScore

MIN_ROWS = 10  # as for comparisons: fewer give no interval
POINTS = 100.0  # in a score's unit
DAYS_PER_MONTH = 365.0 / 12.0
DRAWS = 4000
_LONGEST_DAYS = 36_500.0  # of a saving that grows: later is never
_MOST_UNITS = 2000  # that are resampled; more rows are put together at random
_CHUNK = 500


def grown_days(days: Values | float, growth_per_month: Values | float) -> Values:
    """The days of today's requests that so many days of growing requests are worth."""
    rate = np.log1p(np.asarray(growth_per_month, dtype=np.float64)) / DAYS_PER_MONTH
    flat = np.abs(rate) < 1e-12
    safe = np.where(flat, 1.0, rate)
    return np.where(flat, days, np.expm1(np.minimum(safe * days, 200.0)) / safe)


def break_even(once: Values, by_requests: Values, fixed: Values, growth_per_month: Values) -> Values:
    """Days until what is saved has paid for ``once``; inf for never.

    Args:
        once: dollars, paid on the first day.
        by_requests: dollars a day that grow with the requests.
        fixed: dollars a day that are paid whatever is asked.
        growth_per_month: of requests, as a share.
    """
    once, by_requests, fixed, growth = np.broadcast_arrays(once, by_requests, fixed, growth_per_month)
    net = by_requests - fixed
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        days = np.where(net > 0, once / net, np.inf)
    grows = growth != 0
    if not grows.any():
        return days
    rate = np.log1p(growth) / DAYS_PER_MONTH
    # a net that falls day by day has its most where it is zero; one that rises crosses once
    turns = grows & (by_requests * rate < 0) & (by_requests * fixed > 0)
    ratio = np.divide(fixed, by_requests, out=np.ones(fixed.shape), where=turns)
    turn = np.divide(np.log(ratio), rate, out=np.zeros(rate.shape), where=turns)
    last = np.where(turns, turn, _LONGEST_DAYS)
    low, high = np.zeros_like(last), np.clip(last, 0.0, _LONGEST_DAYS)

    def total(at: Values) -> Values:
        return by_requests * grown_days(at, growth) - fixed * at - once

    pays = (total(high) >= 0) & (high > 0) & ((once > 0) | (net <= 0))
    for _ in range(60):
        middle = (low + high) / 2
        is_paid = total(middle) >= 0
        low, high = np.where(is_paid, low, middle), np.where(is_paid, middle, high)
    found = np.where(pays, high, np.inf)
    found = np.where((once == 0) & (net > 0), 0.0, found)
    return np.where(grows, found, days)


def never(days: float) -> float | None:
    """Days, or None where they are without end."""
    return days if np.isfinite(days) else None


def amount(middle: Values, draws: Values | None, alpha: float) -> Amount:
    """The middle, and the two one-sided limits of the draws; an infinite one (days) is None."""
    value = never(float(middle[0]))
    if draws is None:
        return Amount(value)
    ordered = np.sort(draws)  # a quantile by numpy is not a number beside an infinite one
    low, high = (ordered[ceil(share * len(ordered)) - 1] for share in (alpha, 1.0 - alpha))
    return Amount(value, never(float(low)), never(float(high)))


def resampled(rows: Values, groups: Codes | None, alpha: float, draws: int = DRAWS) -> Values | None:
    """Means of each column over rows that are drawn again, whole groups together: (draws, columns).

    The Bayesian bootstrap (Rubin 1981, Annals of Statistics 9:130). Deviations from the mean are widened so
    that a plain mean has Student's limits at ``alpha`` (Hesterberg 2015, American Statistician 69:371), since
    resampling alone is too narrow on few rows. Values that are missing (nan) are left out of their column.
    None where fewer than 10 rows or groups are known.
    """
    known = ~np.isnan(rows)
    codes = np.arange(len(rows)) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(codes.max(initial=-1)) + 1
    if units < MIN_ROWS:
        return None
    rng = np.random.default_rng(0)
    if units > _MOST_UNITS:
        codes = (rng.permutation(units) % _MOST_UNITS)[codes]
        units = _MOST_UNITS
    columns = [*np.nan_to_num(rows).T, *known.T.astype(np.float64)]
    sums = np.stack(cluster_sums(codes, *columns), axis=1).astype(np.float32)
    means = np.empty((draws, len(columns)), dtype=np.float64)
    for at in range(0, draws, _CHUNK):
        weights = rng.standard_exponential((min(_CHUNK, draws - at), units), dtype=np.float32)
        means[at : at + _CHUNK] = weights @ sums
    half = rows.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = means[:, :half] / means[:, half:]
        centre = np.nansum(rows, axis=0) / known.sum(axis=0)
    from scipy.special import ndtri, stdtrit

    wider = float(stdtrit(units - 1, 1.0 - alpha) / ndtri(1.0 - alpha)) * sqrt((units + 1) / (units - 1))
    result: Values = centre + wider * (drawn - centre)
    return result


def usd_of_points(score: PricedScore) -> tuple[float, float, float] | None:
    """Dollars a day of a measured difference, with its limits; None where it was not measured.

    Nothing counts beyond the 100 points that a score has.
    """
    if score.difference is None or score.low is None or score.high is None:
        return None
    each = (score.difference, score.low, score.high)
    middle, low, high = (min(max(x, -1.0), 1.0) * POINTS * score.usd_per_point_per_day for x in each)
    return middle, low, high
