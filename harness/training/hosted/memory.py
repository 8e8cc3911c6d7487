"""What this machine knows of a job that has not ended, as a small file beside the artifacts."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from harness.errors import StoreError
from harness.training.hosted.requests import Remembered


class Memory:
    """The file of one job. Written whole or not at all, so that a killed process leaves what was there.

    Args:
        artifact: the folder that the finished job will have in the store.
    """

    def __init__(self, artifact: Path) -> None:
        self._file = artifact.with_name(f"{artifact.name}.job.json")

    def read(self) -> Remembered:
        """What is known; nothing where nothing was begun.

        Raises:
            StoreError: it cannot be read.
        """
        if not self._file.is_file():
            return Remembered()
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
            files = found["files"]
            if not isinstance(files, Mapping):
                raise TypeError("files")
            return Remembered(
                files={str(name): str(id) for name, id in files.items()},
                job=_text(found["job"]),
                ends=_text(found["ends"]),
                notes=tuple(map(str, found["notes"])),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self._file} cannot be read: delete it; the job is then looked for at the service."
            ) from error

    def write(self, known: Remembered) -> None:
        """Keep it in place of what was kept."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._file.parent, prefix=f"{self._file.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as part:
            json.dump(asdict(known), part, indent=1)
            part.flush()
            os.fsync(part.fileno())
        Path(name).replace(self._file)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
