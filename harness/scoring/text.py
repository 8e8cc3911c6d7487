"""Reads an answer's text: strict JSON, and what a judge is to read."""

from __future__ import annotations

import json
import re

from harness.records import Json
from harness.scoring.json_values import depth

MOST_DEPTH = 100  # of JSON in JSON; a schema that refers to itself is walked as deep

_FENCE_MARK = re.compile(r"`{3,}|~{3,}")
_LINE_END = re.compile(r"\r\n|\n|\r")
_INFO_WORD = re.compile(
    r"[ \t]*(?:[A-Za-z][\w+.#-]*(?![\w+.#-])(?=\s*\S))?"
)  # of a fence on one line: ```json {}```


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
    inside = in_fence(body)
    if inside and not fenced_ok:
        raise NotJson("not JSON: inside a code fence")
    problems: list[NotJson] = []
    for text_inside in inside or (body,):
        try:
            return _json(text_inside)
        except NotJson as problem:
            problems.append(problem)
    raise problems[0]


def in_fence(text: str) -> tuple[str, ...]:
    """What a Markdown code fence around all of ``text`` may hold, likeliest first; empty where there is none.

    Fences are those of CommonMark 0.31 (section 4.5): three or more backticks or tildes, an info string, a
    closing mark at least as long, any line ends. Models also write one on a single line, and begin the code
    on the line of the info string.
    """
    body = text.strip()
    begun = _FENCE_MARK.match(body)
    if begun is None:
        return ()
    mark = begun[0]
    rest = body[len(mark) :]
    inner = rest.rstrip(mark[0])
    if len(rest) - len(inner) < len(mark):
        return ()
    glued = inner[_INFO_WORD.match(inner).end() :]  # type: ignore[union-attr]  # it matches nothing, too
    info = _LINE_END.search(inner)
    return (glued,) if info is None else (inner[info.end() :], glued)


def _json(body: str) -> Json:
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
