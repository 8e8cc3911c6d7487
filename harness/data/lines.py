"""From bytes to JSON objects, one a line, more strictly than ``json.loads``.

RFC 8259 does not define a repeated key, or a number beyond a double; readers disagree on both, so both are
refused here.
"""

from __future__ import annotations

import codecs
import json
import math
from typing import NoReturn

from harness.records import Json

VALUE_CHARACTERS_SHOWN = 40
ONE_OBJECT = 'write one JSON object a line, such as {"messages": [...]}'
AS_UTF8 = "save the file as UTF-8 without BOM"


class Unusable(Exception):  # noqa: N818 - caught where the line gets its number
    """The line being read cannot be used: a code of ``findings.CODES``, the problem and the hint."""

    def __init__(self, code: str, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.code, self.problem, self.hint = code, problem, hint


class WholeFileUnusable(Unusable):
    """Every line would fail in the same way."""


def decode(line: bytes, number: int) -> str:
    """The line as text.

    Raises:
        Unusable: it is not UTF-8.
    """
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise WholeFileUnusable("not-utf8", "not UTF-8 (UTF-16)", AS_UTF8) from error
        what = f"byte 0x{line[error.start]:02x} at byte {error.start + 1}"
        raise Unusable("not-utf8", f"not UTF-8 ({what})", AS_UTF8) from error


def parse_object(line: str) -> dict[str, Json]:
    """The JSON object that the line holds.

    Raises:
        Unusable: it holds none, or one that readers would take differently.
    """
    if line.startswith("\ufeff"):
        raise Unusable("byte-order-mark", "begins with a byte order mark", AS_UTF8)
    try:
        value: Json = json.loads(
            line, object_pairs_hook=_without_repeats, parse_constant=_no_number, parse_float=_finite
        )
    except json.JSONDecodeError as error:
        problem = f"not JSON at column {error.pos + 1}: {error.msg}"
        raise Unusable("invalid-json", problem, ONE_OBJECT) from error
    except ValueError as error:  # an integer of thousands of digits
        hint = "write long digit strings in quotes"
        raise Unusable("bad-number", f"not a usable number: {error}", hint) from error
    except RecursionError as error:
        raise Unusable("invalid-json", "nested too deeply", ONE_OBJECT) from error
    if not isinstance(value, dict):
        raise Unusable("not-an-object", f"not an object but {kind_of(value)}", ONE_OBJECT)
    if "\\ud" in line or "\\uD" in line:
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            problem = f"\\u{ord(error.object[error.start]):04x} is half a surrogate pair, not a character"
            hint = "write the character itself, or both halves"
            raise Unusable("half-surrogate", problem, hint) from error
    return value


def _without_repeats(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for at, key in enumerate(keys) if key in keys[:at])
        raise Unusable(
            "repeated-key", f"the key {shown(twice)} appears twice in one object", "keep one of the two"
        )
    return found


def _no_number(constant: str) -> NoReturn:
    raise Unusable("bad-number", f"{constant} is no JSON number", "write null, or leave the key out")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise Unusable("bad-number", f"the number {shown(digits)} is too large", "write it in quotes")
    return number


def shown(value: Json) -> str:
    """A value in Python's notation, cut to 40 characters, for messages."""
    text = repr(value)
    return text if len(text) <= VALUE_CHARACTERS_SHOWN else f"{text[:VALUE_CHARACTERS_SHOWN]}…"


def kind_of(value: Json) -> str:
    """The kind of a JSON value, in words."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
