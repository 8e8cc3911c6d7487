"""A damaged database is set aside, said, and made again from what can be read of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.records import Answer, HeldoutUse
from harness.store.answers import VERSION, AnswerStore
from harness.store.upkeep import problems

N = 400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of some hundred pages."""
    path = tmp_path / "answers.sqlite"
    with closing(AnswerStore(path)) as store:
        store.keep_answers("context", [Answer(f"row-{k}", f"{k} " * 200, 1, 1, 0.0) for k in range(N)])
        store.keep_judgment("key", [1.0])
        store.keep_uses([HeldoutUse("one", "c", "", "rows")], {}, "file")
    return path


def damage(path: Path, at: int, size: int = 4096) -> None:
    with path.open("rb+") as file:
        file.seek(at)
        file.write(b"\xa5" * size)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_what_can_be_read_is_kept(path: Path, share: float) -> None:
    pages = path.stat().st_size // 4096
    damage(path, int(share * pages) * 4096)
    before = path.read_bytes()
    with closing(AnswerStore(path)) as store:
        assert "was damaged on disk" in store.lost
        assert "may be paid again" in store.lost
        kept = store.answers("context")
        assert N - 20 < len(kept) <= N
        assert all(answer.text == f"{id[4:]} " * 200 for id, answer in kept.items()), "nothing is made up"
        assert store.judgment("key") == [1.0]
        assert len(store.uses()[0]) == 1
    (aside,) = path.parent.glob("answers.sqlite.damaged-*")
    assert aside.read_bytes() == before
    with closing(AnswerStore(path)) as store:
        assert store.lost == ""
        assert store.answers("context") == kept
    assert list(problems(path.parent)) == []


@pytest.mark.parametrize("kind", ["no database", "cut", "no header"])
def test_a_file_of_which_little_or_nothing_can_be_read(path: Path, kind: str) -> None:
    if kind == "cut":
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 3])
    elif kind == "no header":
        damage(path, 0)
    else:
        path.write_bytes(b"not a database " * 100)
    with closing(AnswerStore(path)) as store:
        assert "set aside as answers.sqlite.damaged-" in store.lost
        kept = len(store.answers("context"))
        assert (0 < kept < N) if kind == "cut" else kept == 0
        store.keep_judgment("other", [2.0])
    assert len(list(path.parent.glob("answers.sqlite.damaged-*"))) == 1


def test_a_changed_value_is_as_if_it_were_not_there(path: Path) -> None:
    told: list[str] = []
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE answers SET answer = replace(answer, '7 7', '8 7') WHERE row_id = 'row-7'")
        other.execute("UPDATE answers SET row_id = 'row-moved' WHERE row_id = 'row-8'")
        other.execute("UPDATE judgments SET numbers = '[0.0]'")
    found = sorted(problem.what for problem in problems(path.parent))
    assert found == ["1 judgments are not as they were written", "2 answers are not as they were written"]
    with closing(AnswerStore(path, say=told.append)) as store:
        assert store.answers("context").keys() == {f"row-{k}" for k in range(N) if k not in (7, 8)}
        assert store.judgment("key") is None
        assert len(told) == 2
        assert all(text in store.lost for text in told)
        store.keep_judgment("key", [3.0])
        assert store.judgment("key") == [3.0]


def test_a_damaged_file_that_another_run_has_open_is_left_to_it(path: Path) -> None:
    with closing(AnswerStore(path)) as other:
        other.keep_judgment("before", [1.0])
        damage(path, path.stat().st_size // 2)
        with pytest.raises(StoreError, match=r"locked by another run\).\n  hint: let the other run end"):
            AnswerStore(path)
    assert "damaged" in AnswerStore(path).lost


def test_a_later_versions_file_is_refused_and_left_as_it_is(path: Path) -> None:
    with closing(sqlite3.connect(path)) as later:
        later.execute(f"PRAGMA user_version={VERSION + 1}")
    with pytest.raises(StoreError, match=r"later version .*\n  hint: upgrade"):
        AnswerStore(path)
    with closing(sqlite3.connect(path)) as later:
        assert later.execute("PRAGMA user_version").fetchone() == (VERSION + 1,)


def test_an_earlier_versions_file_is_read_and_brought_up(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    text = '{"row_id": "a", "text": "yes", "prompt_tokens": 1, "completion_tokens": 1, "latency_ms": 0.0}'
    with closing(sqlite3.connect(path)) as old, old:
        old.execute(
            "CREATE TABLE answers (context TEXT, row_id TEXT, answer TEXT, PRIMARY KEY (context, row_id))"
        )
        old.execute("CREATE TABLE judgments (key TEXT PRIMARY KEY, numbers TEXT NOT NULL)")
        old.execute("INSERT INTO answers VALUES ('context', 'a', ?)", (text,))
        old.execute("INSERT INTO judgments VALUES ('key', '[1.0]')")
    with closing(AnswerStore(path)) as store:
        assert store.lost == ""
        assert store.answers("context")["a"].text == "yes"
        assert store.judgment("key") == [1.0]
    with closing(sqlite3.connect(path)) as now:
        assert now.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_a_clock_that_goes_back_outdates_no_answer_that_is_given_after(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(AnswerStore(path)) as store:
        monkeypatch.setattr("harness.store.answers._now", lambda: "2030-01-02T00:00:00.000000+00:00")
        store.outdate("context")
        monkeypatch.setattr("harness.store.answers._now", lambda: "2030-01-01T00:00:00.000000+00:00")
        assert store.answers("context") == {}
        store.keep_answers("context", [Answer("row-1", "new", 1, 1, 0.0)])
        assert [answer.text for answer in store.answers("context").values()] == ["new"]


@pytest.mark.parametrize(("pages", "hint"), [(1, "free some room"), (0, "mounted read-only")])
def test_a_disk_that_takes_no_more_is_named_with_the_mend(tmp_path: Path, pages: int, hint: str) -> None:
    store = AnswerStore(tmp_path / "answers.sqlite")
    store.keep_judgment("before", [1.0])
    if pages:
        (now,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count={now + pages}")
    else:
        store._connection.execute("PRAGMA query_only=1")
    with pytest.raises(StoreError, match=rf"cannot be used .*\n  hint: .*{hint}"):
        store.keep_answers("context", [Answer(f"r{k}", "text " * 500, 1, 1, 0.0) for k in range(20)])
    with pytest.raises(StoreError, match="cannot be used"):
        store.judgment("not asked yet")  # nothing is asked, and paid, that cannot be kept
    store.close()
    assert AnswerStore(tmp_path / "answers.sqlite").judgment("before") == [1.0]
    assert list(problems(tmp_path)) == []
