"""The learning curve: the mean of every score over training size, with the baseline beside it."""

from __future__ import annotations

from harness.decision.paired import compare
from harness.decision.vectors import recorded_vector
from harness.records import Comparison, Kind, RunRecord, ScoreInfo, SuiteInfo
from harness.report import numbers
from harness.report.forecast import forecast
from harness.report.trial_pairs import is_advisory, is_compared, trial_label, trials_of
from harness.report.view_models import Band, Cell, Curve, CurveLine, CurveMark, TextTable

_HEAD = (
    Cell("trial"),
    *(Cell(name, numeric=True) for name in ("rows trained on", "n", "mean", "interval")),
)


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
    forecasts: list[str] = []
    unsized_means: dict[str, float | None] = {}  # of what has no size
    # baselines come first: the candidates' forecasts need their means, and the first colour is theirs
    candidates = sorted(record.candidates, key=lambda candidate: candidate.name not in baselines)
    for colour, candidate in enumerate(candidates):
        measured = [
            (trial, compare(recorded_vector(suite, trial, info.name), 0.0, alpha=record.alpha))
            for trial in trials_of(record, suite.name, candidate.name)
            if info.name in trial.scores
        ]
        for trial, found in measured:
            low, high = numbers.mean(found.low, info.kind), numbers.mean(found.high, info.kind)
            figures = (
                numbers.NONE if trial.size is None else numbers.count(trial.size),
                numbers.count(found.n),
                numbers.mean(found.candidate_mean, info.kind),
                numbers.NONE if found.low is None else f"[{low}, {high}]",
            )
            rows.append((Cell(trial_label(trial)), *(Cell(text, numeric=True) for text in figures)))
        sized = [(trial, found) for trial, found in measured if trial.size is not None]
        if sized:
            marks = tuple(
                CurveMark(trial.size, trial.seed, *_in_points(found))
                for trial, found in sized
                if trial.size is not None and found.candidate_mean is not None
            )
            lines.append(CurveLine(candidate.name, colour, marks))
            mean = unsized_means.get(candidate.baseline)
            forecasts += forecast(record, suite, info, candidate, sized, mean)
        unsized = [found for trial, found in measured if trial.size is None]
        unsized_means[candidate.name] = unsized[0].candidate_mean if unsized else None
        bands += [
            Band(candidate.name, colour, *_in_points(found), is_baseline=candidate.name in baselines)
            for found in unsized
            if found.candidate_mean is not None
        ]
    title = f"{suite.name} / {info.name}"
    means = "; ".join(f"{row[0].text}: {row[3].text}" for row in rows)
    return Curve(
        title=title + (" (advisory)" if is_advisory(info) else ""),
        y_label="rows right (%)" if info.kind is Kind.BINARY else "mean score (of 100)",
        lines=tuple(lines),
        bands=tuple(bands),
        table=TextTable(
            f"{title}: means with {numbers.level(record.alpha)} intervals over rows", _HEAD, tuple(rows)
        ),
        forecast=tuple(forecasts),
        description=f"Learning curve of {title}. {means}.",
    )


def _in_points(found: Comparison) -> tuple[float, float | None, float | None]:
    """Mean and limits, from 0 to 100."""
    low, high = (None if limit is None else 100 * limit for limit in (found.low, found.high))
    return 100 * (found.candidate_mean or 0.0), low, high
