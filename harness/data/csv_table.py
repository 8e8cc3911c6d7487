"""CSV through Python's ``csv``.

Not through ``datasets``, which gives no line numbers, turns texts such as "NA" and "007" into other values,
and guesses types from the first rows.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.data.columns import Table
from harness.errors import DataError

DELIMITERS = ",;\t"
CELL_CHARACTERS = 10_000_000  # csv's own limit, 131,072, is less than a long conversation
_WITH_QUOTES = 'write a cell that has quotes, delimiters or line ends as "…", with "" for each quote in it'


def csv_table(path: Path) -> Table:
    """The table of a CSV file; a record's number is the line that it begins on."""
    delimiter = _delimiter(path)
    records = _csv_records(path, delimiter)
    line, cells = next(records, (1, []))
    names = [cell.strip() for cell in cells]
    if not any(names):
        raise DataError(f"{path}:{line}", "the file has no header", "name the columns in its first line")
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise DataError(f"{path}:{line}", f"two columns are called {twice[0]!r}", "rename one of them")
    return Table(str(path), [n for n in names if n], _csv_rows(path, records, names))


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
