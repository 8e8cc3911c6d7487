"""What more training rows would give: sentences under a learning curve."""

from __future__ import annotations

from collections.abc import Sequence

from harness.decision.curve import (
    LEAST_SIZES,
    ScoredTraining,
    fit_curve,
    forecast_sentence,
    value_of_more_rows,
)
from harness.records import CandidateInfo, Comparison, Economics, Role, RunRecord, ScoreInfo, SuiteInfo, Trial
from harness.report import numbers

_Z90 = 1.645  # half of a two-sided 90% interval, in standard errors


def forecast(
    record: RunRecord,
    suite: SuiteInfo,
    info: ScoreInfo,
    candidate: CandidateInfo,
    sized: Sequence[tuple[Trial, Comparison]],
    baseline_mean: float | None,
) -> tuple[str, ...]:
    """The forecast at the next doubling, how the smaller sizes forecast the largest, and what rows are worth.

    With fewer than three sizes there is no forecast, and one sentence says so.

    Args:
        record: the run, for its gates and economics.
        suite, info, candidate: whose curve it is.
        sized: the candidate's trials that have a size, each with the comparison of its mean with zero.
        baseline_mean: of the baseline, in [0, 1]; None where it was not measured.
    """
    points = []
    for trial, found in sized:
        if trial.size is not None and found.candidate_mean is not None:
            error = None if found.low is None or found.high is None else (found.high - found.low) / (2 * _Z90)
            points.append(ScoredTraining(trial.size, trial.seed, found.candidate_mean, error))
    if len({point.size for point in points}) < 2:
        return ()
    fit = fit_curve(points)
    if isinstance(fit, str):
        return (f"{candidate.name}: no forecast: {fit}",)
    last = max(point.size for point in points)
    lines = [forecast_sentence(fit, last, 2 * last, kind=info.kind), *_backtest(points, info)]
    money = _priced(record, suite, info, candidate.name)
    if money is not None:
        usd_per_point, row_usd = money.value_usd_per_point_per_day, money.training_row_usd
        assert usd_per_point is not None
        assert row_usd is not None
        over_horizon = usd_per_point * money.horizon_days
        worth = value_of_more_rows(
            fit, last, 2 * last, over_horizon, row_usd * last, baseline_mean, info.kind
        )
        lines.append(worth.sentence)
    return tuple(f"{candidate.name}: {line}" for line in lines)


def _backtest(points: Sequence[ScoredTraining], info: ScoreInfo) -> list[str]:
    """The forecast put to the test on the largest size, beside the simplest one: the last value."""
    sizes = sorted({point.size for point in points})
    if len(sizes) <= LEAST_SIZES:
        return []
    last, before = sizes[-1], sizes[-2]
    fit = fit_curve([point for point in points if point.size < last])
    if isinstance(fit, str):
        return []
    means = {size: [point.mean for point in points if point.size == size] for size in (before, last)}
    value, found = (numbers.mean(sum(each) / len(each), info.kind) for each in means.values())
    forecast_at_last = fit.at(last)
    mean, low, high = (
        numbers.mean(one, info.kind)
        for one in (forecast_at_last.mean, forecast_at_last.low, forecast_at_last.high)
    )
    return [
        f"From the sizes up to {before:,} rows it would have forecast {mean}"
        f" [{low}, {high}] at {last:,}; the last value was {value}; {found} was measured."
    ]


def _priced(record: RunRecord, suite: SuiteInfo, info: ScoreInfo, name: str) -> Economics | None:
    """The economics, where they put a price on this score's points: that of the candidate's first target."""
    for gate in record.gates:
        found = gate.comparison
        if gate.role is Role.TARGET and gate.state == "gated" and gate.candidate == name and found:
            if (gate.suite, found.score) != (suite.name, info.name):
                return None
            break
    else:
        return None
    money = next((e for e in record.economics if e.candidate.partition("@")[0] == name), None)
    if money is None or money.value_usd_per_point_per_day is None or money.training_row_usd is None:
        return None
    return money
