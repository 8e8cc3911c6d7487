"""Files and folders that appear whole or not at all, however the process that writes them ends.

What has appeared is on the disk: files are flushed before they get their name, and then the folder that holds
it (on Windows files alone are). A manifest in a folder tells later whether its files' bytes are still those.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypedDict

MANIFEST = "manifest.json"


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
    """Put ``content`` in place of the file ``path``; a reader sees the old file or the new one, whole.

    Text is written as UTF-8, and pieces as they come. The folder is created where it is missing, and the
    content is on the disk, not only with the operating system, before the file changes.

    Raises:
        OSError: it cannot be written; the old file is untouched. The error names ``path``.
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
        flush(path.parent)
    except OSError as error:  # of a write or a flush, it knows no name
        error.filename, error.filename2 = str(path), None
        raise
    finally:
        with suppress(OSError):  # a disk that fails here has failed before, and that is what is told
            part.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until a closed file, or the names in a folder, are on the disk."""
    if os.name == "nt":  # which flushes nothing that is open for reading, and opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system, such as some over a network, that cannot
            raise
    finally:
        os.close(descriptor)


def build_atomically(
    folder: Path, build: Callable[[Path], None], is_whole: Callable[[Path], bool] = Path.is_dir
) -> Path:
    """Fill ``folder`` by ``build(temporary folder)``, once, however many processes ask for it together.

    The folder appears when ``build`` returns, and is then on the disk. What a killed process left half built
    beside it is removed, and so is a folder that is not whole: it is built again.

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
            for path in (*part.rglob("*"), part):
                if path.is_file() or path.is_dir():  # not a link to nothing
                    flush(path)
            part.replace(folder)
            flush(folder.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder


# --------------------------------------------------------------------------- manifests
class _File(TypedDict):
    bytes: int
    sha256: str


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path) -> None:
    """Write down the sizes and digests of all files in ``folder``, and a digest of them together."""
    files: dict[str, _File] = {
        str(file.relative_to(folder)): {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file != folder / MANIFEST
    }
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps({"digest": digest, "files": files}, indent=1), encoding="utf-8")


def damaged_file(folder: Path, *, reads: bool = True) -> str | None:
    """The first file that is not as the manifest has it; None: none is. Without ``reads`` by size alone.

    Raises:
        FileNotFoundError: there is no manifest.
    """
    text = (folder / MANIFEST).read_bytes()
    try:
        files: Mapping[str, _File] = json.loads(text)["files"]
        for name, file in files.items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != file["bytes"]:
                return name
            if reads and sha256_of(path) != file["sha256"]:
                return name
    except (ValueError, KeyError, TypeError, AttributeError):
        return MANIFEST
    return None
