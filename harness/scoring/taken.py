"""What a check or a judge gave, taken as plain scores: a foreign value never goes further than this.

A check of the project's own may return a NumPy or torch number, a ``Decimal``, a bare number, or nothing
that is a score at all. What is a number is taken as a float here; anything else is a failure of that row,
which names the check. So nothing that a check does keeps the other rows from being scored, or the report
from being written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import islice

from harness.records import Kind, Score
from harness.scoring.text import in_unicode, short

ROUNDING = 1e-6  # a float32 cosine of 1 may be 1.0000001
MOST_CHARACTERS = 4_000  # of a reason in the record
_ALLOWED = {Kind.BINARY: (0.0, 1.0), Kind.PREFERENCE: (0.0, 0.5, 1.0)}


def taken(given: object, name: str, kind: Kind) -> Score:
    """The score that the check ``name`` gave to one row, plain; a failure where it is none."""
    try:
        return _taken(given, kind)
    except _Unusable as error:
        return Score(None, failure=f"{name}: {error}")
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 - the value is foreign: whatever it does is this row's failure
        return Score(None, failure=f"{name}: its score cannot be read: {said(error)}")


def taken_all(given: object, n: int, name: str, kind: Kind) -> tuple[Score, ...]:
    """The scores that a judge gave to ``n`` rows; failures where they are none, or not one a row."""
    if not isinstance(given, Iterable) or isinstance(given, str | bytes):
        why = f"{name}: gave {type(given).__name__} in place of {n} scores"
        return (Score(None, failure=why),) * n
    scores = list(islice(given, n + 1))  # a generator may have no end
    if len(scores) != n:
        number = f"more than {n}" if len(scores) > n else str(len(scores))
        return (Score(None, failure=f"{name}: gave {number} scores for {n} rows"),) * n
    return tuple(taken(one, name, kind) for one in scores)


def failed(error: BaseException, name: str, n: int = 1) -> tuple[Score, ...]:
    """The failures of ``n`` rows, whose scoring raised ``error``."""
    return (Score(None, failure=f"{name}: {said(error)}"),) * n


def said(error: BaseException) -> str:
    """What an exception says, on one line; its type alone where even that fails."""
    name = type(error).__name__
    try:
        text = in_unicode(short(str(error)))
    except Exception:  # noqa: BLE001 - an exception's own __str__ may raise
        return name
    return f"{name}: {text}" if text else name


class _Unusable(Exception):  # noqa: N818 - the message says what is wrong
    """It is no score, and why."""


def _taken(given: object, kind: Kind) -> Score:
    if not isinstance(given, Score):
        if given is None or isinstance(given, str | bytes):
            raise _Unusable(f"returned {_named(given)}, which is no Score")
        return Score(_value(given, kind))
    reason, failure = _text(given.reason), None if given.failure is None else _text(given.failure)
    if failure is not None:
        return Score(None, reason, failure or "failed, and does not say why")
    if given.value is None:
        why = f": {reason}" if reason else ""
        raise _Unusable(f"returned Score(None) without a failure{why}; give failure= a sentence, or a value")
    return Score(_value(given.value, kind), reason)


def _value(given: object, kind: Kind) -> float:
    """The number as a plain float that scores of this kind can have."""
    dimensions: object = getattr(given, "ndim", 0)  # of an array: one of a single number has none
    if isinstance(given, str | bytes) or dimensions or not hasattr(type(given), "__float__"):
        raise _Unusable(f"its value is {_named(given)}, and no number")
    value = float(given)  # type: ignore[arg-type]  # it has __float__
    if not math.isfinite(value):
        raise _Unusable(f"its value is {value}, and a score lies in [0, 1]")
    if not -ROUNDING <= value <= 1 + ROUNDING:
        raise _Unusable(f"its value is {value:g}, and a score lies in [0, 1]")
    value = min(1.0, max(0.0, value))
    allowed = _ALLOWED.get(kind)
    if allowed is None:
        return value
    nearest = min(allowed, key=lambda one: abs(one - value))
    if abs(nearest - value) > ROUNDING:
        listed = ", ".join(f"{one:g}" for one in allowed)
        raise _Unusable(f"its value is {value:g}, and its kind, {kind.value}, has {listed}; say Kind.GRADED")
    return nearest


def _named(value: object) -> str:
    return "None" if value is None else f"of the type {type(value).__name__}"


def _text(given: object) -> str:
    text = given if type(given) is str else str(given)
    return in_unicode(text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…")
