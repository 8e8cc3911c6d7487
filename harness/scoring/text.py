"""Reads an answer's text: strict JSON, and what a judge is to read."""

from __future__ import annotations

import json
import re

from harness.records import Json
from harness.scoring.json_values import depth

MOST_DEPTH = 100  # of JSON in JSON; a schema that refers to itself is walked as deep

_FENCE = re.compile(r"\A```[\w-]*[ \t]*\n(.*?)\n?```\Z", re.DOTALL)


class NotJson(ValueError):  # noqa: N818 - an answer's state, caught where it is scored
    """The text is not JSON; the message says why, in a few words."""


def short(text: str, limit: int = 200) -> str:
    """``text`` on one line and at most ``limit`` characters long."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def in_unicode(text: str) -> str:
    """``text`` with halves of surrogate pairs, which no file can hold, as question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def parse_json(text: str, *, fenced_ok: bool = False) -> Json:
    """The JSON value that is the whole text (RFC 8259: no NaN, no Infinity).

    Raises:
        NotJson: it is none.
    """
    body = text.strip()
    if not body:
        raise NotJson("not JSON: the answer is empty")
    fence = _FENCE.match(body)
    if fence is not None:
        if not fenced_ok:
            raise NotJson("not JSON: inside a code fence")
        body = fence[1]
    try:
        value: Json = json.loads(body, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise NotJson(f"not JSON: {error.msg} at line {error.lineno} column {error.colno}") from error
    except RecursionError as error:
        raise NotJson("not JSON: nested too deeply") from error
    except ValueError as error:  # NaN, Infinity, integers past Python's limit of digits
        raise NotJson(f"not JSON: {short(str(error), 80)}") from error
    if depth(value) > MOST_DEPTH:
        raise NotJson(f"not JSON: nested more than {MOST_DEPTH} deep")
    return value


def _refuse_constant(constant: str) -> Json:
    raise ValueError(f"{constant} is no JSON number")


def judged_text(text: str, field: str | None) -> tuple[str, str]:
    """The text for a judge, all of it or ``field`` of its JSON; and the problem where it is empty."""
    if field is None:
        return text.strip(), "empty"
    try:
        value = parse_json(text)
    except NotJson as error:
        return "", f"no field {field!r}: {error}"
    held = value.get(field) if isinstance(value, dict) else None
    if held is None:
        return "", f"no field {field!r}"
    if not isinstance(held, str):
        return "", f"field {field!r} is not a text"
    return held.strip(), f"field {field!r} is empty"
