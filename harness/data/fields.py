"""The metadata fields that a suite groups and slices its rows by: on every row, and written alike."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches

from harness.errors import DataError
from harness.records import Json, Row
from harness.words import plural

_UNSEEN = re.compile(
    r"[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]"
)  # they take no place on a screen
_WHOLE_NUMBER = re.compile(r"[+-]?\d+\.0+")
_MOST_NAMED = 3


def require_field(rows: Sequence[Row], field: str, purpose: str, where: str) -> None:
    """Check that every row has a value in a metadata field, and that no two values differ only in writing.

    Rows whose customer is ``c1`` and ``c1 `` would count as two customers', and rows without one as nobody's.

    Args:
        purpose: what the field is to the suite, ``group`` or ``slice``.
        where: the rows' file, as people see it.

    Raises:
        DataError: the field is missing on some row, or on all; a value is a list or an object; or two values
            differ in nothing but spaces, case, invisible characters or the form of a number.
    """
    without = [row for row in rows if _is_empty(row.metadata.get(field))]
    if len(without) == len(rows):
        known = {key: None for row in rows for key in row.metadata if key != field}
        close = get_close_matches(field, known, n=1)
        meant = f" Did you mean {close[0]!r}?" if close else ""
        there = ", ".join(known) or "none"
        empty = " It is empty on all." if any(field in row.metadata for row in rows) else ""
        raise DataError(
            where,
            f"no row has the {purpose} field {field!r}.{empty or meant}",
            f"name one of the rows' own fields ({there}), add {field!r} to the rows or drop the {purpose}",
        )
    if without:
        raise DataError(
            where,
            f"{len(without)} of {plural(len(rows), 'row')} have no {purpose} field {field!r} (the first:"
            f" {', '.join(map(_place, without[:_MOST_NAMED]))}).",
            f"give every row one; a row that stands alone, a {purpose} of its own"
            if purpose == "group"
            else 'give every row one, such as "none"',
        )
    several = next((row for row in rows if isinstance(row.metadata[field], (list, dict))), None)
    if several is not None:
        raise DataError(
            where,
            f"the {purpose} field {field!r} is a list or an object on {_place(several)}.",
            f"give each row one text or number; what belongs to several {purpose}s, a name for them together",
        )
    first: dict[str, Row] = {}
    for row in rows:
        other = first.setdefault(_folded(row.metadata[field]), row)
        if row.text(field) != other.text(field):
            raise DataError(
                where,
                f"the {purpose} field {field!r} is {other.text(field)!r} on {_place(other)} and"
                f" {row.text(field)!r} on {_place(row)}: two values by their writing alone.",
                "write them alike, or so that they differ by more than spaces and case",
            )


def _place(row: Row) -> str:
    return f"line {row.where.rpartition(':')[2]}" if row.where else f"row {row.id}"


def _is_empty(value: Json) -> bool:
    return value is None or (isinstance(value, str) and not _folded(value))


def _folded(value: Json) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = _UNSEEN.sub("", unicodedata.normalize("NFKC", str(value))).strip()
    if _WHOLE_NUMBER.fullmatch(text):
        return text.partition(".")[0]
    return " ".join(text.split()).casefold()
