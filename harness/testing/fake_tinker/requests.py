"""Accepted requests: done in their order, kept with their results, done once however often they are sent."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Condition, RLock
from typing import TypeAlias

from harness.errors import HarnessError
from harness.records import Json
from harness.testing.fake_openai.store import FakeStore
from harness.testing.fake_tinker.backend import UserError
from harness.testing.fake_tinker.records import Request
from harness.testing.fake_tinker.wire import Refused

#: A request's answer: protobuf, or an object of JSON.
Answer: TypeAlias = "bytes | dict[str, Json]"
SAMPLE = "asample"  # the one kind that is done in any order
AT_ONCE = 32  # samples that wait for a model


@dataclass(frozen=True, slots=True)
class Doing:
    """What is to be done. ``again``: it was done before this process began, and only the state is missing."""

    kind: str
    owner: str
    number: int
    body: bytes
    again: bool = False


class Requests:
    """Runs' requests are done one after another by their numbers, from 0; samplers' in any order.

    After a restart a run's requests are done again before the next one, which restores its state: what they
    do follows from what they say. ``close`` ends the threads.

    Args:
        do: does a request. A ``UserError`` is its result.
    """

    def __init__(self, store: FakeStore, do: Callable[[Doing], Answer]) -> None:
        self._store, self._do = store, do
        self._changed, self._lock = Condition(), RLock()
        self._alive: set[str] = set()  # runs and samplers that this process knows
        self._next: defaultdict[str, int] = defaultdict(int)  # the number that a run waits for
        self._waiting: defaultdict[str, dict[int, Doing]] = defaultdict(dict)  # those that came before it
        self._trainer = ThreadPoolExecutor(1, "fake-tinker-trainer")
        self._samplers = ThreadPoolExecutor(AT_ONCE, "fake-tinker-sampler")

    def close(self) -> None:
        """What has not begun stays pending."""
        for pool in (self._trainer, self._samplers):
            pool.shutdown(cancel_futures=True)

    def accept(self, kind: str, owner: str, number: int, body: bytes) -> str:
        """Keep the request, to be done in its turn; gives its id. One that is sent again is the same one.

        Raises:
            Refused: another one has its number.
        """
        name = f"{owner}:{number}"
        with self._lock:
            self._revive(owner)
            packed, found = base64.b64encode(body).decode(), self._store.find(Request, name)
            if found is not None and (found.kind, found.body) != (kind, packed):
                raise Refused(409, f"number {number} was given to another request of {owner}")
            if found is None:
                self._store.put(Request(id=name, owner=owner, number=number, kind=kind, body=packed), owner)
                self._begin(Doing(kind, owner, number, body))
        return name

    def answer(self, name: str, wait_s: float) -> Request | None:
        """The request with its result; None while it is not done.

        Raises:
            Refused: there is no such request.
        """
        found = self._store.find(Request, name)
        if found is None:
            raise Refused(404, f"no request {name}")
        with self._lock:
            self._revive(found.owner)
        with self._changed:
            self._changed.wait_for(lambda: self._is_done(name), wait_s)
        return self._store.find(Request, name) if self._is_done(name) else None

    def _is_done(self, name: str) -> bool:
        found = self._store.find(Request, name)
        return found is not None and found.status != "pending"

    def _revive(self, owner: str) -> None:
        """Do again what a run did in an earlier process, and begin what it had left."""
        if owner in self._alive:
            return
        self._alive.add(owner)
        for request in reversed(self._store.newest_first(Request, owner)):
            is_done = request.status != "pending"
            if request.kind != SAMPLE or not is_done:
                body = base64.b64decode(request.body)
                self._begin(Doing(request.kind, owner, request.number, body, again=is_done))

    def _begin(self, doing: Doing) -> None:
        if doing.kind == SAMPLE:
            self._samplers.submit(self._perform, doing)
            return
        self._waiting[doing.owner][doing.number] = doing
        while (ready := self._waiting[doing.owner].pop(self._next[doing.owner], None)) is not None:
            self._trainer.submit(self._perform, ready)
            self._next[doing.owner] += 1

    def _perform(self, doing: Doing) -> None:
        name = f"{doing.owner}:{doing.number}"
        answer: Answer
        failed = False
        try:
            answer = self._do(doing)
        except (UserError, HarnessError) as error:
            answer, failed = {"error": str(error), "category": "user"}, True
        except Exception as error:  # noqa: BLE001 - the client hears of it
            answer, failed = {"error": f"{type(error).__name__}: {error}", "category": "server"}, True
        if doing.again:
            return
        is_proto = isinstance(answer, bytes)
        text = base64.b64encode(answer).decode() if isinstance(answer, bytes) else json.dumps(answer)
        changes = {"status": "failed" if failed else "done", "answer": text, "proto": is_proto}
        self._store.update(Request, name, lambda request: request.model_copy(update=changes))
        with self._changed:
            self._changed.notify_all()
