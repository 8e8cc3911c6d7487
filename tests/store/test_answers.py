"""The answer store: whole or absent, shared between processes, honest about damage."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.records import Answer
from harness.store.answers import AnswerStore

WRITER = """
import sys
from pathlib import Path
from harness.records import Answer
from harness.store.answers import AnswerStore

store = AnswerStore(Path(sys.argv[1]))
for number in range(40):
    store.keep_answers("both", [Answer(f"{sys.argv[2]}-{number}", "yes", 1, 1, 0.0)])
    store.count_use("heldout", f"{sys.argv[2]} {number % 4}")
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


def test_a_decision_counts_once_however_often_it_is_taken(store: AnswerStore) -> None:
    counts = [store.count_use("file", decision) for decision in ("one", "one", "two", "one")]
    assert counts == [1, 1, 2, 2]
    assert store.count_use("another file", "one") == 1


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], stderr=subprocess.PIPE, text=True)
        for name in ("one", "two", "three")
    ]
    assert [(writer.communicate(timeout=60)[1], writer.returncode) for writer in writers] == [("", 0)] * 3
    store = AnswerStore(path)
    assert len(store.answers("both")) == 120
    assert store.count_use("heldout", "one 0") == 12


def test_a_file_that_is_no_database_is_named_with_the_mend(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    path.write_bytes(b"not a database " * 100)
    with pytest.raises(StoreError, match=r"answers\.sqlite cannot be used .*\n  hint: move it away"):
        AnswerStore(path)


def test_an_answer_of_another_shape_is_named_with_the_mend(store: AnswerStore, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "deep" / "answers.sqlite")
    with connection:
        connection.execute("""INSERT INTO answers VALUES ('context', 'a', '{"row": 1}')""")
    connection.close()
    with pytest.raises(StoreError, match=r"an answer in it: .*\n  hint: move it away"):
        store.answers("context")


def test_a_locked_store_says_to_wait(store: AnswerStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(sqlite3, "connect", locked)
    with pytest.raises(StoreError, match="hint: let the other run end"):
        store.judgment("key")


def test_a_folder_that_cannot_be_made_is_named_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match=r"file cannot be made .*\n  hint: name another by --harness-store"):
        AnswerStore(tmp_path / "file" / "answers.sqlite")
