"""How many calls a busy service is sent at once."""

from __future__ import annotations

from collections.abc import Callable

RECENT = 0.1  # weight of the newest call in the share of calls turned away
BUSY_SHARE = 0.3  # above this the service is busy; below, some call met a limit by chance
RISE = 1 / 16  # of the full concurrency, regained in the time of one round of calls


class Throttle:
    """How many calls may be on their way: additive increase, multiplicative decrease (Chiu & Jain 1989).

    A single call turned away holds back only itself. When a good share of the recent calls are, the limit is
    halved, once a round trip, and nothing is sent until the pause that the service asks for is over.
    """

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        from anyio import CapacityLimiter

        self._most, self._clock = most, clock
        self._limit = float(most)
        self._share = 0.0
        self._cut_at = float("-inf")
        self.open_at = float("-inf")
        self.slots = CapacityLimiter(most)

    @property
    def limit(self) -> int:
        """Calls that may be on their way now."""
        return int(self._limit)

    def went_well(self) -> None:
        """A call was answered."""
        self._share *= 1 - RECENT
        self._resize(min(self._most, self._limit + self._most * RISE / self._limit))

    def turned_away(self, sent_at: float, pause_s: float) -> None:
        """A call sent at ``sent_at`` met "too many"; the service is to be left alone for ``pause_s``."""
        self._share += RECENT * (1 - self._share)
        if self._share < BUSY_SHARE:
            return
        now = self._clock()
        self.open_at = max(self.open_at, now + pause_s)
        if sent_at > self._cut_at:  # an older call says nothing about the new limit
            self._cut_at = now
            self._resize(max(1.0, self._limit / 2))

    def _resize(self, limit: float) -> None:
        self._limit = limit
        if self.slots.total_tokens != int(limit):
            self.slots.total_tokens = int(limit)
