"""Answers kept as they come, so that a run that is cut short loses next to nothing that was paid for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from threading import Event, Lock, Thread

from harness.data.fingerprints import fingerprint
from harness.errors import HarnessError
from harness.records import Answer, Message
from harness.store.answers import AnswerStore

FLUSH_ROWS = 64  # answers kept in one transaction, at most
FLUSH_S = 1.0  # longest time that an answer waits to be kept


def keeping(
    store: AnswerStore,
    context: str,
    answers: Iterator[Answer],
    late: Callable[[], Sequence[Answer]] = lambda: (),
    watch: Callable[[], None] = lambda: None,
) -> Generator[Answer, None, None]:
    """Pass answers on and keep them under ``context``, also where the run is cut short.

    A failure is not kept: the next run asks again. Close it (``contextlib.closing``): else a traceback holds
    it, and what it has to keep, for as long as somebody looks at it.

    Args:
        store: where they are kept.
        context: what asked for them, fingerprinted.
        answers: as they come.
        late: what still came after the iteration was left; see ``models.protocol.Interruptible``.
        watch: called once a second, from another thread.

    Raises:
        StoreError: they cannot be kept.
    """
    with _Keeper(store, context, watch) as keeper:
        try:
            for answer in map(_in_unicode, answers):
                keeper.add([answer])
                yield answer
        finally:
            try:
                if isinstance(answers, Generator):
                    answers.close()
            finally:
                keeper.add(map(_in_unicode, late()))


class _Keeper:
    """Writes answers down by the second, in a thread, since the next answer may be long in coming."""

    def __init__(self, store: AnswerStore, context: str, watch: Callable[[], None]) -> None:
        self._store, self._context, self._watch = store, context, watch
        self._fresh: list[Answer] = []
        self._writing, self._ended = Lock(), Event()
        self._failed: HarnessError | None = None
        self._thread = Thread(target=self._by_the_second, name="harness keeping", daemon=True)

    def __enter__(self) -> _Keeper:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        try:
            self._thread.join()
        finally:
            self._flush()

    def add(self, answers: Iterable[Answer]) -> None:
        """Have answers kept within a second.

        Raises:
            StoreError: earlier ones could not be.
        """
        self._fresh.extend(answer for answer in answers if answer.failure is None)
        if self._failed is not None:
            raise self._failed
        if len(self._fresh) >= FLUSH_ROWS:
            self._flush()

    def _by_the_second(self) -> None:
        while not self._ended.wait(FLUSH_S):
            self._watch()
            try:
                self._flush()
            except HarnessError as error:
                self._failed = error  # told by the next answer
                return

    def _flush(self) -> None:
        with self._writing:
            written = len(self._fresh)
            if written:
                self._store.keep_answers(self._context, self._fresh[:written])
                del self._fresh[:written]  # only now: an interruption must not lose them


def content_key(messages: Sequence[Message], repeat: int = 0) -> str:
    """The name of what is asked: one changed row asks one row anew; the same is paid once for each repeat."""
    turns = [[m.role, m.name, m.content] for m in messages]
    return fingerprint({"turns": turns, "repeat": repeat})


def _in_unicode(answer: Answer) -> Answer:
    """The answer with halves of surrogate pairs, which no file can hold, as question marks."""
    text, failure = (
        None if said is None else said.encode("utf-8", "replace").decode("utf-8")
        for said in (answer.text, answer.failure)
    )
    return replace(answer, text=text or "", failure=failure)
