"""Which earlier decisions count for a suite's rows, wherever they are written down."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from harness import ExactMatch, Suite
from harness.data.fingerprints import rows_fingerprint
from harness.records import HeldoutUse, Message, Verdict
from harness.report.runjson import load_run
from harness.run.heldout_history import HeldoutHistory, SuiteHistory, has_judged
from harness.run.suite_loading import LoadedSuite, load_suite
from harness.settings import Settings, parse_settings
from harness.store.answers import AnswerStore

GOLDEN = Path(__file__).parents[1] / "report" / "records" / "schema-2.json"
Load = Callable[[Sequence[str]], LoadedSuite]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return parse_settings({}, tmp_path)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def suite(questions: Sequence[str]) -> LoadedSuite:
        answer = {"role": "assistant", "content": "yes"}
        lines = [
            json.dumps({"messages": [{"role": "user", "content": text}, answer]}) + "\n" for text in questions
        ]
        (tmp_path / "support").mkdir(exist_ok=True)
        (tmp_path / "support" / "heldout.jsonl").write_text("".join(lines), encoding="utf-8")
        own = Suite(heldout="heldout.jsonl", scores=(ExactMatch(name="right"),))
        return load_suite(own, tmp_path / "support" / "test_support.py", tmp_path)

    return suite


def questions(numbers: range) -> list[str]:
    return [f"{number} apples?" for number in numbers]


def judge(
    settings: Settings,
    suite: LoadedSuite,
    decision: str,
    verdict: Verdict = Verdict.INCONCLUSIVE,
    created: str = "",
) -> SuiteHistory:
    """One run, which judges the same recipe."""
    history = HeldoutHistory(AnswerStore(settings.store / "answers.sqlite"), settings)
    rows = history.of(suite).today
    use = HeldoutUse(decision, "c", "recipe", rows.digest, verdict, created=created, run=decision)
    return history.add(suite, [use])


def grown_from(settings: Settings, suite: LoadedSuite, identity: str = "recipe") -> tuple[int, ...]:
    history = HeldoutHistory(AnswerStore(settings.store / "answers.sqlite"), settings)
    return history.of(suite).grown_from(identity)


def test_growth_is_seen_step_by_step_by_the_recipe_that_was_judged(settings: Settings, load: Load) -> None:
    judge(settings, load(questions(range(50))), "one")
    assert grown_from(settings, load(questions(range(50))[::-1])) == ()
    assert grown_from(settings, load(questions(range(80))[::-1])) == (50,)
    judge(settings, load(questions(range(80))), "two")
    assert grown_from(settings, load(questions(range(80)))) == (50,)
    assert grown_from(settings, load(questions(range(3, 120)))) == (50, 80)
    assert grown_from(settings, load(questions(range(120))), "another recipe") == ()
    assert grown_from(settings, load(questions(range(500, 700)))) == ()  # final rows, say


def test_rows_that_gave_a_go_may_be_added_to(settings: Settings, load: Load) -> None:
    judge(settings, load(questions(range(50))), "one", Verdict.GO)
    assert grown_from(settings, load(questions(range(80)))) == ()


def test_after_a_go_on_fewer_rows_the_whole_level_is_there_again(settings: Settings, load: Load) -> None:
    judge(settings, load(questions(range(50))), "1", created="1")
    judge(settings, load(questions(range(80))), "2", Verdict.GO, created="2")
    assert grown_from(settings, load(questions(range(80)))) == (50,), "the same rows, the same decision"
    assert grown_from(settings, load(questions(range(120)))) == ()
    judge(settings, load(questions(range(120))), "3", created="3")
    assert grown_from(settings, load(questions(range(150)))) == (120,)


def test_a_row_taken_away_and_put_back_is_the_same_set(settings: Settings, load: Load) -> None:
    judge(settings, load(questions(range(50))), "one", created="1")
    judge(settings, load(questions(range(49))), "two", created="2")
    assert len(judge(settings, load(questions(range(50))), "one").uses) == 2
    assert grown_from(settings, load(questions(range(50)))) == (), "it decides as it did before"
    assert grown_from(settings, load(questions(range(60)))) == (49, 50)


def test_a_rehearsal_counts_nothing(settings: Settings, load: Load) -> None:
    judge(settings, load(questions(range(50))), "one")
    rehearsed = judge(replace(settings, rehearse="script"), load(questions(range(80))), "two")
    assert (rehearsed.uses, rehearsed.grown_from("recipe")) == ((), ())
    assert len(judge(settings, load(questions(range(50))), "three").uses) == 2


def test_uses_that_only_an_older_store_knows_of_are_counted_and_kept(settings: Settings, load: Load) -> None:
    suite = load(questions(range(50)))
    settings.store.mkdir()
    path = settings.store / "answers.sqlite"
    with closing(sqlite3.connect(path)) as old, old:
        old.execute("CREATE TABLE answers (context, row_id, answer, PRIMARY KEY (context, row_id))")
        old.execute("CREATE TABLE heldout_uses (heldout, decision, PRIMARY KEY (heldout, decision))")
        file = rows_fingerprint(suite.rows)
        old.executemany(
            "INSERT INTO heldout_uses VALUES (?, ?)", [(file, "1"), (file, "2"), ("another", "3")]
        )
    assert len(judge(settings, suite, "one").uses) == 3
    assert len(judge(settings, load(questions(range(60))), "two").uses) == 4


def test_a_record_holds_the_latest_sets_and_counts_all(
    settings: Settings, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.run.heldout_history.MOST_SETS", 2)
    for rows in (30, 31, 32):
        suite = load(questions(range(rows)))
        history = judge(settings, suite, str(rows))
    info = history.noted(suite.info({}))
    assert info.uses == 3
    assert sorted(each.n for each in info.row_sets) == [31, 32]
    assert [use.decision for use in info.history] == ["31", "32"]


def test_decisions_of_a_record_that_lists_none_are_counted_by_its_questions(
    settings: Settings, load: Load
) -> None:
    before = load_run(GOLDEN.read_text(encoding="utf-8"), "golden")
    (settings.reports / "earlier").mkdir(parents=True)
    shutil.copy(GOLDEN, settings.reports / "earlier" / "run.json")
    (info,) = (each for each in before.suites if each.name == "support")
    suite = load(questions(range(3)))
    rows = [
        replace(row, messages=(Message("user", told.question), Message("assistant", told.reference)))
        for row, told in zip(suite.rows, info.rows, strict=False)
    ]
    grown = replace(suite, rows=(*rows, *load(questions(range(3, 9))).rows))
    uses = HeldoutHistory(AnswerStore(settings.store / "answers.sqlite"), settings).of(grown).uses
    judged = {g.candidate for g in before.gates if has_judged(g, "support", g.candidate, g.size)}
    assert {use.candidate for use in uses} == judged != set()
    assert {(use.run, use.identity) for use in uses} == {("", "")}
