"""Answers, judgments and the use of held-out files, in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache, wraps
from pathlib import Path
from threading import RLock
from time import monotonic, time
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from harness.data.fingerprints import bytes_digest
from harness.errors import StoreError
from harness.records import Answer, AttackTest, HeldoutUse, RowSet, Verdict

if TYPE_CHECKING:
    from pydantic import TypeAdapter

P = ParamSpec("P")
T = TypeVar("T")

SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    context TEXT NOT NULL, row_id TEXT NOT NULL, answer TEXT NOT NULL, PRIMARY KEY (context, row_id));
CREATE TABLE IF NOT EXISTS judgments (key TEXT PRIMARY KEY, numbers TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS embeddings (key TEXT PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS heldout_decisions (
    decision TEXT PRIMARY KEY, candidate TEXT NOT NULL, identity TEXT NOT NULL, rows TEXT NOT NULL,
    verdict TEXT, level REAL NOT NULL, created TEXT NOT NULL, run TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS row_sets (
    digest TEXT PRIMARY KEY, n INTEGER NOT NULL, rows TEXT NOT NULL, bits INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS seeds_seen (
    heldout TEXT NOT NULL, recipe TEXT NOT NULL, seed INTEGER NOT NULL, PRIMARY KEY (heldout, recipe, seed));
CREATE TABLE IF NOT EXISTS judged_rows (rows TEXT PRIMARY KEY, keys TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS judged (
    rows TEXT NOT NULL, beside TEXT NOT NULL, recipe TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL,
    seed INTEGER NOT NULL, PRIMARY KEY (rows, beside, recipe, name, size, seed));
CREATE TABLE IF NOT EXISTS anchors (judge TEXT PRIMARY KEY, since TEXT NOT NULL, scores TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS attack_tests (judge TEXT PRIMARY KEY, found TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outdated (context TEXT PRIMARY KEY, before TEXT NOT NULL);
"""
USE_COLUMNS = ("decision", "candidate", "identity", "rows", "verdict", "level", "created", "run")
OLD_USES = "SELECT 1 FROM sqlite_master WHERE name = 'heldout_uses'"  # a table of earlier versions
#: When an answer was given, and by which run; NULL in files of versions that did not note it.
ADDED_COLUMNS = ("given", "run")
CURRENT = """FROM answers LEFT JOIN outdated USING (context)
WHERE context = ? AND (before IS NULL OR given > before)"""
UNTRAINED = -1  # in place of a size or seed: a key may hold no NULL
LOCK_WAIT_S = 60.0  # for another process that writes
BEING_MADE_S = 0.5  # an empty file that is younger may be another process's, which is about to fill it
SYNC_S = 1.0  # time between two writes that wait for the disk


@dataclass(frozen=True, slots=True)
class Origin:
    """Whence a kept answer is. None: a version kept it that did not note that."""

    given: str | None  # ISO 8601, UTC
    run: str | None  # when that run began; ISO 8601, UTC


@dataclass(frozen=True, slots=True)
class Judged:
    """That held-out rows judged a recipe at one size and seed."""

    rows: frozenset[str]  # their ``harness.data.fingerprints.asked_keys``
    beside: str  # the same for all recipes that one run judged together on these rows
    recipe: str  # its content, whatever its size
    name: str  # what it was called
    size: int | None = None
    seed: int | None = None


