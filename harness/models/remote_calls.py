"""Many calls at once to a service that may be busy: bounded, adaptive, repeated where that helps.

One thread runs an asyncio loop and hands results over as they come, through a bounded stream: the caller
iterates as over a list, and memory does not grow with the number of calls. Threads, limiter and streams are
anyio's. A retry library (tenacity was weighed) would have brought the loop over attempts alone: when to stop,
how long to wait and what to wait with depend here on what all calls together have met.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from harness.errors import BudgetReached, HarnessError, ModelError
from harness.models.throttle import Throttle

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

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
        longest_retry_after_s: a service that wants a longer pause is not asked again in this run.
        give_up_after: rows that fail one after another, none answered between, until the run stops asking.
    """

    concurrency: int = 32
    attempts: int = 5
    throttled_attempts: int = 12
    timeout_s: float = 60.0
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    longest_retry_after_s: float = 120.0
    give_up_after: int = 25


class CallFailed(Exception):  # noqa: N818 - one call's outcome, handled here
    """One call brought no answer.

    Args:
        reason: what happened, without secrets.
        retry: whether the same call may go well later.
        throttled: the service says that there are too many calls.
        retry_after_s: how long it asks to be left alone.
        fatal: whether every other call would end alike (a wrong key, an unknown model).
        unbilled: the service itself refused; else it may have answered, and the bill is not known.
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
    ) -> None:
        self.reason, self.retry, self.throttled = reason, retry, throttled
        self.retry_after_s, self.fatal, self.unbilled = retry_after_s, fatal, unbilled
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


@dataclass
class Calls(Generic[Request, Reply]):
    """Puts requests through ``session`` under ``policy``. Clock, sleep and chance are arguments.

    Args:
        session: opens the connection; gives what makes one call, which raises ``CallFailed``.
        policy: bounds.
        clock: seconds, rising.
        sleep: waits so many seconds (None: anyio's).
        rng: for the jitter of waits, so that calls turned away together do not come back together.
    """

    session: Session[Request, Reply]
    policy: CallPolicy
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] | None = None
    rng: random.Random = field(default_factory=random.Random)
    tally: Tally = field(default_factory=Tally)

    def results(self, requests: Iterable[Request]) -> Iterator[Result[Request, Reply]]:
        """Results as they come, in any order; each request ends as a reply or as a failure.

        Requests are taken one by one as calls become free. Whoever stops iterating ends the calls.

        Raises:
            BudgetReached: a call could pass the cap; what is on its way is waited for and given first.
            ModelError: the service refuses every call, or has stopped answering.
        """
        from anyio.from_thread import start_blocking_portal

        with start_blocking_portal("asyncio", name="harness calls") as portal:
            send, receive = portal.call(self._stream)
            future = portal.start_task_soon(_Round(self, iter(requests), send).run)
            try:
                while some := portal.call(_drain, receive):
                    yield from some
                future.result()
            finally:
                future.cancel()
                portal.call(receive.aclose)

    async def _stream(
        self,
    ) -> tuple[
        MemoryObjectSendStream[Result[Request, Reply]], MemoryObjectReceiveStream[Result[Request, Reply]]
    ]:
        from anyio import create_memory_object_stream

        return create_memory_object_stream["Result[Request, Reply]"](self.policy.concurrency)


@dataclass
class _Round(Generic[Request, Reply]):
    """One run over requests, inside the loop."""

    calls: Calls[Request, Reply]
    requests: Iterator[Request]
    send: MemoryObjectSendStream[Result[Request, Reply]]
    stop: HarnessError | None = None
    failed_in_a_row: int = 0
    in_flight: int = 0

    async def run(self) -> None:
        """Work until there are no more requests or a reason to stop."""
        from anyio import Event, create_task_group, sleep

        self.throttle = Throttle(self.calls.policy.concurrency, self.calls.clock)
        self.wait = self.calls.sleep or sleep
        self.new_event, self.freed = Event, Event()
        async with self.send, self.calls.session() as self.call, create_task_group() as workers:
            for _ in range(self.calls.policy.concurrency):
                workers.start_soon(self._work)
        if self.stop is not None:
            raise self.stop

    async def _work(self) -> None:
        for request in self.requests:  # shared: each worker takes the next
            if self.stop is not None:
                return
            try:
                result = await self._ask(request)
            except HarnessError as error:
                self.stop = self.stop or error
                return
            if result is not None:
                self._count(result)
                await self.send.send(result)

    async def _ask(self, request: Request) -> Result[Request, Reply] | None:
        """The result of one request, after as many attempts as it takes; None where the run stops first."""
        faults = throttled = 0
        while True:
            async with self._slot():
                if self.stop is not None:
                    return None
                outcome, sent_at, latency_ms = await self._once(request)
            if not isinstance(outcome, CallFailed):
                self.throttle.went_well()
                return Result(request, outcome, None, faults + throttled + 1, latency_ms)
            faults, throttled = faults + (not outcome.throttled), throttled + outcome.throttled
            wait_s = self._wait_s(outcome, faults + throttled)
            if outcome.throttled:
                self.throttle.turned_away(sent_at, outcome.retry_after_s or wait_s)
            if not self._worth_repeating(outcome, faults, throttled):
                self._consider_stopping(outcome)
                return Result(request, None, outcome.reason, faults + throttled, latency_ms)
            await self.wait(wait_s)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        async with self.throttle.slots:
            while (pause_s := self.throttle.open_at - self.calls.clock()) > 0:
                await self.wait(pause_s)
            yield

    async def _once(self, request: Request) -> tuple[Reply | CallFailed, float, float]:
        """One call, once the budget has room for it; when it was sent, and the milliseconds it took."""
        while True:
            self.in_flight += 1
            sent_at = self.calls.clock()
            try:
                outcome = await self._timed(request)
            except BudgetReached as reached:
                self.in_flight -= 1
                if self.in_flight == 0 or not reached.may_fit_later:
                    raise
                await self.freed.wait()  # what others have reserved may turn out cheaper
                continue
            except BaseException:
                self.in_flight -= 1
                raise
            self.in_flight -= 1
            self.freed.set()
            self.freed = self.new_event()
            return outcome, sent_at, (self.calls.clock() - sent_at) * 1000

    async def _timed(self, request: Request) -> Reply | CallFailed:
        from anyio import fail_after

        tally, timeout_s = self.calls.tally, self.calls.policy.timeout_s
        try:
            with fail_after(timeout_s):
                reply = await self.call(request)
        except TimeoutError:
            tally.calls, tally.faults = tally.calls + 1, tally.faults + 1
            return CallFailed(f"no answer within {timeout_s:g} s", retry=True, unbilled=False)
        except CallFailed as failure:
            tally.calls += 1
            tally.throttled += failure.throttled
            tally.faults += not failure.throttled
            return failure
        tally.calls += 1
        return reply

    def _wait_s(self, failure: CallFailed, attempt: int) -> float:
        """Full jitter (Brooker 2015) over a doubling span, after the pause that the service asks for."""
        policy = self.calls.policy
        span_s = min(policy.longest_wait_s, policy.first_wait_s * 2.0 ** (attempt - 1))
        return (failure.retry_after_s or 0.0) + self.calls.rng.uniform(0, span_s)

    def _worth_repeating(self, failure: CallFailed, faults: int, throttled: int) -> bool:
        policy = self.calls.policy
        return (
            failure.retry
            and self.stop is None
            and faults < policy.attempts
            and throttled < policy.throttled_attempts
            and (failure.retry_after_s or 0.0) <= policy.longest_retry_after_s
        )

    def _consider_stopping(self, failure: CallFailed) -> None:
        answered = self.calls.tally.answered
        if self.stop is None and failure.fatal and not answered:
            self.stop = ModelError(failure.reason)
        elif self.stop is None and self.failed_in_a_row + 1 >= self.calls.policy.give_up_after:
            self.stop = ModelError(
                f"{self.failed_in_a_row + 1} rows in a row were not answered; the last: {failure.reason}\n"
                f"  {answered:,} answers are kept. mend: see to that, and run the same command again."
            )

    def _count(self, result: Result[Request, Reply]) -> None:
        answered = result.failure is None
        self.calls.tally.answered += answered
        self.calls.tally.failed += not answered
        self.failed_in_a_row = 0 if answered else self.failed_in_a_row + 1


async def _drain(
    receive: MemoryObjectReceiveStream[Result[Request, Reply]],
) -> list[Result[Request, Reply]]:
    """All results that are there, at least one; none when there will be no more."""
    from anyio import EndOfStream, WouldBlock

    some: list[Result[Request, Reply]] = []
    try:
        some.append(await receive.receive())
        while True:
            some.append(receive.receive_nowait())
    except (EndOfStream, WouldBlock):
        return some
