"""JSON values compared as JSON has them: by type at every depth, text in Unicode's composed form.

``True`` is not ``1`` and ``"5"`` is not ``5``; ``1`` and ``1.0`` are one number, as JSON has one type of
them.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from numbers import Number

from harness.records import Json
from harness.scoring.patterns import nfc

SHOWN_CHARACTERS = 60


def same_json(one: Json, other: Json) -> bool:
    """Whether two JSON values are equal, their types included."""
    return json_key(one) == json_key(other)


def json_key(value: Json) -> Hashable:
    """A key that two values share exactly when they are the same JSON value."""
    if value is None:
        return ("null",)
    if isinstance(value, bool):
        return "truth", value
    if isinstance(value, str):
        return "text", nfc(value)
    if isinstance(value, Number):
        return "number", value
    if isinstance(value, Mapping):
        return "object", frozenset((nfc(str(key)), json_key(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return "list", tuple(map(json_key, value))
    return type(value).__name__, repr(value)


def composed(value: Json) -> Json:
    """The value with every text and key of it in Unicode's composed form."""
    if isinstance(value, str):
        return nfc(value)
    if isinstance(value, Mapping):
        return {nfc(str(key)): composed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [composed(item) for item in value]
    return value


def depth(value: Json) -> int:
    """How many lists and objects stand inside each other; 0 for a plain value."""
    deepest, level = 0, [value]
    while level := [item for item in level if isinstance(item, Mapping | list | tuple)]:
        deepest += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, Mapping) else item)]
    return deepest


def described(value: Json) -> str:
    """The value with its type, for people: ``the text '5'``, ``the number 5``."""
    shown = json.dumps(value, ensure_ascii=False, default=str)
    shown = shown if len(shown) <= SHOWN_CHARACTERS else f"{shown[: SHOWN_CHARACTERS - 1]}…"
    if value is None or isinstance(value, bool):
        return shown
    kinds = ((str, "text"), (Number, "number"), (Mapping, "object"), (list | tuple, "list"))
    return f"the {next((name for kind, name in kinds if isinstance(value, kind)), 'value')} {shown}"
