"""What points are worth: of the measured difference, and of more training rows. Both, or neither."""

from __future__ import annotations

from harness.decision.curve import CurveFit, value_of_more_rows
from harness.decision.payback import usd_of_points
from harness.records import Economics, Payback, PricedScore, Role, RunRecord, ScoreInfo, SuiteInfo
from harness.report import numbers


def tokens_alone(money: Economics) -> Payback:
    """What tokens save; without limits in records of versions that had none."""
    usd, days = money.saving_usd_per_day, money.break_even_days
    return money.tokens_alone or Payback(usd, None, None, money.saving_usd_over_horizon, days, None, None)


def why_unpriced(record: RunRecord, money: Economics) -> str:
    """A sentence where a point has a price and its worth is not shown; empty elsewhere."""
    missing = [f"{_name(one)} ({one.why})" for one in money.priced_scores if one.why]
    if missing:
        return (
            f"What points are worth is not shown: no difference was measured for {'; '.join(missing)}, and"
            " without it neither the break-even nor the value of more rows would be whole."
        )
    if money.value_usd_per_point_per_day is None or money.priced_scores:
        return ""
    compared = [f"{suite} / {score}" for suite, score in sorted(_target_scores(record, money))]
    targets = f"targets compare {', '.join(compared)}" if compared else "no target compares one"
    return (
        "What points are worth is not shown: this record has"
        f" {_usd(money.value_usd_per_point_per_day)} a point and day without the name of a score, and"
        f" {targets}. In economics.toml, price each by its name."
    )


def _target_scores(record: RunRecord, money: Economics) -> set[tuple[str, str]]:
    name = money.candidate.partition("@")[0]
    return {
        (gate.suite, gate.comparison.score)
        for gate in record.gates
        if gate.role is Role.TARGET and gate.candidate == name and gate.comparison is not None
    }


def quality_rows(money: Economics) -> list[tuple[str, str]]:
    """For each priced score, in words and in dollars a day, what its measured difference is worth."""
    return [
        (f"worth a day: {_points(one)}", numbers.usd_with_limits(*value))
        for one in money.priced_scores
        if (value := usd_of_points(one)) is not None
    ]


def quality_sentence(money: Economics) -> str:
    """The break-even with the measured points, beside that of tokens alone; empty where nothing is priced."""
    whole = money.with_quality
    if whole is None:
        return ""
    points = " and ".join(_points(one) for one in money.priced_scores)
    a_day = numbers.usd_with_limits(abs(whole.usd_per_day), *_turned(whole))
    pays = f"pays for itself after {numbers.days_with_limits(whole)}"
    if whole.days is None:
        pays = "never pays for itself"
        if whole.soonest_days is not None:
            pays += f" (at the upper limit, after {numbers.days(whole.soonest_days)})"
    return (
        f"With the measured {points}: {'costs' if whole.usd_per_day < 0 else 'worth'} {a_day} a day, {pays}."
    )


def _turned(whole: Payback) -> tuple[float | None, float | None]:
    """The limits of what it is worth, or, where it costs, of what it costs."""
    low, high = whole.low_usd_per_day, whole.high_usd_per_day
    if whole.usd_per_day >= 0 or low is None or high is None:
        return low, high
    return -high, -low


def _points(one: PricedScore) -> str:
    limits = "" if one.low is None else f" {numbers.interval(one.low, one.high)}"
    return (
        f"{numbers.points(one.difference)} points of {_name(one)}{limits} (n = {one.n:,}) at"
        f" {_usd(one.usd_per_point_per_day)} a point and day"
    )


def _name(one: PricedScore) -> str:
    return f"{one.suite} / {one.score}"


def _usd(value: float) -> str:
    """A price that people wrote: whole dollars without cents."""
    return f"${value:,.0f}" if value == int(value) else numbers.usd(value)


def more_rows(
    record: RunRecord,
    suite: SuiteInfo,
    info: ScoreInfo,
    candidate: str,
    fit: CurveFit,
    baseline_mean: float | None,
) -> list[str]:
    """What twice the rows are expected to be worth, where points of this score and a row have a price.

    Nothing where the measured difference is not priced either, as then the two would not agree.
    """
    money = next((each for each in record.economics if each.candidate.partition("@")[0] == candidate), None)
    if money is None:
        return []
    prices = {(one.suite, one.score): one.usd_per_point_per_day for one in money.priced_scores}
    usd_per_point = prices.get((suite.name, info.name))
    last, row_usd = fit.largest, money.training_row_usd
    if money.with_quality is None or usd_per_point is None or row_usd is None:
        return []
    size, rows_usd = 2 * last, row_usd * last
    again_usd, training = 0.0, "what training again costs (this record does not say), "
    if money.data_preparation_usd is not None:
        again_usd, training = 2 * (money.training_usd - money.data_preparation_usd), ""
    over_horizon = usd_per_point * money.horizon_days
    found = value_of_more_rows(fit, size, over_horizon, rows_usd + again_usd, baseline_mean)
    beside = ""
    if baseline_mean is not None:
        beside = f" (the best alternative has {numbers.mean(baseline_mean, info.kind)})"
    again = "" if training else f", and training on {size:,} about {numbers.usd(again_usd)}"
    shared = ""
    if len(money.priced_scores) > 1:
        shared = " The rows are paid for once, whatever they add to the other scores that have a price."
    return [
        f"{size:,} rows instead of {last:,} are expected to add {found.points:.1f} points to the best choice"
        f"{beside}: worth {numbers.usd(found.usd)} in {numbers.days(money.horizon_days)} from the day it"
        f" serves. They cost {numbers.usd(rows_usd)}{again}; {numbers.usd(found.net_usd)} net. Left out:"
        f" {training}evaluation, and the days until the rows are written and checked.{shared}"
    ]
