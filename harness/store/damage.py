"""A database that was damaged on disk: set aside, and made again from what can be read of it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from harness.atomic import flush

FAILURES = 2_000  # reads that fail, before the rest of a table is given up
LAST = 2**62  # above every rowid
CHUNK = 1_000  # rows read at once


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file is no whole database."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def found_damage(
    connection: sqlite3.Connection, check: Literal["quick_check", "integrity_check"] = "quick_check"
) -> str:
    """What SQLite finds wrong with the file's structure, in its words; empty where it is whole.

    Both read the whole file; the second compares indexes with their tables, too, in twice the time.
    """
    try:
        (found,) = connection.execute(f"PRAGMA {check}(1)").fetchone()
        return "" if found == "ok" else str(found).splitlines()[-1]
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return str(error)
        raise


def rebuild(path: Path, schema: str) -> tuple[Path, Mapping[str, int]]:
    """Put in place of a damaged file one of ``schema`` with all rows that can still be read.

    The damaged file is copied beside it first. Gives the copy, and the number of rows in each table.

    Raises:
        sqlite3.Error: another process uses the file, or nothing can be written.
    """
    _require_alone(path)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside, new = (path.with_name(f"{path.name}.{ending}") for ending in (f"damaged-{stamp}", "rebuilt"))
    for ending in ("-wal", ""):  # the file last: what has that name is complete
        if (source := path.with_name(path.name + ending)).exists():
            shutil.copyfile(source, aside.with_name(aside.name + ending))
            flush(aside.with_name(aside.name + ending))
    new.unlink(missing_ok=True)
    _lengthen(path)
    with closing(sqlite3.connect(new)) as made, closing(sqlite3.connect(path)) as damaged:
        made.executescript(schema)
        tables = [
            str(name) for (name,) in made.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        kept = {table: _copy(damaged, made, table) for table in tables}
    flush(new)
    for ending in ("-wal", "-shm"):  # they are the damaged file's
        path.with_name(path.name + ending).unlink(missing_ok=True)
    new.replace(path)
    flush(path.parent)
    return aside, kept


def _lengthen(path: Path) -> None:
    """Give a file that was cut the length that its header states, or SQLite would read none of it.

    https://sqlite.org/fileformat.html#the_database_header
    """
    with path.open("rb+") as file:
        header = file.read(100)
        page = int.from_bytes(header[16:18], "big")
        stated = (65_536 if page == 1 else page) * int.from_bytes(header[28:32], "big")
        if header.startswith(b"SQLite format 3\0") and path.stat().st_size < stated:
            file.truncate(stated)


def _require_alone(path: Path) -> None:
    """Raise where another process has the file open, and would go on writing into the damaged one."""
    with closing(sqlite3.connect(path, timeout=0.1, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise


def _copy(damaged: sqlite3.Connection, made: sqlite3.Connection, table: str) -> int:
    try:
        there = [str(name) for _, name, *_ in damaged.execute(f"PRAGMA table_info({table})").fetchall()]
    except sqlite3.DatabaseError:  # not even the list of tables
        return 0
    wanted = {str(name) for _, name, *_ in made.execute(f"PRAGMA table_info({table})").fetchall()}
    columns = [name for name in there if name in wanted]
    if not columns:
        return 0
    places = ", ".join("?" * len(columns))
    query = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({places})"
    with made:
        for row in _readable(damaged, f"SELECT rowid, {', '.join(columns)} FROM {table} NOT INDEXED"):
            try:
                made.execute(query, row[1:])
            except sqlite3.IntegrityError:  # half a row
                continue
    (count,) = made.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(count)


def _readable(damaged: sqlite3.Connection, select: str) -> Iterator[tuple[Any, ...]]:
    """Rows in order of rowid. What cannot be read is narrowed down, by halves, to the broken pages."""
    failures, spans = 0, [(-1, LAST)]
    while spans and failures < FAILURES:
        low, high = spans.pop()
        last, rows = low, list[tuple[Any, ...]]()
        try:
            query = f"{select} WHERE rowid > ? AND rowid <= ? ORDER BY rowid LIMIT {CHUNK}"
            for row in damaged.execute(query, (low, high)):
                rows.append(row)
                last = int(row[0])
            yield from rows
            if len(rows) == CHUNK:
                spans.append((last, high))
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            failures += 1
            yield from rows
            if high - last > 1:
                middle = (last + high) // 2
                spans += [(middle, high), (last, middle)]
