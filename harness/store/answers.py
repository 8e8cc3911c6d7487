"""Answers, judgments and the use of held-out files, in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING

from harness.errors import StoreError
from harness.records import Answer

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    context TEXT NOT NULL, row_id TEXT NOT NULL, answer TEXT NOT NULL, PRIMARY KEY (context, row_id));
CREATE TABLE IF NOT EXISTS judgments (key TEXT PRIMARY KEY, numbers TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS heldout_uses (
    heldout TEXT NOT NULL, decision TEXT NOT NULL, PRIMARY KEY (heldout, decision));
CREATE TABLE IF NOT EXISTS seeds_seen (
    heldout TEXT NOT NULL, recipe TEXT NOT NULL, seed INTEGER NOT NULL, PRIMARY KEY (heldout, recipe, seed));
"""
LOCK_WAIT_S = 60.0  # for another process that writes
SYNC_S = 1.0  # time between two writes that wait for the disk


class AnswerStore:
    """The file ``path``, open until ``close``. Threads may share the store, and processes the file.

    Every write is a transaction of its own. Once it has returned, it survives the process, however that ends.
    Only one write a second waits for the disk, with all before it (2,000 answers would wait 2,000 times),
    so a power failure may undo the writes of one second.

    Raises:
        StoreError: here and in every method, when the file cannot be read or written, or is locked by another
            process for longer than a minute.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._synced_s = path, 0.0
        self._lock = RLock()  # not Lock: after Ctrl-C, a traceback may hold it while this thread writes again
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            hint = "name another by --harness-store."
            raise StoreError(f"{path.parent} cannot be made ({error.strerror}).\n  hint: {hint}") from error
        with self._using():
            self._connection = sqlite3.connect(path, timeout=LOCK_WAIT_S, check_same_thread=False)
            # where nobody calls close, it is called when the store is let go
            self._finalizer = weakref.finalize(self, self._connection.close)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.executescript(SCHEMA)

    def close(self) -> None:
        """Close the file; more than once does no harm."""
        with self._lock:
            self._finalizer()

    @contextmanager
    def _using(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except sqlite3.Error as error:
            raise self._unusable(str(error)) from error

    def _unusable(self, problem: str) -> StoreError:
        hint = "move it away; answers are generated again."
        if "locked" in problem:
            hint = "let the other run end, or give this one its own folder by --harness-store."
        return StoreError(f"{self._path} cannot be used ({problem}).\n  hint: {hint}")

    def _read(self, query: str, *values: str) -> list[tuple[str]]:
        with self._using():
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, undone where it is left by an error."""
        with self._using():
            self._connection.rollback()  # a write that Ctrl-C left open
            now_s = monotonic()
            due = now_s - self._synced_s >= SYNC_S
            # in the write-ahead log, FULL waits for this transaction and those before it, NORMAL for none:
            # https://sqlite.org/pragma.html#pragma_synchronous
            self._connection.execute(f"PRAGMA synchronous={'FULL' if due else 'NORMAL'}")
            with self._connection:
                yield self._connection
            if due:
                self._synced_s = now_s

    def answers(self, context: str) -> dict[str, Answer]:
        """Every answer stored under ``context``, by row id."""
        from pydantic import ValidationError

        found = self._read("SELECT answer FROM answers WHERE context = ?", context)
        read = _adapter().validate_json
        try:
            return {answer.row_id: answer for answer in (read(text) for (text,) in found)}
        except ValidationError as error:
            raise self._unusable(f"an answer in it: {error.errors()[0]['msg']}") from error

    def keep_answers(self, context: str, answers: Iterable[Answer]) -> None:
        """Store answers under ``context``, the fingerprint of the model and settings that gave them."""
        write = _adapter().dump_json
        rows = [(context, answer.row_id, write(answer).decode()) for answer in answers]
        with self._writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", rows)

    def judgment(self, key: str) -> list[float] | None:
        """Numbers that a judge's model gave, or None."""
        found = self._read("SELECT numbers FROM judgments WHERE key = ?", key)
        return [float(number) for number in json.loads(found[0][0])] if found else None

    def keep_judgment(self, key: str, numbers: Sequence[float]) -> None:
        """Store numbers that a judge's model gave."""
        with self._writing() as connection:
            row = (key, json.dumps(list(numbers)))
            connection.execute("INSERT OR REPLACE INTO judgments VALUES (?, ?)", row)

    def count_use(self, heldout: str, decision: str) -> int:
        """Note that a held-out file served a decision; how many different decisions it has served."""
        with self._writing() as connection:
            connection.execute("INSERT OR IGNORE INTO heldout_uses VALUES (?, ?)", (heldout, decision))
            query = "SELECT COUNT(*) FROM heldout_uses WHERE heldout = ?"
            return int(connection.execute(query, (heldout,)).fetchone()[0])

    def see_seeds(self, heldout: str, recipe: str, seeds: Iterable[int]) -> tuple[int, ...]:
        """Note that a held-out file judged a recipe at these seeds; every seed it has judged it at so far."""
        seen = [(heldout, recipe, seed) for seed in seeds]
        with self._writing() as connection:
            connection.executemany("INSERT OR IGNORE INTO seeds_seen VALUES (?, ?, ?)", seen)
            query = "SELECT seed FROM seeds_seen WHERE heldout = ? AND recipe = ? ORDER BY seed"
            return tuple(int(seed) for (seed,) in connection.execute(query, (heldout, recipe)))


@cache  # building it takes 10 ms
def _adapter() -> TypeAdapter[Answer]:
    from pydantic import TypeAdapter

    return TypeAdapter(Answer)
