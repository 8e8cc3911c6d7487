"""Progress of long tasks: the code that does the work reports it, and the plugin decides how it is drawn."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

NOTICED_AFTER_S = 5.0


class Bar(Protocol):
    """One running task."""

    def at(self, done: float, total: float | None = None, note: str = "") -> None:
        """Report how far the task is, in its unit, with a few words such as loss and tokens/s."""


class Progress(Protocol):
    """Shows running tasks."""

    def task(self, name: str, unit: str) -> AbstractContextManager[Bar]:
        """A task's bar, such as that of ``training qlora``; leaving the context ends it."""

    def say(self, text: str) -> None:
        """Show a line that stays, such as the id of a job that costs money."""


class SilentBar:
    """Ignores reports."""

    def at(self, done: float, total: float | None = None, note: str = "") -> None:
        """Do nothing."""


class Silent:
    """For programs, tests and pipes: nothing is drawn."""

    @contextmanager
    def task(self, name: str, unit: str) -> Iterator[Bar]:
        """See ``Progress``."""
        yield SilentBar()

    def say(self, text: str) -> None:
        """See ``Progress``."""


class Printed(Silent):
    """For logs: no bars; lines that stay are printed, and with ``steps`` one for each tenth of a task."""

    def __init__(self, write: Callable[[str], object], *, steps: bool = False) -> None:
        self._write, self._steps = write, steps

    @contextmanager
    def task(self, name: str, unit: str) -> Iterator[Bar]:
        """See ``Progress``."""
        yield _PrintedBar(name, unit, self._write) if self._steps else SilentBar()

    def say(self, text: str) -> None:
        """Print a line."""
        self._write(f"\nharness: {text}\n")  # pytest may be in the middle of a line


class _PrintedBar:
    def __init__(self, name: str, unit: str, write: Callable[[str], object]) -> None:
        self._name, self._unit, self._write = name, unit, write
        self._next: float | None = None  # how much has to be done before the next line

    def at(self, done: float, total: float | None = None, note: str = "") -> None:
        begins, whole = self._next is None, total or 0.0
        if self._next is not None and done < self._next:
            return
        after = done + max(1.0, whole / 10)
        self._next = min(after, whole) if done < whole else after
        if not begins:
            of = f" of {whole:,.0f}" if whole else ""
            self._write(f"{self._name}: {done:,.0f}{of} {self._unit}s{f' ({note})' if note else ''}\n")


class Drawn:
    """Bars on a terminal, drawn by rich: done, speed, time left and the task's note.

    Tasks of several threads share one display.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._bars: RichProgress | None = None
        self._running, self._lock = 0, threading.Lock()

    def say(self, text: str) -> None:
        """Print a line, above the bar where one is drawn."""
        from rich.console import Console

        console = Console(file=self._file, width=self._width()) if self._bars is None else self._bars.console
        console.print(text, markup=False, highlight=False)

    def _width(self) -> int | None:
        """Of this terminal; rich would ask the process's own streams, which pytest has taken."""
        try:
            return os.get_terminal_size(self._file.fileno()).columns or None
        except (OSError, ValueError):
            return None

    @contextmanager
    def task(self, name: str, unit: str) -> Iterator[Bar]:
        """Draw a bar while the task runs; a finished task leaves one line."""
        with self._lock:
            self._running += 1
            if self._bars is None:
                self._bars = self._started()
            bars = self._bars
        try:
            yield _DrawnBar(bars, bars.add_task(name, total=None, note="", size="", unit=unit))
        finally:
            with self._lock:
                self._running -= 1
                if not self._running:
                    self._bars = None
                    bars.stop()

    def _started(self) -> RichProgress:
        from rich import progress as rich
        from rich.console import Console
        from rich.table import Column
        from rich.text import Text

        class Done(rich.MofNCompleteColumn):
            def render(self, task: rich.Task) -> Text:
                return Text(task.fields["size"]) if task.fields["unit"] == "B" else super().render(task)

        whole = partial(Column, no_wrap=True)
        shrinking = partial(Column, no_wrap=True, overflow="ellipsis")  # in a narrow terminal
        columns = (
            rich.TextColumn("{task.description}", table_column=shrinking(ratio=4)),
            rich.BarColumn(bar_width=None, table_column=shrinking(ratio=1)),
            Done(table_column=whole()),
            rich.TimeElapsedColumn(table_column=whole()),
            rich.TextColumn("left", table_column=whole()),
            rich.TimeRemainingColumn(table_column=whole()),
            rich.TextColumn("{task.fields[note]}", table_column=shrinking(ratio=4)),
        )
        console = Console(file=self._file, width=self._width())
        bars = rich.Progress(*columns, console=console, refresh_per_second=4, expand=True)
        bars.start()
        return bars


class _DrawnBar:
    def __init__(self, bars: RichProgress, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def at(self, done: float, total: float | None = None, note: str = "") -> None:
        size = f"{done / 1e6:.0f}/{(total or 0) / 1e6:.0f} MB"
        self._bars.update(self._task, completed=done, total=total, note=note, size=size)


@contextmanager
def noticed(what: str, log: Callable[[str], object]) -> Iterator[None]:
    """Say, once, that ``what`` is still going on, where nothing else is to be seen."""
    text = f"still in {what} after {NOTICED_AFTER_S:g} s; Ctrl-C ends it\n"
    timer = threading.Timer(NOTICED_AFTER_S, log, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
