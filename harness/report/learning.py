"""How candidates learned: scores over training size with their forecasts, and losses over epochs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite

from harness.decision.curve import CurveFit, ScoredTraining, fit_curve, forecast_sentence
from harness.decision.paired import compare
from harness.decision.vectors import recorded_vector
from harness.records import Comparison, Kind, RunRecord, ScoreInfo, SuiteInfo, Training, Trial
from harness.report import numbers
from harness.report.forecasts import forecast_of
from harness.report.quality import more_rows
from harness.report.trial_pairs import is_advisory, is_compared, order, trial_label, trials_of
from harness.report.view_models import (
    Ahead,
    Curve,
    CurveForecast,
    CurveLine,
    CurveMark,
    Series,
    TextTable,
    TrainingBlock,
    TrainingCurves,
    TrainingLine,
)

_Z90 = 1.645  # half of a two-sided 90% interval, in standard errors


def learning_curves(record: RunRecord) -> list[Curve]:
    """One curve for each score of each suite on which something was trained."""
    curves = [_curve(record, suite, info) for suite in record.suites for info in suite.scores]
    return [curve for curve in curves if curve.lines]


def _curve(record: RunRecord, suite: SuiteInfo, info: ScoreInfo) -> Curve:
    baselines = {c.baseline for c in record.candidates if is_compared(c)}
    lines: list[CurveLine] = []
    bands: list[CurveLine] = []
    rows: list[tuple[str, ...]] = []
    forecasts: list[CurveForecast] = []
    worth: list[str] = []
    ahead: list[str] = []  # the forecasts in a sentence each
    unsized_means: dict[str, float | None] = {}  # of what has no size
    # baselines come first: the candidates' forecasts need their means, and the first colour is theirs
    candidates = sorted(record.candidates, key=lambda candidate: candidate.name not in baselines)
    for place, candidate in enumerate(candidates):
        colour = f"c{1 + (place - 1) % 7 if place else 0}"  # the page has eight
        name, is_baseline = candidate.name, candidate.name in baselines
        sized: list[CurveMark] = []
        points: list[ScoredTraining] = []
        trials = [t for t in trials_of(record, suite.name, name) if info.name in t.scores]
        for trial in trials:
            found = compare(recorded_vector(suite, trial, info.name), 0.0, alpha=record.alpha)
            mean, low, high = (
                numbers.mean(value, info.kind) for value in (found.candidate_mean, found.low, found.high)
            )
            size = numbers.NONE if trial.size is None else numbers.count(trial.size)
            interval = numbers.NONE if found.low is None else f"[{low}, {high}]"
            rows.append((trial_label(trial), size, numbers.count(found.n), mean, interval))
            if trial.size is None:
                unsized_means.setdefault(name, found.candidate_mean)
            if found.candidate_mean is None:
                continue
            mark = CurveMark(trial.size or 0, *_in_points(found))
            if trial.size is None:
                bands.append(CurveLine(name, colour, [mark], is_baseline))
            else:
                sized.append(mark)
                error = None
                if found.low is not None and found.high is not None:
                    error = (found.high - found.low) / (2 * _Z90)
                points.append(ScoredTraining(trial.size, trial.seed, found.candidate_mean, error))
        if any(trial.size is not None for trial in trials):
            fit = fit_curve(points)
            forecasts += forecast_of(name, info.kind, points, fit)
            lines.append(CurveLine(name, colour, sized, ahead=_ahead(fit)))
            if isinstance(fit, CurveFit):
                ahead.append(f" {name}: {forecast_sentence(fit, 2 * fit.largest, info.kind)}")
                said = more_rows(record, suite, info, name, fit, unsized_means.get(candidate.baseline))
                worth += [f"{suite.name} / {info.name}, {name}: {line}" for line in said]
    title = f"{suite.name} / {info.name}"
    means = "; ".join(f"{row[0]}: {row[3]}" for row in rows)
    return Curve(
        title=title + (" (advisory)" if is_advisory(info) else ""),
        y_label="rows right (%)" if info.kind is Kind.BINARY else "mean score (of 100)",
        lines=lines,
        bands=bands,
        table=TextTable(
            f"{title}: means with {numbers.level(record.alpha)} intervals over rows",
            ("trial", "rows trained on#", "n#", "mean#", "interval#"),
            rows,
        ),
        forecasts=forecasts,
        worth=worth,
        description=f"Learning curve of {title}. {means}.{''.join(ahead)}",
    )


def _ahead(fit: CurveFit | str) -> Ahead | None:
    if isinstance(fit, str):
        return None
    found = fit.at(2 * fit.largest)
    to = CurveMark(2 * fit.largest, 100 * found.mean, 100 * found.low, 100 * found.high)
    return Ahead(fit.largest, 100 * fit.measured, to)


def _in_points(found: Comparison) -> tuple[float, float | None, float | None]:
    """Mean and limits, from 0 to 100."""
    low, high = (None if limit is None else 100 * limit for limit in (found.low, found.high))
    return 100 * (found.candidate_mean or 0.0), low, high


def trainings(record: RunRecord) -> TrainingBlock:
    """How every adapter came to be, each once, however many suites it was evaluated on."""
    distinct: dict[tuple[str, str], tuple[Trial, Training]] = {}
    for trial in sorted(record.trials, key=order):
        if trial.training is not None:
            distinct.setdefault((trial.candidate, trial.training.fingerprint), (trial, trial.training))
    by_candidate: dict[str, list[tuple[Trial, Training]]] = {}
    for trial, training in distinct.values():
        by_candidate.setdefault(trial.candidate, []).append((trial, training))
    rows = [
        (
            trial_label(trial),
            numbers.count(training.rows),
            numbers.count(training.replay_rows),
            numbers.number(training.epochs, 1),
            numbers.count(training.steps),
            numbers.tokens(training.tokens),
            numbers.tokens(training.supervised_tokens),
            numbers.seconds(training.seconds),
            numbers.number(round(training.tokens_per_second)),
            numbers.number(_last(point.dev_loss for point in training.points)),
            numbers.percent(_last(point.dev_token_accuracy for point in training.points)),
            f"{training.numeric_config}, {training.device}",
            training.subset,
        )
        for trial, training in distinct.values()
    ]
    heads = ["adapter", "rows#", "replay rows#", "epochs#", "steps#", "tokens an epoch#", "supervised#"]
    heads += ["time#", "tokens/s#", "dev loss#", "dev token accuracy#", "numerics", "rows drawn"]
    return TrainingBlock(
        curves=[_training_curves(name, mine) for name, mine in by_candidate.items()],
        table=TextTable("Trainings", heads, rows),
        flags=[f"{trial_label(t)}: {one.overfitting}" for t, one in distinct.values() if one.overfitting],
    )


def _training_curves(name: str, trained: Sequence[tuple[Trial, Training]]) -> TrainingCurves:
    sizes = sorted({trial.size or 0 for trial, _ in trained})
    lines, ends = [], []
    rows: list[tuple[str, ...]] = []
    for trial, training in trained:
        points = training.points
        lines.append(
            TrainingLine(
                label=trial_label(trial),
                colour=f"s{min(sizes.index(trial.size or 0), 5)}",
                loss=(
                    _series((p.epoch, p.train_loss) for p in points),
                    _series((p.epoch, p.dev_loss) for p in points),
                ),
                accuracy=(
                    _series(((p.epoch, p.train_token_accuracy) for p in points), times=100),
                    _series(((p.epoch, p.dev_token_accuracy) for p in points), times=100),
                ),
            )
        )
        rows += [
            (
                trial_label(trial),
                f"{point.epoch:.2f}",
                numbers.number(point.train_loss),
                numbers.number(point.dev_loss),
                numbers.percent(point.train_token_accuracy),
                numbers.percent(point.dev_token_accuracy),
            )
            for point in points
        ]
        last = numbers.number(_last(p.dev_loss for p in points))
        ends.append(f"{trial_label(trial)}: development loss {last}")
    description = f"Training of {name}: loss and token accuracy over epochs. {'; '.join(ends)}."
    heads = ("adapter", "epoch#", "training loss#", "development loss#", "training accuracy#")
    table = TextTable(
        f"Loss (nats a token) and token accuracy of {name}", (*heads, "development accuracy#"), rows
    )
    return TrainingCurves(name, lines, description, table)


def _series(values: Iterable[tuple[float, float | None]], times: float = 1) -> Series:
    """(epoch, value) where there is a finite value; a diverged training has others."""
    return [(epoch, times * value) for epoch, value in values if value is not None and isfinite(value)]


def _last(values: Iterable[float | None]) -> float | None:
    return next((value for value in reversed([*values]) if value is not None), None)
