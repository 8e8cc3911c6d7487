"""A store at an address: what one machine paid for, another has; two at once lose each other nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from test_adapters import NAME, training

from harness.errors import StoreError, UsageError
from harness.records import Answer
from harness.store.adapters import RECORD, AdapterStore
from harness.store.answers import AnswerStore
from harness.store.shared import TABLES, SharedStore


def answer(row_id: str, text: str) -> Answer:
    return Answer(row_id, text, 1, 1, 0.0)


class Machine:
    """A store of its own, and what it said."""

    def __init__(self, folder: Path, url: str) -> None:
        self.said: list[str] = []
        self.folder = folder
        self.answers = AnswerStore(folder / "answers.sqlite", run=folder.name)
        self.shared = SharedStore(url, folder, self.said.append)
        self.adapters = AdapterStore(folder / "adapters", self.shared)

    def texts(self, context: str = "c") -> dict[str, str]:
        return {key: one.text for key, one in self.answers.answers(context).items()}


@pytest.fixture(
    params=["memory", *(pytest.param(name, marks=pytest.mark.cluster) for name in ("s3", "file"))]
)
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "memory":
        yield "memory://bucket/team"
        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]
    elif request.param == "file":
        yield (tmp_path / "bucket" / "team").as_uri()
    else:
        yield request.getfixturevalue("bucket")


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of an S3 server on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-a-test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    filesystem = fsspec.filesystem("s3", skip_instance_cache=True)
    name = f"bucket-{tmp_path.parent.name}-{tmp_path.name}".replace("_", "-").rstrip("-")[-60:].lstrip("-")
    filesystem.mkdir(name)
    yield f"s3://{name}/team"
    fsspec.filesystem("s3").clear_instance_cache()
    server.stop()


def test_what_one_machine_has_another_gets(url: str, tmp_path: Path) -> None:
    laptop = Machine(tmp_path / "laptop", url)
    laptop.answers.keep_answers("c", [answer("1", "early")])  # before it was shared
    laptop.shared.begin()
    laptop.answers.keep_answers("c", [answer("2", "two")])
    laptop.answers.keep_judgment("j", [0.25, 1.0])
    laptop.answers.keep_embeddings({"e": b"\0\1"})
    laptop.shared.close()
    laptop.shared.close()
    ci = Machine(tmp_path / "ci", url)
    ci.shared.begin()
    assert ci.texts() == {"1": "early", "2": "two"}
    assert ci.answers.judgment("j") == [0.25, 1.0]
    assert ci.answers.embeddings(["e"]) == {"e": b"\0\1"}
    assert ci.answers.origins("c") == laptop.answers.origins("c")
    ci.shared.close()
    assert len(ci.shared._fs.ls(f"{ci.shared._root}/answers")) == 1  # nothing of its own to send
    assert laptop.said == ci.said == []


def test_two_at_once_lose_nothing_and_agree(url: str, tmp_path: Path) -> None:
    one, two = (Machine(tmp_path / name, url) for name in ("one", "two"))
    one.shared.begin()
    two.shared.begin()
    one.answers.keep_answers("c", [answer("1", "of one"), answer("both", "earlier")])
    two.answers.keep_answers("c", [answer("2", "of two"), answer("both", "later")])
    two.shared.push()
    one.shared.push()
    one.answers.keep_answers("c", [answer("3", "three")])
    one.shared.close()
    two.shared.close()
    for machine in (one, two, Machine(tmp_path / "new", url)):
        again = SharedStore(url, machine.folder, machine.said.append)
        again.begin()
        assert machine.texts() == {"1": "of one", "2": "of two", "3": "three", "both": "later"}
        again.close()
        assert machine.said == []
    assert len(one.shared._fs.ls(f"{one.shared._root}/answers")) == 3


def test_a_lost_folder_comes_back_whole(url: str, tmp_path: Path) -> None:
    laptop = Machine(tmp_path / "laptop", url)
    laptop.shared.begin()
    laptop.answers.keep_answers("c", [answer("1", "one")])
    laptop.shared.close()
    laptop.answers.close()
    (laptop.folder / "answers.sqlite").unlink()  # and what is known of the address is still there
    again = Machine(tmp_path / "laptop", url)
    again.shared.begin()
    assert again.texts() == {"1": "one"}


def test_what_was_outdated_on_one_machine_is_on_all(url: str, tmp_path: Path) -> None:
    one, two = (Machine(tmp_path / name, url) for name in ("one", "two"))
    one.shared.begin()
    one.answers.keep_answers("c", [answer("1", "old"), answer("2", "old")])
    one.shared.push()
    two.shared.begin()
    two.answers.outdate("c")
    two.answers.keep_answers("c", [answer("1", "fresh")])
    two.shared.close()
    again = SharedStore(url, one.folder, one.said.append)
    again.begin()
    assert one.texts() == {"1": "fresh"}


def test_an_artifact_is_trained_once_for_all(url: str, tmp_path: Path) -> None:
    def build(folder: Path) -> object:
        (folder / "deep").mkdir()
        (folder / "deep" / "weights").write_bytes(b"\1\2" * 5_000)
        (folder / "empty").touch()
        return training()

    one, two = (Machine(tmp_path / name, url) for name in ("one", "two"))
    assert two.adapters.find(NAME) is None
    made = one.adapters.get_or_train(NAME, build)  # type: ignore[arg-type]
    assert two.adapters.find(NAME) == made

    def never(folder: Path) -> object:
        raise AssertionError("it is there")

    assert two.adapters.get_or_train(NAME, never) == made  # type: ignore[arg-type]
    brought = two.adapters.folder(NAME)
    assert (brought / "deep" / "weights").read_bytes() == b"\1\2" * 5_000
    assert (brought / "empty").is_file()
    assert one.said == two.said == []


def test_an_upload_that_was_cut_short_is_no_artifact(url: str, tmp_path: Path) -> None:
    one, two = (Machine(tmp_path / name, url) for name in ("one", "two"))
    made = one.adapters.get_or_train(NAME, lambda folder: training())
    (manifest,) = one.shared._uploads(one.adapters.folder(NAME).name)
    one.shared._fs.rm_file(manifest)  # it is written last
    assert two.adapters.find(NAME) is None
    again = Machine(tmp_path / "one", url)
    assert again.adapters.get_or_train(NAME, lambda folder: training()) == made  # it is here, and is sent
    assert two.adapters.find(NAME) == made


def test_bytes_that_changed_on_the_way_are_not_taken(url: str, tmp_path: Path) -> None:
    one, two = (Machine(tmp_path / name, url) for name in ("one", "two"))
    one.adapters.get_or_train(NAME, lambda folder: training())
    (manifest,) = one.shared._uploads(one.adapters.folder(NAME).name)
    one.shared._fs.pipe_file(f"{manifest.removesuffix('.json')}/{RECORD}", b"{}")
    with pytest.raises(StoreError, match="other bytes there than were sent"):
        two.adapters.find(NAME)
    assert not two.adapters.folder(NAME).exists()
    one.shared._fs.pipe_file(manifest, json.dumps({"files": {"../../evil": "0"}}).encode())
    with pytest.raises(StoreError, match="outside of its folder"):
        two.adapters.find(NAME)


def test_a_segment_that_is_not_whole_is_left_out(tmp_path: Path) -> None:
    url = (tmp_path / "bucket").as_uri()
    one = Machine(tmp_path / "one", url)
    one.shared.begin()
    one.answers.keep_answers("c", [answer("1", "one")])
    one.shared.close()
    (segment,) = (tmp_path / "bucket" / "answers").iterdir()
    whole = segment.read_bytes()
    segment.write_bytes(whole[:100])
    two = Machine(tmp_path / "two", url)
    two.shared.begin()
    assert two.texts() == {}
    assert "is not whole" in two.said[0]
    segment.write_bytes(whole)
    SharedStore(url, two.folder, two.said.append).begin()
    assert two.texts() == {"1": "one"}


def test_segments_of_versions_with_fewer_columns_are_read(tmp_path: Path) -> None:
    url = (tmp_path / "bucket").as_uri()
    one = Machine(tmp_path / "one", url)
    one.shared.begin()
    one.answers.keep_answers("c", [answer("1", "one")])
    with sqlite3.connect(tmp_path / "old.sqlite") as old:
        old.execute(
            "CREATE TABLE answers (context TEXT, row_id TEXT, answer TEXT, PRIMARY KEY (context, row_id))"
        )
        text = '{"row_id": "2", "text": "old", "prompt_tokens": 1, "completion_tokens": 1, "latency_ms": 0}'
        old.execute("INSERT INTO answers VALUES ('c', '2', ?)", (text,))
    with one.shared._mirror() as connection:
        one.shared._note(connection, tmp_path / "old.sqlite", "old")
    one.shared.close()
    SharedStore(url, one.folder, one.said.append).begin()
    assert one.texts() == {"1": "one", "2": "old"}
    assert one.answers.origins("c")["2"].given is None


def test_every_table_is_shared_by_its_own_key(tmp_path: Path) -> None:
    AnswerStore(tmp_path / "a.sqlite").close()
    with sqlite3.connect(tmp_path / "a.sqlite") as connection:
        names = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        keys = {
            table: {row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[5]}
            for table in names
        }
    assert keys == {table: set(known.keys) for table, known in TABLES.items()}


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://key:secret@bucket/x", "credentials are taken from the environment"),
        ("ftpx://[host/x", "write it as s3://bucket/path"),
        ("ftpx://host/x", r"(?s)Protocol not known: ftpx.*hint: pip install"),
    ],
)
def test_an_address_that_cannot_be_one(url: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says) as raised:
        SharedStore(url, tmp_path, print)
    assert "secret@" not in str(raised.value)


def test_an_address_that_cannot_be_reached_stops_a_run_and_loses_nothing_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    machine = Machine(tmp_path / "one", (file / "below").as_uri())
    with pytest.raises(StoreError, match=r"cannot be used \(NotADirectoryError(?s:.*)hint: look at"):
        machine.shared.begin()
    machine.answers.keep_answers("c", [answer("1", "one")])
    machine.shared.push()
    assert "were not sent" in machine.said[0]
    made = machine.adapters
    with pytest.raises(StoreError, match="cannot be used"):
        made.find(NAME)
    file.unlink()
    machine.shared.begin()
    machine.shared.close()
    two = Machine(tmp_path / "two", machine.shared.url)
    two.shared.begin()
    assert two.texts() == {"1": "one"}
