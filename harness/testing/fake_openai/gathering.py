"""Questions from many requests, answered in batches by one thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeAlias

from harness.testing.fake_openai.backend import Question, Reply

LINGER_S = 0.25  # a small first batch costs seconds
MOST_AT_ONCE = 256
Waiting: TypeAlias = tuple[Question, "Future[Reply]"]


class Gatherer:
    """Hands questions of one model and one decoding to ``answer`` together; drawn ones go alone.

    Args:
        answer: gives the replies in the order of the questions.
        linger_s: how long a batch waits for the next question.
    """

    def __init__(
        self, answer: Callable[[Sequence[Question]], list[Reply]], linger_s: float = LINGER_S
    ) -> None:
        self._answer, self._linger_s = answer, linger_s
        self._waiting: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._left: list[Waiting] = []  # taken from the queue, for a later batch
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None

    def ask(self, question: Question) -> Reply:
        """The reply, when its turn has come."""
        with self._guard:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="twin-answers", daemon=True)
                self._thread.start()
        future: Future[Reply] = Future()
        self._waiting.put((question, future))
        return future.result()

    def close(self) -> None:
        """Answer what waits, and end the thread."""
        with self._guard:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._waiting.put(None)
            thread.join()

    def _work(self) -> None:
        ending = False
        while self._left or not ending:
            batch, ended = self._batch(ending)
            ending = ending or ended
            if batch:
                self._settle(batch)

    def _settle(self, batch: Sequence[Waiting]) -> None:
        try:
            replies = self._answer([question for question, _ in batch])
        except Exception as error:  # noqa: BLE001 - raised again where the question was asked
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), reply in zip(batch, replies, strict=True):
            future.set_result(reply)

    def _batch(self, ending: bool) -> tuple[list[Waiting], bool]:
        """Questions that go together, and whether the end has come."""
        if not self._left:
            first = self._waiting.get()
            if first is None:
                return [], True
            self._left.append(first)
        ended = ending
        while not ended and len(self._left) < MOST_AT_ONCE:
            try:
                following = self._waiting.get(timeout=self._linger_s)
            except queue.Empty:
                break
            if following is None:
                ended = True
            else:
                self._left.append(following)
        key = _together(self._left[0][0])
        batch = [w for k, w in enumerate(self._left) if k == 0 or (key and _together(w[0]) == key)]
        taken = {id(future) for _, future in batch}
        self._left = [w for w in self._left if id(w[1]) not in taken]
        return batch, ended


def _together(question: Question) -> tuple[object, ...] | None:
    """What questions of one batch share; None for those that are drawn, which have a seed of their own."""
    if question.temperature > 0:
        return None
    return (question.weights, question.max_tokens)
