"""Rows from JSON Lines, checked line by line: OpenAI chat (``messages``), or ``prompt`` and ``completion``.

Lines stream, so that any file fits in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn

from harness.data.chat_rows import row_of, uses_deprecated_functions
from harness.data.findings import Finding, Severity
from harness.data.lines import ONE_OBJECT, Unusable, WholeFileUnusable, decode, parse_object, shown
from harness.errors import DataError
from harness.records import Json, Row

PROBLEMS_SHOWN = 10
_BLANK = b" \t\r\n"


def scan_lines(lines: Iterable[bytes], where: str) -> Iterator[Row | Finding]:
    """Each line's row, or why there is none; a warning about a row comes before it.

    A row's ``id`` is its top-level ``id`` (text or an integer), else ``row-<line>``; lines count from 1 and
    blank ones are skipped. Every top-level key that the format does not know is metadata, ``id`` included.
    """
    yield from _Scan(where).over_lines(lines)


def scan_objects(objects: Iterable[tuple[int, dict[str, Json]]], where: str) -> Iterator[Row | Finding]:
    """``scan_lines`` for objects that were read otherwise (CSV, Parquet), each with its number."""
    yield from _Scan(where).over_objects(objects)


class _Scan:
    """State between lines. Ids are held by their hash, which bounds memory."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._line_of_id: dict[int, int] = {}
        self._number = 0
        self._has_rows = False

    def over_lines(self, lines: Iterable[bytes]) -> Iterator[Row | Finding]:
        for number, line in enumerate(lines, start=1):
            self._number = number
            if not line.strip(_BLANK):
                continue
            self._has_rows = True
            try:
                yield from self._row(parse_object(decode(line, number)), number)
            except WholeFileUnusable as error:
                yield Finding(error.code, number, error.problem, error.hint)
                return
            except Unusable as error:
                yield Finding(error.code, number, error.problem, error.hint)
        yield from self._end()

    def over_objects(self, objects: Iterable[tuple[int, dict[str, Json]]]) -> Iterator[Row | Finding]:
        for number, value in objects:
            self._number, self._has_rows = number, True
            try:
                yield from self._row(value, number)
            except Unusable as error:
                yield Finding(error.code, number, error.problem, error.hint)
        yield from self._end()

    def _row(self, value: dict[str, Json], number: int) -> Iterator[Row | Finding]:
        row = row_of(value, f"{self._where}:{number}", f"row-{number}")
        before = self._line_of_id.setdefault(hash(row.id), number)
        if before != number:
            problem = f"the id {shown(row.id)} is also that of line {before}"
            raise Unusable("repeated-id", problem, "give every row an id of its own, or none")
        if uses_deprecated_functions(value):
            problem = "functions and function_call are the deprecated form of tools and tool_calls"
            hint = "write 'tools', 'tool_calls' and messages of the role 'tool'"
            yield Finding("deprecated-functions", number, problem, hint)
        yield row

    def _end(self) -> Iterator[Finding]:
        if not self._has_rows:
            problem = "the file has no rows (an empty training or held-out set)"
            yield Finding("empty-file", max(self._number, 1), problem, ONE_OBJECT)


def parse_rows(lines: Iterable[str | bytes], where: str) -> tuple[Row, ...]:
    """The rows of a JSON Lines text, in its order. ``where`` is the file's name, for messages.

    Raises:
        DataError: naming ``file:line`` for each line that cannot be used (one problem a line, ten
            lines at most, the rest counted), or when there is no row at all.
    """
    raw = (line.encode("utf-8", "surrogatepass") if isinstance(line, str) else line for line in lines)
    return collect(scan_lines(raw, where), where)


def collect(scanned: Iterable[Row | Finding], where: str) -> tuple[Row, ...]:
    """All rows, if none has an error. Warnings are for ``harness validate``.

    Raises:
        DataError: as ``parse_rows``.
    """
    rows: list[Row] = []
    problems: list[Finding] = []
    for item in scanned:
        if isinstance(item, Row):
            rows.append(item)
        elif item.severity is Severity.ERROR:
            problems.append(item)
    if problems:
        _refuse(problems, where)
    return tuple(rows)


def require_supervised(rows: Sequence[Row]) -> None:
    """Check that each training row has an assistant message to learn from.

    Raises:
        DataError: naming the rows whose assistant messages all have weight 0.
    """
    found = [(row.where, finding) for row in rows if (finding := nothing_to_learn(row))]
    if found:
        _refuse([finding for _, finding in found], found[0][0].rpartition(":")[0])


def require_no_tools(rows: Sequence[Row]) -> None:
    """Check that rows are plain conversations: local chat templates render tools each in its own way.

    Raises:
        DataError: naming the rows that offer, call or answer tools.
    """
    found = [row for row in rows if row.uses_tools]
    if found:
        more = f" (and {len(found) - 1} more rows)" if len(found) > 1 else ""
        raise DataError(
            found[0].where,
            f"the row uses tools{more}, which a local model is neither trained on nor asked with here",
            "leave these rows out, or tune a hosted model on them",
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
    first = problems[0]
    at = f"{where}:{first.line}"
    if len(problems) == 1:
        raise DataError(at, first.problem, first.hint)
    listed = [f"  {where}:{p.line}: {p.problem}; {p.hint}" for p in problems[:PROBLEMS_SHOWN]]
    more = len(problems) - len(listed)
    tail = [f"  and {more} more"] if more else []
    raise DataError(
        at,
        "\n".join([f"{len(problems)} lines cannot be used:", *listed, *tail]),
        "mend each line as its message says",
    )
