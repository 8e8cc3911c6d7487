"""Paths that lead to no file are refused at once, whoever reads them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from harness.data.files import opened, read_text
from harness.data.rows import file_digest, read_rows
from harness.data.tables import read_source
from harness.errors import DataError, HarnessError


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of what is no file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.csv")
    os.mkfifo(tmp_path / "pipe.parquet")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere.jsonl")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "endless.csv").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("folder", "it is a folder"),
        ("pipe", "it is a pipe, which can be read only once"),
        ("loop", "Too many levels of symbolic links"),
        ("dangling", "the link points to nowhere.jsonl"),
        ("endless", "it is a device"),
        ("socket", "it is a socket"),
        ("missing", "there is no such file"),
        ("missing/x", "there is no folder"),
        ("a\0b", "is no path"),
        ("\ud800", "is no path"),
        ("x" * 5_000, "File name too long"),
    ],
)
def test_what_is_no_file_is_said_and_never_waited_for(odd: Path, name: str, says: str) -> None:
    for read in (read_rows, read_text, file_digest, opened):
        with pytest.raises(DataError, match=says):
            read(odd / name)


@pytest.mark.parametrize("name", ["pipe.csv", "pipe.parquet", "endless.csv", "pipe", "endless", "/dev/stdin"])
def test_tables_are_files_too(odd: Path, name: str) -> None:
    with pytest.raises(HarnessError, match=r"cannot be read: it is|no rows"):
        read_source(name, None)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xef\xbb\xbfSay yes.", "byte order mark"),
        ("Say yes.".encode("utf-16"), "byte order mark"),
        ("Say yes.".encode("utf-16-le"), ":1: holds a NUL character"),
        (b"Say\n\n\0yes", ":3: holds a NUL character"),
        (b"caf\xe9", ":1: is not UTF-8"),
        (b"\xed\xa0\x80", ":1: is not UTF-8"),
        (b"x" * 101, "more than 100 bytes"),
    ],
)
def test_text_is_utf_8_and_of_a_size_that_somebody_reads(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "prompt.md"
    file.write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_text(file, most_bytes=100)


def test_text_is_taken_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "prompt.md"
    file.write_bytes("a\r\n\tb\x1b\u200b".encode())
    assert read_text(file) == "a\r\n\tb\x1b\u200b"
