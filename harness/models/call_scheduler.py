"""Many calls at once to a service that may be busy: bounded, adaptive, repeated where that helps.

One thread runs an asyncio loop and hands results over as they come, through a bounded stream: the caller
iterates as over a list, and memory does not grow with the number of calls. Threads, limiter and streams are
anyio's. No library has the rest: the run stops once every call would fail alike, a request without money
waits for money that others have reserved, and results that were on their way at Ctrl-C are not lost.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from harness.errors import BudgetReached, HarnessError, ModelError
from harness.models.retry import CallVerdict, RetryPolicy, spoken_span

if TYPE_CHECKING:
    from anyio import CancelScope

RECENT = 0.1  # weight of the newest call in the share of calls turned away
BUSY_SHARE = 0.3  # above this the service is busy; below, some call met a limit by chance
RISE = 1 / 16  # of the full concurrency, regained in the time of one round of calls

RequestT = TypeVar("RequestT")
ReplyT = TypeVar("ReplyT")
# A call reserves its money before its first await, so that every reservation is seen by the next call.
ModelCall: TypeAlias = Callable[[RequestT], Awaitable[ReplyT]]
CallSession: TypeAlias = Callable[[], AbstractAsyncContextManager[ModelCall[RequestT, ReplyT]]]


@dataclass(frozen=True)
class CallPolicy(RetryPolicy):
    """How many calls are made at once, how often one is repeated, and when all of them are given up."""

    concurrency: int = 32  # calls on their way at once, at most
    timeout_s: float = 60.0  # longest wait for one answer
    give_up_after: int = 25  # rows that fail one after another, none answered between
    loading_s: float = 0.0  # how long a model that was just made may be unknown to the service
    parting_s: float = 5.0  # how long calls on their way are waited for when nobody wants more of them


@dataclass(eq=False)
class CallFailed(Exception):  # noqa: N818 - one call's outcome, handled here
    """One call brought no answer."""

    reason: str  # in words, without secrets
    verdict: CallVerdict
    fatal: bool = False  # every other call would end alike: a wrong key, an unknown model
    unbilled: bool = True  # the service itself refused; else it may have answered, and the bill is not known
    unknown_model: bool = False  # the service knows no such model, or does not yet
    waking_s: float = 0.0  # how long a deployment that was asleep, and has been woken, is waited for


@dataclass(frozen=True, slots=True)
class CallResult(Generic[RequestT, ReplyT]):
    """The outcome of one request: a reply, or the last failure. ``latency_ms`` is the last call's."""

    request: RequestT
    reply: ReplyT | None
    failure: str | None
    attempts: int
    latency_ms: float


@dataclass(slots=True)
class Tally:
    """Counts over all requests so far, and the state of the service; for whoever watches."""

    calls: int = 0
    answered: int = 0
    failed: int = 0
    throttled: int = 0
    faults: int = 0
    on_their_way: int = 0
    asked_until: float = float("-inf")  # when the service wants to be asked again, on the clock of the calls

    def pause_s(self, now: float) -> float:
        """How long everything still waits as the service asks; 0 while a call is on its way."""
        return 0.0 if self.on_their_way else max(0.0, self.asked_until - now)


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

    def went_well(self) -> None:
        """Note a call that was answered."""
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
        self._limit, self.slots.total_tokens = limit, int(limit)


