"""SIGTERM ends a run as Ctrl-C does: what is on its way is waited for, and what was paid for is kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from harness.plugin.state import STATE


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """While candidates are tried."""
    if not session.config.stash[STATE].settings.candidates:
        return (yield)
    with sigterm_as_ctrl_c():
        return (yield)


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Nothing is changed outside the main thread, which alone may, nor where somebody else listens."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt("SIGTERM")
