"""Chat objects from tables: CSV, Parquet, or a data set of the Hugging Face hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from harness.data.arrow_table import arrow_table, hub_source, parquet_source
from harness.data.columns import ColumnMap, Table
from harness.data.csv_table import csv_table
from harness.errors import DataError, UnknownName, UsageError
from harness.extras import require_extra
from harness.records import Json

__all__ = ["ColumnMap", "read_table"]

COLUMNS_SHOWN = 30

_JSON_KEYS = ("messages", "tools")  # their texts are JSON: a CSV cell can be nothing else
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def read_table(
    path_or_id: str, columns: ColumnMap | None = None, *, split: str = "train", config: str | None = None
) -> Iterator[tuple[int, dict[str, object]]]:
    """Chat objects from a table, as ``json.loads`` would give them, each with its number.

    The number is the line a record begins on in a CSV file (from 1, the header included; records may
    span lines), and the record's own number elsewhere, from 1. ``split`` and ``config`` choose within a
    dataset of the hub, which is read from there or from the local cache.

    Empty cells, null and NaN become missing keys; dates become ISO texts, and a hub dataset's class
    labels their names. CSV cells stay texts ("NA", "007"), but for ``messages`` and ``tools``, whose
    texts are read as JSON. Columns without a name (an index that pandas wrote) are left out. A CSV's
    delimiter is a comma, a semicolon or a tab, whichever makes the most columns of its header. Files are
    read as rows are asked for and never held as a whole; of a hub dataset, ``datasets`` holds a part.

    Without ``columns``, a column ``messages``, or columns ``prompt`` and ``completion``, are taken.

    Raises:
        UsageError: no table of a known kind, no map where one is needed, a mapped column that does not
            exist (``UnknownName``), an unmapped one whose name the result needs, no such split or config.
        DataError: a file or dataset that is missing or cannot be read, with ``file:line`` where there is
            one. All errors are raised when the first row, or the bad one, is asked for.
    """
    table = _table(path_or_id, split, config)
    chosen = columns or _guess(table)
    _require_columns(table, chosen)
    for number, record in table.records:
        yield number, _chat(record, chosen, f"{path_or_id}:{number}")


def _table(path_or_id: str, split: str, config: str | None) -> Table:
    path = Path(path_or_id)
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        _require_file(path)
        return csv_table(path)
    if suffix == ".parquet":
        _require_file(path)
        return arrow_table(path_or_id, lambda: parquet_source(path))
    if path.exists() or not _HUB_ID.fullmatch(path_or_id):
        raise UsageError(
            f"{path_or_id} is no table; give a file that ends in .csv, .tsv or .parquet, or the id of a "
            "dataset of the Hugging Face hub such as 'owner/name'"
        )
    require_extra("local", f"reading {path_or_id} from the Hugging Face hub")
    return arrow_table(path_or_id, lambda: hub_source(path_or_id, split, config))


def _require_file(path: Path) -> None:
    if path.is_file():
        return
    folder = path.parent
    names = [entry.name for entry in folder.iterdir() if entry.is_file()] if folder.is_dir() else []
    close = get_close_matches(path.name, names, n=3)
    hint = f"; {folder} has {', '.join(close)}" if close else ""
    raise DataError(str(path), f"there is no such file{hint}", "check the path")


# ------------------------------------------------------------------------------------------- columns
def _guess(table: Table) -> ColumnMap:
    if "messages" in table.columns:
        return ColumnMap(messages="messages")
    if {"prompt", "completion"} <= set(table.columns):
        return ColumnMap(prompt="prompt", completion="completion")
    one, other = (*table.columns, "question", "answer")[:2]
    shown = ", ".join(table.columns[:COLUMNS_SHOWN]) or "no column at all"
    raise UsageError(
        f"{table.where} does not say which columns are the conversation; it has {shown}. "
        f"Say it, for example with --columns user={one},assistant={other}"
    )


def _require_columns(table: Table, columns: ColumnMap) -> None:
    for column in columns.given.values():
        if column not in table.columns:
            raise UnknownName("column", column, table.columns, f"These are the columns of {table.where}.")
    made = {"messages", *(key for key in columns.given if key not in ("user", "assistant", "system"))}
    clash = [c for c in table.columns if c in made and c not in columns.given.values()]
    if clash:
        raise UsageError(
            f"{table.where} has a column {clash[0]!r} that is not mapped, and the rows need that name for "
            "another; map it, or rename it in the table"
        )


def _chat(record: Mapping[str, object], columns: ColumnMap, where: str) -> dict[str, object]:
    given = columns.given
    chat = {key: record[given[key]] for key in ("id",) if key in given and given[key] in record}
    chat.update((key, value) for key, value in record.items() if key not in given.values())
    if "user" in given:
        roles = [role for role in ("system", "user", "assistant") if role in given]
        turns = [(role, record.get(given[role])) for role in roles]
        chat["messages"] = [
            {"role": role} if content is None else {"role": role, "content": content}
            for role, content in turns
            if content is not None or role != "system"
        ]
    for key in ("messages", "prompt", "completion"):
        if key in given and given[key] in record:
            chat[key] = record[given[key]]
    for key in _JSON_KEYS:
        value = chat.get(key)
        if isinstance(value, str):
            chat[key] = _json(value, key, where)
    return chat


def _json(text: str, key: str, where: str) -> Json:
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            where, f"the text in {key!r} is not JSON: {error}", 'write [{"role": "user", "content": ...}, …]'
        ) from error
    return value
