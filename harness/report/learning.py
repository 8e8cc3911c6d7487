"""The learning curve: the mean of every score over training size, with the baseline beside it."""

from __future__ import annotations

from collections.abc import Iterator

from harness.decision.paired import compare
from harness.decision.vectors import recorded_vector
from harness.records import CandidateInfo, Comparison, Kind, RunRecord, ScoreInfo, SuiteInfo, Trial
from harness.report import numbers
from harness.report.forecast import forecast
from harness.report.trial_pairs import is_advisory, is_compared, trial_label, trials_of
from harness.report.view_models import Band, Cell, Curve, CurveLine, CurvePoint, Table

_HEAD = (
    Cell("trial"),
    Cell("rows trained on", numeric=True),
    Cell("n", numeric=True),
    Cell("mean", numeric=True),
    Cell("interval", numeric=True),
)
_Measured = tuple[Trial, Comparison]


def learning_curves(record: RunRecord) -> tuple[Curve, ...]:
    """One curve for each score of each suite on which something was trained."""
    curves = (
        _curve(record, suite, info)
        for suite in record.suites
        for info in suite.scores
        if any(t.suite == suite.name and t.size is not None and info.name in t.scores for t in record.trials)
    )
    return tuple(curve for curve in curves if curve.lines)


def _curve(record: RunRecord, suite: SuiteInfo, info: ScoreInfo) -> Curve:
    baselines = {c.baseline for c in record.candidates if is_compared(c)}
    lines, bands, rows = [], [], []
    said: list[str] = []
    plain: dict[str, float | None] = {}  # mean of what has no size: baselines come first
    for colour, candidate in enumerate(_baselines_first(record, baselines)):
        measured = list(_measured(record, suite, candidate, info.name))
        rows += [_row(trial, mean, info.kind) for trial, mean in measured]
        sized = [(trial, mean) for trial, mean in measured if trial.size is not None]
        if sized:
            lines.append(CurveLine(candidate.name, colour, tuple(_points(sized))))
            said += forecast(record, suite, info, candidate, sized, plain.get(candidate.baseline))
        plain[candidate.name] = next((m.candidate_mean for trial, m in measured if trial.size is None), None)
        bands += [
            _band(candidate.name, colour, mean, candidate.name in baselines)
            for trial, mean in measured
            if trial.size is None and mean.candidate_mean is not None
        ]
    level = numbers.percent(1 - 2 * record.alpha, 0)
    title = f"{suite.name} / {info.name}"
    return Curve(
        title=title + (" (advisory)" if is_advisory(info) else ""),
        y_label="rows right (%)" if info.kind is Kind.BINARY else "mean score (of 100)",
        lines=tuple(lines),
        bands=tuple(bands),
        table=Table(f"{title}: means with {level} intervals over rows", _HEAD, tuple(rows)),
        forecast=tuple(said),
        description=_describe(title, rows),
    )


def _baselines_first(record: RunRecord, baselines: set[str]) -> list[CandidateInfo]:
    return sorted(record.candidates, key=lambda candidate: candidate.name not in baselines)


def _measured(
    record: RunRecord, suite: SuiteInfo, candidate: CandidateInfo, score: str
) -> Iterator[_Measured]:
    for trial in trials_of(record, suite.name, candidate.name):
        if score in trial.scores:
            yield trial, compare(recorded_vector(suite, trial, score), 0.0, alpha=record.alpha)


def _points(sized: list[_Measured]) -> Iterator[CurvePoint]:
    for trial, found in sized:
        if trial.size is not None and found.candidate_mean is not None:
            yield CurvePoint(
                size=trial.size,
                seed=trial.seed,
                mean=100 * found.candidate_mean,
                low=_hundredfold(found.low),
                high=_hundredfold(found.high),
            )


def _band(label: str, colour: int, found: Comparison, is_baseline: bool) -> Band:
    return Band(
        label=label,
        colour=colour,
        mean=100 * (found.candidate_mean or 0.0),
        low=_hundredfold(found.low),
        high=_hundredfold(found.high),
        is_baseline=is_baseline,
    )


def _row(trial: Trial, found: Comparison, kind: Kind) -> tuple[Cell, ...]:
    low, high = numbers.mean(found.low, kind), numbers.mean(found.high, kind)
    return (
        Cell(trial_label(trial)),
        Cell(numbers.NONE if trial.size is None else numbers.count(trial.size), numeric=True),
        Cell(numbers.count(found.n), numeric=True),
        Cell(numbers.mean(found.candidate_mean, kind), numeric=True),
        Cell(numbers.NONE if found.low is None else f"[{low}, {high}]", numeric=True),
    )


def _describe(title: str, rows: list[tuple[Cell, ...]]) -> str:
    means = "; ".join(f"{row[0].text}: {row[3].text}" for row in rows)
    return f"Learning curve of {title}. {means}."


def _hundredfold(value: float | None) -> float | None:
    return None if value is None else 100 * value
