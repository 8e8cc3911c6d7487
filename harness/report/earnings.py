"""What shipping earns or costs, for a first screen: a sentence, warnings, and net dollars day by day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness.decision.payback import grown_days
from harness.records import Economics, Payback, RunRecord
from harness.report import numbers
from harness.report.quality import tokens_alone

_POINTS = 60  # of a line over time
_SMALL = 0.005  # a chance below it is not said


class NetAt(NamedTuple):
    """Net dollars after so many days, what is paid once deducted, with their interval."""

    day: float
    usd: float
    low: float | None
    high: float | None


def earns(money: Economics) -> str:
    """One sentence, with what it counts.

    Such as: ``It saves $3.10 a day ($2.90 to $3.30) against base (tokens alone) and has earned its cost after
    12 days (5 to 40 days, 9 times in 10).``
    """
    whole = _whole(money)
    counted = "tokens alone"
    if whole is money.with_quality:
        parts = ["tokens", *(f"{one.suite} / {one.score}" for one in money.priced_scores)]
        if money.outlook is not None and money.outlook.maintenance_usd_per_day.value:
            parts.append("upkeep")
        counted = numbers.listed(parts)
    usd = _usd_a_day(money, whole)
    if whole.usd_per_day <= 0:
        is_even = whole.usd_per_day == 0
        costs = "saves nothing" if is_even else f"costs {usd} more than"
        said = f"It {costs}{' against' if is_even else ''} {money.baseline} ({counted})"
        if whole.days is not None:  # requests grow into it
            return f"{said} at first, and has earned its cost after {_days(money, whole)}."
        return f"{said} and never earns its cost{_unless(whole)}."
    verb = "earns" if money.priced_scores and whole is money.with_quality else "saves"
    said = f"It {verb} {usd} against {money.baseline} ({counted})"
    if not money.training_usd:
        return f"{said} from the first day: nothing is paid before."
    if whole.days is None:
        return f"{said} and never earns its cost."
    return f"{said} and has earned its cost after {_days(money, whole)}{_never(money, whole)}."


def money_warnings(record: RunRecord) -> list[str]:
    """What belongs on top of a page: a model that ends before it has paid, and prices that are old."""
    return list(
        dict.fromkeys(
            warning
            for money in record.economics
            if money.outlook is not None
            for warning in money.outlook.warnings
        )
    )


def over_time(money: Economics) -> Sequence[NetAt]:
    """Net dollars from day 0 to the horizon, or to twice the break-even where that is later."""
    whole = _whole(money)
    last = money.horizon_days if whole.days is None else max(money.horizon_days, min(2 * whole.days, 3650.0))
    growth, fixed = 0.0, 0.0
    if money.outlook is not None:
        growth, fixed = money.outlook.growth_per_month, money.outlook.fixed_usd_per_day
        if whole is not money.with_quality:
            fixed -= money.outlook.maintenance_usd_per_day.value or 0.0
    found = []
    for step in range(_POINTS + 1):
        day = last * step / _POINTS
        grown = float(grown_days(day, growth))
        net, low, high = (
            None if usd is None else (usd + fixed) * grown - fixed * day - money.training_usd
            for usd in (whole.usd_per_day, whole.low_usd_per_day, whole.high_usd_per_day)
        )
        found.append(NetAt(day, net or 0.0, low, high))
    return found


def _whole(money: Economics) -> Payback:
    return money.with_quality or tokens_alone(money)


def _usd_a_day(money: Economics, whole: Payback) -> str:
    """``$3.10 a day ($2.90 to $3.30)``, without a sign where both limits have the same one."""
    written = numbers.in_currency(money)
    sign = -1.0 if whole.usd_per_day < 0 else 1.0
    said = f"{written(abs(whole.usd_per_day))} a day"
    if whole.low_usd_per_day is None or whole.high_usd_per_day is None:
        return said
    low, high = sorted((sign * whole.low_usd_per_day, sign * whole.high_usd_per_day))
    if written(low) == written(high):
        return said
    return f"{said} ({written(low)} to {written(high)})"


def _days(money: Economics, whole: Payback) -> str:
    """``12 days (5 to 40 days, 9 times in 10)``."""
    said = numbers.days(whole.days)
    if whole.low_usd_per_day is None or whole.soonest_days is None:
        return said
    soonest, latest = numbers.days(whole.soonest_days), numbers.days(whole.latest_days)
    if soonest == latest:
        return said
    soonest = soonest.removesuffix(" days") if latest.endswith(" days") else soonest
    level = 0.9 if money.outlook is None else round(money.outlook.level, 4)
    often = "9 times in 10" if level == 0.9 else f"{level:.4g} of the time"
    return f"{said} ({soonest} to {latest}, {often})"


def _never(money: Economics, whole: Payback) -> str:
    is_whole = whole is money.with_quality or not money.priced_scores
    chance = money.outlook.p_never if money.outlook is not None and is_whole else None
    return "" if chance is None or chance < _SMALL else f"; with a chance of {chance:.0%} it never does"


def _unless(whole: Payback) -> str:
    if whole.low_usd_per_day is None or whole.soonest_days is None:
        return ""
    return f" (at best after {numbers.days(whole.soonest_days)})"
