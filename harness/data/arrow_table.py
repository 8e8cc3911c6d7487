"""Parquet files and data sets of the Hugging Face hub, as plain records."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from itertools import chain
from pathlib import Path

from harness.data.columns import Table
from harness.errors import DataError, UsageError
from harness.records import Json

BATCH_ROWS, BUFFER_BYTES = 1_000, 1 << 20  # of Parquet at once; its row groups may hold a million rows


@dataclass(frozen=True, slots=True)
class Source:
    """What a library gives of a table; ``labels`` are the names behind a column of class numbers."""

    columns: Sequence[str] | None  # None: only the records tell
    records: Iterator[Mapping[str, object]]
    labels: Mapping[str, list[str]] = field(default_factory=dict)


def parquet_source(path: Path) -> Source:
    """A local Parquet file."""
    # not through datasets, which holds a row group (by default a million rows) and imports torch
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER_BYTES)
    batches = file.iter_batches(BATCH_ROWS)
    return Source(file.schema_arrow.names, (record for batch in batches for record in batch.to_pylist()))


def hub_source(name: str, split: str, config: str | None) -> Source:
    """A data set of the hub, or of its local cache."""
    import datasets

    # media stay bytes, which are refused by name: decoding them needs more libraries
    dataset = datasets.load_dataset(name, config, split=split, streaming=True).decode(False)
    labels = {
        column: feature.names
        for column, feature in (dataset.features or {}).items()
        if isinstance(feature, datasets.ClassLabel)
    }
    return Source(dataset.column_names, iter(dataset), labels)


def arrow_table(where: str, load: Callable[[], Source]) -> Table:
    """The table that ``load`` gives; whatever goes wrong in it is an error about ``where``."""
    try:
        source = load()
        first = next(source.records, None)
    except Exception as error:  # whatever the libraries below raise, it is this table's
        raise _unreadable(where, error) from error
    records = source.records if first is None else chain([first], source.records)
    columns = list(source.columns or first or ())
    return Table(where, columns, _arrow_rows(where, _wrapped(where, records), source.labels))


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
        hint = "check the name; for a private or gated one, log in first (hf auth login)"
        return DataError(where, "there is no such dataset on the Hugging Face hub that you may read", hint)
    if isinstance(error, ValueError):
        more = " ".join(str(error).split())
        return UsageError(f"{where} cannot be read so: {more}\n  hint: name a split and config that it has")
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
