"""Files and folders that appear whole or not at all, however the process that writes them ends."""

from __future__ import annotations

import glob
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal


def what_is_at(path: Path) -> Literal["file", "folder", "other"] | None:
    """What the path leads to, links followed; None where there is nothing, or nothing could be called so.

    ``Path.exists`` and its like raise for a name that is too long.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"


def write_atomically(path: Path, content: str | bytes | Iterable[bytes]) -> None:
    """Put ``content``, which may come in pieces, in place of the file ``path``; a reader sees the old file or the new one, whole.

    Text is written as UTF-8. The folder is created where it is missing, and the content is on the disk,
    not only with the operating system, before the file changes.

    Raises:
        OSError: it cannot be written; the old file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as file:  # not by tempfile, which keeps others from reading the file
            if isinstance(content, str):
                content = content.encode("utf-8")
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def build_atomically(
    folder: Path, build: Callable[[Path], None], is_whole: Callable[[Path], bool] = Path.is_dir
) -> Path:
    """Fill ``folder`` by ``build(temporary folder)``, once, however many processes ask for it together.

    The folder appears when ``build`` returns. What a killed process left half built beside it is removed, and
    so is a folder that is not whole: it is built again.

    Args:
        folder: where it appears; its parent is created.
        build: fills the folder that it is given, in the same parent.
        is_whole: whether a folder is there and complete, so that nothing has to be built.
    """
    from filelock import FileLock

    if is_whole(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if is_whole(folder):  # another process built it while this one waited
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        parts = f"{folder.name}.part-"
        for left in folder.parent.glob(f"{glob.escape(parts)}*"):  # nobody else builds: the lock is held
            shutil.rmtree(left, ignore_errors=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=parts))
        try:
            build(part)
            part.replace(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder
