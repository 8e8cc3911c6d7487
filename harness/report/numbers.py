"""A number on a page: pure formatting, one function for each quantity, ``–`` where there is none.

Scores and differences arrive in score units ([0, 1] and [-1, 1]) and are shown in points (x 100).
Minus signs are U+2212, so that they are as wide as a plus sign in tabular figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import TypeGuard

from harness.decision.retesting import percent as percent_of
from harness.records import Economics, Kind, Payback, Rate
from harness.words import plural as plural

NONE = "–"
_MINUS = "\N{MINUS SIGN}"
_LEAST_USD = 1e-8  # that is printed


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and isfinite(value)


def points(value: float | None) -> str:
    """A difference of scores in points: ``+12.4``."""
    text = f"{100 * value:+,.1f}" if _known(value) else NONE
    return text.replace("-", _MINUS) if text.strip("+-0.,") else text[1:]  # neither +0.0 nor -0.0


def interval(low: float | None, high: float | None) -> str:
    """The limits of a difference in points: ``[+8.1, +16.7]``."""
    return f"[{points(low)}, {points(high)}]" if _known(low) and _known(high) else NONE


def percent(value: float | None, digits: int = 1) -> str:
    """A share: ``86.5%``."""
    return f"{100 * value:,.{digits}f}%".replace("-", _MINUS) if _known(value) else NONE


def level(alpha: float) -> str:
    """The level of the two-sided interval whose limits are one-sided tests at ``alpha``: ``90%``."""
    return f"{100 - float(f'{200 * alpha:.3g}'):.10g}%"  # 99.998% is not 100%


def one_sided(alpha: float | None) -> str:
    """The level of a one-sided test, or a p that is read against one: ``5%``, ``0.25%``, ``<0.01%``."""
    if not _known(alpha):
        return NONE
    return "<0.01%" if alpha < 1e-4 else percent_of(alpha)


def mean(value: float | None, kind: Kind) -> str:
    """The mean of a score: a share of rows when binary (``86.5%``), else out of 100 (``62.1``)."""
    if kind is Kind.BINARY:
        return percent(value)
    return f"{100 * value:.1f}" if _known(value) else NONE


def score(value: float | None, kind: Kind) -> str:
    """The score of one answer: ``1`` or ``0`` when binary, else out of 100 (``62``)."""
    if not _known(value):
        return NONE
    return f"{value:g}" if kind is Kind.BINARY else f"{100 * value:.0f}"


def rate(value: Rate) -> str:
    """A proportion with its interval and n: ``0.71 [0.60, 0.80], n = 120``."""
    if not _known(value.value):
        return f"{NONE}, n = {value.n:,}"
    body = f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}], n = {value.n:,}"
    return body.replace("-", _MINUS)


def usd(value: float | None) -> str:
    """Dollars, to the cent from one dollar up and to two significant digits below: ``$0.0042``."""
    if not _known(value):
        return NONE
    sign, size = (_MINUS if value < 0 else ""), abs(value)
    if size == 0:
        return "$0"
    if size < _LEAST_USD / 2:
        return f"{sign}<${_LEAST_USD:.8f}"
    digits = 2 if size < 1000 else 0
    while size < 1 and digits < 8 and round(size, digits) * 10 ** (digits - 1) < 1:
        digits += 1
    return f"{sign}${size:,.{digits}f}"


def tokens(value: float | None) -> str:
    """A number of tokens: ``412``, ``1,234``, ``12.3k``, ``4.5M``."""
    if not _known(value):
        return NONE
    if value < 9_999.5:
        return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"
    return f"{value / 1e3:.1f}k" if value < 999_950 else f"{value / 1e6:.1f}M"


def seconds(value: float | None) -> str:
    """A duration: ``0.42 s``, ``12.3 s``, ``4 min 05 s``, ``1 h 02 min``."""
    if not _known(value):
        return NONE
    if value < 59.95:
        return f"{value:.2f} s" if value < 9.995 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(value / 60), 60)
    return f"{hours:,} h {minutes:02d} min"


def days(value: float | None) -> str:
    """Days until something pays: ``0.4 days``, ``37 days``, ``never`` for None."""
    if not _known(value):
        return "never"
    if round(value, 1) == 1:
        return "1 day"
    if value == 0:
        return "0 days"
    if 0 < value < 0.05:
        return "less than 0.1 days"
    return f"{value:.1f} days" if value < 10 else f"{value:,.0f} days"


def usd_with_limits(
    value: float, low: float | None, high: float | None, write: Callable[[float | None], str] = usd
) -> str:
    """Dollars with their interval, where there is one: ``$1.10 [$1.07, $1.13]``."""
    return f"{write(value)} [{write(low)}, {write(high)}]" if _known(low) and _known(high) else write(value)


def in_currency(money: Economics) -> Callable[[float | None], str]:
    """How dollars are written in the project's currency: ``$1.10``, or ``EUR 0.95``."""
    found = money.outlook
    if found is None or found.currency == "USD":
        return usd
    rate, code = found.usd_per_unit, f"{found.currency} "
    return lambda value: usd(None if value is None else value / rate).replace("$", code)


def days_with_limits(value: Payback) -> str:
    """Days until something pays, with their interval: ``91 days [88, 93]``, ``12 days [8.0, never]``."""
    if value.low_usd_per_day is None or value.high_usd_per_day is None:
        return days(value.days)
    ends = [days(end) for end in (value.soonest_days, value.latest_days)]
    if set(ends) == {days(value.days)}:
        return ends[0]
    low, high = (end.removesuffix(" days").removesuffix(" day") for end in ends)
    return f"{days(value.days)} [{low}, {high}]"


def p_value(value: float | None) -> str:
    """A p-value to three decimals: ``0.032``, ``<0.001``."""
    if not _known(value):
        return NONE
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def number(value: float | None, digits: int = 3) -> str:
    """A plain number: ``1,234`` when whole, else so many decimals."""
    if not _known(value):
        return NONE
    return f"{value:,.{0 if value == int(value) else digits}f}".replace("-", _MINUS)


def count(value: int, of: int | None = None) -> str:
    """A count, with its n where it is part of one: ``3 of 1,200``."""
    return f"{value:,}" if of is None else f"{value:,} of {of:,}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """Names in a sentence: ``a, b and 3 more``."""
    shown = [*names[:most], *([f"{len(names) - most:,} more"] if len(names) > most else [])]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
