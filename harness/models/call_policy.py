"""What many calls to a service go by, and what becomes of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

Request = TypeVar("Request")
Reply = TypeVar("Reply")
Call: TypeAlias = Callable[[Request], Awaitable[Reply]]
Session: TypeAlias = Callable[[], AbstractAsyncContextManager[Call[Request, Reply]]]
# a call reserves its money before its first await, so that all reservations are seen before the next call


@dataclass(frozen=True, slots=True)
class CallPolicy:
    """How many calls at once, and how often one is repeated.

    Args:
        concurrency: calls on their way at once, at most.
        attempts: calls for one row that end in a fault, the first included.
        throttled_attempts: calls for one row that the service turns away as too many.
        timeout_s: longest wait for one answer.
        first_wait_s: the wait before the first repetition is drawn from 0 to this; it doubles each time.
        longest_wait_s: where the doubling ends.
        longest_retry_after_s: a service that wants a longer pause is not waited for: the run ends.
        give_up_after: rows that fail one after another, none answered between, until the run stops asking.
        loading_s: how long a model that was just made may be unknown to the service before it is taken for
            one that does not exist.
        parting_s: how long calls on their way are waited for when nobody wants more of them.
    """

    concurrency: int = 32
    attempts: int = 5
    throttled_attempts: int = 12
    timeout_s: float = 60.0
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    longest_retry_after_s: float = 120.0
    give_up_after: int = 25
    loading_s: float = 0.0
    parting_s: float = 5.0


class CallFailed(Exception):  # noqa: N818 - one call's outcome, handled here
    """One call brought no answer.

    Args:
        reason: what happened, without secrets.
        retry: whether the same call may go well later.
        throttled: the service says that there are too many calls.
        retry_after_s: how long it asks to be left alone.
        fatal: whether every other call would end alike (a wrong key, an unknown model).
        unbilled: the service itself refused; else it may have answered, and the bill is not known.
        unknown_model: the service knows no such model, or does not yet.
    """

    def __init__(
        self,
        reason: str,
        *,
        retry: bool,
        throttled: bool = False,
        retry_after_s: float | None = None,
        fatal: bool = False,
        unbilled: bool = True,
        unknown_model: bool = False,
    ) -> None:
        self.reason, self.retry, self.throttled = reason, retry, throttled
        self.retry_after_s, self.fatal, self.unbilled = retry_after_s, fatal, unbilled
        self.unknown_model = unknown_model
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Result(Generic[Request, Reply]):
    """What became of one request: a reply, or the last failure. ``latency_ms`` is the last call's."""

    request: Request
    reply: Reply | None
    failure: str | None
    attempts: int
    latency_ms: float


@dataclass(slots=True)
class Tally:
    """Counts over all requests so far."""

    calls: int = 0
    answered: int = 0
    failed: int = 0
    throttled: int = 0
    faults: int = 0


@dataclass(slots=True)
class Waiting:
    """Whether everything waits until the service wants to be asked again.

    ``asked_until`` is on the clock of the calls; ``on_their_way`` are calls.
    """

    asked_until: float = float("-inf")
    on_their_way: int = 0

    def seconds(self, now: float) -> float:
        """How long it will still be; 0 while something is on its way."""
        return 0.0 if self.on_their_way else max(0.0, self.asked_until - now)
