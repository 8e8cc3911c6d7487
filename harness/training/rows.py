"""The rows of a training: what a candidate names, and what one training draws from it."""

from __future__ import annotations

from dataclasses import dataclass

from harness.data.fingerprints import fingerprint, row_fingerprint
from harness.data.subsets import nested_subsets
from harness.records import Row


@dataclass(frozen=True, slots=True)
class TrainingData:
    """All rows of the project that shape a candidate.

    Sizes count ``train``; the leak check compares ``seen`` with every held-out file.

    Args:
        train: the rows that subsets are drawn from.
        file: where they came from, as people see it.
        dev: development rows, which only measure.
        general: rows of other tasks, mixed in whole at every size.
        stratify: the metadata field whose proportions every subset keeps.
        is_trained: whether sizes and seeds apply. False for rows that are shown or looked up, not learnt.
    """

    train: tuple[Row, ...]
    file: str = "the training rows"
    dev: tuple[Row, ...] = ()
    general: tuple[Row, ...] = ()
    stratify: str | None = None
    is_trained: bool = True

    @property
    def seen(self) -> tuple[Row, ...]:
        """Rows that the candidate has learnt or can look up, and that no held-out file may hold."""
        return (*self.train, *self.general)

    @property
    def fingerprint(self) -> str:
        """The content of all rows, whatever their files are called and however they are ordered."""
        parts = {"train": self.train, "dev": self.dev, "general": self.general}
        content = {name: sorted(map(row_fingerprint, rows)) for name, rows in parts.items()}
        return fingerprint({**content, "stratify": self.stratify})


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """The rows of one training.

    Args:
        own: the task's rows.
        replay: general rows mixed in.
        dev: rows that the training is only measured on.
        drawn: how ``own`` was drawn from its file, for the record.
    """

    own: tuple[Row, ...]
    replay: tuple[Row, ...] = ()
    dev: tuple[Row, ...] = ()
    drawn: str = ""


def draw_rows(data: TrainingData, size: int | None, seed: int) -> TrainingRows:
    """A nested, stratified subset of ``size`` rows (None: all), with the general and development rows.

    Raises:
        UsageError: ``size`` is larger than the data.
    """
    total = len(data.train)
    size = total if size is None else size
    own = nested_subsets(data.train, [size], seed, data.stratify)[size]
    share = f", stratified by {data.stratify}" if data.stratify else ""
    drawn = f"all {total} rows of the file{share}"
    if size < total:
        order = f"in one order (seed {seed}{share}); every size holds the smaller"
        drawn = f"the first {size} of {total} rows {order}"
    return TrainingRows(own, data.general, data.dev, drawn)
