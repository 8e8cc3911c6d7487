"""Rows from whatever a user names: JSON Lines, a table, or a dataset of the hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.data.files import scan_file
from harness.data.findings import Finding
from harness.data.rows import collect, scan_objects
from harness.data.tables import ColumnMap, read_table
from harness.errors import UsageError
from harness.records import Row

TABLES = (".csv", ".tsv", ".parquet")


def scan_source(source: str, columns: str | None) -> Iterator[Row | Finding]:
    """Every row, or why there is none, in order.

    Raises:
        DataError: it is missing or cannot be read.
        UsageError: columns that do not fit.
    """
    path = Path(source)
    is_table = path.suffix.lower() in TABLES or not (path.suffix or path.exists())
    if is_table:
        return scan_objects(read_table(source, ColumnMap.parse(columns) if columns else None), source)
    if columns:
        raise UsageError(f"--columns is for tables ({', '.join(TABLES)}); {source} is read as JSON Lines.")
    return scan_file(path)


def read_source(source: str, columns: str | None) -> tuple[Row, ...]:
    """All rows.

    Raises:
        DataError: naming the lines that cannot be used.
    """
    return collect(scan_source(source, columns), source)
