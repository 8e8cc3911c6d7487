"""Chat objects from tables: CSV, Parquet, or a data set of the Hugging Face hub.

CSV is read by Python's ``csv``, not by ``datasets``, which gives no line numbers, turns texts such as "NA"
and "007" into other values, and guesses types from the first rows.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, time
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import TypeAlias

from harness.data.chat_rows import public_form
from harness.data.files import opened, unreadable
from harness.data.findings import Finding, Unusable
from harness.data.rows import Form, collect, decode, scan_file, scan_objects
from harness.errors import DataError, UnknownName, UsageError
from harness.extras import require_extra
from harness.records import Json, Row

Record: TypeAlias = Mapping[str, object]  # without missing values
#: columns, and records by number
NumberedRecords: TypeAlias = tuple[Sequence[str], Iterator[tuple[int, Record]]]
OpenedTable: TypeAlias = tuple[Sequence[str] | None, Iterator[Record], Mapping[str, list[str]]]

COLUMNS_SHOWN = 30
TABLES = (".csv", ".tsv", ".parquet")
FORMS = (("messages",), ("prompt", "completion"), ("user", "assistant"))
MAPS = "'user=COLUMN,assistant=COLUMN', 'prompt=COLUMN,completion=COLUMN' or 'messages=COLUMN'"
DELIMITERS = ",;\t"
CELL_CHARACTERS = 10_000_000  # csv's own limit, 131,072, is less than a long conversation
WITH_QUOTES = 'write a cell that has quotes, delimiters or line ends as "…", with "" for each quote in it'
BATCH_ROWS, BUFFER_BYTES = 1_000, 1 << 20  # of Parquet at once; its row groups may hold a million rows
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def scan_source(source: str, columns: str | None, form: Form | None = None) -> Iterator[Row | Finding]:
    """Every row of JSON Lines, a table or a data set of the hub, or why not; see ``scan_objects``."""
    path = Path(source)
    if path.suffix.lower() in TABLES or not (path.suffix or os.path.lexists(path)):
        return scan_objects(read_table(source, ColumnMap.parse(columns) if columns else None), source, form)
    if columns:
        raise UsageError(f"--columns is for tables ({', '.join(TABLES)}); {source} is read as JSON Lines.")
    return scan_file(path, form)


def read_source(source: str, columns: str | None, form: Form | None = None) -> tuple[Row, ...]:
    """All rows of ``source``; a ``DataError`` names the lines that cannot be used."""
    return collect(scan_source(source, columns, form), source)


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
        """A map from text: ``user=question,assistant=answer``; quotes hold a name with a comma."""
        known = [f.name for f in fields(cls)]
        found: dict[str, str] = {}
        try:
            parts = next(csv.reader([text], skipinitialspace=True), [])
        except csv.Error as error:
            raise UsageError(f"the column map {text!r} cannot be read: {error}; write {MAPS}") from error
        for part in parts:
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

    Without ``columns``, a column ``messages``, or columns ``prompt`` and ``completion``, are taken,
    or those of a public form.

    Raises:
        UsageError: no table of a known kind, no map where one is needed, a mapped column that does not
            exist (``UnknownName``), an unmapped one whose name the result needs, no such split or config.
        DataError: a file or dataset that is missing or cannot be read, with ``file:line`` where there is
            one. All errors are raised when the first row, or the bad one, is asked for.
    """
    path = Path(path_or_id)
    suffix = path.suffix.lower()
    if suffix in TABLES:
        opened(path, suffix).close()
        is_parquet = suffix == ".parquet"
        names, records = _arrow(path_or_id, lambda: _open_parquet(path)) if is_parquet else _csv(path)
    elif os.path.lexists(path) or not _HUB_ID.fullmatch(path_or_id):
        raise UsageError(
            f"{path_or_id} is no table; give a file that ends in .csv, .tsv or .parquet, or the id of a "
            "dataset of the Hugging Face hub such as 'owner/name'"
        )
    else:
        require_extra("local", f"reading {path_or_id} from the Hugging Face hub")
        names, records = _arrow(path_or_id, lambda: _open_hub(path_or_id, split, config))
    is_public = columns is None and public_form(names)  # whose columns are taken as they are
    given = {} if is_public else (columns or _guess(names, path_or_id)).given
    for column in given.values():
        if column not in names:
            raise UnknownName("column", column, names, f"These are the columns of {path_or_id}.")
    made = {"messages", *(key for key in given if key not in ("user", "assistant", "system"))}
    clash = [column for column in names if column in made and column not in given.values()]
    if clash:
        raise UsageError(
            f"{path_or_id} has a column {clash[0]!r} that is not mapped, and the rows need that name for "
            "another; map it, or rename it in the table"
        )
    for number, record in records:
        yield number, _chat(record, given, f"{path_or_id}:{number}")


def _guess(names: Sequence[str], where: str) -> ColumnMap:
    for form in FORMS[:2]:
        if set(form) <= set(names):
            return ColumnMap(**{part: part for part in form})
    one, other = (*names, "question", "answer")[:2]
    shown = ", ".join(names[:COLUMNS_SHOWN]) or "no column at all"
    raise UsageError(
        f"{where} does not say which columns are the conversation; it has {shown}. "
        f"Say it, for example with --columns user={one},assistant={other}"
    )


