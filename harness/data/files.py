"""Row files on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from harness.data.findings import Finding
from harness.data.rows import collect, scan_lines
from harness.errors import DataError
from harness.records import Row

NAMES_SHOWN = 5


def read_rows(path: Path) -> tuple[Row, ...]:
    """The rows of a JSON Lines file in UTF-8; ``where`` of each is ``path:line``.

    Raises:
        DataError: when the file is missing (similar files in its folder are listed) or cannot be
            read, when a line is not UTF-8, and for all that ``parse_rows`` refuses.
    """
    return collect(scan_file(path), str(path))


def scan_file(path: Path) -> Iterator[Row | Finding]:
    """``scan_lines`` over a file, which is never in memory as a whole.

    Raises:
        DataError: when the file is missing or cannot be read.
    """
    try:
        # in bytes, only \n ends a line: text would also be cut at U+2028 inside a JSON string
        with path.open("rb") as lines:
            yield from scan_lines(lines, str(path))
    except OSError as error:
        raise unreadable(path, error) from error


def file_digest(path: Path) -> str:
    """SHA-256 of the file's bytes, as 64 hex digits.

    Raises:
        DataError: when the file is missing or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError, ending: str = ".jsonl") -> DataError:
    """The error for a file that could not be opened. ``ending`` is that of files to name in its place."""
    if not isinstance(error, FileNotFoundError):
        return DataError(str(path), f"cannot be read: {error.strerror}", "give a file that can be read")
    folder = path.parent
    if not folder.is_dir():
        return DataError(str(path), f"there is no folder {folder}", "check the path, or create the file")
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    similar = get_close_matches(path.name, names, n=NAMES_SHOWN, cutoff=0.5)
    listed = similar or [name for name in names if name.endswith(ending)][:NAMES_SHOWN]
    there = f"{folder} has {', '.join(listed)}" if listed else f"{folder} has no {ending} file"
    return DataError(str(path), f"there is no such file; {there}", "check the name, or create the file")
