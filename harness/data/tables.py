"""Chat objects from tables: CSV, Parquet, or a data set of the Hugging Face hub."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from harness.data.findings import Finding
from harness.data.rows import collect, scan_file, scan_objects, unreadable
from harness.data.table_sources import RecordTable, arrow_table, csv_table, open_hub, open_parquet
from harness.errors import DataError, UnknownName, UsageError
from harness.extras import require_extra
from harness.records import Row

COLUMNS_SHOWN = 30
TABLES = (".csv", ".tsv", ".parquet")
FORMS = (("messages",), ("prompt", "completion"), ("user", "assistant"))
MAPS = "'user=COLUMN,assistant=COLUMN', 'prompt=COLUMN,completion=COLUMN' or 'messages=COLUMN'"
_JSON_KEYS = ("messages", "tools")  # their texts are JSON: a CSV cell can be nothing else
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def scan_source(source: str, columns: str | None) -> Iterator[Row | Finding]:
    """Every row of JSON Lines, a table or a data set of the hub, or why there is none, in order.

    Raises:
        DataError: it is missing or cannot be read.
        UsageError: columns that do not fit.
    """
    path = Path(source)
    if path.suffix.lower() in TABLES or not (path.suffix or path.exists()):
        return scan_objects(read_table(source, ColumnMap.parse(columns) if columns else None), source)
    if columns:
        raise UsageError(f"--columns is for tables ({', '.join(TABLES)}); {source} is read as JSON Lines.")
    return scan_file(path)


def read_source(source: str, columns: str | None) -> tuple[Row, ...]:
    """All rows of ``source``; a ``DataError`` names the lines that cannot be used."""
    return collect(scan_source(source, columns), source)


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Which column holds which part of a row.

    ``messages``, or ``prompt`` and ``completion``, or ``user`` and ``assistant`` (with ``system`` where
    there is one); any of these with ``id``. All other columns become metadata under their own names.

    Raises:
        UsageError: a map that is incomplete, mixes these forms, or uses a column twice.
    """

    messages: str | None = None
    prompt: str | None = None
    completion: str | None = None
    user: str | None = None
    assistant: str | None = None
    system: str | None = None
    id: str | None = None

    def __post_init__(self) -> None:
        given = self.given
        shown = repr(",".join(f"{target}={column}" for target, column in given.items()))
        form = {key for key in given if key not in ("system", "id")}
        if form not in map(set, FORMS):
            missing = [k for whole in FORMS if form < set(whole) and form for k in whole if k not in form]
            what = f"lacks {missing[0]!r}" if missing else "does not say where the conversation stands"
            what = "mixes forms of a conversation" if len(form) > 1 else what
            raise UsageError(f"the column map {shown} {what}; write one of {MAPS}")
        if "system" in given and "user" not in given:
            raise UsageError(
                f"the column map {shown} gives 'system' without 'user' and 'assistant'; "
                "write 'system=COLUMN,user=COLUMN,assistant=COLUMN'"
            )
        twice = [column for column in given.values() if list(given.values()).count(column) > 1]
        if twice:
            raise UsageError(f"the column map {shown} uses the column {twice[0]!r} twice")

    @property
    def given(self) -> Mapping[str, str]:
        """Column by target, of those that are mapped."""
        pairs = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {target: column for target, column in pairs if column is not None}

    @classmethod
    def parse(cls, text: str) -> ColumnMap:
        """A map from text: ``user=question,assistant=answer``; quotes hold a name with a comma.

        Raises:
            UsageError: as for the class, and for targets given twice and parts that are no ``a=b``;
                ``UnknownName`` for targets that do not exist.
        """
        known = [f.name for f in fields(cls)]
        found: dict[str, str] = {}
        for part in next(csv.reader([text], skipinitialspace=True), []):
            target, equals, column = (piece.strip() for piece in part.partition("="))
            if not (target and equals and column):
                raise UsageError(f"{part!r} in the column map {text!r} is no TARGET=COLUMN; write {MAPS}")
            if target not in known:
                raise UnknownName("part of a row", target, known, f"Write {MAPS}.")
            if target in found:
                raise UsageError(f"the column map {text!r} gives {target!r} twice; keep one of the two")
            found[target] = column
        return cls(**found)


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
    path = Path(path_or_id)
    suffix = path.suffix.lower()
    if suffix in TABLES:
        if not path.is_file():
            raise unreadable(path, FileNotFoundError(), suffix)
        is_parquet = suffix == ".parquet"
        table = arrow_table(path_or_id, lambda: open_parquet(path)) if is_parquet else csv_table(path)
    elif path.exists() or not _HUB_ID.fullmatch(path_or_id):
        raise UsageError(
            f"{path_or_id} is no table; give a file that ends in .csv, .tsv or .parquet, or the id of a "
            "dataset of the Hugging Face hub such as 'owner/name'"
        )
    else:
        require_extra("local", f"reading {path_or_id} from the Hugging Face hub")
        table = arrow_table(path_or_id, lambda: open_hub(path_or_id, split, config))
    chosen = columns or _guess(table)
    _require_columns(table, chosen)
    for number, record in table.records:
        yield number, _chat(record, chosen.given, f"{path_or_id}:{number}")


def _guess(table: RecordTable) -> ColumnMap:
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


def _require_columns(table: RecordTable, columns: ColumnMap) -> None:
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


def _chat(record: Mapping[str, object], given: Mapping[str, str], where: str) -> dict[str, object]:
    """The chat object of a record. ``given``: column by target."""
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
        text = chat.get(key)
        if isinstance(text, str):
            try:
                chat[key] = json.loads(text)
            except (ValueError, RecursionError) as error:
                problem = f"the text in {key!r} is not JSON: {error}"
                raise DataError(where, problem, 'write [{"role": "user", "content": ...}, …]') from error
    return chat
