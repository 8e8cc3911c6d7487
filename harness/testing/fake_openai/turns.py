"""One thing at a time on the machine: answers come between the steps of a training."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LOOK_S = 0.002


class Turns:
    """A lock that a long worker lends to short ones.

    They share a processor and the libraries' process-wide switches (warnings, verbosity, torch's seed), so
    none of them runs beside another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._guard = threading.Lock()
        self._waiting = 0

    @contextmanager
    def short(self) -> Iterator[None]:
        """For work of seconds."""
        with self._guard:
            self._waiting += 1
        self._lock.acquire()
        with self._guard:
            self._waiting -= 1
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def long(self) -> Iterator[None]:
        """For work of minutes, which has to call ``lend`` now and then."""
        with self._lock:
            yield

    @contextmanager
    def lend(self) -> Iterator[None]:
        """Within ``long``: others may work during the block, and those who wait have worked after it."""
        self._lock.release()
        try:
            yield
            while self._waiting:
                time.sleep(LOOK_S)
        finally:
            self._lock.acquire()
