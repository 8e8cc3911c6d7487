"""Trained artifacts appear whole or not at all, and are made once however many processes ask."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from harness.atomic import MANIFEST
from harness.errors import StoreError
from harness.records import Training, TrainingPoint
from harness.store.adapters import RECORD, AdapterStore
from harness.store.upkeep import problems

NAME = "0123456789abcdef" * 4
POINTS = (
    TrainingPoint(3, 1.0, 0.5, 0.9, 0.7, 0.1, 0.8),
    TrainingPoint(6, 2.0, 0.4, None, None, None, None),
)


class Barrier(Protocol):
    def wait(self) -> int: ...


def training(fingerprint: str = NAME) -> Training:
    return Training(
        fingerprint=fingerprint,
        rows=2,
        replay_rows=0,
        epochs=3,
        steps=6,
        tokens=100,
        supervised_tokens=40,
        seconds=1.5,
        tokens_per_second=200.0,
        points=POINTS,
        overfitting=None,
        device="cpu",
        numeric_config="bfloat16",
        row_ids=("a", "b"),
        versions={"torch": "2"},
        row_digest="d",
    )


def build(folder: Path) -> Training:
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return training()


def never(folder: Path) -> Training:
    raise AssertionError("trained again")


@pytest.fixture
def store(tmp_path: Path) -> AdapterStore:
    return AdapterStore(tmp_path / "adapters")


def left_in(store: AdapterStore) -> list[str]:
    return sorted(path.name for path in store.folder(NAME).parent.iterdir() if path.suffix != ".lock")


def test_what_was_never_trained_is_not_there(store: AdapterStore) -> None:
    assert store.find(NAME) is None


def test_it_is_trained_once_and_found_as_it_was(store: AdapterStore) -> None:
    made = store.get_or_train(NAME, build)
    assert made == training()
    assert store.get_or_train(NAME, never) == made
    assert store.find(NAME) == made
    assert (store.folder(NAME) / "adapter_model.safetensors").read_bytes() == b"weights"


def test_the_folder_is_named_by_the_fingerprint(store: AdapterStore) -> None:
    other = NAME.replace("0", "f", 1)
    assert store.folder(NAME) != store.folder(other)
    store.get_or_train(NAME, build)
    assert store.find(other) is None


@pytest.mark.parametrize("error", [RuntimeError("cut"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_training_that_breaks_leaves_nothing(store: AdapterStore, error: BaseException) -> None:
    def broken(folder: Path) -> Training:
        build(folder)
        raise error

    with pytest.raises(type(error)):
        store.get_or_train(NAME, broken)
    assert left_in(store) == []
    assert store.find(NAME) is None
    assert store.get_or_train(NAME, build) == training()


def test_nothing_is_seen_of_a_training_under_way(store: AdapterStore) -> None:
    def looking(folder: Path) -> Training:
        made = build(folder)
        assert store.find(NAME) is None
        assert not store.folder(NAME).exists()
        return made

    store.get_or_train(NAME, looking)


def test_what_a_killed_process_left_is_removed(store: AdapterStore) -> None:
    left = store.folder(NAME).with_name(store.folder(NAME).name + ".part-xyz")
    left.mkdir(parents=True)
    (left / "adapter_model.safetensors").write_bytes(b"wei")
    store.get_or_train(NAME, build)
    assert left_in(store) == [store.folder(NAME).name]


def test_a_folder_without_its_record_is_trained_again(store: AdapterStore) -> None:
    store.get_or_train(NAME, build)
    (store.folder(NAME) / RECORD).unlink()
    (store.folder(NAME) / "old").touch()
    assert store.get_or_train(NAME, build) == training()
    assert not (store.folder(NAME) / "old").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"fingerprint": "x"}', b"\xff\xfe\x00"],
    ids=["empty", "half", "list", "few", "bytes"],
)
def test_an_unreadable_record_names_the_folder_to_delete(store: AdapterStore, content: bytes) -> None:
    store.get_or_train(NAME, build)
    folder = store.folder(NAME)
    (folder / RECORD).write_bytes(content)
    (folder / MANIFEST).unlink()  # an earlier version's
    asks: list[Callable[[], object]] = [lambda: store.find(NAME), lambda: store.get_or_train(NAME, build)]
    for ask_for_it in asks:
        with pytest.raises(StoreError) as caught:
            ask_for_it()
        assert (
            str(caught.value) == f"{folder / RECORD} cannot be read: delete {folder} and it is trained again."
        )


@pytest.mark.parametrize("name", ["adapter_model.safetensors", RECORD, MANIFEST])
@pytest.mark.parametrize("damage", ["a bit", "cut", "gone"])
def test_a_damaged_artifact_is_set_aside_said_and_made_again(tmp_path: Path, name: str, damage: str) -> None:
    told: list[str] = []
    store = AdapterStore(tmp_path, say=told.append)
    store.get_or_train(NAME, build)
    file = store.folder(NAME) / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content if damage == "a bit" else content[:-2])
    is_known = (name, damage) not in {(MANIFEST, "gone")}
    if name != RECORD:
        assert store.find(NAME) == training(), "nothing is read for a plan"
    assert store.get_or_train(NAME, build if is_known else never) == training()
    assert store.get_or_train(NAME, never) == training()
    assert [" is set aside as " in text for text in told] == [True] * is_known
    assert name == MANIFEST or name in told[0]
    kept = [entry for entry in left_in(store) if "damaged" in entry]
    assert len(kept) == is_known
    assert list(problems(tmp_path.parent)) == []


def test_a_damaged_merged_model_is_merged_again(store: AdapterStore) -> None:
    def merge(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"merged")

    store.get_or_train(NAME, build)
    merged = store.merged(store.folder(NAME), merge)
    (merged / "model.safetensors").write_bytes(b"nerged")
    assert (store.merged(store.folder(NAME), merge) / "model.safetensors").read_bytes() == b"merged"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_cannot_be_written_is_named_with_the_mend(store: AdapterStore, number: int) -> None:
    def fails(folder: Path) -> Training:
        raise OSError(number, "the disk")

    def fails_in_rust(folder: Path) -> Training:
        raise RuntimeError(f"Error while serializing: I/O error: the disk (os error {number})")

    for broken in (fails, fails_in_rust):
        with pytest.raises(StoreError, match=rf"{NAME[:32]} cannot be written .*\n  hint: .*disk"):
            store.get_or_train(NAME, broken)
        assert left_in(store) == []


def test_a_record_of_an_earlier_version_is_read(store: AdapterStore) -> None:
    store.get_or_train(NAME, build)
    record = store.folder(NAME) / RECORD
    earlier = record.read_text("utf-8").replace('"numeric_config"', '"numerics"')
    assert "numeric_config" not in earlier
    record.write_text(earlier, "utf-8")
    (store.folder(NAME) / MANIFEST).unlink()
    assert store.find(NAME) == training()
    assert store.get_or_train(NAME, never) == training()
    assert store.trainings() == (training(),)


def test_a_merged_model_is_made_once_and_whole(store: AdapterStore) -> None:
    store.get_or_train(NAME, build)
    made: list[Path] = []

    def broken(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"mer")
        raise RuntimeError("cut")

    def merge(folder: Path) -> None:
        made.append(folder)
        (folder / "model.safetensors").write_bytes(b"merged")

    with pytest.raises(RuntimeError):
        store.merged(store.folder(NAME), broken)
    assert left_in(store) == [store.folder(NAME).name]
    merged = store.merged(store.folder(NAME), merge)
    assert store.merged(store.folder(NAME), merge) == merged
    assert len(made) == 1
    assert (merged / "model.safetensors").read_bytes() == b"merged"
    assert left_in(store) == sorted([store.folder(NAME).name, merged.name])


# --------------------------------------------------------------------------- two processes
def slow_build(folder: Path) -> Training:
    (folder.parent / f"trained-by-{os.getpid()}").touch()
    time.sleep(0.3)
    return build(folder)


def ask(root: str, start: Barrier) -> None:
    start.wait()
    assert AdapterStore(Path(root)).get_or_train(NAME, slow_build) == training()


def test_two_processes_that_start_together_train_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(2)
    processes = [spawn.Process(target=ask, args=(str(tmp_path), start)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(list(tmp_path.glob("trained-by-*"))) == 1


def killed(root: str) -> None:
    def build_and_die(folder: Path) -> Training:
        build(folder)
        os._exit(9)

    AdapterStore(Path(root)).get_or_train(NAME, build_and_die)


def test_a_killed_process_holds_up_nobody_and_leaves_no_artifact(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=killed, args=(str(tmp_path),))
    process.start()
    process.join()
    assert process.exitcode == 9
    store = AdapterStore(tmp_path)
    assert store.find(NAME) is None
    assert store.get_or_train(NAME, build) == training()
    assert left_in(store) == [store.folder(NAME).name]
