"""Answers, judgments and the use of held-out files, in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache, wraps
from hashlib import blake2b
from pathlib import Path
from threading import RLock
from time import monotonic, time
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from harness.data.fingerprints import bytes_digest
from harness.errors import StoreError
from harness.records import Answer, AttackTest, HeldoutUse, RowSet, Verdict
from harness.store.damage import found_damage, is_damage, rebuild

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
#: Columns that earlier versions did not have, NULL in what they wrote: when an answer was given and by which
#: run, and the digests of values (``digest_of``).
ADDED_COLUMNS = (
    ("answers", "given"),
    ("answers", "run"),
    ("answers", "digest"),
    ("judgments", "digest"),
    ("embeddings", "digest"),
)
#: ``PRAGMA user_version``, raised where earlier versions of the harness would misread the file. 0: it was not
#: noted; all such files are read.
VERSION = 1
CURRENT = """FROM answers LEFT JOIN outdated USING (context)
WHERE context = ? AND (before IS NULL OR given > before)"""
UNTRAINED = -1  # in place of a size or seed: a key may hold no NULL
#: What to do, by SQLite's error codes: https://sqlite.org/rescode.html
_ROOM = "free some room on its disk, or name a folder on another by --harness-store; what was stored is kept."
_RIGHTS = "is the disk mounted read-only? Make it writable, or name another folder by --harness-store."
MENDS = {
    sqlite3.SQLITE_FULL: _ROOM,
    sqlite3.SQLITE_IOERR: f"the disk is full or fails: look at df and the system's log; {_ROOM}",
    sqlite3.SQLITE_READONLY: _RIGHTS,
    sqlite3.SQLITE_CANTOPEN: _RIGHTS,
    sqlite3.SQLITE_PERM: _RIGHTS,
    sqlite3.SQLITE_CORRUPT: "run again: it is then set aside, and what can be read of it is kept.",
    sqlite3.SQLITE_NOTADB: "run again: it is then set aside, and what can be read of it is kept.",
}
DISK = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY)
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

    ``run`` is noted beside every answer. ``lost`` says, in sentences, that the file was found empty or
    damaged, and ``say`` hears of damage that is met later.

    Every write is a transaction of its own. Once it has returned, it survives the process, however that ends.
    Only one write a second waits for the disk, with all before it (2,000 answers would wait 2,000 times),
    so a power failure may undo the writes of one second.

    A damaged file is set aside, and one with what can be read of it takes its place. A value whose digest is
    another than when it was written is as if it were not there.

    Raises:
        StoreError: here and in every method, when the file cannot be read or written, is locked by another
            process for longer than a minute, or is of a later version.
    """

    def __init__(self, path: Path, run: str = "", say: Callable[[str], None] = lambda text: None) -> None:
        self._path, self._synced_s, self.run, self._say = path, 0.0, run, say
        self.lost = ""
        self._failed: sqlite3.OperationalError | None = None  # a write that the disk did not take
        self._lock = RLock()  # not Lock: after Ctrl-C, a traceback may hold it while this thread writes again
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            hint = "name another by --harness-store."
            raise StoreError(f"{path.parent} cannot be made ({error.strerror}).\n  hint: {hint}") from error
        age_s = time() - path.stat().st_mtime if path.exists() else None
        with self._using():
            if (problem := self._connect()) and (problem := self._connect_alone()):
                raise self._unusable(problem)
            self.lost += self._found_empty(age_s)
            self._connection.executescript(SCHEMA)
            self._add_columns()

    def _connect(self) -> str:
        """Open the file. Gives what is wrong with it, as SQLite says it, and then leaves it closed.

        Raises:
            StoreError: a later version has written it.
        """
        self._connection = sqlite3.connect(self._path, timeout=LOCK_WAIT_S, check_same_thread=False)
        # where nobody calls close, it is called when the store is let go
        self._finalizer = weakref.finalize(self, self._connection.close)
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            problem = found_damage(self._connection)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            version, problem = 0, str(error)
        if problem:
            self._finalizer()
        elif version > VERSION:
            self._finalizer()
            raise StoreError(
                f"{self._path} was written by a later version of the harness (its format is {version}; this"
                f" one reads up to {VERSION}).\n  hint: upgrade finetune-harness, or name another folder by"
                " --harness-store."
            )
        return problem

    def _connect_alone(self) -> str:
        """``_connect`` to a file that was found damaged, made again from what can be read of it."""
        from filelock import FileLock

        with FileLock(self._path.with_name(f"{self._path.name}.lock")):
            if not (problem := self._connect()):  # another process has made it again
                return ""
            try:
                aside, kept = rebuild(self._path, SCHEMA + "".join(_added()))
            except sqlite3.Error as error:
                if "locked" in str(error):
                    return f"{problem}; it is damaged, and locked by another run"
                raise
        there = ", ".join(f"{n:,} {table.replace('_', ' ')}" for table, n in kept.items() if n) or "nothing"
        self.lost = (
            f"{self._path} was damaged on disk ({problem}). It is set aside as {aside.name}, and what could"
            f" be read of it is kept: {there}. What could not is asked again, and may be paid again."
        )
        return self._connect()

    def _found_empty(self, age_s: float | None) -> str:
        """A sentence where the file was there ``age_s`` seconds ago, without a table: SQLite would go on
        with it as with a new one, and nobody would hear that answers were lost.
        """
        tables = self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'answers'")
        if tables.fetchone() or age_s is None or abs(age_s) < BEING_MADE_S:  # below 0: the clock was set back
            return ""
        return (
            f"{self._path} was there, with nothing in it: answers and judgments that it held are lost and are"
            " asked again, and so is the count of decisions that held-out files have served. If there is a"
            " backup, put it back."
        )

    def _add_columns(self) -> None:
        for (table, name), statement in zip(ADDED_COLUMNS, _added(), strict=True):
            there = {column for _, column, *_ in self._connection.execute(f"PRAGMA table_info({table})")}
            if name not in there:
                try:
                    self._connection.execute(statement)
                except sqlite3.OperationalError as error:
                    if "duplicate column" not in str(error):  # another process was first
                        raise
        if self._connection.execute("PRAGMA user_version").fetchone() != (VERSION,):
            self._connection.execute(f"PRAGMA user_version={VERSION}")

    def close(self) -> None:
        """Close the file; more than once does no harm."""
        with self._lock:
            self._finalizer()

    @contextmanager
    def _using(self, *, asks: bool = False) -> Iterator[None]:
        """``asks``: what is not found is asked for. That costs, and a disk that failed would not keep it."""
        try:
            with self._lock:
                if asks and self._failed is not None:
                    raise self._failed
                yield
        except sqlite3.Error as error:
            raise self._unusable(str(error), getattr(error, "sqlite_errorcode", 0)) from error

    def _unusable(self, problem: str, code: int = 0) -> StoreError:
        hint = MENDS.get(code & 0xFF, "name another folder by --harness-store.")
        if "locked" in problem:
            hint = "let the other run end, or give this one its own folder by --harness-store."
        return StoreError(f"{self._path} cannot be used ({problem}).\n  hint: {hint}")

    def _damaged(self, what: str, number: int) -> None:
        """Tell of values that are passed over."""
        text = (
            f"{self._path}: {number:,} {what} changed on disk since they were written. They count no more:"
            " what they answered is asked again, and may be paid again. Is the disk sound?"
        )
        self.lost = f"{self.lost} {text}".strip()
        self._say(text)

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
            try:
                with self._connection:
                    yield self._connection
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF in DISK:
                    self._failed = error
                raise
            self._failed = None
            if due:
                self._synced_s = now_s

    @_readable
    def answers(self, context: str) -> dict[str, Answer]:
        """Every answer stored under ``context`` that is not outdated, by row id."""
        with self._using(asks=True):
            query = f"SELECT row_id, answer, answers.digest {CURRENT}"
            found = self._connection.execute(query, (context,)).fetchall()
        whole = [text for row_id, text, digest in found if digest in (None, digest_of(context, row_id, text))]
        if len(whole) < len(found):
            self._damaged("answers", len(found) - len(whole))
        read = _adapter().validate_json
        return {answer.row_id: answer for answer in map(read, whole)}

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
        texts = [(answer.row_id, write(answer).decode()) for answer in answers]
        with self._writing() as connection:
            before = connection.execute(
                "SELECT before FROM outdated WHERE context = ?", (context,)
            ).fetchone()
            given = max(_now(), _next(before[0])) if before else _now()  # the clock may have been set back
            rows = [(context, id, text, given, self.run, digest_of(context, id, text)) for id, text in texts]
            query = "INSERT OR REPLACE INTO answers (context, row_id, answer, given, run, digest)"
            connection.executemany(f"{query} VALUES (?, ?, ?, ?, ?, ?)", rows)

    @_readable
    def judgment(self, key: str) -> list[float] | None:
        """Numbers that a judge's model gave, or None."""
        with self._using(asks=True):
            query = "SELECT numbers, digest FROM judgments WHERE key = ?"
            found = self._connection.execute(query, (key,)).fetchone()
        if found is not None and found[1] not in (None, digest_of(key, found[0])):
            self._damaged("judgments", 1)
            return None
        return [float(number) for number in json.loads(found[0])] if found else None

    def keep_judgment(self, key: str, numbers: Sequence[float]) -> None:
        """Store numbers that a judge's model gave."""
        with self._writing() as connection:
            text = json.dumps(list(numbers))
            row = (key, text, digest_of(key, text))
            connection.execute(
                "INSERT OR REPLACE INTO judgments (key, numbers, digest) VALUES (?, ?, ?)", row
            )

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
        query = "SELECT vector, digest FROM embeddings WHERE key = ?"
        with self._using():
            found = ((key, self._connection.execute(query, (key,)).fetchone()) for key in keys)
            return {  # one that has changed on disk is made again, for nothing
                key: bytes(row[0])
                for key, row in found
                if row is not None and row[1] in (None, digest_of(key, bytes(row[0])))
            }

    def keep_embeddings(self, vectors: Mapping[str, bytes]) -> None:
        """Store vectors under their keys."""
        rows = [(key, vector, digest_of(key, vector)) for key, vector in vectors.items()]
        with self._writing() as connection:
            query = "INSERT OR REPLACE INTO embeddings (key, vector, digest) VALUES (?, ?, ?)"
            connection.executemany(query, rows)

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


def _added() -> list[str]:
    return [f"ALTER TABLE {table} ADD COLUMN {name} TEXT;" for table, name in ADDED_COLUMNS]


def digest_of(*parts: str | bytes) -> str:
    """Of a value with its key, to see later that both are what was written."""
    found = blake2b(digest_size=8)
    for part in parts:
        found.update(part.encode() if isinstance(part, str) else part)
        found.update(b"\0")
    return found.hexdigest()


def _next(moment: str) -> str:
    """The microsecond after ``_now()`` gave ``moment``."""
    after = datetime.fromisoformat(moment) + timedelta(microseconds=1)
    return after.isoformat(timespec="microseconds")


def _now() -> str:
    """The time to the microsecond, so that texts sort as times do."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
