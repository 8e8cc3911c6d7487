"""A folder enters the cache whole or not at all, built by one process however many ask."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from harness.atomic import MANIFEST
from harness.models.cache import build_once, cache_folder, is_whole, recorded_digest


class Barrier(Protocol):
    def wait(self) -> int: ...


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    return tmp_path / "models" / "[a] model"  # brackets are special to glob


def build(into: Path) -> None:
    (into / "weights.safetensors").write_bytes(b"w" * 1000)
    (into / "sub").mkdir()
    (into / "sub" / "config.json").write_text("{}", encoding="utf-8")


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "new"))
    assert cache_folder() == tmp_path / "new"
    assert cache_folder().is_dir()


def test_a_folder_is_built_once(folder: Path) -> None:
    built: list[Path] = []

    def once(into: Path) -> None:
        built.append(into)
        build(into)

    assert build_once(folder, once) == folder
    assert build_once(folder, once) == folder
    assert len(built) == 1
    assert (folder / "weights.safetensors").read_bytes() == b"w" * 1000


@pytest.mark.parametrize("error", [RuntimeError("cut"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_build_that_breaks_leaves_nothing(folder: Path, error: BaseException) -> None:
    def broken(into: Path) -> None:
        build(into)
        raise error

    with pytest.raises(type(error)):
        build_once(folder, broken)
    assert not folder.exists()
    assert [entry.name for entry in folder.parent.iterdir() if entry.suffix != ".lock"] == []
    assert is_whole(build_once(folder, build))


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def overwrite(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    "harm",
    [
        remove("weights.safetensors"),
        remove("sub/config.json"),
        overwrite("weights.safetensors", b"w" * 999),
        remove(MANIFEST),
        overwrite(MANIFEST, b""),
        overwrite(MANIFEST, b'{"files": {"wei'),
        overwrite(MANIFEST, b"null"),
        overwrite(MANIFEST, b'{"files": []}'),
        overwrite(MANIFEST, b'{"files": {"sub/config.json": 2}}'),
        overwrite(MANIFEST, b"\xff\xfe"),
    ],
    ids=[
        "no weights",
        "no file in a sub-folder",
        "cut short",
        "no manifest",
        "empty manifest",
        "half a manifest",
        "manifest of null",
        "manifest of a list",
        "manifest of another shape",
        "manifest of bytes",
    ],
)
def test_a_damaged_folder_heals_itself(folder: Path, harm: Callable[[Path], object]) -> None:
    build_once(folder, build)
    harm(folder)
    assert not is_whole(folder)
    assert recorded_digest(folder) is None
    build_once(folder, build)
    assert is_whole(folder)
    assert (folder / "weights.safetensors").stat().st_size == 1000


def test_what_a_killed_process_left_is_removed(folder: Path) -> None:
    left = folder.parent / (folder.name + ".part-abc")
    left.mkdir(parents=True)
    (left / "weights.safetensors").write_bytes(b"w")
    build_once(folder, build)
    assert not left.exists()


def test_the_digest_follows_the_content(folder: Path) -> None:
    def other(into: Path) -> None:
        build(into)
        (into / "weights.safetensors").write_bytes(b"v" * 1000)

    first = recorded_digest(build_once(folder, build))
    again = recorded_digest(build_once(folder.with_name("again"), build))
    assert first == again != recorded_digest(build_once(folder.with_name("other"), other))


def test_the_manifest_says_what_was_written(folder: Path) -> None:
    files = json.loads((build_once(folder, build) / MANIFEST).read_text(encoding="utf-8"))["files"]
    assert files["weights.safetensors"]["bytes"] == 1000
    assert set(files) == {"weights.safetensors", os.path.join("sub", "config.json")}  # noqa: PTH118 - as text


def slow_build(into: Path) -> None:
    (into.parent / f"built-by-{os.getpid()}").touch()
    time.sleep(0.3)
    build(into)


def ask(folder: str, start: Barrier) -> None:
    start.wait()
    assert is_whole(build_once(Path(folder), slow_build))


def test_two_processes_that_start_together_build_once(folder: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(2)
    processes = [spawn.Process(target=ask, args=(str(folder), start)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(list(folder.parent.glob("built-by-*"))) == 1
