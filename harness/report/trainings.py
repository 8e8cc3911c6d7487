"""How the adapters came to be: losses, token accuracy, throughput and signs of overfitting."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite

from harness.records import RunRecord, Training, Trial
from harness.report import numbers
from harness.report.trial_pairs import order, trial_label
from harness.report.view_models import Cell, LossLine, TextTable, TrainingBlock, TrainingCurves

_HEAD = (
    Cell("adapter"),
    *(Cell(name, numeric=True) for name in ("rows", "replay rows", "epochs", "steps", "tokens an epoch")),
    *(Cell(name, numeric=True) for name in ("supervised", "time", "tokens/s", "dev loss")),
    Cell("dev token accuracy", numeric=True),
    Cell("numerics"),
    Cell("rows drawn"),
)


def trainings(record: RunRecord) -> TrainingBlock:
    """Every adapter once, however many suites it was evaluated on."""
    distinct: dict[tuple[str, str], tuple[Trial, Training]] = {}
    for trial in sorted(record.trials, key=order):
        if trial.training is not None:
            distinct.setdefault((trial.candidate, trial.training.fingerprint), (trial, trial.training))
    by_candidate: dict[str, list[tuple[Trial, Training]]] = {}
    for trial, training in distinct.values():
        by_candidate.setdefault(trial.candidate, []).append((trial, training))
    return TrainingBlock(
        curves=tuple(_curves(name, mine) for name, mine in by_candidate.items()),
        table=TextTable("Trainings", _HEAD, tuple(_row(*item) for item in distinct.values())),
        flags=tuple(
            f"{trial_label(trial)}: {training.overfitting}"
            for trial, training in distinct.values()
            if training.overfitting
        ),
    )


def _curves(name: str, trained: list[tuple[Trial, Training]]) -> TrainingCurves:
    sizes = sorted({trial.size or 0 for trial, _ in trained})
    lines, ends = [], []
    for trial, training in trained:
        points = training.points
        lines.append(
            LossLine(
                label=trial_label(trial),
                colour=sizes.index(trial.size or 0),
                train_loss=_series((p.epoch, p.train_loss) for p in points),
                dev_loss=_series((p.epoch, p.dev_loss) for p in points),
                train_accuracy=_series(((p.epoch, p.train_token_accuracy) for p in points), times=100),
                dev_accuracy=_series(((p.epoch, p.dev_token_accuracy) for p in points), times=100),
            )
        )
        last = numbers.number(_last(p.dev_loss for p in points))
        ends.append(f"{trial_label(trial)}: development loss {last}")
    description = f"Training of {name}: loss and token accuracy over epochs. {'; '.join(ends)}."
    return TrainingCurves(name, tuple(lines), description)


def _series(
    values: Iterable[tuple[float, float | None]], times: float = 1
) -> tuple[tuple[float, float], ...]:
    """(epoch, value) where there is a finite value; a diverged training has others."""
    return tuple((epoch, times * value) for epoch, value in values if value is not None and isfinite(value))


def _last(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return known[-1] if known else None


def _row(trial: Trial, training: Training) -> tuple[Cell, ...]:
    figures = (
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
    )
    return (
        Cell(trial_label(trial)),
        *(Cell(text, numeric=True) for text in figures),
        Cell(f"{training.numeric_config}, {training.device}"),
        Cell(training.subset),
    )
