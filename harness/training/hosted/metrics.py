"""Losses and accuracies of a job, read from its results files, its events and its checkpoints.

Services name their columns differently, change them, and leave cells empty; OpenAI's file comes encoded in
base64. A cell that cannot be read is left out: it never becomes a number.
"""

from __future__ import annotations

import base64
import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from harness.records import Json, TrainingPoint
from harness.training.hosted.provider import JobCheckpoint, JobEvent

MOST_POINTS = 100  # of a curve in a record; a long job reports thousands of steps

_NAMES: Mapping[str, tuple[str, ...]] = {
    "step": ("step", "global_step", "steps", "step_number"),
    "total": ("total_steps", "max_steps"),
    "epoch": ("epoch", "epochs"),
    "train_loss": ("train_loss", "training_loss", "loss"),
    "train_accuracy": (
        "train_mean_token_accuracy",
        "train_accuracy",
        "training_token_accuracy",
        "train_token_accuracy",
    ),
    "full_loss": ("full_valid_loss", "full_validation_loss", "full_val_loss"),
    "full_accuracy": ("full_valid_mean_token_accuracy", "full_validation_mean_token_accuracy"),
    "batch_loss": ("valid_loss", "validation_loss", "eval_loss", "val_loss"),
    "batch_accuracy": (
        "valid_mean_token_accuracy",
        "valid_accuracy",
        "validation_mean_token_accuracy",
        "validation_token_accuracy",
        "eval_mean_token_accuracy",
    ),
}
_STEP_IN_WORDS = re.compile(r"\bstep\s+(\d+)\s*(?:/|of)\s*(\d+)(.*)", re.IGNORECASE | re.DOTALL)
_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d*,\d+([eE][-+]?\d+)?\s*")
_NUMBER = r"\s*[=:]\s*([-+0-9.eE]+)"
_LOSSES_IN_WORDS = {
    "full_loss": re.compile(r"full validation loss" + _NUMBER, re.IGNORECASE),
    "batch_loss": re.compile(r"(?<!full )validation loss" + _NUMBER, re.IGNORECASE),
    "train_loss": re.compile(r"training loss" + _NUMBER, re.IGNORECASE),
}


@dataclass(frozen=True, slots=True)
class Metrics:
    """Measured at one step: ``full`` over all development rows, ``batch`` over some of them."""

    step: int
    total: int | None = None
    epoch: float | None = None
    train_loss: float | None = None
    train_accuracy: float | None = None
    full_loss: float | None = None
    full_accuracy: float | None = None
    batch_loss: float | None = None
    batch_accuracy: float | None = None

    @property
    def dev_loss(self) -> float | None:
        """The loss on development rows, over all of them where that was measured."""
        return self.full_loss if self.full_loss is not None else self.batch_loss


def parse_results(content: bytes) -> tuple[Metrics, ...]:
    """The steps of a results file, in order of step; rows without a step are left out.

    Columns are separated by commas, semicolons or tabs. Where no comma separates them, a comma within a
    number is its decimal mark.
    """
    lines = [line for line in _decoded(content).splitlines() if line.strip()]
    if not lines:
        return ()
    delimiter = max(",;\t", key=lines[0].count)
    rows = csv.DictReader(io.StringIO("\n".join(lines)), delimiter=delimiter)
    found: list[Metrics] = []
    with suppress(csv.Error):  # the rows before a broken line are good
        for row in rows:
            cells: dict[str, Json] = {}
            for name, cell in row.items():
                if name is None:  # cells beyond the header
                    continue
                is_decimal = delimiter != "," and isinstance(cell, str) and _DECIMAL_COMMA.fullmatch(cell)
                plain = name.strip().strip('"').lower().replace(" ", "_").replace("/", "_")
                cells[plain] = cell.replace(",", ".") if is_decimal else cell
            item = metrics_of(cells)
            found += [item] if item else []
    return merged(found)


