"""A file changes in one step or not at all. For folders see also ``tests/models/test_cache.py``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.atomic import build_atomically, write_atomically


def test_text_and_bytes_replace_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "file.json"
    for content in ("first", "Grüße\n", b"\xff"):
        write_atomically(file, content)
        assert file.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert [entry.name for entry in file.parent.iterdir()] == ["file.json"]


def test_others_may_read_it_as_they_may_read_any_new_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", "text")
    (tmp_path / "plain").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_write_that_breaks_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "file", "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(UnicodeEncodeError):
        write_atomically(tmp_path / "file", "\ud800")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "file", "new")
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("file", "old")]


def test_a_folder_is_built_where_it_is_missing_only(tmp_path: Path) -> None:
    built: list[Path] = []
    for _ in range(2):
        assert build_atomically(tmp_path / "new" / "folder", built.append) == tmp_path / "new" / "folder"
    assert len(built) == 1
    assert (tmp_path / "new" / "folder").is_dir()
