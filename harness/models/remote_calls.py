"""Many calls at once to a service that may be busy: bounded, adaptive, repeated where that helps.

One thread runs an asyncio loop and hands results over as they come, through a bounded stream: the caller
iterates as over a list, and memory does not grow with the number of calls. Threads, limiter and streams are
anyio's. A retry library (tenacity was weighed) would have brought the loop over attempts alone: when to stop,
how long to wait and what to wait with depend here on what all calls together have met.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic

from harness.models.call_policy import (
    Call,
    CallFailed,
    CallPolicy,
    Reply,
    Request,
    Result,
    Session,
    Tally,
    Waiting,
)
from harness.models.call_round import Round

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

__all__ = ["Call", "CallFailed", "CallPolicy", "Calls", "Result", "Tally"]


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
    late: list[Result[Request, Reply]] = field(default_factory=list)
    waiting: Waiting = field(default_factory=Waiting)

    def results(self, requests: Iterable[Request]) -> Generator[Result[Request, Reply], None, None]:
        """Results as they come, in any order; each request ends as a reply or as a failure.

        Requests are taken one by one as calls become free. When the iteration is left before its end (Ctrl-C,
        or whoever iterates has enough), no more are taken, what is on its way is waited for as long as the
        policy says, and what came of it stands in ``late``; a result there may have been given before.

        Raises:
            BudgetReached: a call could pass the cap; what is on its way is waited for and given first.
            ModelError: the service refuses every call, or has stopped answering.
        """
        from anyio.from_thread import start_blocking_portal

        arrived: deque[Result[Request, Reply]] = deque()
        with start_blocking_portal("asyncio", name="harness calls") as portal:
            send, receive = portal.call(self._stream)
            round_ = self._round(iter(requests), send)
            ended = portal.start_task_soon(round_.run)
            try:
                while portal.call(_drain, receive, arrived):
                    while arrived:
                        yield arrived[0]
                        arrived.popleft()  # only now: an interruption must not lose it
                ended.result()
            finally:
                try:
                    portal.call(self._part, round_, receive, arrived)
                finally:
                    self.late = list(arrived)
                    ended.cancel()
                    portal.call(receive.aclose)

    async def _part(
        self,
        round_: Round[Request, Reply],
        receive: MemoryObjectReceiveStream[Result[Request, Reply]],
        arrived: deque[Result[Request, Reply]],
    ) -> None:
        """Have the round end, and take what comes of the calls on their way."""
        from anyio import move_on_after

        round_.halt()
        with move_on_after(self.policy.parting_s):
            while await _drain(receive, arrived):
                pass

    def _round(
        self, requests: Iterator[Request], send: MemoryObjectSendStream[Result[Request, Reply]]
    ) -> Round[Request, Reply]:
        from anyio import sleep

        wait = self.sleep or sleep
        return Round(
            requests, send, self.session, self.policy, self.clock, wait, self.rng, self.tally, self.waiting
        )

    async def _stream(
        self,
    ) -> tuple[
        MemoryObjectSendStream[Result[Request, Reply]], MemoryObjectReceiveStream[Result[Request, Reply]]
    ]:
        from anyio import create_memory_object_stream

        return create_memory_object_stream["Result[Request, Reply]"](self.policy.concurrency)


async def _drain(
    receive: MemoryObjectReceiveStream[Result[Request, Reply]], arrived: deque[Result[Request, Reply]]
) -> bool:
    """Take all results that are there, at least one; False when there will be no more."""
    from anyio import EndOfStream, WouldBlock

    try:
        arrived.append(await receive.receive())
    except EndOfStream:
        return False
    try:
        while True:
            arrived.append(receive.receive_nowait())
    except (EndOfStream, WouldBlock):
        return True
