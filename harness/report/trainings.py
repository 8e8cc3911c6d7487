"""How the adapters came to be: losses, token accuracy, throughput and signs of overfitting."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

from harness.records import RunRecord, Training, TrainingPoint, Trial
from harness.report import numbers
from harness.report.trial_pairs import order, trial_label
from harness.report.view_models import Cell, LossLine, Table, TrainingBlock, TrainingCurves

_HEAD = (
    Cell("adapter"),
    Cell("rows", numeric=True),
    Cell("replay rows", numeric=True),
    Cell("epochs", numeric=True),
    Cell("steps", numeric=True),
    Cell("tokens an epoch", numeric=True),
    Cell("supervised", numeric=True),
    Cell("time", numeric=True),
    Cell("tokens/s", numeric=True),
    Cell("dev loss", numeric=True),
    Cell("dev token accuracy", numeric=True),
    Cell("numerics"),
    Cell("rows drawn"),
)
_Trained = tuple[Trial, Training]


def trainings(record: RunRecord) -> TrainingBlock:
    """Every adapter once, however many suites it was evaluated on."""
    trained = _distinct(record)
    by_candidate: dict[str, list[_Trained]] = {}
    for trial, training in trained:
        by_candidate.setdefault(trial.candidate, []).append((trial, training))
    return TrainingBlock(
        curves=tuple(_curves(name, mine) for name, mine in by_candidate.items()),
        table=Table("Trainings", _HEAD, tuple(_row(*item) for item in trained)),
        flags=tuple(
            f"{trial_label(t)}: {training.overfitting}" for t, training in trained if training.overfitting
        ),
    )


def _distinct(record: RunRecord) -> list[_Trained]:
    found: dict[tuple[str, str], _Trained] = {}
    for trial in sorted(record.trials, key=order):
        if trial.training is not None:
            found.setdefault((trial.candidate, trial.training.fingerprint), (trial, trial.training))
    return list(found.values())


def _curves(name: str, trained: list[_Trained]) -> TrainingCurves:
    sizes = sorted({trial.size or 0 for trial, _ in trained})
    lines = tuple(_line(trial, training, sizes.index(trial.size or 0)) for trial, training in trained)
    ends = "; ".join(
        f"{trial_label(trial)}: development loss {numbers.number(_last_dev(training, _dev_loss))}"
        for trial, training in trained
    )
    return TrainingCurves(name, lines, f"Training of {name}: loss and token accuracy over epochs. {ends}.")


def _line(trial: Trial, training: Training, colour: int) -> LossLine:
    points = training.points
    return LossLine(
        label=trial_label(trial),
        colour=colour,
        train_loss=_series(points, lambda p: p.train_loss),
        dev_loss=_series(points, _dev_loss),
        train_accuracy=_series(points, lambda p: p.train_token_accuracy, 100),
        dev_accuracy=_series(points, _dev_accuracy, 100),
    )


def _dev_loss(point: TrainingPoint) -> float | None:
    return point.dev_loss


def _dev_accuracy(point: TrainingPoint) -> float | None:
    return point.dev_token_accuracy


def _series(
    points: tuple[TrainingPoint, ...], read: Callable[[TrainingPoint], float | None], times: float = 1
) -> tuple[tuple[float, float], ...]:
    pairs = ((point.epoch, read(point)) for point in points)
    return tuple((epoch, times * value) for epoch, value in pairs if value is not None and isfinite(value))


def _last_dev(training: Training, read: Callable[[TrainingPoint], float | None]) -> float | None:
    return next((value for p in reversed(training.points) if (value := read(p)) is not None), None)


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
        numbers.number(_last_dev(training, _dev_loss)),
        numbers.percent(_last_dev(training, _dev_accuracy)),
    )
    return (
        Cell(trial_label(trial)),
        *(Cell(text, numeric=True) for text in figures),
        Cell(f"{training.numeric_config}, {training.device}"),
        Cell(training.subset),
    )
