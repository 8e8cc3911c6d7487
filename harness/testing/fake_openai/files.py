"""Uploaded and made files: checked, counted by content, kept."""

from __future__ import annotations

from collections.abc import Callable

from harness.testing.fake_openai.parameters import listed
from harness.testing.fake_openai.records import StoredFile
from harness.testing.fake_openai.refusals import Refusal, missing_parameter, no_such_file
from harness.testing.fake_openai.store import Store, new_id, sha256

PURPOSES = ("fine-tune", "assistants", "batch", "user_data", "vision", "evals")
JSON_LINES = {"fine-tune": "Fine-Tuning", "batch": "Batch"}
MOST_BYTES = {"fine-tune": 512_000_000, "batch": 200_000_000}


class Files:
    """The files of ``/v1/files``."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock

    def upload(self, filename: str, purpose: str | None, content: bytes | None) -> StoredFile:
        """A file that a client sent.

        Raises:
            Refusal: no file, no purpose, an unknown one, an empty file, or not JSON Lines where that is due.
        """
        if content is None:
            raise missing_parameter("file")
        if purpose is None:
            raise missing_parameter("purpose")
        if purpose not in PURPOSES:
            raise Refusal(400, f"'{purpose}' is not one of {list(PURPOSES)} - 'purpose'")
        if not content:
            raise Refusal(400, "File is empty.", "file", "empty_file")
        if len(content) > MOST_BYTES.get(purpose, 512_000_000):
            raise Refusal(413, f"File exceeds the maximum size for purpose {listed((purpose,))}.", "file")
        if purpose in JSON_LINES and not filename.endswith(".jsonl"):
            raise Refusal(400, f"Invalid file format for {JSON_LINES[purpose]} API. Must be .jsonl", "file")
        return self.add(filename, purpose, content)

    def add(self, filename: str, purpose: str, content: bytes, made: bool = False) -> StoredFile:
        """Keep a file; one that the service ``made`` is not counted as an upload."""
        digest = sha256(content)
        file = StoredFile(new_id("file-"), int(self._clock()), filename, purpose, len(content), digest)
        self._store.put_content(file.id, content)
        self._store.put(file)
        if not made:
            self._store.count("uploads")
            self._store.count(f"upload {digest}")
        return file

    def get(self, file_id: str) -> StoredFile:
        """The file of that id."""
        file = self._store.find(StoredFile, file_id)
        if file is None:
            raise no_such_file(file_id)
        return file

    def content(self, file_id: str) -> bytes:
        """Its bytes."""
        return self._store.content(self.get(file_id).id)

    def for_purpose(self, file_id: str, purpose: str, param: str) -> StoredFile:
        """A file named in a request, if it was uploaded for that.

        Raises:
            Refusal: there is none, or it was uploaded for something else.
        """
        file = self._store.find(StoredFile, file_id)
        if file is None:
            raise Refusal(400, f"invalid {param}: {file_id}", param)
        if file.purpose != purpose:
            message = f"File '{file_id}' has the purpose '{file.purpose}', but '{param}' takes '{purpose}'."
            raise Refusal(400, message, param, "invalid_file_purpose")
        return file

    def delete(self, file_id: str) -> None:
        """Forget a file."""
        self._store.delete(StoredFile, self.get(file_id).id)
