"""Trained artifacts, one folder each, named by the content of everything that shaped them."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from harness.errors import StoreError
from harness.records import Training

RECORD = "training.json"


class AdapterStore:
    """Folders under ``root``; each appears whole or not at all, and is made by one process at a time."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, fingerprint: str) -> Path:
        """Where the artifact of that fingerprint lies (or would lie)."""
        return self._root / fingerprint[:32]

    def find(self, fingerprint: str) -> Training | None:
        """How the artifact came to be; None when there is none."""
        record = self.folder(fingerprint) / RECORD
        return _read(record) if record.is_file() else None

    def trainings(self) -> tuple[Training, ...]:
        """How every artifact came to be, the latest first."""
        records = sorted(self._root.glob(f"*/{RECORD}"), key=lambda file: file.stat().st_mtime, reverse=True)
        return tuple(_read(record) for record in records)

    def get_or_train(self, fingerprint: str, build: Callable[[Path], Training]) -> Training:
        """The artifact's record, training it with ``build(temporary folder)`` when it is missing."""
        from filelock import FileLock

        found = self.find(fingerprint)
        if found:
            return found
        self._root.mkdir(parents=True, exist_ok=True)
        folder = self.folder(fingerprint)
        with FileLock(folder.with_name(folder.name + ".lock")):
            return self.find(fingerprint) or self._train(folder, build)

    def _train(self, folder: Path, build: Callable[[Path], Training]) -> Training:
        from pydantic import TypeAdapter

        shutil.rmtree(folder, ignore_errors=True)  # one without a record is no artifact
        part = self._part(folder)
        try:
            training = build(part)
            (part / RECORD).write_bytes(TypeAdapter(Training).dump_json(training, indent=1))
            part.replace(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return training

    def merged(self, artifact: Path, build: Callable[[Path], None]) -> Path:
        """The folder of the merged model beside an adapter, made once."""
        from filelock import FileLock

        folder = artifact.with_name(artifact.name + "-merged")
        with FileLock(folder.with_name(folder.name + ".lock")):
            if not folder.is_dir():
                part = self._part(folder)
                try:
                    build(part)
                    part.replace(folder)
                finally:
                    shutil.rmtree(part, ignore_errors=True)
        return folder

    def _part(self, folder: Path) -> Path:
        """A new folder to build in, beside ``folder``; what a killed process left there is removed."""
        for left in self._root.glob(folder.name + ".part-*"):
            shutil.rmtree(left, ignore_errors=True)
        return Path(tempfile.mkdtemp(dir=self._root, prefix=folder.name + ".part-"))


def _read(record: Path) -> Training:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Training).validate_json(record.read_bytes())
    except (ValidationError, json.JSONDecodeError) as error:
        raise StoreError(
            f"{record} cannot be read: delete {record.parent} and it is trained again."
        ) from error
