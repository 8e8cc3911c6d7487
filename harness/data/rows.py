"""Rows from JSON Lines, checked line by line: OpenAI chat (``messages``), or ``prompt`` and ``completion``.

Lines stream, so that any file fits in memory. They are read more strictly than by ``json.loads``: RFC 8259
does not define a repeated key, or a number beyond a double; readers disagree on both, so both are refused.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

from harness.data.chat_rows import row_of, uses_deprecated_functions
from harness.data.files import opened, read_text, unreadable
from harness.data.findings import Finding, Severity, Unusable, kind_of, shown
from harness.errors import DataError
from harness.records import Json, Row
from harness.words import plural

Form: TypeAlias = Callable[[Mapping[str, Json]], Mapping[str, Json]]

PROBLEMS_SHOWN = 10
ONE_OBJECT = 'write one JSON object a line, such as {"messages": [...]}'
AS_UTF8 = "save the file as UTF-8 without BOM"
_BLANK = b" \t\r\n"


# --------------------------------------------------------------------------- files
def read_rows(path: Path) -> tuple[Row, ...]:
    """The rows of a JSON Lines file in UTF-8; ``where`` of each is ``path:line``.

    Raises:
        DataError: the file is missing (similar files in its folder are listed) or cannot be read, or as
            ``collect``.
    """
    return collect(scan_file(path), str(path))


def scan_file(path: Path, form: Form | None = None) -> Iterator[Row | Finding]:
    """``scan_lines`` over a file, which is never in memory as a whole; ``DataError`` if it cannot be read.

    With a ``form`` it may also be one JSON list, which is read whole.
    """
    try:
        # in bytes, only \n ends a line: text would also be cut at U+2028 inside a JSON string
        with opened(path) as lines:
            if form is not None and lines.peek().lstrip(_BLANK).startswith(b"["):
                yield from scan_objects(list_items(path), str(path), form)
            else:
                yield from scan_lines(lines, str(path), form)
    except OSError as error:
        raise unreadable(path, error) from error


def list_items(path: Path) -> Iterator[tuple[int, bytes]]:
    """The JSON of each item of the list that a file holds, with the line on which it begins."""
    text = read_text(path, ".json")
    try:
        items = len(json.loads(text))
    except (ValueError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
        raise DataError(f"{path}:{line}", f"not JSON: {error}", "write a list of objects") from error
    at, counted, line, decoder = text.index("[") + 1, 0, 1, json.JSONDecoder()
    for _ in range(items):
        while text[at] in " \t\r\n,":
            at += 1
        line, counted = line + text.count("\n", counted, at), at
        _, end = decoder.raw_decode(text, at)
        yield line, text[at:end].encode()
        at = end


def file_digest(path: Path) -> str:
    """SHA-256 of the file's bytes, as 64 hex digits; ``DataError`` if it cannot be read."""
    try:
        with opened(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


# --------------------------------------------------------------------------- lines
def scan_lines(lines: Iterable[bytes], where: str, form: Form | None = None) -> Iterator[Row | Finding]:
    """Each line's row, or why there is none; a warning about a row comes before it.

    A row's ``id`` is its top-level ``id`` (text or an integer), else ``row-<line>``; lines count from 1 and
    blank ones are skipped. Every top-level key that the format does not know is metadata, ``id`` included.
    """
    return scan_objects(enumerate(lines, start=1), where, form)


def scan_objects(
    objects: Iterable[tuple[int, bytes | dict[str, Json]]], where: str, form: Form | None = None
) -> Iterator[Row | Finding]:
    """``scan_lines`` for lines, or objects that were read otherwise (CSV, Parquet), each with its number.

    ``form`` makes each a chat object first, or raises ``Unusable``.
    """
    line_of_id: dict[int, int] = {}  # ids by their hash, which bounds memory
    number, has_rows = 1, False
    for number, item in objects:
        if isinstance(item, bytes) and not item.strip(_BLANK):
            continue
        has_rows = True
        try:
            given = parse_object(decode(item, number)) if isinstance(item, bytes) else item
            value = given if form is None else form(given)
            row = row_of(value, f"{where}:{number}", f"row-{number}")
            before = line_of_id.setdefault(hash(row.id), number)
            if before != number:
                problem = f"the id {shown(row.id)} is also that of line {before}"
                raise Unusable("repeated-id", problem, "give every row an id of its own, or none")
        except Unusable as error:
            yield Finding(error.code, number, error.problem, error.hint)
            if error.ends_file:
                return
            continue
        if uses_deprecated_functions(value):
            problem = "functions and function_call are the deprecated form of tools and tool_calls"
            hint = "write 'tools', 'tool_calls' and messages of the role 'tool'"
            yield Finding("deprecated-functions", number, problem, hint)
        yield row
    if not has_rows:
        problem = "the file has no rows (an empty training or held-out set)"
        yield Finding("empty-file", number, problem, ONE_OBJECT)


def decode(line: bytes, number: int) -> str:
    """The line as text; ``Unusable`` if it is not UTF-8."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        is_utf16 = number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        what = "UTF-16" if is_utf16 else f"byte 0x{line[error.start]:02x} at byte {error.start + 1}"
        raise Unusable("not-utf8", f"not UTF-8 ({what})", AS_UTF8, ends_file=is_utf16) from error


def parse_object(line: str) -> dict[str, Json]:
    """The object of the line; ``Unusable`` if it has none, or one that readers would take differently."""
    value = parse_json(line)
    if not isinstance(value, dict):
        raise Unusable("not-an-object", f"not an object but {kind_of(value)}", ONE_OBJECT)
    return value


def parse_json(line: str) -> Json:
    """The value of a text, as strictly as ``parse_object``."""
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


# --------------------------------------------------------------------------- rows
def collect(scanned: Iterable[Row | Finding], where: str) -> tuple[Row, ...]:
    """All rows, if none has an error. Warnings are for ``harness validate``.

    Raises:
        DataError: naming ``file:line`` for each line that cannot be used (one problem a line, ten
            lines at most, the rest counted), or when there is no row at all.
    """
    items = list(scanned)
    problems = [item for item in items if isinstance(item, Finding) and item.severity is Severity.ERROR]
    if problems:
        _refuse(problems, where)
    return tuple(item for item in items if isinstance(item, Row))


def require_supervised(rows: Sequence[Row]) -> None:
    """Raise a ``DataError`` that names the training rows whose assistant messages all have weight 0."""
    found = [(row.where, finding) for row in rows if (finding := nothing_to_learn(row))]
    if found:
        _refuse([finding for _, finding in found], found[0][0].rpartition(":")[0])


def require_no_tools(rows: Sequence[Row]) -> None:
    """Raise a ``DataError`` for rows with tools, where a model's replies stand for their own."""
    found = [row for row in rows if row.uses_tools]
    if found:
        more = f" (and {len(found) - 1} more rows)" if len(found) > 1 else ""
        raise DataError(
            found[0].where,
            f"the row uses tools{more}, and the base is to write its reply, which may then call any",
            "leave these rows out here, or name them with replay=, whose replies are taken as they are",
        )


def nothing_to_learn(row: Row) -> Finding | None:
    """A finding where every assistant message has weight 0."""
    if any(m.role == "assistant" and m.weight for m in row.messages):
        return None
    return Finding(
        "nothing-to-learn",
        line_of(row),
        "every assistant message has weight 0, so there is nothing to learn",
        'give the last assistant message "weight": 1, or leave the row out',
    )


def line_of(row: Row) -> int:
    """The line of its file that the row is on; 0 for a row that came from no file."""
    digits = row.where.rpartition(":")[2]
    return int(digits) if digits.isdecimal() else 0


def _refuse(problems: Sequence[Finding], where: str) -> NoReturn:
    at = f"{where}:{problems[0].line}"
    if len(problems) == 1:
        raise DataError(at, problems[0].problem, problems[0].hint)
    listed = [f"  {where}:{p.line}: {p.problem}; {p.hint}" for p in problems[:PROBLEMS_SHOWN]]
    more = [f"  and {len(problems) - len(listed)} more"] if len(problems) > len(listed) else []
    text = "\n".join([f"{plural(len(problems), 'line')} cannot be used:", *listed, *more])
    raise DataError(at, text, "mend each line as its message says")
