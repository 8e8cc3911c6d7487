"""Requests that share one model: similar ones are answered together, and between the steps of a training."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from harness.testing.fake_openai.backend import FakeReply, Question

LINGER_S = 0.25  # on a CPU a small first batch costs seconds
MOST_AT_ONCE = 256
POLL_S = 0.002


class Microbatcher:
    """Passes greedy questions of one model and one length to ``answer`` together, and sampled ones alone.

    Args:
        answer: gives the replies in the order of the questions. It is called from one thread only.
        linger_s: how long a batch waits for further questions.
    """

    def __init__(
        self, answer: Callable[[Sequence[Question]], list[FakeReply]], linger_s: float = LINGER_S
    ) -> None:
        self._answer, self._linger_s = answer, linger_s
        self._waiting: list[tuple[Question, Future[FakeReply]]] = []
        self._guard = threading.Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="fake-openai-answers")

    def ask(self, question: Question) -> FakeReply:
        """The reply, when its batch is answered."""
        future: Future[FakeReply] = Future()
        with self._guard:
            self._waiting.append((question, future))
        self._worker.submit(self._answer_batch)  # one a question: later ones may find nothing left to answer
        return future.result()

    def close(self) -> None:
        """Answer the waiting questions, and end the thread."""
        self._worker.shutdown()

    def _answer_batch(self) -> None:
        if not self._waiting:
            return
        time.sleep(self._linger_s)
        with self._guard:
            first = self._waiting[0]
            key = _batch_key(first[0])
            batch = [w for w in self._waiting if w is first or (key and _batch_key(w[0]) == key)][
                :MOST_AT_ONCE
            ]
            self._waiting = [w for w in self._waiting if w not in batch]
        try:
            replies = self._answer([question for question, _ in batch])
        except Exception as error:  # noqa: BLE001 - raised again where the question was asked
            for _, future in batch:
                future.set_exception(error)
        else:
            for (_, future), reply in zip(batch, replies, strict=True):
                future.set_result(reply)


def _batch_key(question: Question) -> tuple[object, ...] | None:
    """What the questions of a batch share; None for sampled ones, each of which has a seed of its own."""
    return None if question.temperature > 0 else (question.weights, question.max_tokens)


class YieldLock:
    """A lock that its long holder yields to short ones now and then.

    Training and answering share a processor and the libraries' process-wide switches (warnings, verbosity,
    torch's seed), so neither runs beside the other.
    """

    def __init__(self) -> None:
        self._lock, self._guard = threading.Lock(), threading.Lock()
        self._waiting = 0

    @contextmanager
    def short(self) -> Iterator[None]:
        """Hold the lock for seconds."""
        with self._guard:
            self._waiting += 1
        with self._lock:
            with self._guard:
                self._waiting -= 1
            yield

    @contextmanager
    def long(self) -> Iterator[None]:
        """Hold the lock for minutes, using ``yielded`` now and then."""
        with self._lock:
            yield

    @contextmanager
    def yielded(self) -> Iterator[None]:
        """Within ``long``: release the lock for the block, and until nobody waits for it any more."""
        self._lock.release()
        try:
            yield
            while self._waiting:
                time.sleep(POLL_S)
        finally:
            self._lock.acquire()
