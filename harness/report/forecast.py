"""What more training rows would give: sentences under a learning curve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.decision.curve import (
    LEAST_SIZES,
    CurveFit,
    ScoredTraining,
    fit_curve,
    forecast_sentence,
    value_of_more_rows,
)
from harness.records import CandidateInfo, Comparison, Economics, Role, RunRecord, ScoreInfo, SuiteInfo, Trial
from harness.report import numbers

_Z90 = 1.645  # half of a two-sided 90% interval, in standard errors
_Measured = tuple[Trial, Comparison]


def forecast(
    record: RunRecord,
    suite: SuiteInfo,
    info: ScoreInfo,
    candidate: CandidateInfo,
    sized: Sequence[_Measured],
    baseline_mean: float | None,
) -> tuple[str, ...]:
    """The forecast at the next doubling, how the smaller sizes forecast the largest, and what rows are worth.

    With fewer than three sizes there is no forecast, and one sentence says so.
    """
    points = [_point(trial, found) for trial, found in sized if found.candidate_mean is not None]
    sizes = sorted({point.size for point in points})
    if len(sizes) < 2:
        return ()
    fit = fit_curve(points)
    if isinstance(fit, str):
        return (f"{candidate.name}: no forecast: {fit}",)
    last = sizes[-1]
    lines = [forecast_sentence(fit, last, 2 * last, kind=info.kind), *_tried(points, sizes, info)]
    money = _money(record, suite, info, candidate.name)
    if money is not None:
        lines.append(_worth(fit, last, money, baseline_mean, info))
    return tuple(f"{candidate.name}: {line}" for line in lines)


def _point(trial: Trial, found: Comparison) -> ScoredTraining:
    error = None if found.low is None or found.high is None else (found.high - found.low) / (2 * _Z90)
    assert trial.size is not None
    assert found.candidate_mean is not None
    return ScoredTraining(trial.size, trial.seed, found.candidate_mean, error)


def _tried(points: Sequence[ScoredTraining], sizes: Sequence[int], info: ScoreInfo) -> Iterator[str]:
    """The forecast put to the test on the largest size, beside the simplest one: the last value."""
    if len(sizes) <= LEAST_SIZES:
        return
    last, before = sizes[-1], sizes[-2]
    fit = fit_curve([point for point in points if point.size < last])
    if isinstance(fit, str):
        return
    said = fit.at(last)
    found = numbers.mean(_mean_at(points, last), info.kind)
    value = numbers.mean(_mean_at(points, before), info.kind)
    low, high = numbers.mean(said.low, info.kind), numbers.mean(said.high, info.kind)
    yield (
        f"From the sizes up to {before:,} rows it would have forecast {numbers.mean(said.mean, info.kind)}"
        f" [{low}, {high}] at {last:,}; the last value was {value}; {found} was measured."
    )


def _mean_at(points: Sequence[ScoredTraining], size: int) -> float:
    means = [point.mean for point in points if point.size == size]
    return sum(means) / len(means)


def _money(record: RunRecord, suite: SuiteInfo, info: ScoreInfo, name: str) -> Economics | None:
    """The economics, where they put a price on this score's points: that of the run's first target."""
    targets = [g for g in record.gates if g.role is Role.TARGET and g.state == "gated" and g.comparison]
    own = [g for g in targets if g.candidate == name]
    if not own or own[0].suite != suite.name or own[0].comparison is None:
        return None
    found = next((e for e in record.economics if e.candidate.partition("@")[0] == name), None)
    if found is None or found.value_usd_per_point_per_day is None or found.training_row_usd is None:
        return None
    return found if any(g.comparison and g.comparison.score == info.name for g in own[:1]) else None


def _worth(fit: CurveFit, size: int, money: Economics, baseline_mean: float | None, info: ScoreInfo) -> str:
    assert money.value_usd_per_point_per_day is not None
    assert money.training_row_usd is not None
    return value_of_more_rows(
        fit,
        size,
        2 * size,
        money.value_usd_per_point_per_day * money.horizon_days,
        money.training_row_usd * size,
        baseline_mean,
        info.kind,
    ).sentence
