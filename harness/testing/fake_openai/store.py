"""The service's records and files, in an SQLite file that may outlive the server.

Records are the SDK's own response models: what is stored is what the service answers with.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from typing import Any, Literal, Protocol, Self, TypeAlias, TypeVar, cast

from openai import BaseModel
from openai.types import FileObject
from openai.types.fine_tuning import FineTuningJob

from harness.errors import UsageError
from harness.records import Json
from harness.testing.fake_openai.refusals import HTTPRefusal, missing

JobStatus: TypeAlias = Literal[
    "validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"
]
FilesPurpose: TypeAlias = Literal["batch", "batch_output", "fine-tune", "fine-tune-results"]
OF_CLIENTS = ("fine-tune", "batch")


class FakeJob(FineTuningJob):
    """A fine-tuning job, with the two things that the API shows and the SDK's type lacks."""

    status: JobStatus  # type: ignore[assignment]  # "paused" is missing there
    user_provided_suffix: str | None = None


class FakeTunedModel(BaseModel):
    """A tuned model or a checkpoint. ``weights``: its folder, below that of all weights."""

    id: str
    created_at: int
    base: str
    weights: str


class Record(Protocol):
    """Whatever is kept under its id."""

    id: str

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """As a dictionary, with ``json`` of values that JSON has."""

    def model_dump_json(self) -> str:
        """As JSON."""

    @classmethod
    def model_validate_json(cls, json_data: str) -> Self:
        """From JSON."""


R = TypeVar("R", bound=Record)
_TABLES = """
CREATE TABLE IF NOT EXISTS records (
    n INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT, id TEXT, owner TEXT, json TEXT, UNIQUE (kind, id));
CREATE INDEX IF NOT EXISTS owners ON records (kind, owner, n);
CREATE TABLE IF NOT EXISTS contents (id TEXT PRIMARY KEY, content BLOB);
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, n INTEGER);
"""


class FakeStore:
    """Records by kind (their class), contents of files, and counts. Safe to use from several threads."""

    def __init__(self, file: Path) -> None:
        self._lock = RLock()
        try:
            self._database = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
            self._database.executescript(_TABLES)
            self._database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.Error as error:
            raise UsageError(
                f"{file} is no state of a twin: {error}.\n  hint: name another folder with --state."
            ) from error
        self._database.execute("PRAGMA synchronous = OFF")  # a killed process loses nothing, a power cut may

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._database.close()

    def _sql(self, statement: str, *values: str | bytes) -> list[Any]:
        with self._lock:
            return self._database.execute(statement, values).fetchall()

    def put(self, record: R, owner: str = "") -> R:
        """Save a record, replacing the one with its id."""
        self._sql(
            "INSERT INTO records (kind, id, owner, json) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (kind, id) DO UPDATE SET json = excluded.json",
            *(type(record).__name__, record.id, owner, record.model_dump_json()),
        )
        return record

    def find(self, kind: type[R], name: str) -> R | None:
        """The record with that id."""
        found = self._sql("SELECT json FROM records WHERE kind = ? AND id = ?", kind.__name__, name)
        return kind.model_validate_json(found[0][0]) if found else None

    def get(self, kind: type[R], name: str) -> R:
        """The record with that id, which is refused if there is none."""
        record = self.find(kind, name)
        if record is None:
            message = f"No {kind.__name__.removeprefix('Fake')} found with id '{name}'."
            raise HTTPRefusal(404, message, "id")
        return record

    def newest_first(self, kind: type[R], owner: str = "") -> list[R]:
        """All records of a kind (and an owner)."""
        found = self._sql(
            "SELECT json FROM records WHERE kind = ? AND owner = ? ORDER BY n DESC", kind.__name__, owner
        )
        return [kind.model_validate_json(text) for (text,) in found]

    def update(self, kind: type[R], name: str, change: Callable[[R], R]) -> R:
        """Replace a record by what ``change`` makes of it, in one step that no other thread interrupts."""
        with self._lock:
            return self.put(change(self.get(kind, name)))

    def delete(self, record: R, shown: str = "") -> dict[str, Json]:
        """Delete a record, and the content of its id; returns the answer, which calls it ``shown``."""
        self._sql("DELETE FROM records WHERE kind = ? AND id = ?", type(record).__name__, record.id)
        self._sql("DELETE FROM contents WHERE id = ?", record.id)
        return {"id": record.id, "object": shown, "deleted": True}

    def count(self, name: str) -> None:
        """Count one more."""
        self._sql("INSERT INTO counts VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET n = n + 1", name)

    def counts(self) -> dict[str, int]:
        """All counts by name."""
        return dict(self._sql("SELECT name, n FROM counts ORDER BY name"))

    def upload(self, purpose: Json, upload: tuple[str, bytes] | None) -> FileObject:
        """Check, store and count a client's file, given as its name and content."""
        if upload is None:
            raise missing("file")
        filename, content = upload
        if purpose not in OF_CLIENTS:
            raise HTTPRefusal(400, f"'{purpose}' is not one of {list(OF_CLIENTS)} - 'purpose'")
        if not content:
            raise HTTPRefusal(400, "File is empty.", "file", "empty_file")
        if not filename.endswith(".jsonl"):
            raise HTTPRefusal(400, f"Invalid file format for purpose '{purpose}'. Must be .jsonl", "file")
        self.count("uploads")
        self.count(f"upload {hashlib.sha256(content).hexdigest()}")
        return self.add_file(filename, cast("FilesPurpose", purpose), content)

    def add_file(self, filename: str, purpose: FilesPurpose, content: bytes) -> FileObject:
        """Store a file."""
        file = FileObject(
            object="file",
            id=new_id("file-"),
            created_at=now(),
            filename=filename,
            purpose=purpose,
            bytes=len(content),
            status="processed",
        )
        self._sql("INSERT INTO contents VALUES (?, ?)", file.id, content)
        return self.put(file)

    def content(self, file_id: str) -> bytes:
        """A file's bytes."""
        name = self.get(FileObject, file_id).id
        return bytes(self._sql("SELECT content FROM contents WHERE id = ?", name)[0][0])

    def require_file(self, file_id: str, purpose: FilesPurpose, param: str) -> None:
        """Check that a file named in a request was uploaded for that purpose."""
        file = self.find(FileObject, file_id)
        if file is None or file.purpose != purpose:
            raise HTTPRefusal(400, f"invalid {param}: {file_id} is no file of purpose '{purpose}'.", param)


def new_id(prefix: str) -> str:
    """A unique name."""
    return prefix + secrets.token_hex(12)


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())
