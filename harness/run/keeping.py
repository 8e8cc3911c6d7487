"""Answers kept as they come, so that an interrupted run loses at most a few."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from harness.data.fingerprints import fingerprint
from harness.records import Answer, Message
from harness.store.answers import AnswerStore

FLUSH_ROWS = 16  # answers kept in one transaction


def keeping(store: AnswerStore, context: str, answers: Iterable[Answer]) -> Iterator[Answer]:
    """Pass answers on and keep them under ``context``, also where the run is cut short.

    A failure is not kept: the next run asks again.
    """
    fresh: list[Answer] = []
    try:
        for answer in map(_in_unicode, answers):
            if answer.failure is None:
                fresh.append(answer)
            if len(fresh) >= FLUSH_ROWS:
                store.keep_answers(context, fresh)
                fresh = []
            yield answer
    finally:
        store.keep_answers(context, fresh)


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
