"""What a store holds, whether all of it is as it was written, and what of it may go."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias, cast

from harness.atomic import MANIFEST, damaged_file
from harness.errors import StoreError
from harness.store.adapters import RECORD, read_training
from harness.store.answers import VERSION, digest_of
from harness.store.damage import found_damage

ANSWERS = "answers.sqlite"
HOSTED = "hosted.json"  # the record of a job at a service, in an artifact's folder
#: The columns of a value's key and the value, for each table that holds digests.
SEALED = {
    "answers": ("context", "row_id", "answer"),
    "judgments": ("key", "numbers"),
    "embeddings": ("key", "vector"),
}
#: ``free``: made again for time alone. ``paid``: may have cost money. ``left``: of runs that were killed.
Worth: TypeAlias = Literal["left", "free", "paid"]


@dataclass(frozen=True)
class Entry:
    """One thing in the store; ages are in seconds, and None where they are not noted."""

    kind: str
    name: str
    bytes: int
    worth: Worth
    about: str = ""
    age_s: float | None = None
    unused_s: float | None = None
    path: Path | None = None  # None: rows of the database
    rows: str = ""  # those of the database, as SQL names them
    fingerprint: str = ""  # of a training


# --------------------------------------------------------------------------- ls
def entries(store: Path) -> Iterator[Entry]:
    """Everything in a store: files first, then what the database holds.

    Raises:
        StoreError: the database cannot be read.
    """
    now = time.time()
    places = [*sorted((store / "adapters").glob("*")), *sorted(store.glob("*"))]
    for path in places:
        if path.name not in ("adapters", ANSWERS) and (entry := _entry(path, now)):
            yield entry
    yield from _rows(store / ANSWERS, now)


def _entry(path: Path, now: float) -> Entry | None:
    name, record = path.name, path / RECORD
    age_s = max(0.0, now - path.stat().st_mtime)  # below 0: the clock was set back
    kind, worth, about, fingerprint = "", "left", "", ""
    if ".damaged-" in name:
        kind, about = "damaged", "set aside"
        worth = "paid" if name.startswith(ANSWERS) else "left"
    elif ".part" in name or name.endswith(".rebuilt"):
        kind, about = "leftover", "half written by a run that was killed"
    elif name.endswith(".archive"):
        kind, about = "leftover", "an adapter that was being fetched"
    elif name.endswith(".resume.safetensors"):
        kind, about = "resume", "how far a training is"
    elif name.endswith(".job.json"):
        kind, worth, about = "job", "paid", "which job at a service"
    elif name.endswith("-merged"):
        kind, worth, about = "merged", "free", "an adapter merged into its base"
    elif name.startswith("served-") and not name.endswith(".lock"):
        kind, worth, about = "served", "free", "what a server was given, and how its answers compared"
    elif name.startswith("replay-") and path.is_dir():
        kind, worth, about = "replay", "free", "rows that a base wrote"
    elif record.is_file():
        is_hosted = (path / HOSTED).is_file()
        kind, worth = ("hosted", "paid") if is_hosted else ("adapter", "free")
        try:
            made = read_training(record)
            about, fingerprint = f"{made.rows} rows, {made.steps} steps", made.fingerprint
        except StoreError:
            about = "its record cannot be read"
        age_s = max(0.0, now - record.stat().st_mtime)
    if not kind:
        return None  # locks, and what is not ours
    unused_s = _unused_s(path, now)
    return Entry(
        kind, name, _bytes(path), cast("Worth", worth), about, age_s, unused_s, path, "", fingerprint
    )


def _unused_s(path: Path, now: float) -> float | None:
    """Since an artifact was last used; see ``AdapterStore``. Earlier versions did not note it."""
    file = path / MANIFEST
    return max(0.0, now - file.stat().st_mtime) if file.is_file() else None


def _bytes(path: Path) -> int:
    files = [path] if not path.is_dir() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file() and not file.is_symlink())


def _rows(file: Path, now: float) -> Iterator[Entry]:
    if not file.is_file():
        return
    with _reading(file) as connection:
        query = "SELECT coalesce(run, ''), count(*), sum(length(answer)), max(given) FROM answers GROUP BY 1"
        for run, n, size, given in connection.execute(query):
            age_s = None if given is None else max(0.0, now - _seconds(given))
            name = f"run of {run[:19]}" if run else "of earlier versions"
            rows = f"answers WHERE coalesce(run, '') = '{run}'"
            yield Entry("answers", name, size, "paid", f"{n:,} answers", age_s, age_s, rows=rows)
        tables: dict[str, tuple[str, Worth]] = {
            "judgments": ("numbers", "paid"),
            "embeddings": ("vector", "free"),
        }
        for table, (column, worth) in tables.items():
            (n, size) = connection.execute(f"SELECT count(*), sum(length({column})) FROM {table}").fetchone()
            if n:
                yield Entry(table, "of all runs", size, worth, f"{n:,} {table}", rows=table)


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


@contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    """The database, read and never changed; its errors name it."""
    try:
        with closing(_opened(file)) as connection:
            connection.execute("PRAGMA query_only=1")
            yield connection
    except sqlite3.Error as error:
        hint = "let other runs end, and look at the disk; `harness store verify` reads all of it."
        raise StoreError(f"{file} cannot be read ({error}).\n  hint: {hint}") from error


def _opened(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file)
    try:
        connection.execute("PRAGMA user_version")
    except sqlite3.OperationalError:
        # on a disk that can only be read, SQLite can make no index of the log; without a log it needs none
        if file.with_name(f"{file.name}-wal").exists():
            raise
        connection.close()
        return sqlite3.connect(f"{file.resolve().as_uri()}?immutable=1", uri=True)
    except sqlite3.DatabaseError:  # damaged, which is what is to be found out
        return connection
    return connection


# --------------------------------------------------------------------------- verify
@dataclass(frozen=True)
class Problem:
    """Something that is not as it was written, and what to do."""

    where: Path
    what: str
    mend: str


def problems(store: Path) -> Iterator[Problem]:
    """Whatever is wrong with a store. Everything in it is read; nothing is changed."""
    yield from _database_problems(store / ANSWERS)
    for path in sorted((store / "adapters").glob("*")):
        if ".damaged-" in path.name or ".part" in path.name:
            continue
        if path.name.endswith(".job.json"):
            try:
                json.loads(path.read_bytes())
            except ValueError as error:
                yield Problem(
                    path, f"it is no JSON ({error})", "delete it: the job is looked for at the service"
                )
        elif path.is_dir():
            yield from _folder_problems(path)


def _folder_problems(folder: Path) -> Iterator[Problem]:
    mend = "the next run that needs it sets it aside and makes it again"
    try:
        damaged = damaged_file(folder)
        if damaged is not None:
            yield Problem(folder / damaged, "its bytes are not those that were written", mend)
            return
    except FileNotFoundError:  # an earlier version's
        mend = f"delete {folder}: it is made again"
    try:
        if (folder / RECORD).is_file():
            read_training(folder / RECORD)
    except StoreError:
        yield Problem(folder / RECORD, "it cannot be read", mend)


def _database_problems(file: Path) -> Iterator[Problem]:
    if not file.is_file():
        return
    mend = "the next run sets the file aside and keeps what can be read of it"
    with _reading(file) as connection:
        if found := found_damage(connection, "integrity_check"):
            yield Problem(file, f"SQLite finds: {found}", mend)
            return
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            yield Problem(file, f"its format, {version}, is a later version's", "upgrade finetune-harness")
            return
        for table, columns in SEALED.items():
            there = {name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")}
            if "digest" not in there:
                continue
            query = f"SELECT {', '.join(columns)}, digest FROM {table} WHERE digest IS NOT NULL"
            wrong = sum(digest_of(*value) != digest for *value, digest in connection.execute(query))
            if wrong:
                what = f"{wrong:,} {table} are not as they were written"
                yield Problem(
                    file, what, "a run that needs them asks again, and may pay again; is the disk sound?"
                )


# --------------------------------------------------------------------------- gc
def removable(found: Iterable[Entry], *, unused_s: float, paid: bool) -> Iterator[Entry]:
    """What may go, in the order in which it is missed least: leftovers, what is made again for time alone,
    and last, where ``paid``, what may have cost money.

    Args:
        unused_s: what was used since is kept. What no run has noted the use of counts by its age.
    """
    order: dict[Worth, int] = {"left": 0, "free": 1, "paid": 2}
    for entry in sorted(found, key=lambda entry: (order[entry.worth], -entry.bytes)):
        idle_s = entry.unused_s if entry.unused_s is not None else entry.age_s
        has_no_date = idle_s is None and entry.worth == "free"  # vectors
        is_old = has_no_date or entry.kind == "leftover" or (idle_s or 0.0) >= unused_s
        if is_old and (paid or entry.worth != "paid"):
            yield entry


def remove(store: Path, chosen: Iterable[Entry]) -> list[Entry]:
    """Remove things from a store; gives those that a run is making at this moment, which stay.

    Raises:
        StoreError: the database is locked, or cannot be written.
    """
    from filelock import FileLock, Timeout

    rows, kept = [], []
    for entry in chosen:
        if entry.path is None:
            rows.append(entry.rows)
            continue
        try:
            with FileLock(entry.path.with_name(f"{entry.path.name.partition('.')[0]}.lock"), timeout=0):
                if entry.path.is_dir():
                    shutil.rmtree(entry.path)
                else:
                    entry.path.unlink(missing_ok=True)
        except Timeout:
            kept.append(entry)
    if rows:
        with _reading(store / ANSWERS) as connection:
            connection.execute("PRAGMA query_only=0")
            with connection:
                for each in rows:
                    connection.execute(f"DELETE FROM {each}")
            connection.execute("VACUUM")
    return kept
