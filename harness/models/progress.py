"""Progress as seen from below: rooms report, the plugin draws. Quiet unless a terminal is watching."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


class Bar(Protocol):
    """One running task."""

    def at(self, done: float, total: float | None = None, note: str = "") -> None:
        """Say how far the task is, in its unit, and a short note (loss, tokens/s)."""


class Progress(Protocol):
    """Where tasks are announced."""

    def task(self, name: str, unit: str) -> AbstractContextManager[Bar]:
        """Announce a task; the returned context manager gives its bar."""

    def say(self, text: str) -> None:
        """Tell something that must stay to be read, such as the id of a job that costs money."""


class SilentBar:
    """Swallows reports."""

    def at(self, done: float, total: float | None = None, note: str = "") -> None:
        """Do nothing."""


class Silent:
    """For programs, tests and pipes: nothing is drawn."""

    @contextmanager
    def task(self, name: str, unit: str) -> Iterator[Bar]:
        """Announce a task to nobody."""
        yield SilentBar()

    def say(self, text: str) -> None:
        """Tell nobody."""


class Printed(Silent):
    """For logs: nothing is drawn, and what must stay is printed, a line each."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def say(self, text: str) -> None:
        """Print a line."""
        self._write(f"\nharness: {text}\n")  # pytest may be in the middle of a line


class Drawn:
    """Bars on a terminal, drawn by rich: done, speed, time left and the task's note."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._bars: RichProgress | None = None

    def say(self, text: str) -> None:
        """Print a line, above the bar where one is drawn."""
        from rich.console import Console

        console = Console(file=self._file) if self._bars is None else self._bars.console
        console.print(text, markup=False, highlight=False)

    @contextmanager
    def task(self, name: str, unit: str) -> Iterator[Bar]:
        """Draw a bar while the task runs; a finished task leaves one line."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bars

        counts = TextColumn("{task.fields[size]}") if unit == "B" else MofNCompleteColumn()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            counts,
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Bars(*columns, console=Console(file=self._file), refresh_per_second=4) as bars:
            self._bars = bars
            try:
                yield _DrawnBar(bars, bars.add_task(name, total=None, note="", size=""))
            finally:
                self._bars = None


class _DrawnBar:
    def __init__(self, bars: RichProgress, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def at(self, done: float, total: float | None = None, note: str = "") -> None:
        size = f"{done / 1e6:.0f}/{(total or 0) / 1e6:.0f} MB"
        self._bars.update(self._task, completed=done, total=total, note=note, size=size)
