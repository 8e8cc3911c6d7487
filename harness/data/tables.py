"""Chat objects from tables: CSV, Parquet, or a dataset of the Hugging Face hub.

CSV is read with Python's ``csv`` and not through ``datasets``, which gives no line numbers, turns texts
such as "NA" and "007" into other values, and guesses types from the first rows.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime, time
from decimal import Decimal
from difflib import get_close_matches
from itertools import chain
from pathlib import Path

from harness.errors import DataError, UnknownName, UsageError
from harness.records import Json

DELIMITERS = ",;\t"
CELL_CHARACTERS = 10_000_000  # csv's own limit, 131,072, is less than a long conversation
BATCH_ROWS, BUFFER_BYTES = 1_000, 1 << 20  # of Parquet at once; its row groups may hold a million rows
COLUMNS_SHOWN = 30

_FORMS = (("messages",), ("prompt", "completion"), ("user", "assistant"))
_JSON_KEYS = ("messages", "tools")  # their texts are JSON: a CSV cell can be nothing else
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_MAPS = "'user=COLUMN,assistant=COLUMN', 'prompt=COLUMN,completion=COLUMN' or 'messages=COLUMN'"
_WITH_QUOTES = 'write a cell that has quotes, delimiters or line ends as "…", with "" for each quote in it'


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
        form = {key for key in given if key not in ("system", "id")}
        if form not in map(set, _FORMS):
            missing = [k for whole in _FORMS if form < set(whole) and form for k in whole if k not in form]
            what = f"lacks {missing[0]!r}" if missing else "does not say where the conversation stands"
            what = "mixes forms of a conversation" if len(form) > 1 else what
            raise UsageError(f"the column map {_shown(given)} {what}; write one of {_MAPS}")
        if "system" in given and "user" not in given:
            raise UsageError(
                f"the column map {_shown(given)} gives 'system' without 'user' and 'assistant'; "
                "write 'system=COLUMN,user=COLUMN,assistant=COLUMN'"
            )
        twice = [column for column in given.values() if list(given.values()).count(column) > 1]
        if twice:
            raise UsageError(f"the column map {_shown(given)} uses the column {twice[0]!r} twice")

    @property
    def given(self) -> Mapping[str, str]:
        """Column by target, of those that are mapped."""
        pairs = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {target: column for target, column in pairs if column is not None}

    @classmethod
    def parse(cls, text: str) -> ColumnMap:
        """A map from text: ``user=question,assistant=answer``; a name with a comma stands in quotes.

        Raises:
            UsageError: for what the class refuses, targets given twice and parts that are no ``a=b``;
                ``UnknownName`` for targets that do not exist.
        """
        known = [f.name for f in fields(cls)]
        found: dict[str, str] = {}
        for part in next(csv.reader([text], skipinitialspace=True), []):
            target, equals, column = (piece.strip() for piece in part.partition("="))
            if not (target and equals and column):
                raise UsageError(f"{part!r} in the column map {text!r} is no TARGET=COLUMN; write {_MAPS}")
            if target not in known:
                raise UnknownName("part of a row", target, known, f"Write {_MAPS}.")
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
    table = _table(path_or_id, split, config)
    chosen = columns or _guess(table)
    _require_columns(table, chosen)
    for number, record in table.records:
        yield number, _chat(record, chosen, f"{path_or_id}:{number}")


@dataclass(frozen=True, slots=True)
class _Table:
    where: str
    columns: Sequence[str]
    records: Iterator[tuple[int, Mapping[str, object]]]  # without missing values


def _table(path_or_id: str, split: str, config: str | None) -> _Table:
    path = Path(path_or_id)
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        _require_file(path)
        return _csv_table(path)
    if suffix == ".parquet":
        _require_file(path)
        return _arrow_table(path_or_id, lambda: _parquet(path))
    if path.exists() or not _HUB_ID.fullmatch(path_or_id):
        raise UsageError(
            f"{path_or_id} is no table; give a file that ends in .csv, .tsv or .parquet, or the id of a "
            "dataset of the Hugging Face hub such as 'owner/name'"
        )
    return _arrow_table(path_or_id, lambda: _hub(path_or_id, split, config))


def _require_file(path: Path) -> None:
    if path.is_file():
        return
    folder = path.parent
    names = [entry.name for entry in folder.iterdir() if entry.is_file()] if folder.is_dir() else []
    close = get_close_matches(path.name, names, n=3)
    hint = f"; {folder} has {', '.join(close)}" if close else ""
    raise DataError(str(path), f"there is no such file{hint}", "check the path")


# ------------------------------------------------------------------------------------------- columns
def _guess(table: _Table) -> ColumnMap:
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


def _require_columns(table: _Table, columns: ColumnMap) -> None:
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


def _shown(given: Mapping[str, str]) -> str:
    return repr(",".join(f"{target}={column}" for target, column in given.items()))


# ----------------------------------------------------------------------------------------------- CSV
def _csv_table(path: Path) -> _Table:
    delimiter = _delimiter(path)
    records = _csv_records(path, delimiter)
    line, cells = next(records, (1, []))
    names = [cell.strip() for cell in cells]
    if not any(names):
        raise DataError(f"{path}:{line}", "the file has no header", "name the columns in its first line")
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise DataError(f"{path}:{line}", f"two columns are called {twice[0]!r}", "rename one of them")
    return _Table(str(path), [n for n in names if n], _csv_rows(path, records, names))


def _delimiter(path: Path) -> str:
    """The one that makes most columns of the header; the first of them, where several do."""
    return max(DELIMITERS, key=lambda d: len(next(csv.reader(_lines(path), delimiter=d), [])))


def _csv_rows(
    path: Path, records: Iterator[tuple[int, list[str]]], names: Sequence[str]
) -> Iterator[tuple[int, Mapping[str, object]]]:
    for line, cells in records:
        if len(cells) != len(names):
            raise DataError(
                f"{path}:{line}", f"{len(cells)} cells, but the header has {len(names)}", _WITH_QUOTES
            )
        yield line, {name: cell for name, cell in zip(names, cells, strict=True) if name and cell}


def _csv_records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Every record that is not blank, with the line it begins on."""
    reader = csv.reader(_lines(path), delimiter=delimiter, strict=True)
    while True:
        begins = reader.line_num + 1
        limit = csv.field_size_limit(CELL_CHARACTERS)  # of the whole process, so it is put back
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{path}:{begins}", f"not CSV: {error}", _WITH_QUOTES) from error
        finally:
            csv.field_size_limit(limit)
        if cells:
            yield begins, cells


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield _decoded(line, f"{path}:{number}").removeprefix("\ufeff" if number == 1 else "")
    except OSError as error:
        raise DataError(
            str(path), f"cannot be read: {error.strerror}", "give a file that can be read"
        ) from error


