"""Records of CSV and Parquet files and of data sets of the Hugging Face hub, as they stream in.

CSV is read by Python's ``csv``, not by ``datasets``, which gives no line numbers, turns texts such as "NA"
and "007" into other values, and guesses types from the first rows.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import TypeAlias

from harness.data.findings import Unusable
from harness.data.rows import decode, unreadable
from harness.errors import DataError, UsageError
from harness.records import Json

Record: TypeAlias = Mapping[str, object]
Opened: TypeAlias = tuple[Sequence[str] | None, Iterator[Record], Mapping[str, list[str]]]

DELIMITERS = ",;\t"
CELL_CHARACTERS = 10_000_000  # csv's own limit, 131,072, is less than a long conversation
WITH_QUOTES = 'write a cell that has quotes, delimiters or line ends as "…", with "" for each quote in it'
BATCH_ROWS, BUFFER_BYTES = 1_000, 1 << 20  # of Parquet at once; its row groups may hold a million rows


@dataclass(frozen=True, slots=True)
class RecordTable:
    """Records with their numbers. ``where`` names the table in messages."""

    where: str
    columns: Sequence[str]
    records: Iterator[tuple[int, Record]]  # without missing values


# --------------------------------------------------------------------------- CSV
def csv_table(path: Path) -> RecordTable:
    """The table of a CSV file; a record's number is the line that it begins on.

    Raises:
        DataError: with ``file:line``, here or when the records are read.
    """
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

    return RecordTable(str(path), [name for name in names if name], rows())


def _csv_records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Every record that is not blank, with the line it begins on."""
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
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield decode(line, number).removeprefix("\ufeff" if number == 1 else "")
    except Unusable as error:
        raise DataError(f"{path}:{number}", error.problem, "save the file as UTF-8") from error
    except OSError as error:
        raise unreadable(path, error, path.suffix) from error


# --------------------------------------------------------------------------- Parquet and the hub
def open_parquet(path: Path) -> Opened:
    """Column names, records and no labels of a local Parquet file."""
    # not through datasets, which holds a row group (by default a million rows) and imports torch
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER_BYTES)
    batches = file.iter_batches(BATCH_ROWS)
    return file.schema_arrow.names, (record for batch in batches for record in batch.to_pylist()), {}


def open_hub(name: str, split: str, config: str | None) -> Opened:
    """Column names, records and labels of a data set of the hub, or of its local cache.

    The names are None where only the records have them. The labels are the names behind the numbers, by
    column of class labels.
    """
    import datasets

    # media stay bytes, which are refused by name: decoding them needs more libraries
    dataset = datasets.load_dataset(name, config, split=split, streaming=True).decode(False)
    features = (dataset.features or {}).items()
    labels = {column: f.names for column, f in features if isinstance(f, datasets.ClassLabel)}
    return dataset.column_names, iter(dataset), labels


def arrow_table(where: str, load: Callable[[], Opened]) -> RecordTable:
    """The table that ``load`` opens; a record's number is its own, from 1.

    Raises:
        DataError: here or when the records are read. An error of the libraries, too, is one about ``where``.
        UsageError: a split or config that the data set does not have.
    """
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

    return RecordTable(where, list(columns or first or ()), rows())


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
