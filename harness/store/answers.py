"""Answers, judgments and the use of held-out files, in one SQLite file.

Every answer is written as it comes, so that an interrupted run loses at most the batch in flight.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
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


class AnswerStore:
    """The file ``path``; safe to share between processes (SQLite's write-ahead log)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{path.parent} cannot be made ({error.strerror}).\n  hint: name another by --harness-store."
            ) from error
        with self._connection() as connection:
            connection.executescript(SCHEMA)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=60)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                with connection:
                    yield connection
        except sqlite3.DatabaseError as error:
            raise self._unusable(str(error)) from error

    def _unusable(self, problem: str) -> StoreError:
        hint = "move it away; answers are generated again."
        if "locked" in problem:
            hint = "let the other run end, or give this one its own folder by --harness-store."
        return StoreError(f"{self._path} cannot be used ({problem}).\n  hint: {hint}")

    def answers(self, context: str) -> dict[str, Answer]:
        """Every answer kept under ``context``, by row id."""
        from pydantic import ValidationError

        with self._connection() as connection:
            kept = connection.execute("SELECT answer FROM answers WHERE context = ?", (context,)).fetchall()
        read = _adapter().validate_json
        try:
            return {answer.row_id: answer for answer in (read(text) for (text,) in kept)}
        except ValidationError as error:
            raise self._unusable(f"an answer in it: {error.errors()[0]['msg']}") from error

    def keep_answers(self, context: str, answers: Iterable[Answer]) -> None:
        """Keep answers under ``context``: what asked for them, fingerprinted."""
        write = _adapter().dump_json
        with self._connection() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)",
                [(context, answer.row_id, write(answer).decode()) for answer in answers],
            )

    def judgment(self, key: str) -> list[float] | None:
        """Numbers that a judge's model gave, or None."""
        import json

        with self._connection() as connection:
            kept = connection.execute("SELECT numbers FROM judgments WHERE key = ?", (key,)).fetchone()
        return None if kept is None else [float(x) for x in json.loads(kept[0])]

    def keep_judgment(self, key: str, numbers: Sequence[float]) -> None:
        """Keep what a judge's model gave."""
        import json

        with self._connection() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO judgments VALUES (?, ?)", (key, json.dumps(list(numbers)))
            )

    def count_use(self, heldout: str, decision: str) -> int:
        """Note that a held-out file served a decision; how many different decisions it has served."""
        with self._connection() as connection:
            connection.execute("INSERT OR IGNORE INTO heldout_uses VALUES (?, ?)", (heldout, decision))
            query = "SELECT COUNT(*) FROM heldout_uses WHERE heldout = ?"
            return int(connection.execute(query, (heldout,)).fetchone()[0])

    def see_seeds(self, heldout: str, recipe: str, seeds: Iterable[int]) -> tuple[int, ...]:
        """Note that a held-out file judged a recipe at these seeds; every seed it has judged it at so far."""
        seen = [(heldout, recipe, seed) for seed in seeds]
        with self._connection() as connection:
            connection.executemany("INSERT OR IGNORE INTO seeds_seen VALUES (?, ?, ?)", seen)
            query = "SELECT seed FROM seeds_seen WHERE heldout = ? AND recipe = ? ORDER BY seed"
            return tuple(int(seed) for (seed,) in connection.execute(query, (heldout, recipe)))


@cache  # building it takes 10 ms
def _adapter() -> TypeAdapter[Answer]:
    from pydantic import TypeAdapter

    return TypeAdapter(Answer)
