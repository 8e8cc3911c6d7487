"""Row files on disk. The only module of this room that reads one."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from harness.data.rows import parse_rows
from harness.errors import DataError
from harness.records import Row

NAMES_SHOWN = 5


def read_rows(path: Path) -> tuple[Row, ...]:
    """The rows of a JSON Lines file in UTF-8; ``where`` of each is ``path:line``.

    Raises:
        DataError: when the file is missing (similar files in its folder are listed) or cannot be
            read, when a line is not UTF-8, and for all that ``parse_rows`` refuses.
    """
    return parse_rows(_lines(_bytes(path), str(path)), str(path))


def file_digest(path: Path) -> str:
    """SHA-256 of the file's bytes, as 64 hex digits.

    Raises:
        DataError: when the file is missing or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _lines(data: bytes, where: str) -> Iterator[str]:
    # only \n ends a line: str.splitlines would also cut at U+2028 inside a JSON string
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            utf16 = number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            what = "UTF-16" if utf16 else f"byte 0x{line[error.start]:02x} at byte {error.start + 1}"
            raise DataError(
                f"{where}:{number}", f"not UTF-8 ({what})", "save the file as UTF-8 without BOM"
            ) from error


def _unreadable(path: Path, error: OSError) -> DataError:
    if not isinstance(error, FileNotFoundError):
        return DataError(str(path), f"cannot be read: {error.strerror}", "give a file that can be read")
    folder = path.parent
    if not folder.is_dir():
        return DataError(str(path), f"there is no folder {folder}", "check the path, or create the file")
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    similar = get_close_matches(path.name, names, n=NAMES_SHOWN, cutoff=0.5)
    listed = similar or [name for name in names if name.endswith(".jsonl")][:NAMES_SHOWN]
    there = f"{folder} has {', '.join(listed)}" if listed else f"{folder} has no .jsonl file"
    return DataError(str(path), f"there is no such file; {there}", "check the name, or create the file")
