"""Answers stored as they come, so that a run that is cut short loses nothing that was paid for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Event, Thread

from harness.data.fingerprints import fingerprint
from harness.records import Answer, Message
from harness.store.answers import AnswerStore

WATCH_S = 1.0


def keeping(
    store: AnswerStore,
    context: str,
    answers: Iterator[Answer],
    late: Callable[[], Sequence[Answer]] = lambda: (),
    watch: Callable[[], None] = lambda: None,
) -> Generator[Answer, None, None]:
    """Pass answers on, each once it is stored under ``context``.

    A failure is not stored: the next run asks again. Close the generator (``contextlib.closing``):
    otherwise a traceback holds it open, with late answers unstored, for as long as somebody holds that.

    Args:
        store: where they are stored.
        context: the fingerprint of the model and settings that give them.
        answers: as they come; closed at the end.
        late: gives answers that came after the iteration was left; see ``models.protocol.Interruptible``.
        watch: called once a second, from another thread, since the next answer may be long in coming.

    Raises:
        StoreError: an answer cannot be stored.
    """
    unstored: list[Answer] = []
    with _calling_each_second(watch):
        try:
            for answer in map(_in_unicode, answers):
                unstored.append(answer)  # Ctrl-C undoes a write that it falls into; the last one repeats it
                _store(store, context, unstored)
                yield answer
        finally:
            try:
                if isinstance(answers, Generator):
                    answers.close()
            finally:
                unstored += map(_in_unicode, late())
                _store(store, context, unstored)


def content_key(messages: Sequence[Message], repeat: int = 0) -> str:
    """A key for a question: after a change to one row only that row is asked anew, and equal questions once.

    Each ``repeat`` of a question has a key of its own.
    """
    turns = [[m.role, m.name, m.content] for m in messages]
    return fingerprint({"turns": turns, "repeat": repeat})


def _store(store: AnswerStore, context: str, answers: list[Answer]) -> None:
    """Store answers, and empty the list once they are."""
    arrived = [answer for answer in answers if answer.failure is None]
    if arrived:
        store.keep_answers(context, arrived)
    answers.clear()


@contextmanager
def _calling_each_second(watch: Callable[[], None]) -> Iterator[None]:
    ended = Event()

    def call() -> None:
        while not ended.wait(WATCH_S):
            watch()

    thread = Thread(target=call, name="harness progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _in_unicode(answer: Answer) -> Answer:
    """The answer with halves of surrogate pairs, which no file can hold, as question marks."""
    text, failure = (
        None if given is None else given.encode("utf-8", "replace").decode("utf-8")
        for given in (answer.text, answer.failure)
    )
    return replace(answer, text=text or "", failure=failure)
