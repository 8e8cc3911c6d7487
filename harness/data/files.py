"""Files that people name: opened only where they are files, and refused with what is there in their place."""

from __future__ import annotations

import codecs
import os
import stat
from difflib import get_close_matches
from io import BufferedReader
from pathlib import Path

from harness.errors import DataError

NAMES_SHOWN = 5
MOST_PROMPT_BYTES = 2_000_000  # more than any model reads before a question
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe, which can be read only once",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_GIVE_FILE = "give a file; save what comes from a pipe or a terminal to one first"


def opened(path: Path, ending: str = ".jsonl") -> BufferedReader:
    """The file, to be read in bytes. A pipe or a device would be waited for, or have no end.

    Raises:
        DataError: it is missing (similar files in its folder are listed; ``ending`` is that of files to name
            in its place), no file, or may not be read.
    """
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
        if kind in _KINDS:
            raise DataError(str(path), f"cannot be read: it is {_KINDS[kind]}", _GIVE_FILE)
        return path.open("rb")
    except (OSError, ValueError) as error:
        raise unreadable(path, error, ending) from error


def read_text(path: Path, ending: str = ".jsonl", *, most_bytes: int | None = None) -> str:
    """The text of a UTF-8 file without a byte order mark.

    Raises:
        DataError: as ``opened``; it is larger than ``most_bytes``, or no plain text: other encodings, a byte
            order mark, or a NUL character (UTF-16 without a mark has them, too).
    """
    try:
        with opened(path, ending) as file:
            content = file.read() if most_bytes is None else file.read(most_bytes + 1)
    except OSError as error:
        raise unreadable(path, error, ending) from error
    if most_bytes is not None and len(content) > most_bytes:
        hint = "is this the right file? Shorten it"
        raise DataError(str(path), f"has more than {most_bytes:,} bytes", hint)
    if content.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{path}:1", "begins with a byte order mark", "save the file as UTF-8 without BOM")
    try:
        text, wrong, at = (
            content.decode("utf-8"),
            "holds a NUL character, which is no text",
            content.find(b"\0"),
        )
    except UnicodeDecodeError as error:
        text, wrong, at = "", f"is not UTF-8 (byte 0x{content[error.start]:02x})", error.start
    if at >= 0:
        line = content.count(b"\n", 0, at) + 1
        raise DataError(f"{path}:{line}", wrong, "save the file as UTF-8 without BOM")
    return text


def read_prompt(path: Path, where: str, what: str) -> str:
    """The text of a prompt's file. ``where`` and ``what`` name it in messages.

    Raises:
        DataError: it is missing, no text, or has nothing in it.
    """
    if not os.path.lexists(path):
        raise DataError(where, f"{what} file is missing.", "write the full instructions there")
    try:
        text = read_text(path, ".md", most_bytes=MOST_PROMPT_BYTES).strip()
    except DataError as error:
        at = error.where.removeprefix(str(path))
        raise DataError(f"{where}{at}", f"{what}: {error.problem}", error.hint) from error
    if not text.strip("\u200b\u200c\u200d\u2060\ufeff"):  # blank to everybody, though no whitespace
        raise DataError(where, f"{what} is empty.", "write the full instructions there")
    return text


def unreadable(path: Path, error: OSError | ValueError, ending: str = ".jsonl") -> DataError:
    """The error for a file that could not be opened. ``ending`` is that of files to name in its place."""
    if isinstance(error, ValueError):
        return DataError(str(path), f"is no path: {error}", "write the name of a file")
    if not isinstance(error, FileNotFoundError):
        return DataError(str(path), f"cannot be read: {error.strerror}", "give a file that can be read")
    folder = path.parent
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    except OSError:
        return DataError(str(path), f"there is no folder {folder}", "check the path, or create the file")
    similar = get_close_matches(path.name, names, n=NAMES_SHOWN, cutoff=0.5)
    listed = similar or [name for name in names if name.endswith(ending)][:NAMES_SHOWN]
    there = f"{folder} has {', '.join(listed)}" if listed else f"{folder} has no {ending} file"
    if path.is_symlink():
        there = f"the link points to {path.readlink()}"
    return DataError(str(path), f"there is no such file; {there}", "check the name, or create the file")