class CallScheduler(Generic[RequestT, ReplyT]):
    """Puts requests through ``session`` under ``policy``, once. Clock, sleep and chance are arguments.

    Args:
        session: opens the connection; gives the function that makes one call, which raises ``CallFailed``.
        policy: bounds.
        clock: seconds, rising; ``sleep`` waits by it, and ``rng`` draws the jitter.
        tally: where calls are counted, if several schedulers share one count.
    """

    def __init__(
        self,
        session: CallSession[RequestT, ReplyT],
        policy: CallPolicy,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] | None = None,
        rng: random.Random | None = None,
        tally: Tally | None = None,
    ) -> None:
        self.session, self.policy, self.clock, self.sleep = session, policy, clock, sleep
        self.rng, self.tally = rng or random.Random(), tally or Tally()
        #: Once the iteration was left: results of calls that were on their way then.
        self.late: deque[CallResult[RequestT, ReplyT]] = deque()
        self._stop: HarnessError | None = None
        self._halted = False
        self._failed_in_a_row = 0
        self._unknown_since: float | None = None
        self._asleep: set[CancelScope] = set()

    def results(self, requests: Iterable[RequestT]) -> Generator[CallResult[RequestT, ReplyT], None, None]:
        """Results as they come, in any order; each request ends as a reply or as a failure.

        Requests are taken one by one as calls become free. When the iteration is left before its end, no more
        are taken, calls on their way are waited for as long as the policy says, and ``late`` holds their
        results; a result there may have been given before.

        Raises:
            BudgetReached: a call could pass the cap; calls on their way are waited for and given first.
            ModelError: the service refuses every call, or has stopped answering.
        """
        from anyio import create_memory_object_stream
        from anyio.from_thread import start_blocking_portal

        # none waits in between: what is answered and not stored yet is at most what can be on its way, twice
        stream = create_memory_object_stream["CallResult[RequestT, ReplyT]"](0)
        self._send, self._receive = stream
        with start_blocking_portal("asyncio", name="harness calls") as portal:
            ended = portal.start_task_soon(self._run, iter(requests))
            try:
                while portal.call(self._drain):
                    while self.late:
                        yield self.late[0]
                        self.late.popleft()  # only now: an interruption must not lose it
                ended.result()
            finally:
                try:
                    portal.call(self._part)
                finally:
                    ended.cancel()
                    portal.call(self._receive.aclose)

    async def _run(self, requests: Iterator[RequestT]) -> None:
        """Work until there are no more requests or a reason to stop."""
        from anyio import Event, create_task_group

        self._throttle = Throttle(self.policy.concurrency, self.clock)
        self._freed = Event()
        async with self._send, self.session() as self._call, create_task_group() as workers:
            for _ in range(self.policy.concurrency):
                workers.start_soon(self._work, requests)
        if self._stop is not None:
            raise self._stop

    async def _work(self, requests: Iterator[RequestT]) -> None:
        for request in requests:  # shared: each worker takes the next
            if self._halted:
                return
            try:
                result = await self._ask(request)
            except HarnessError as error:
                self._halt(error)
                return
            if result is not None:
                answered = result.failure is None
                self.tally.answered += answered
                self.tally.failed += not answered
                self._failed_in_a_row = 0 if answered else self._failed_in_a_row + 1
                await self._send.send(result)

    async def _ask(self, request: RequestT) -> CallResult[RequestT, ReplyT] | None:
        """The result of one request, after as many attempts as it takes; None where the run stops first."""
        policy, tally, faults, throttled, loading = self.policy, self.tally, 0, 0, 0
        while True:
            async with self._throttle.slots:
                while not self._halted and (pause_s := self._throttle.open_at - self.clock()) > 0:
                    await self._pause(pause_s)
                if self._halted:
                    return None
                outcome, sent_at = await self._call_within_budget(request)
                latency_ms = (self.clock() - sent_at) * 1000
            attempts = faults + throttled + loading + 1
            tally.calls += 1
            if not isinstance(outcome, CallFailed):
                self._throttle.went_well()
                return CallResult(request, outcome, None, attempts, latency_ms)
            verdict = outcome.verdict
            is_loading = self._may_be_loading(outcome) and not policy.wants_too_long(verdict)
            tally.throttled += verdict.throttled
            tally.faults += not verdict.throttled
            loading += is_loading
            throttled += verdict.throttled
            faults = attempts - loading - throttled
            if not is_loading and (self._halted or not policy.goes_on(verdict, faults, throttled)):
                reason = None if self._halted else self._reason_to_stop(outcome)
                if reason is not None:
                    self._halt(reason)
                return CallResult(request, None, outcome.reason, attempts, latency_ms)
            wait_s = policy.wait_s(attempts, verdict.retry_after_s, self.rng.uniform)
            if verdict.throttled or is_loading:  # a model that is being loaded is asked by few calls, too
                self._throttle.turned_away(sent_at, verdict.retry_after_s or wait_s)
            if verdict.retry_after_s:
                tally.asked_until = max(tally.asked_until, self.clock() + verdict.retry_after_s)
            await self._pause(wait_s)

    async def _call_within_budget(self, request: RequestT) -> tuple[ReplyT | CallFailed, float]:
        """One call, once there is money for it; and when it was sent."""
        from anyio import Event, fail_after

        tally, timeout_s = self.tally, self.policy.timeout_s
        while True:
            sent_at, refused = self.clock(), None
            outcome: ReplyT | CallFailed
            tally.on_their_way += 1
            try:
                with fail_after(timeout_s):
                    outcome = await self._call(request)
            except TimeoutError:
                reason = f"no answer within {timeout_s:g} s"
                outcome = CallFailed(reason, CallVerdict(retry=True), unbilled=False)
            except CallFailed as failure:
                outcome = failure
            except BudgetReached as reached:
                if tally.on_their_way == 1 or not reached.may_fit_later:
                    raise  # nothing that is on its way could free enough
                refused = reached
            finally:
                tally.on_their_way -= 1
            if refused is None:
                # everybody who waits for money tries again; an event is for one use, so the next is a new one
                self._freed.set()
                self._freed = Event()
                return outcome, sent_at
            await self._freed.wait()  # a call on its way may turn out cheaper than its reservation
            if self._halted:
                raise refused

    async def _pause(self, seconds: float) -> None:
        """Wait, at most until the run is halted."""
        import anyio

        with anyio.CancelScope() as scope:
            self._asleep.add(scope)
            try:
                await (self.sleep or anyio.sleep)(seconds)
            finally:
                self._asleep.remove(scope)

    def _halt(self, reason: HarnessError | None = None) -> None:
        """Take no more requests and repeat no call; calls on their way end, and nobody sleeps on."""
        self._halted, self._stop = True, self._stop or reason
        self._freed.set()
        for scope in self._asleep:
            scope.cancel()

    def _may_be_loading(self, failure: CallFailed) -> bool:
        """Whether a model that is not known, or whose deployment was asleep, may answer soon."""
        longest_s = max(self.policy.loading_s if failure.unknown_model else 0.0, failure.waking_s)
        if longest_s == 0:
            return False
        now = self.clock()
        self._unknown_since = now if self._unknown_since is None else self._unknown_since
        return not self._halted and now - self._unknown_since < longest_s

    def _reason_to_stop(self, failure: CallFailed) -> ModelError | None:
        """Why no other request is worth a call after this failure; None where others may go well."""
        answered, failed_in_a_row = self.tally.answered, self._failed_in_a_row + 1
        if self.policy.wants_too_long(failure.verdict):
            asked, longest = failure.verdict.retry_after_s or 0.0, self.policy.longest_retry_after_s
            return ModelError(
                f"the service asks to be left alone for {spoken_span(asked)}, longer than the"
                f" {spoken_span(longest)} that a run waits: {failure.reason}\n"
                f"  {answered:,} answers are kept. hint: run the same command again after that time."
            )
        if failure.fatal and not answered:
            return ModelError(
                f"{failure.reason}\n  hint: every other call would end alike: check the key, what its account"
                " may ask and spend, and the model's name; then run the same command again."
            )
        if failed_in_a_row >= self.policy.give_up_after:
            return ModelError(
                f"{failed_in_a_row} rows in a row were not answered; the last: {failure.reason}\n"
                f"  {answered:,} answers are kept. hint: remove the cause, and run the same command again."
            )
        return None

    async def _part(self) -> None:
        """End the run, and take the results of calls on their way."""
        from anyio import move_on_after

        self._halt()
        with move_on_after(self.policy.parting_s):
            while await self._drain():
                pass

    async def _drain(self) -> bool:
        """Take all results that are there, at least one; False when there will be no more."""
        from anyio import EndOfStream, WouldBlock

        try:
            self.late.append(await self._receive.receive())
        except EndOfStream:
            return False
        try:
            while True:
                self.late.append(self._receive.receive_nowait())
        except (EndOfStream, WouldBlock):
            return True
