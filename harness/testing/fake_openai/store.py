"""What the twin remembers, in one SQLite file: in memory, or on disk so that it outlives the server."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_TABLES = """
CREATE TABLE IF NOT EXISTS records (
    n INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT, id TEXT, owner TEXT, json TEXT, UNIQUE (kind, id));
CREATE INDEX IF NOT EXISTS owners ON records (kind, owner, n);
CREATE TABLE IF NOT EXISTS contents (id TEXT PRIMARY KEY, content BLOB);
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, n INTEGER);
"""


class Record(Protocol):
    """Whatever has an id."""

    @property
    def id(self) -> str:
        """Its name, unique in its kind."""


R = TypeVar("R", bound=Record)


class Store:
    """Records by kind (their class), contents of files, and counts. Safe to use from several threads."""

    def __init__(self, file: Path | None) -> None:
        self._lock = RLock()
        self._database = sqlite3.connect(
            ":memory:" if file is None else file, check_same_thread=False, isolation_level=None
        )
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")  # a killed process loses nothing, a power cut may
        self._database.executescript(_TABLES)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._database.close()

    def put(self, record: Record, owner: str = "") -> None:
        """Keep a record, in place of the one with its id."""
        values = (type(record).__name__, record.id, owner, _adapter(type(record)).dump_json(record).decode())
        with self._lock:
            self._database.execute(
                "INSERT INTO records (kind, id, owner, json) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (kind, id) DO UPDATE SET json = excluded.json",
                values,
            )

    def find(self, kind: type[R], name: str) -> R | None:
        """The record with that id."""
        with self._lock:
            found = self._database.execute(
                "SELECT json FROM records WHERE kind = ? AND id = ?", (kind.__name__, name)
            ).fetchone()
        return None if found is None else _read(kind, found[0])

    def update(self, kind: type[R], name: str, change: Callable[[R], R]) -> R:
        """The record as ``change`` leaves it; nobody else writes meanwhile."""
        with self._lock:
            record = self.find(kind, name)
            assert record is not None  # callers hold an id that they were given
            changed = change(record)
            self.put(changed)
            return changed

    def newest_first(self, kind: type[R], owner: str = "") -> list[R]:
        """All records of a kind (and an owner)."""
        with self._lock:
            found = self._database.execute(
                "SELECT json FROM records WHERE kind = ? AND owner = ? ORDER BY n DESC",
                (kind.__name__, owner),
            ).fetchall()
        return [_read(kind, text) for (text,) in found]

    def delete(self, kind: type[Record], name: str) -> None:
        """Forget a record, and the content of that id."""
        with self._lock:
            self._database.execute("DELETE FROM records WHERE kind = ? AND id = ?", (kind.__name__, name))
            self._database.execute("DELETE FROM contents WHERE id = ?", (name,))

    def put_content(self, name: str, content: bytes) -> None:
        """Keep a file's bytes."""
        with self._lock:
            self._database.execute("INSERT OR REPLACE INTO contents VALUES (?, ?)", (name, content))

    def content(self, name: str) -> bytes:
        """A file's bytes; none where there is no such file."""
        with self._lock:
            found = self._database.execute("SELECT content FROM contents WHERE id = ?", (name,)).fetchone()
        return b"" if found is None else bytes(found[0])

    def count(self, name: str) -> int:
        """Count one more; returns how many there are now."""
        with self._lock:
            (n,) = self._database.execute(
                "INSERT INTO counts VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET n = n + 1 RETURNING n",
                (name,),
            ).fetchone()
            return int(n)

    def counts(self) -> Mapping[str, int]:
        """All counts by name."""
        with self._lock:
            return dict(self._database.execute("SELECT name, n FROM counts ORDER BY name").fetchall())


@cache
def _adapter(kind: type[R]) -> TypeAdapter[R]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _read(kind: type[R], text: str) -> R:
    found: R = _adapter(kind).validate_json(text)
    return found


def sha256(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def new_id(prefix: str) -> str:
    """A name that nothing else has."""
    return prefix + secrets.token_hex(12)
