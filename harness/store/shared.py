"""What several machines share: a copy of the store at an address that fsspec knows, such as ``s3://``.

This machine's folder stays the store that a run works with. At the address lie, each written once and never
changed, so that two machines can lose each other nothing:

- ``adapters/<key>/<upload>/…``, the files of an artifact, and ``<upload>.json`` with their digests, which is
  written last: what has none is no artifact;
- ``answers/<sha256>.sqlite.gz``, what one machine had that was not there yet: answers, judgments, vectors and
  the decisions that held-out rows have served. They are merged by key.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from threading import Event, RLock, Thread
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from harness.atomic import build_atomically
from harness.errors import StoreError, UsageError
from harness.store.answers import LOCK_WAIT_S, AnswerStore

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

PUSH_EVERY_S = 300.0


class _Table(NamedTuple):
    keys: tuple[str, ...]
    version: str = ""  # of two rows with one key, the greater wins; without it, the one that is there


TABLES: Mapping[str, _Table] = MappingProxyType(
    {
        "answers": _Table(("context", "row_id"), "coalesce({}.given, '')"),
        "outdated": _Table(("context",), "{}.before"),
        "judgments": _Table(("key",)),
        "embeddings": _Table(("key",)),
        "heldout_decisions": _Table(("decision",)),
        "row_sets": _Table(("digest",)),
        "seeds_seen": _Table(("heldout", "recipe", "seed")),
        "judged_rows": _Table(("rows",)),
        "judged": _Table(("rows", "beside", "recipe", "name", "size", "seed")),
        "anchors": _Table(("judge",), "{0}.since || length({0}.scores)"),
        "attack_tests": _Table(("judge",)),
    }
)


class SharedStore:
    """The copy at ``url`` of the store in ``folder``.

    ``say`` hears what could not be sent: it stays here, and the next run with this folder sends it.

    Raises:
        UsageError: the address cannot be one, or packages for it are missing.
        StoreError: in every method that says nothing else, when it cannot be reached, read or written.
    """

    def __init__(self, url: str, folder: Path, say: Callable[[str], None]) -> None:
        self.url, self._folder, self._say = url.rstrip("/"), folder, say
        try:
            is_named = urlsplit(url).username is not None
        except ValueError as error:  # brackets of an IPv6 address that are none
            raise UsageError(
                f"--harness-store={url}: {error}.\n  hint: write it as s3://bucket/path; or name a folder."
            ) from error
        if is_named:
            raise UsageError(
                "--harness-store: the address holds a name or secret before an @; reports show commands.\n"
                "  hint: leave it out; credentials are taken from the environment, such as AWS_ACCESS_KEY_ID."
            )
        try:
            import fsspec

            # others write there, and a listing that is remembered would not show it
            found: tuple[AbstractFileSystem, str] = fsspec.url_to_fs(self.url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise UsageError(
                f"--harness-store={url}: {error}.\n"
                "  hint: pip install 'finetune-harness[s3]' for s3://, gcsfs for gs://; or name a folder."
            ) from error
        self._fs, self._root = found[0], found[1].rstrip("/")
        self._known: set[str] = set()  # artifacts that are seen there
        self._lock, self._ended = RLock(), Event()
        self._thread: Thread | None = None

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except Exception as error:  # the libraries behind fsspec raise what they like
            lines = str(error).strip().splitlines() or [""]
            raise StoreError(
                f"{self.url} cannot be used ({type(error).__name__}: {lines[0]}).\n"
                "  hint: look at the address, the network and the credentials in the environment; or name a"
                " folder by --harness-store: what this machine has of the store is in .harness."
            ) from error

    # ----------------------------------------------------------------- artifacts
    def fetch(self, folder: Path, is_whole: Callable[[Path], bool]) -> None:
        """Bring an artifact here, if it is there and not here."""
        if is_whole(folder):
            return
        with self._reaching():
            uploads = self._uploads(folder.name)
            if uploads:
                build_atomically(folder, lambda part: self._download(uploads[0], part), is_whole)
                self._known.add(folder.name)

    def _uploads(self, name: str) -> list[str]:
        """The manifests of an artifact, in an order that does not change but by new ones."""
        try:
            listed = self._fs.ls(f"{self._root}/adapters/{name}", detail=False)
        except FileNotFoundError:
            return []
        return sorted(path for path in map(str, listed) if path.endswith(".json"))

    def _download(self, manifest: str, part: Path) -> None:
        files: Mapping[str, str] = json.loads(self._fs.cat_file(manifest))["files"]
        for name, digest in files.items():
            target = part / name
            if not target.resolve().is_relative_to(part.resolve()):
                raise StoreError(f"{manifest} names a file outside of its folder: {name!r}.")
            target.parent.mkdir(parents=True, exist_ok=True)
            self._fs.get_file(f"{manifest.removesuffix('.json')}/{name}", str(target))
            if _digest(target) != digest:
                raise StoreError(f"{manifest}: {name} has other bytes there than were sent; delete both.")

    def share(self, folder: Path) -> None:
        """Send an artifact, if it is not there. Raises nothing: a training that was made is not lost."""
        if folder.name in self._known:
            return
        try:
            with self._reaching():
                if not self._uploads(folder.name):
                    self._upload(folder)
                self._known.add(folder.name)
        except StoreError as error:
            self._say(f"{folder.name} was not sent: {error}")

    def _upload(self, folder: Path) -> None:
        paths = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
        upload = f"{self._root}/adapters/{folder.name}/{uuid.uuid4().hex}"
        for name, path in paths.items():
            self._fs.makedirs(f"{upload}/{name}".rpartition("/")[0], exist_ok=True)
            self._fs.put_file(str(path), f"{upload}/{name}")
        manifest = json.dumps({"files": {name: _digest(path) for name, path in paths.items()}}, indent=1)
        self._fs.pipe_file(f"{upload}.json", manifest.encode())

    # ----------------------------------------------------------------- answers
    def begin(self) -> None:
        """Take what is there, and send what is made here from now on, every few minutes, until ``close``."""
        with self._reaching():
            self._pull()
        self._thread = Thread(target=self._push_often, name="sharing answers", daemon=True)
        self._thread.start()

    def _push_often(self) -> None:
        while not self._ended.wait(PUSH_EVERY_S):
            self.push()

    def close(self) -> None:
        """Send what is not there yet; more than once does no harm."""
        self._ended.set()
        if self._thread is not None:  # else nothing was begun
            self.push()

    def push(self) -> None:
        """Send what is here and not there. Raises nothing: it is here, and may be sent later."""
        try:
            with self._reaching(), self._lock:
                self._push()
        except StoreError as error:
            self._say(f"this run's answers were not sent: {error}")

    @contextmanager
    def _mirror(self) -> Iterator[sqlite3.Connection]:
        """What is known to be there, in a file beside the store's, which is attached as ``own``."""
        path = self._folder / f"shared-{sha256(self.url.encode()).hexdigest()[:16]}.sqlite"
        AnswerStore(path).close()  # the tables
        with closing(sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None)) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS segments (name TEXT PRIMARY KEY)")
            connection.execute("ATTACH ? AS own", (str(self._folder / "answers.sqlite"),))
            yield connection

    def _pull(self) -> None:
        with self._lock, self._mirror() as connection, tempfile.TemporaryDirectory() as scratch:
            seen = {name for (name,) in connection.execute("SELECT name FROM segments")}
            try:
                listed = self._fs.ls(f"{self._root}/answers", detail=False)
            except FileNotFoundError:
                listed = []
            for path in sorted(map(str, listed)):
                name = path.rpartition("/")[2]
                if name in seen or not name.endswith(".sqlite.gz"):
                    continue
                content = self._fs.cat_file(path)
                if not name.startswith(sha256(content).hexdigest()):
                    self._say(f"{path} is not whole, and is left out.")  # perhaps another is writing it
                    continue
                segment = Path(scratch, "segment.sqlite")
                segment.write_bytes(gzip.decompress(content))
                self._note(connection, segment, name)
            _merge(connection, "main", "own")

    def _push(self) -> None:
        with self._mirror() as connection, tempfile.TemporaryDirectory() as scratch:
            segment = Path(scratch, "segment.sqlite")
            AnswerStore(segment).close()
            connection.execute("ATTACH ? AS segment", (str(segment),))
            connection.execute("BEGIN")
            added = sum(
                connection.execute(_absent(connection, table, "own", "main", "segment")).rowcount
                for table in TABLES
            )
            connection.execute("COMMIT")
            connection.execute("DETACH segment")
            if not added:
                return
            content = gzip.compress(segment.read_bytes(), 6, mtime=0)
            name = f"{sha256(content).hexdigest()}.sqlite.gz"
            self._fs.makedirs(f"{self._root}/answers", exist_ok=True)
            self._fs.pipe_file(f"{self._root}/answers/{name}", content)
            self._note(connection, segment, name)

    def _note(self, connection: sqlite3.Connection, segment: Path, name: str) -> None:
        """What a segment holds is known to be there."""
        AnswerStore(segment).close()  # columns that an earlier version did not have
        connection.execute("ATTACH ? AS segment", (str(segment),))
        _merge(connection, "segment", "main")
        connection.execute("DETACH segment")
        connection.execute("INSERT OR IGNORE INTO segments VALUES (?)", (name,))


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    """By name: files of several versions have them in several orders."""
    rows: list[tuple[Any, ...]] = connection.execute(f"PRAGMA main.table_info({table})").fetchall()
    return [str(name) for _, name, *_ in rows]


def _absent(connection: sqlite3.Connection, table: str, source: str, known: str, target: str) -> str:
    """A statement that copies into ``target`` the rows of ``source`` that ``known`` lacks, or has older."""
    columns, (keys, version) = ", ".join(_columns(connection, table)), TABLES[table]
    same = " AND ".join(f"k.{key} = s.{key}" for key in keys)
    newer = f" AND {version.format('k')} >= {version.format('s')}" if version else ""
    return (
        f"INSERT INTO {target}.{table} ({columns}) SELECT {columns} FROM {source}.{table} AS s"
        f" WHERE NOT EXISTS (SELECT 1 FROM {known}.{table} AS k WHERE {same}{newer})"
    )


def _merge(connection: sqlite3.Connection, source: str, target: str) -> None:
    """Bring every row of one database into another; the order of merges does not matter."""
    connection.execute("BEGIN IMMEDIATE")
    for table in TABLES:
        statement = _absent(connection, table, source, target, target)
        connection.execute(statement.replace("INSERT INTO", "INSERT OR REPLACE INTO", 1))
    connection.execute("COMMIT")


def _digest(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