def _readable(
    read: Callable[Concatenate[AnswerStore, P], T],
) -> Callable[Concatenate[AnswerStore, P], T]:
    """A method that reads what is kept; other values than are written there are told as a broken file is."""

    @wraps(read)
    def checked(self: AnswerStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return read(self, *args, **kwargs)
        except (ValueError, TypeError, KeyError, AttributeError) as error:  # pydantic's are ValueErrors
            problem = " ".join(str(error).split())[:200]
            raise self._unusable(f"{read.__name__} in it: {problem}") from error

    return checked


class AnswerStore:
    """The file ``path``, open until ``close``. Threads may share the store, and processes the file.

    ``run`` is noted beside every answer. ``lost`` says, in a sentence, that the file was found empty.

    Every write is a transaction of its own. Once it has returned, it survives the process, however that ends.
    Only one write a second waits for the disk, with all before it (2,000 answers would wait 2,000 times),
    so a power failure may undo the writes of one second.

    Raises:
        StoreError: here and in every method, when the file cannot be read or written, or is locked by another
            process for longer than a minute.
    """

    def __init__(self, path: Path, run: str = "") -> None:
        self._path, self._synced_s, self.run = path, 0.0, run
        self._lock = RLock()  # not Lock: after Ctrl-C, a traceback may hold it while this thread writes again
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            hint = "name another by --harness-store."
            raise StoreError(f"{path.parent} cannot be made ({error.strerror}).\n  hint: {hint}") from error
        age_s = time() - path.stat().st_mtime if path.exists() else None
        with self._using():
            self._connection = sqlite3.connect(path, timeout=LOCK_WAIT_S, check_same_thread=False)
            # where nobody calls close, it is called when the store is let go
            self._finalizer = weakref.finalize(self, self._connection.close)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self.lost = self._found_empty(age_s)
            self._connection.executescript(SCHEMA)
            self._add_columns()

    def _found_empty(self, age_s: float | None) -> str:
        """A sentence where the file was there ``age_s`` seconds ago, without a table: SQLite would go on
        with it as with a new one, and nobody would hear that answers were lost.
        """
        tables = self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'answers'")
        if tables.fetchone() or age_s is None or age_s < BEING_MADE_S:
            return ""
        return (
            f"{self._path} was there, with nothing in it: answers and judgments that it held are lost and are"
            " asked again, and so is the count of decisions that held-out files have served. If there is a"
            " backup, put it back."
        )

    def _add_columns(self) -> None:
        there = {str(name) for _, name, *_ in self._connection.execute("PRAGMA table_info(answers)")}
        for name in ADDED_COLUMNS:
            if name not in there:
                try:
                    self._connection.execute(f"ALTER TABLE answers ADD COLUMN {name} TEXT")
                except sqlite3.OperationalError as error:
                    if "duplicate column" not in str(error):  # another process was first
                        raise

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

    @_readable
    def answers(self, context: str) -> dict[str, Answer]:
        """Every answer stored under ``context`` that is not outdated, by row id."""
        found = self._read(f"SELECT answer {CURRENT}", context)
        read = _adapter().validate_json
        return {answer.row_id: answer for answer in (read(text) for (text,) in found)}

    def origins(self, context: str) -> dict[str, Origin]:
        """Whence the answers that ``answers`` gives are, by row id."""
        with self._using():
            found = self._connection.execute(f"SELECT row_id, given, run {CURRENT}", (context,)).fetchall()
        return {row_id: Origin(given, run) for row_id, given, run in found}

    def outdate(self, context: str) -> None:
        """Let answers stored under ``context`` until now count no more; they stay in the file."""
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO outdated VALUES (?, ?)", (context, _now()))

    def keep_answers(self, context: str, answers: Iterable[Answer]) -> None:
        """Store answers under ``context``, the fingerprint of the model and settings that gave them."""
        write = _adapter().dump_json
        given, run = _now(), self.run
        rows = [(context, answer.row_id, write(answer).decode(), given, run) for answer in answers]
        columns = "context, row_id, answer, given, run"
        with self._writing() as connection:
            query = f"INSERT OR REPLACE INTO answers ({columns}) VALUES (?, ?, ?, ?, ?)"
            connection.executemany(query, rows)

    @_readable
    def judgment(self, key: str) -> list[float] | None:
        """Numbers that a judge's model gave, or None."""
        found = self._read("SELECT numbers FROM judgments WHERE key = ?", key)
        return [float(number) for number in json.loads(found[0][0])] if found else None

    def keep_judgment(self, key: str, numbers: Sequence[float]) -> None:
        """Store numbers that a judge's model gave."""
        with self._writing() as connection:
            row = (key, json.dumps(list(numbers)))
            connection.execute("INSERT OR REPLACE INTO judgments VALUES (?, ?)", row)

    @_readable
    def anchor_scores(self, judge: str) -> tuple[str, dict[str, float]] | None:
        """Since when a judge's anchors are kept (ISO 8601, UTC), and its scores of them; None: none are."""
        with self._using():
            query = "SELECT since, scores FROM anchors WHERE judge = ?"
            found = self._connection.execute(query, (judge,)).fetchone()
        return None if found is None else (str(found[0]), json.loads(found[1]))

    def keep_anchor_scores(self, judge: str, scores: Mapping[str, float], since: str = "") -> None:
        """Store a judge's scores of its anchors in place of earlier ones; ``since`` is now if it is empty."""
        with self._writing() as connection:
            row = (judge, since or _now(), json.dumps(dict(scores)))
            connection.execute("INSERT OR REPLACE INTO anchors VALUES (?, ?, ?)", row)

    @_readable
    def attack_test(self, judge: str) -> AttackTest | None:
        """What came of the last attacks on a judge; None: there was none."""
        found = self._read("SELECT found FROM attack_tests WHERE judge = ?", judge)
        return AttackTest(**json.loads(found[0][0])) if found else None

    def keep_attack_test(self, judge: str, found: AttackTest) -> None:
        """Store it in place of an earlier one."""
        with self._writing() as connection:
            row = (judge, json.dumps(asdict(found)))
            connection.execute("INSERT OR REPLACE INTO attack_tests VALUES (?, ?)", row)

    @_readable
    def embeddings(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The vectors stored under ``keys``, as they were given; those that are not there are left out."""
        query = "SELECT vector FROM embeddings WHERE key = ?"
        with self._using():
            found = ((key, self._connection.execute(query, (key,)).fetchone()) for key in keys)
            return {key: bytes(row[0]) for key, row in found if row is not None}

    def keep_embeddings(self, vectors: Mapping[str, bytes]) -> None:
        """Store vectors under their keys."""
        with self._writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?)", vectors.items())

    @_readable
    def uses(self) -> tuple[list[HeldoutUse], dict[str, RowSet]]:
        """Every decision that held-out rows have served, oldest first, and their sets of rows by digest."""
        with self._using():
            query = f"SELECT {', '.join(USE_COLUMNS)} FROM heldout_decisions ORDER BY created, decision"
            uses = self._connection.execute(query).fetchall()
            sets = self._connection.execute("SELECT digest, n, rows, bits FROM row_sets").fetchall()
        found = [HeldoutUse(**dict(zip(USE_COLUMNS, use, strict=True))) for use in uses]
        return (
            [replace(use, verdict=use.verdict and Verdict(use.verdict)) for use in found],
            {digest: RowSet(digest, n, tuple(rows.split()), bits) for digest, n, rows, bits in sets},
        )

    def keep_uses(self, uses: Iterable[HeldoutUse], row_sets: Mapping[str, RowSet], heldout: str) -> None:
        """Store decisions, each once, and the sets of rows that they name.

        Those that ``undetailed_uses`` gives for ``heldout`` are among them, and are then forgotten.
        """
        rows = [asdict(use) for use in uses]
        sets = [(each.digest, each.n, " ".join(each.rows), each.bits) for each in row_sets.values()]
        with self._writing() as connection:
            connection.executemany("INSERT OR IGNORE INTO row_sets VALUES (?, ?, ?, ?)", sets)
            places = ", ".join(f":{name}" for name in USE_COLUMNS)
            columns = ", ".join(USE_COLUMNS)
            query = f"INSERT OR IGNORE INTO heldout_decisions ({columns}) VALUES ({places})"
            connection.executemany(query, rows)
            if connection.execute(OLD_USES).fetchone():
                connection.execute("DELETE FROM heldout_uses WHERE heldout = ?", (heldout,))

    def undetailed_uses(self, heldout: str) -> list[str]:
        """Decisions that a version noted by nothing but the fingerprint of the whole file, ``heldout``."""
        with self._using():
            if not self._connection.execute(OLD_USES).fetchone():
                return []
        query = "SELECT decision FROM heldout_uses WHERE heldout = ? ORDER BY decision"
        return [decision for (decision,) in self._read(query, heldout)]

    @_readable
    def judged(self) -> list[Judged]:
        """What all held-out rows have judged, in the order in which it was first noted."""
        with self._using():
            texts = self._connection.execute("SELECT rows, keys FROM judged_rows").fetchall()
            query = "SELECT rows, beside, recipe, name, size, seed FROM judged ORDER BY rowid"
            noted = self._connection.execute(query).fetchall()
        keys = {rows: frozenset(text.split()) for rows, text in texts}
        return [
            Judged(keys[rows], *texts, *(None if number == UNTRAINED else number for number in numbers))
            for rows, *texts, numbers in ((*one[:4], one[4:]) for one in noted)
        ]

    def note_judged(self, judged: Iterable[Judged]) -> None:
        """Note what held-out rows judged; what is noted already stays as it is."""
        texts: dict[frozenset[str], tuple[str, str]] = {}  # most share their rows
        with self._writing() as connection:
            for one in judged:
                if one.rows not in texts:
                    keys = " ".join(sorted(one.rows))
                    texts[one.rows] = bytes_digest(keys.encode()), keys
                    connection.execute("INSERT OR IGNORE INTO judged_rows VALUES (?, ?)", texts[one.rows])
                numbers = (UNTRAINED if number is None else number for number in (one.size, one.seed))
                found = (texts[one.rows][0], one.beside, one.recipe, one.name, *numbers)
                connection.execute("INSERT OR IGNORE INTO judged VALUES (?, ?, ?, ?, ?, ?)", found)

    def seeds_noted_before(self, heldout: str, recipe: str) -> tuple[int, ...]:
        """The seeds that a file of rows, in their order, judged a recipe of one size at, as noted by versions
        that did not have ``judged``.
        """
        query = "SELECT seed FROM seeds_seen WHERE heldout = ? AND recipe = ? ORDER BY seed"
        with self._using():
            return tuple(int(seed) for (seed,) in self._connection.execute(query, (heldout, recipe)))


@cache  # building it takes 10 ms
def _adapter() -> TypeAdapter[Answer]:
    from pydantic import TypeAdapter

    return TypeAdapter(Answer)


def _now() -> str:
    """The time to the microsecond, so that texts sort as times do."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
