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
    """

    train: tuple[Row, ...]  # the rows that subsets are drawn from
    file: str = "the training rows"  # where they came from, as people see it
    dev: tuple[Row, ...] = ()  # development rows, which only measure
    general: tuple[Row, ...] = ()  # rows of other tasks, mixed in whole at every size
    stratify: str | None = None  # the metadata field whose proportions every subset keeps
    # whether sizes and seeds apply. False for rows that are shown or looked up, not learnt
    is_trained: bool = True
    shown: int | None = None  # of rows that are not learnt: how many a prompt holds; None: any of them
    docs: tuple[Row, ...] = ()  # passages that can be looked up: no examples, and they may hold facts
    prompts: tuple[Row, ...] = ()  # the candidate's own prompts, which may hold examples

    def used(self, size: int | None) -> int:
        """How many of ``train`` it takes to make the candidate, which somebody has to write.

        Of rows that are looked up, all; of examples in a prompt, those that the prompt holds.
        """
        shaped = size if self.is_trained else self.shown
        return len(self.train) if shaped is None else shaped

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
    """The rows of one training."""

    own: tuple[Row, ...]  # the task's rows
    replay: tuple[Row, ...] = ()  # general rows mixed in
    dev: tuple[Row, ...] = ()  # rows that the training is only measured on
    drawn: str = ""  # how ``own`` was drawn from its file, for the record


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
