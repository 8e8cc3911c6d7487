"""The answer store: whole or absent, shared between processes, honest about damage."""

from __future__ import annotations

import gc
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.records import Answer, HeldoutUse, RowSet, Verdict
from harness.store.answers import AnswerStore, Judged

WRITER = """
import sys
from pathlib import Path
from harness.records import Answer, HeldoutUse
from harness.store.answers import AnswerStore, Judged

store = AnswerStore(Path(sys.argv[1]))
for number in range(40):
    store.keep_answers("both", [Answer(f"{sys.argv[2]}-{number}", "yes", 1, 1, 0.0)])
    store.keep_uses([HeldoutUse(f"{sys.argv[2]} {number % 4}", "c", "", "rows")], {}, "file")
"""


@pytest.fixture
def store(tmp_path: Path) -> AnswerStore:
    return AnswerStore(tmp_path / "deep" / "answers.sqlite")


def test_an_answer_comes_back_as_it_was(store: AnswerStore) -> None:
    answers = [
        Answer("a", "Grüße \N{SNOWMAN}\x1b[31m\n\0 ", 12, 3, 1.5, "length"),
        Answer("b", "", 0, 0, 0.0, "failed", "TimeoutError: none"),
    ]
    store.keep_answers("context", answers)
    assert store.answers("context") == {"a": answers[0], "b": answers[1]}
    assert store.answers("another") == {}


def test_a_later_answer_replaces_an_earlier_one(store: AnswerStore) -> None:
    for text in ("first", "second"):
        store.keep_answers("context", [Answer("a", text, 1, 1, 0.0)])
    assert store.answers("context")["a"].text == "second"


def test_judgments_come_back_and_absent_ones_are_none(store: AnswerStore) -> None:
    store.keep_judgment("key", [-1.25, 0.0])
    assert store.judgment("key") == [-1.25, 0.0]
    assert store.judgment("other") is None


def test_vectors_come_back_to_the_bit_and_absent_ones_are_left_out(store: AnswerStore) -> None:
    store.keep_embeddings({"one": b"\0\xff", "two": b""})
    assert store.embeddings(["two", "other", "one"]) == {"two": b"", "one": b"\0\xff"}


def test_decisions_come_back_each_once_with_their_rows(store: AnswerStore) -> None:
    rows = RowSet("digest", 2, ("aa", "bb"))
    uses = [
        HeldoutUse("one", "a", "recipe", "digest", Verdict.GO, 0.05, "2026-11-28", "run"),
        HeldoutUse("two", "b", "", "digest", None, 0.005, "2026-11-29", ""),
    ]
    for each in (uses[1:], uses):
        store.keep_uses(each, {"digest": rows}, "file")
    assert store.uses() == (uses, {"digest": rows})


def test_uses_that_an_earlier_version_noted_are_given_until_they_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with closing(sqlite3.connect(path)) as old, old:
        old.execute("CREATE TABLE answers (context, row_id, answer, PRIMARY KEY (context, row_id))")
        old.execute("CREATE TABLE heldout_uses (heldout, decision, PRIMARY KEY (heldout, decision))")
        old.executemany("INSERT INTO heldout_uses VALUES (?, ?)", [("f", "1"), ("f", "2"), ("g", "1")])
    store = AnswerStore(path)
    assert (store.undetailed_uses("f"), store.undetailed_uses("h")) == (["1", "2"], [])
    store.keep_uses([], {}, "f")
    assert (store.undetailed_uses("f"), store.undetailed_uses("g")) == ([], ["1"])


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], stderr=subprocess.PIPE, text=True)
        for name in ("one", "two", "three")
    ]
    assert [(writer.communicate(timeout=60)[1], writer.returncode) for writer in writers] == [("", 0)] * 3
    store = AnswerStore(path)
    assert len(store.answers("both")) == 120
    assert len(store.uses()[0]) == 12


def test_an_answer_of_another_shape_is_named_with_the_mend(store: AnswerStore, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "deep" / "answers.sqlite")
    with connection:
        connection.execute(
            """INSERT INTO answers (context, row_id, answer) VALUES ('context', 'a', '{"row": 1}')"""
        )
    connection.close()
    with pytest.raises(StoreError, match=r"answers in it: .*\n  hint: name another"):
        store.answers("context")


def test_a_locked_store_says_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.store.answers.LOCK_WAIT_S", 0.01)
    store = AnswerStore(tmp_path / "answers.sqlite")
    with closing(sqlite3.connect(tmp_path / "answers.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="hint: let the other run end"):
            store.keep_judgment("key", [1.0])
        assert store.judgment("key") is None, "it can be read meanwhile"
    store.keep_judgment("key", [1.0])
    assert store.judgment("key") == [1.0]


def test_threads_share_one_store(store: AnswerStore) -> None:
    def write(number: int) -> None:
        store.keep_answers("both", [Answer(f"r{number}", "yes", 1, 1, 0.0)])
        store.keep_uses([HeldoutUse(str(number), "c", "", "rows")], {}, "file")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(200)))
    assert len(store.answers("both")) == len(store.uses()[0]) == 200


def test_an_interrupted_write_is_undone_and_can_be_repeated(store: AnswerStore) -> None:
    def judged() -> Iterator[Judged]:
        yield Judged(frozenset("ab"), "alone", "recipe", "a", 100, 0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.note_judged(judged())
    assert store.judged() == []
    kept = [
        Judged(frozenset("ab"), "alone", "recipe", "a", 100, 1),
        Judged(frozenset("abc"), "two", "prompt", "b"),
    ]
    store.note_judged([*kept, *kept])
    assert store.judged() == kept


def test_seeds_that_older_versions_noted_are_still_known(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "answers.sqlite")) as old, old:
        old.execute("CREATE TABLE seeds_seen (heldout TEXT, recipe TEXT, seed INTEGER)")
        old.executemany("INSERT INTO seeds_seen VALUES (?, ?, ?)", [("rows", "r", 2), ("rows", "r", 1)])
    store = AnswerStore(tmp_path / "answers.sqlite")
    assert store.seeds_noted_before("rows", "r") == (1, 2)
    assert store.seeds_noted_before("other", "r") == ()


def test_a_write_that_was_left_open_does_not_hold_up_the_next(store: AnswerStore) -> None:
    left = store._writing()  # as where Ctrl-C falls between the body and its end
    left.__enter__().execute("INSERT INTO judgments (key, numbers) VALUES ('half', '[]')")
    store.keep_judgment("key", [1.0])
    assert (store.judgment("half"), store.judgment("key")) == (None, [1.0])


def test_a_closed_store_leaves_one_whole_file(store: AnswerStore, tmp_path: Path) -> None:
    store.keep_judgment("key", [1.0])
    store.close()
    store.close()
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["answers.sqlite"]
    with pytest.raises(StoreError, match="closed"):
        store.judgment("key")


def test_a_store_that_is_let_go_is_closed(tmp_path: Path) -> None:
    def use() -> None:
        AnswerStore(tmp_path / "answers.sqlite").keep_judgment("key", [1.0])

    use()
    gc.collect()
    assert [file.name for file in tmp_path.iterdir()] == ["answers.sqlite"]


def test_a_folder_that_cannot_be_made_is_named_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match=r"file cannot be made .*\n  hint: name another by --harness-store"):
        AnswerStore(tmp_path / "file" / "answers.sqlite")