def _decoded(line: bytes, where: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        what = f"byte 0x{line[error.start]:02x} at byte {error.start + 1}"
        raise DataError(where, f"not UTF-8 ({what})", "save the file as UTF-8") from error


# ----------------------------------------------------------------------------- Parquet and the hub
@dataclass(frozen=True, slots=True)
class _Source:
    """What a library gives of a table; ``labels`` are the names behind a column of class numbers."""

    columns: Sequence[str] | None  # None: only the records tell
    records: Iterator[Mapping[str, object]]
    labels: Mapping[str, list[str]] = field(default_factory=dict)


def _parquet(path: Path) -> _Source:
    # not through datasets, which holds a row group (by default a million rows) and imports torch
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER_BYTES)
    batches = file.iter_batches(BATCH_ROWS)
    return _Source(file.schema_arrow.names, (record for batch in batches for record in batch.to_pylist()))


def _hub(name: str, split: str, config: str | None) -> _Source:
    import datasets

    # media stay bytes, which are refused by name: decoding them needs more libraries
    dataset = datasets.load_dataset(name, config, split=split, streaming=True).decode(False)
    labels = {
        column: feature.names
        for column, feature in (dataset.features or {}).items()
        if isinstance(feature, datasets.ClassLabel)
    }
    return _Source(dataset.column_names, iter(dataset), labels)


def _arrow_table(where: str, load: Callable[[], _Source]) -> _Table:
    try:
        source = load()
        first = next(source.records, None)
    except Exception as error:  # whatever the libraries below raise, it is this table's
        raise _unreadable(where, error) from error
    records = source.records if first is None else chain([first], source.records)
    columns = list(source.columns or first or ())
    return _Table(where, columns, _arrow_rows(where, _wrapped(where, records), source.labels))


def _wrapped(where: str, raw: Iterator[Mapping[str, object]]) -> Iterator[Mapping[str, object]]:
    try:
        yield from raw
    except Exception as error:
        raise _unreadable(where, error) from error


def _arrow_rows(
    where: str, records: Iterator[Mapping[str, object]], labels: Mapping[str, list[str]]
) -> Iterator[tuple[int, Mapping[str, object]]]:
    for number, record in enumerate(records, start=1):
        found: dict[str, object] = {}
        for column, value in record.items():
            plain = _plain(value, column, f"{where}:{number}")
            if column in labels and isinstance(plain, int):
                plain = labels[column][plain] if plain >= 0 else None  # -1: not labelled
            if plain is not None:
                found[column] = plain
        yield number, found


def _unreadable(where: str, error: Exception) -> DataError | UsageError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    if where.lower().endswith(".parquet"):
        return DataError(where, f"cannot be read as Parquet: {reason}", "write the file anew")
    if type(error).__name__ == "DatasetNotFoundError":
        mend = "check the name; for a private or gated one, log in first (hf auth login)"
        return DataError(where, "there is no such dataset on the Hugging Face hub that you may read", mend)
    if isinstance(error, ValueError):
        more = " ".join(str(error).split())
        return UsageError(f"{where} cannot be read so: {more}\n  mend: name a split and config that it has")
    return DataError(
        where,
        f"cannot be had from the Hugging Face hub, and is not in the local cache: {reason}",
        "check the name and the network, or download it and give the path of its .csv or .parquet file",
    )


def _plain(value: object, column: str, where: str) -> Json:
    """What JSON has for ``value``; None where it is missing. Empty keys of structs are left out."""
    for unwrap in ("as_py", "tolist"):  # pyarrow; numpy scalars and arrays
        method = getattr(value, unwrap, None)
        if callable(method):
            return _plain(method(), column, where)
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Mapping):
        items = ((str(key), _plain(item, column, where)) for key, item in value.items())
        return {key: item for key, item in items if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item, column, where) for item in value]
    if value != value:  # NaN, and pandas' NaT
        return None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise DataError(
        where,
        f"the column {column!r} holds {'infinity' if isinstance(value, float) else type(value).__name__}, "
        "which is no JSON",
        "take the column out of the table",
    )
