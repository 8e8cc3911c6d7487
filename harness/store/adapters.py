"""Trained artifacts, one folder each, named by the content of everything that shaped them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.atomic import build_atomically
from harness.errors import StoreError
from harness.records import Training

if TYPE_CHECKING:
    from harness.store.shared import SharedStore

RECORD = "training.json"


class AdapterStore:
    """Folders under ``root``; each appears whole or not at all, and is made by one process at a time.

    What is not here and lies in ``shared`` is brought here when it is asked for; what is made is sent there.

    Raises:
        StoreError: in every method, when a record cannot be read.
    """

    def __init__(self, root: Path, shared: SharedStore | None = None) -> None:
        self._root, self._shared = root, shared

    def folder(self, fingerprint: str) -> Path:
        """Where the artifact of that fingerprint lies (or would lie)."""
        return self._root / fingerprint[:32]

    def find(self, fingerprint: str) -> Training | None:
        """How the artifact came to be; None when there is none."""
        self.fetch(self.folder(fingerprint), _is_whole)
        record = self.folder(fingerprint) / RECORD
        return _read(record) if record.is_file() else None

    def fetch(self, folder: Path, is_whole: Callable[[Path], bool]) -> None:
        """Bring a folder of the store here, if it is shared and not here."""
        if self._shared is not None:
            self._shared.fetch(folder, is_whole)

    def share(self, folder: Path) -> None:
        """Send a folder of the store that is whole, if the store is shared."""
        if self._shared is not None:
            self._shared.share(folder)

    def trainings(self) -> tuple[Training, ...]:
        """How every artifact came to be, the latest first."""
        records = sorted(self._root.glob(f"*/{RECORD}"), key=lambda file: file.stat().st_mtime, reverse=True)
        return tuple(_read(record) for record in records)

    def get_or_train(self, fingerprint: str, build: Callable[[Path], Training]) -> Training:
        """The artifact's record, training it with ``build(temporary folder)`` when it is missing."""
        trained: list[Training] = []

        def train(part: Path) -> None:
            from pydantic import TypeAdapter

            trained.append(build(part))
            (part / RECORD).write_bytes(TypeAdapter(Training).dump_json(trained[0], indent=1))

        # a folder without a record is no artifact, and is trained again
        self.fetch(self.folder(fingerprint), _is_whole)
        folder = build_atomically(self.folder(fingerprint), train, _is_whole)
        self.share(folder)
        return trained[0] if trained else _read(folder / RECORD)

    def merged(self, artifact: Path, build: Callable[[Path], None]) -> Path:
        """The folder of the merged model beside an adapter, made once."""
        return build_atomically(artifact.with_name(f"{artifact.name}-merged"), build)


def _is_whole(folder: Path) -> bool:
    return (folder / RECORD).is_file()


def _read(record: Path) -> Training:
    from pydantic import TypeAdapter

    try:
        found = json.loads(record.read_bytes())
        if isinstance(found, dict) and "numerics" in found:  # how earlier versions called the field
            found["numeric_config"] = found.pop("numerics")
        return TypeAdapter(Training).validate_python(found)
    except ValueError as error:  # no JSON, no UTF-8, or another shape: pydantic's ValidationError is one too
        problem = f"{record} cannot be read: delete {record.parent} and it is trained again."
        raise StoreError(problem) from error
