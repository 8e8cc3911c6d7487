"""One run over many requests inside an asyncio loop: workers, repetitions, and reasons to stop."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

from harness.errors import BudgetReached, HarnessError, ModelError
from harness.models.call_policy import CallFailed, CallPolicy, Reply, Request, Result, Session, Tally, Waiting
from harness.models.throttle import Throttle

if TYPE_CHECKING:
    from anyio import CancelScope
    from anyio.streams.memory import MemoryObjectSendStream


@dataclass
class Round(Generic[Request, Reply]):
    """One run over requests, inside the loop. For the arguments see ``Calls``; results go to ``send``."""

    requests: Iterator[Request]
    send: MemoryObjectSendStream[Result[Request, Reply]]
    session: Session[Request, Reply]
    policy: CallPolicy
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    rng: random.Random
    tally: Tally
    waiting: Waiting
    stop: HarnessError | None = None
    halted: bool = False
    failed_in_a_row: int = 0
    unknown_since: float | None = None

    async def run(self) -> None:
        """Work until there are no more requests or a reason to stop."""
        from anyio import CancelScope, Event, create_task_group

        self.throttle = Throttle(self.policy.concurrency, self.clock)
        self.new_event, self.freed, self.new_scope = Event, Event(), CancelScope
        self.asleep: set[CancelScope] = set()
        async with self.send, self.session() as self.call, create_task_group() as workers:
            for _ in range(self.policy.concurrency):
                workers.start_soon(self._work)
        if self.stop is not None:
            raise self.stop

    def halt(self, reason: HarnessError | None = None) -> None:
        """Take no more requests, and repeat no call; those that are on their way end. Nobody sleeps on."""
        self.halted, self.stop = True, self.stop or reason
        self.freed.set()
        for scope in self.asleep:
            scope.cancel()

    async def _pause(self, seconds: float) -> None:
        """Wait, at most until the run is halted."""
        with self.new_scope() as scope:
            self.asleep.add(scope)
            try:
                await self.sleep(seconds)
            finally:
                self.asleep.remove(scope)

    async def _work(self) -> None:
        for request in self.requests:  # shared: each worker takes the next
            if self.halted:
                return
            try:
                result = await self._ask(request)
            except HarnessError as error:
                self.halt(error)
                return
            if result is not None:
                self._count(result)
                await self.send.send(result)

    async def _ask(self, request: Request) -> Result[Request, Reply] | None:
        """The result of one request, after as many attempts as it takes; None where the run stops first."""
        faults = throttled = unknown = 0
        while True:
            async with self._slot():
                if self.halted:
                    return None
                outcome, sent_at, latency_ms = await self._once(request)
            attempts = faults + throttled + unknown + 1
            if not isinstance(outcome, CallFailed):
                self.throttle.went_well()
                return Result(request, outcome, None, attempts, latency_ms)
            may_be_loading = self._may_be_loading(outcome)
            unknown, throttled = unknown + may_be_loading, throttled + outcome.throttled
            faults = attempts - unknown - throttled
            wait_s = self._wait_s(outcome, attempts)
            if not (may_be_loading or self._worth_repeating(outcome, faults, throttled)):
                self._consider_stopping(outcome)
                return Result(request, None, outcome.reason, attempts, latency_ms)
            if outcome.throttled or may_be_loading:
                self.throttle.turned_away(sent_at, outcome.retry_after_s or wait_s)
            if outcome.retry_after_s:
                self._is_told_to_wait(outcome.retry_after_s)
            await self._pause(wait_s)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        async with self.throttle.slots:
            while not self.halted and (pause_s := self.throttle.open_at - self.clock()) > 0:
                await self._pause(pause_s)
            yield

    async def _once(self, request: Request) -> tuple[Reply | CallFailed, float, float]:
        """One call, once the budget has room for it; when it was sent, and the milliseconds it took."""
        while True:
            self.waiting.on_their_way += 1
            sent_at = self.clock()
            try:
                outcome = await self._timed(request)
            except BudgetReached as reached:
                self.waiting.on_their_way -= 1
                if self.waiting.on_their_way == 0 or not reached.may_fit_later:
                    raise
                await self.freed.wait()  # what others have reserved may turn out cheaper
                if self.halted:
                    raise
                continue
            except BaseException:
                self.waiting.on_their_way -= 1
                raise
            self.waiting.on_their_way -= 1
            self.freed.set()
            self.freed = self.new_event()
            return outcome, sent_at, (self.clock() - sent_at) * 1000

    async def _timed(self, request: Request) -> Reply | CallFailed:
        from anyio import fail_after

        tally, timeout_s = self.tally, self.policy.timeout_s
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
        policy = self.policy
        span_s = min(policy.longest_wait_s, policy.first_wait_s * 2.0 ** (attempt - 1))
        return (failure.retry_after_s or 0.0) + self.rng.uniform(0, span_s)

    def _is_told_to_wait(self, seconds: float) -> None:
        self.waiting.asked_until = max(self.waiting.asked_until, self.clock() + seconds)

    def _wants_too_long(self, failure: CallFailed) -> bool:
        return failure.retry and (failure.retry_after_s or 0.0) > self.policy.longest_retry_after_s

    def _too_long(self, failure: CallFailed) -> ModelError:
        seconds = failure.retry_after_s or 0.0
        return ModelError(
            f"the service wants to be left alone for {told_s(seconds)}, longer than the"
            f" {told_s(self.policy.longest_retry_after_s)} that a run waits: {failure.reason}\n"
            f"  {self.tally.answered:,} answers are kept. hint: run the same command again after that time."
        )

    def _may_be_loading(self, failure: CallFailed) -> bool:
        """Whether the model was made so lately that the service may not know it yet."""
        if not failure.unknown_model or self.halted:
            return False
        now = self.clock()
        self.unknown_since = now if self.unknown_since is None else self.unknown_since
        return now - self.unknown_since < self.policy.loading_s

    def _worth_repeating(self, failure: CallFailed, faults: int, throttled: int) -> bool:
        policy = self.policy
        return (
            failure.retry
            and not self.halted
            and faults < policy.attempts
            and throttled < policy.throttled_attempts
            and not self._wants_too_long(failure)
        )

    def _consider_stopping(self, failure: CallFailed) -> None:
        answered = self.tally.answered
        if self.halted:
            return
        if self._wants_too_long(failure):
            self.halt(self._too_long(failure))
        elif failure.fatal and not answered:
            self.halt(ModelError(failure.reason))
        elif self.failed_in_a_row + 1 >= self.policy.give_up_after:
            self.halt(
                ModelError(
                    f"{self.failed_in_a_row + 1} rows in a row were not answered; the last:"
                    f" {failure.reason}\n  {answered:,} answers are kept. hint: see to that, and run the same"
                    " command again."
                )
            )

    def _count(self, result: Result[Request, Reply]) -> None:
        answered = result.failure is None
        self.tally.answered += answered
        self.tally.failed += not answered
        self.failed_in_a_row = 0 if answered else self.failed_in_a_row + 1


def told_s(seconds: float) -> str:
    """A span of time as people say it."""
    if math.isinf(seconds):
        return "ever"
    for unit, length_s in (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.3g} {unit}"
    return f"{seconds:.3g} s"
