"""What a model gave, taken as plain answers: a foreign value never goes further than this.

A model of the project's own may give no answer at all, one to a row that nobody asked, or an ``Answer`` whose
fields are not what they say; it may also raise. Each is the failure of the rows that are then without an
answer, so that the others are scored, and the report is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from numbers import Integral, Real
from typing import Literal

from harness.candidates.guarded import said
from harness.errors import HarnessError
from harness.records import Answer, FailureKind

MOST_CHARACTERS = 300  # of what is said of a foreign value


def plain_answers(
    ask: Callable[[], object],
    asked: Collection[str],
    known: Collection[str],
    say: Callable[[str], None] = lambda problem: None,
) -> Generator[Answer, None, None]:
    """The answers that ``ask`` gives, as they come, then a failure for each row that has none.

    Errors of the harness, Ctrl-C and ``pytest.exit`` pass: they end the asking.

    Args:
        ask: the call of a model's ``answer``.
        asked: ids of all rows; answers to others are left out.
        known: those of them that have an answer.
        say: told at once what the model raised, since it may be broken.
    """
    import pytest

    wanted = frozenset(asked)
    missing = {row_id: None for row_id in asked if row_id not in known}
    problem = "the model gave no answer to this row"
    given: object = None
    try:
        given = ask()
        if not isinstance(given, Iterable):
            raise _UnusableError(f"the model's answer() gave {_named(given)}, and no answers")
        for one in given:
            row_id: object = getattr(one, "row_id", None)
            if not isinstance(one, Answer) or not isinstance(row_id, str):
                problem = f"the model gave {_named(one)} in place of an Answer with a row_id"
                continue
            row_id = str.__str__(row_id)
            if row_id not in wanted:
                problem = "the model gave answers to rows that nobody asked, and none to this one"
                continue
            try:
                answer = _plain(one, row_id)
            except _UnusableError as error:
                answer = _failure(row_id, str(error))
            missing.pop(row_id, None)
            yield answer
    except _UnusableError as error:
        problem = str(error)
    except (HarnessError, KeyboardInterrupt, GeneratorExit, pytest.exit.Exception):
        raise
    except BaseException as error:  # noqa: BLE001 - a model of the project's own may raise anything
        problem = f"the model raised {_said(error)}"
        say(f"{problem}; {len(missing):,} of {len(wanted):,} rows have no answer")
    finally:
        if isinstance(given, Generator):
            given.close()
    for row_id in missing:
        yield _failure(row_id, problem)


_FINISHES: Mapping[str, Literal["stop", "length", "tool_calls"]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
}


class _UnusableError(Exception):
    """What a model gave cannot be an answer, and why."""


def _failure(row_id: str, why: str) -> Answer:
    return Answer(row_id, "", 0, 0, 0.0, "failed", why, failure_kind=FailureKind.ERROR)


def _plain(given: Answer, row_id: str) -> Answer:
    """The answer with plain values of the types that its fields have."""
    failure = None if given.failure is None else _text(given, "failure") or "failed, and says not why"
    finish = given.finish if isinstance(given.finish, str) else ""
    if failure is None and finish not in _FINISHES:
        raise _UnusableError(f"the model gave an Answer whose finish is {_named(given.finish)}")
    kind = given.failure_kind
    return Answer(
        row_id=row_id,
        text=_text(given, "text") or "",
        prompt_tokens=_count(given, "prompt_tokens"),
        completion_tokens=_count(given, "completion_tokens"),
        latency_ms=_latency_ms(given),
        finish="failed" if failure is not None else _FINISHES[finish],
        failure=failure,
        cached_prompt_tokens=_count(given, "cached_prompt_tokens"),
        attempts=_count(given, "attempts"),
        repeat=_count(given, "repeat"),
        logprob=_logprob(given.logprob),
        batched=given.batched is True,
        thought=None if given.thought is None else _text(given, "thought"),
        thought_tokens=None if given.thought_tokens is None else _count(given, "thought_tokens"),
        failure_kind=kind if isinstance(kind, FailureKind) else None,
        served_by=_text(given, "served_by") or "",
        system_fingerprint=_text(given, "system_fingerprint") or "",
    )


def _text(given: Answer, field: str) -> str:
    value: object = getattr(given, field)
    if not isinstance(value, str):
        raise _UnusableError(f"the model gave an Answer whose {field} is {_named(value)}, and no text")
    return str.__str__(value)


def _count(given: Answer, field: str) -> int:
    value: object = getattr(given, field)
    if not isinstance(value, Integral) or not 0 <= int(value) < 2**63:
        raise _UnusableError(f"the model gave an Answer whose {field} is {_named(value)}, and no count")
    return int(value)


def _latency_ms(given: Answer) -> float:
    value: object = given.latency_ms
    if not isinstance(value, Real) or not math.isfinite(value) or value < 0:
        raise _UnusableError(f"the model gave an Answer whose latency_ms is {_named(value)}, and no time")
    return float(value)


def _logprob(value: object) -> float | None:
    """A mean that is no number was not offered: nothing rests on it."""
    if not isinstance(value, Real) or not math.isfinite(value):
        return None
    return float(value)


def _named(value: object) -> str:
    """A number or a short text by itself, anything else by its type: its own repr may raise or not end."""
    if value is None or type(value) in (bool, float) or (type(value) is int and abs(value) < 10**30):
        return repr(value)
    if type(value) is str and len(value) <= 20:
        return ascii(value)
    return f"of the type {type(value).__name__}"


def _said(error: BaseException) -> str:
    try:
        text = " ".join(said(error).split())
    except Exception:  # noqa: BLE001 - an exception's own __str__ may raise
        return type(error).__name__
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"
