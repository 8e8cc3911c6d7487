"""The service's records and files, in SQLite: in memory, or in a file that outlives the server.

Records are the SDK's own response models: what is stored is what the service answers with.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import RLock
from typing import Any, Literal, TypeAlias, TypeVar, cast

from openai import BaseModel
from openai.types import Batch, FileObject
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from harness.testing.fake_openai.refusals import HTTPRefusal

JobStatus: TypeAlias = Literal[
    "validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"
]
FilesPurpose: TypeAlias = Literal[
    "assistants", "batch", "batch_output", "fine-tune", "fine-tune-results", "user_data", "vision"
]
OF_CLIENTS = ("fine-tune", "batch", "assistants", "user_data", "vision")
JSON_LINES = ("fine-tune", "batch")
MOST_BYTES = 512_000_000


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


R = TypeVar("R", FileObject, FakeJob, FineTuningJobEvent, FineTuningJobCheckpoint, FakeTunedModel, Batch)
# param and code of the refusal when there is no such record
NOT_FOUND: Mapping[type, tuple[str, str | None]] = {
    FileObject: ("id", None),
    FakeJob: ("fine_tune_id", "fine_tune_not_found"),
}
_TABLES = """
CREATE TABLE IF NOT EXISTS records (
    n INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT, id TEXT, owner TEXT, json TEXT, UNIQUE (kind, id));
CREATE INDEX IF NOT EXISTS owners ON records (kind, owner, n);
CREATE TABLE IF NOT EXISTS contents (id TEXT PRIMARY KEY, content BLOB);
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, n INTEGER);
"""


class FakeStore:
    """Records by kind (their class), contents of files, and counts. Safe to use from several threads."""

    def __init__(self, file: Path | None) -> None:
        self._lock = RLock()
        self._database = sqlite3.connect(file or ":memory:", check_same_thread=False, isolation_level=None)
        self._database.executescript(_TABLES)
        self._database.execute("PRAGMA journal_mode = WAL")
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
        """The record with that id.

        Raises:
            HTTPRefusal: there is none.
        """
        record = self.find(kind, name)
        if record is None:
            message = f"No {kind.__name__.removeprefix('Fake')} found with id '{name}'."
            raise HTTPRefusal(404, message, *NOT_FOUND.get(kind, (None, None)))
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

    def delete(self, kind: type[R], name: str) -> None:
        """Delete a record, and the content of that id."""
        self._sql("DELETE FROM records WHERE kind = ? AND id = ?", kind.__name__, name)
        self._sql("DELETE FROM contents WHERE id = ?", name)

    def count(self, name: str) -> int:
        """Count one more; returns the new count."""
        statement = "INSERT INTO counts VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET n = n + 1 RETURNING n"
        return int(self._sql(statement, name)[0][0])

    def counts(self) -> dict[str, int]:
        """All counts by name."""
        return dict(self._sql("SELECT name, n FROM counts ORDER BY name"))

    # ------------------------------------------------------------------ files
    def upload(self, filename: str, purpose: str | None, content: bytes | None) -> FileObject:
        """Store a client's file, and count it.

        Raises:
            HTTPRefusal: no file, no known purpose, an empty file, or not JSON Lines where required.
        """
        if content is None or purpose is None:
            name = "file" if content is None else "purpose"
            message = f"Missing required parameter: '{name}'."
            raise HTTPRefusal(400, message, name, "missing_required_parameter")
        if purpose not in OF_CLIENTS:
            raise HTTPRefusal(400, f"'{purpose}' is not one of {list(OF_CLIENTS)} - 'purpose'")
        if not content:
            raise HTTPRefusal(400, "File is empty.", "file", "empty_file")
        if len(content) > MOST_BYTES:
            raise HTTPRefusal(413, f"File exceeds the maximum size for purpose '{purpose}'.", "file")
        if purpose in JSON_LINES and not filename.endswith(".jsonl"):
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
        """A file's bytes.

        Raises:
            HTTPRefusal: there is no such file.
        """
        name = self.get(FileObject, file_id).id
        return bytes(self._sql("SELECT content FROM contents WHERE id = ?", name)[0][0])

    def require_file(self, file_id: str, purpose: FilesPurpose, param: str) -> None:
        """Check that a file named in a request was uploaded for that purpose.

        Raises:
            HTTPRefusal: there is none, or it was uploaded for something else.
        """
        file = self.find(FileObject, file_id)
        if file is None:
            raise HTTPRefusal(400, f"invalid {param}: {file_id}", param)
        if file.purpose != purpose:
            message = f"File '{file_id}' has the purpose '{file.purpose}', but '{param}' takes '{purpose}'."
            raise HTTPRefusal(400, message, param, "invalid_file_purpose")


def new_id(prefix: str) -> str:
    """A unique name."""
    return prefix + secrets.token_hex(12)


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())
