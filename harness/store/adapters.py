"""Trained artifacts, one folder each, named by the content of everything that shaped them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from harness.atomic import MANIFEST, build_atomically, damaged_file, write_manifest
from harness.errors import StoreError, disk_error
from harness.records import Training

if TYPE_CHECKING:
    from harness.store.shared import SharedStore

RECORD = "training.json"


class AdapterStore:
    """Folders under ``root``; each appears whole or not at all, and is made by one process at a time.

    What is not here and lies in ``shared`` is brought here when it is asked for; what is made is sent there.
    One whose bytes are not those that were written is set aside, and made again; ``say`` hears of it.

    Raises:
        StoreError: in every method, when a record cannot be read, or the disk cannot be written.
    """

    def __init__(
        self, root: Path, shared: SharedStore | None = None, say: Callable[[str], None] = lambda text: None
    ) -> None:
        self._root, self._shared, self._say = root, shared, say

    def folder(self, fingerprint: str) -> Path:
        """Where the artifact of that fingerprint lies (or would lie)."""
        return self._root / fingerprint[:32]

    def find(self, fingerprint: str) -> Training | None:
        """How the artifact came to be; None when there is none."""
        self.fetch(self.folder(fingerprint), _is_whole)
        record = self.folder(fingerprint) / RECORD
        try:
            return read_training(record) if record.is_file() else None
        except StoreError:
            self._set_aside(record.parent)
            if record.is_file():  # no manifest tells whether it is damaged, or of another version
                raise
            return None

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
        return tuple(read_training(record) for record in records)

    def get_or_train(self, fingerprint: str, build: Callable[[Path], Training]) -> Training:
        """The artifact's record; trained with ``build(temporary folder)`` where it is missing or damaged."""
        trained: list[Training] = []

        def train(part: Path) -> None:
            from pydantic import TypeAdapter

            trained.append(build(part))
            (part / RECORD).write_bytes(TypeAdapter(Training).dump_json(trained[0], indent=1))
            write_manifest(part)

        # a folder without a record is no artifact, and is trained again
        folder = self.folder(fingerprint)
        with _telling_of_the_disk(folder):
            self._set_aside(folder)
            self.fetch(folder, _is_whole)
            build_atomically(folder, train, _is_whole)
            resume_file(folder).unlink(missing_ok=True)
        self.share(folder)
        return trained[0] if trained else read_training(folder / RECORD)

    def merged(self, artifact: Path, build: Callable[[Path], None]) -> Path:
        """The folder of the merged model beside an adapter, made once."""

        def merge(part: Path) -> None:
            build(part)
            write_manifest(part)

        folder = artifact.with_name(f"{artifact.name}-merged")
        with _telling_of_the_disk(folder):
            self._set_aside(folder)
            return build_atomically(folder, merge)

    def _set_aside(self, folder: Path) -> None:
        """Move a folder away whose bytes are not those of its manifest, and note that it was used.

        Folders of earlier versions have no manifest, and are taken as they are.
        """
        from filelock import FileLock

        try:
            if damaged_file(folder) is None:
                with suppress(OSError):  # a store that can only be read
                    os.utime(folder / MANIFEST)
                return
            with FileLock(folder.with_name(f"{folder.name}.lock")):  # another process may make it again
                damaged = damaged_file(folder)
                if damaged is None:
                    return
                aside = free_name(folder)
                folder.rename(aside)
        except FileNotFoundError:
            return
        self._say(
            f"{folder / damaged} is not as it was written: the folder is set aside as {aside.name} and made"
            " again. Is the disk sound?"
        )


def resume_file(artifact: Path) -> Path:
    """Where a training under way writes how far it is; see ``training.local.resume``."""
    return artifact.with_name(f"{artifact.name}.resume.safetensors")


def free_name(folder: Path) -> Path:
    """A name beside a damaged folder that nothing has."""
    names = (folder.with_name(f"{folder.name}.damaged-{number}") for number in count(1))
    return next(name for name in names if not name.exists())


@contextmanager
def _telling_of_the_disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if (told := disk_error(error, folder)) is None:
            raise
        raise told from error


def _is_whole(folder: Path) -> bool:
    return (folder / RECORD).is_file()


def read_training(record: Path) -> Training:
    """The record of a training.

    Raises:
        StoreError: it cannot be read.
    """
    from pydantic import TypeAdapter

    try:
        found = json.loads(record.read_bytes())
        if isinstance(found, dict) and "numerics" in found:  # how earlier versions called the field
            found["numeric_config"] = found.pop("numerics")
        return TypeAdapter(Training).validate_python(found)
    except ValueError as error:  # no JSON, no UTF-8, or another shape: pydantic's ValidationError is one too
        problem = f"{record} cannot be read: delete {record.parent} and it is trained again."
        raise StoreError(problem) from error
