"""Progress as seen from below: rooms report, the plugin draws. Quiet unless a terminal is watching."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Bar(Protocol):
    """One running task."""

    def at(self, done: float, total: float | None = None, note: str = "") -> None:
        """Say how far the task is, in its unit, and a short note (loss, tokens/s)."""


class Progress(Protocol):
    """Where tasks are announced."""

    def task(self, name: str, unit: str) -> AbstractContextManager[Bar]:
        """Announce a task; the returned context manager gives its bar."""


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