def _chat(record: Record, given: Mapping[str, str], where: str) -> dict[str, object]:
    """The chat object of a record. ``given``: column by target."""
    found = {target: record[column] for target, column in given.items() if column in record}
    chat = {key: found[key] for key in ("id",) if key in found}
    chat |= {key: value for key, value in record.items() if key not in given.values()}
    if "user" in given:
        turns = {role: found.get(role) for role in ("system", "user", "assistant")}
        chat["messages"] = [
            {"role": role} if content is None else {"role": role, "content": content}
            for role, content in turns.items()
            if content is not None or role != "system"
        ]
    chat |= {key: found[key] for key in ("messages", "prompt", "completion") if key in found}
    for key in ("messages", "tools") if given else ():  # their texts are JSON: a CSV cell can be nothing else
        text = chat.get(key)
        if isinstance(text, str):
            try:
                chat[key] = json.loads(text)
            except (ValueError, RecursionError) as error:
                problem = f"the text in {key!r} is not JSON: {error}"
                raise DataError(where, problem, 'write [{"role": "user", "content": ...}, …]') from error
    return chat


# --------------------------------------------------------------------------- CSV
def _csv(path: Path) -> NumberedRecords:
    """A record's number is the line that it begins on; errors have ``file:line``."""
    headers = {sign: next(csv.reader(_csv_lines(path), delimiter=sign), []) for sign in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda sign: len(headers[sign]))  # the first, where several split as much
    records = _csv_records(path, delimiter)
    line, cells = next(records, (1, []))
    names = [cell.strip() for cell in cells]
    if not any(names):
        raise DataError(f"{path}:{line}", "the file has no header", "name the columns in its first line")
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise DataError(f"{path}:{line}", f"two columns are called {twice[0]!r}", "rename one of them")

    def rows() -> Iterator[tuple[int, Record]]:
        for line, cells in records:
            if len(cells) != len(names):
                problem = f"{len(cells)} cells, but the header has {len(names)}"
                raise DataError(f"{path}:{line}", problem, WITH_QUOTES)
            yield line, {name: cell for name, cell in zip(names, cells, strict=True) if name and cell}

    return [name for name in names if name], rows()


def _csv_records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(_csv_lines(path), delimiter=delimiter, strict=True)
    while True:
        begins = reader.line_num + 1
        limit = csv.field_size_limit(CELL_CHARACTERS)  # of the whole process, so it is put back
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{path}:{begins}", f"not CSV: {error}", WITH_QUOTES) from error
        finally:
            csv.field_size_limit(limit)
        if cells:
            yield begins, cells


def _csv_lines(path: Path) -> Iterator[str]:
    try:
        with opened(path, path.suffix) as file:
            for number, line in enumerate(file, start=1):
                yield decode(line, number).removeprefix("\ufeff" if number == 1 else "")
    except Unusable as error:
        raise DataError(f"{path}:{number}", error.problem, "save the file as UTF-8") from error
    except OSError as error:
        raise unreadable(path, error, path.suffix) from error


# --------------------------------------------------------------------------- Parquet and the hub
def _open_parquet(path: Path) -> OpenedTable:
    # not through datasets, which holds a row group (by default a million rows) and imports torch
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER_BYTES)
    batches = file.iter_batches(BATCH_ROWS)
    return file.schema_arrow.names, (record for batch in batches for record in batch.to_pylist()), {}


def _open_hub(name: str, split: str, config: str | None) -> OpenedTable:
    """Column names (None where only the records have them), records, and the names behind class labels."""
    import datasets

    # media stay bytes, which are refused by name: decoding them needs more libraries
    dataset = datasets.load_dataset(name, config, split=split, streaming=True).decode(False)
    features = (dataset.features or {}).items()
    labels = {column: f.names for column, f in features if isinstance(f, datasets.ClassLabel)}
    return dataset.column_names, iter(dataset), labels


def _arrow(where: str, load: Callable[[], OpenedTable]) -> NumberedRecords:
    """The table that ``load`` opens; an error of the libraries, then or later, is one about ``where``."""
    try:
        columns, records, labels = load()
        first = next(records, None)
    except Exception as error:  # pyarrow, datasets and the libraries below them raise many kinds
        raise _unreadable_arrow(where, error) from error

    def rows() -> Iterator[tuple[int, Record]]:
        record = first
        for number in count(1):
            if record is None:
                return
            found: dict[str, object] = {}
            for column, value in record.items():
                plain = _plain(value, column, f"{where}:{number}")
                if column in labels and isinstance(plain, int):
                    plain = labels[column][plain] if plain >= 0 else None  # -1: not labelled
                if plain is not None:
                    found[column] = plain
            yield number, found
            try:
                record = next(records, None)
            except Exception as error:  # as above
                raise _unreadable_arrow(where, error) from error

    return list(columns or first or ()), rows()


def _unreadable_arrow(where: str, error: Exception) -> DataError | UsageError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    if where.lower().endswith(".parquet"):
        return DataError(where, f"cannot be read as Parquet: {reason}", "write the file anew")
    if type(error).__name__ == "DatasetNotFoundError":
        hint = "check the name; for a private or gated one, log in first (hf auth login)"
        return DataError(where, "there is no such dataset on the Hugging Face hub that you may read", hint)
    if isinstance(error, ValueError):
        more = " ".join(str(error).split())
        return UsageError(f"{where} cannot be read so: {more}\n  hint: name a split and config that it has")
    return DataError(
        where,
        f"cannot be read from the Hugging Face hub, and is not in the local cache: {reason}",
        "check the name and the network, or download it and give the path of its .csv or .parquet file",
    )


def _plain(value: object, column: str, where: str) -> Json:
    """``value`` as JSON has it; None where it is missing. Empty keys of structs are left out."""
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
    kind = "infinity" if isinstance(value, float) else type(value).__name__
    problem = f"the column {column!r} holds {kind}, which is no JSON"
    raise DataError(where, problem, "take the column out of the table")