def metrics_of(values: Mapping[str, Json]) -> Metrics | None:
    """The metrics among named values; None without a step."""
    numbers = {
        field: next((n for name in names if (n := _number(values.get(name))) is not None), None)
        for field, names in _NAMES.items()
    }
    step, total = numbers.pop("step"), numbers.pop("total")
    if step is None or step < 0:
        return None
    return Metrics(int(step), None if total is None else int(total), **numbers)


def metrics_of_event(event: JobEvent) -> Metrics | None:
    """The metrics of an event: of its data, else of its words (``Step 10/90: training loss=0.52``).

    Words are rounded, so the data come first.
    """
    in_words: Metrics | None = None
    if (step := _STEP_IN_WORDS.search(event.message)) is not None:
        losses = {
            field: _number(match.group(1)) if (match := pattern.search(step.group(3))) else None
            for field, pattern in _LOSSES_IN_WORDS.items()
        }
        in_words = Metrics(int(step.group(1)), int(step.group(2)), **losses)
    found = merged(item for item in (in_words, metrics_of(event.data)) if item is not None)
    return found[-1] if found else None


def merged(found: Iterable[Metrics]) -> tuple[Metrics, ...]:
    """One item a step, in order of step; fields that a later item lacks are taken from the earlier."""
    by_step: dict[int, Metrics] = {}
    for item in found:
        known = by_step.get(item.step)
        if known is None:
            by_step[item.step] = item
            continue
        fields = [name for name in Metrics.__slots__ if getattr(item, name) is not None]
        by_step[item.step] = replace(known, **{name: getattr(item, name) for name in fields})
    return tuple(by_step[step] for step in sorted(by_step))


def training_points(metrics: Sequence[Metrics], epochs: float) -> tuple[TrainingPoint, ...]:
    """The curve, at most ``MOST_POINTS`` points of it: each holds the means of the steps since the last.

    Where losses over all development rows are known, those over a batch are left out, because they scatter.
    Where the service does not name a step's epoch, it is the step's share of ``epochs``.
    """
    if not metrics:
        return ()
    is_whole = any(item.full_loss is not None for item in metrics)
    last = max(metrics[-1].step, *(item.total or 0 for item in metrics))
    size = -(-len(metrics) // MOST_POINTS)
    points: list[TrainingPoint] = []
    for start in range(0, len(metrics), size):
        chunk = metrics[start : start + size]
        end = chunk[-1]
        share = end.step / last if last else 0.0
        points.append(
            TrainingPoint(
                step=end.step,
                epoch=end.epoch if end.epoch is not None else share * epochs,
                train_loss=_mean(item.train_loss for item in chunk),
                train_token_accuracy=_mean(item.train_accuracy for item in chunk),
                dev_loss=_mean(item.full_loss if is_whole else item.batch_loss for item in chunk),
                dev_loss_se=None,
                dev_token_accuracy=_mean(
                    item.full_accuracy if is_whole else item.batch_accuracy for item in chunk
                ),
            )
        )
    return tuple(points)


def best_checkpoint(checkpoints: Sequence[JobCheckpoint]) -> JobCheckpoint | None:
    """The one with the lowest development loss, the earlier of equals; None where none has a loss."""
    measured: list[tuple[float, int, JobCheckpoint]] = []
    for checkpoint in checkpoints:
        found = metrics_of({**checkpoint.metrics, "step": checkpoint.step})
        if found is not None and found.dev_loss is not None:
            measured.append((found.dev_loss, checkpoint.step, checkpoint))
    return min(measured, key=lambda item: item[:2])[2] if measured else None


def _mean(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None


def _number(value: Json) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value) if isinstance(value, int | float) else float(str(value).strip())
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _decoded(content: bytes) -> str:
    text = content.decode("utf-8", "replace").lstrip("\ufeff")
    packed = "".join(text.split())
    if packed and not set(",;\t") & set(text):
        with suppress(ValueError):  # neither base64 nor text in it
            return base64.b64decode(packed, validate=True).decode("utf-8").lstrip("\ufeff")
    return text
