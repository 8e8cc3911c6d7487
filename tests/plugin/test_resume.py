"""Nothing is asked twice, an interrupted run keeps what it had, and what changed is asked again."""

from __future__ import annotations

import subprocess
import sys

import pytest
from small_project import TARGET, UNDRAWN, SmallProject, jsonl, row, rows

PROMPTED = 'scores=(right,), prompt="prompt.md"'


@pytest.fixture
def ready(project: SmallProject) -> SmallProject:
    head = project.suite()
    head.write_text(head.read_text(encoding="utf-8").replace("scores=(right,)", PROMPTED), encoding="utf-8")
    project.write("suites/support/prompt.md", "Say yes or no.")
    return project


def newly_asked(project: SmallProject, *arguments: str) -> int:
    before = len(project.asked)
    project.run("--candidate=good", *arguments)
    return len(project.asked) - before


def test_a_second_identical_run_asks_nothing_and_says_the_same(ready: SmallProject) -> None:
    assert newly_asked(ready) == 80
    assert newly_asked(ready) == 0
    first, second = ready.records()
    assert first.gates == second.gates
    assert first.decisions == second.decisions
    assert [t.answers for t in first.trials] == [t.answers for t in second.trials]


def test_two_runs_in_one_second_have_two_folders(ready: SmallProject) -> None:
    for _ in range(3):
        ready.run("--candidate=good")
    assert len({record.id for record in ready.records()}) == 3
    index = (ready.path / "reports" / "index.html").read_text(encoding="utf-8")
    assert all(f"{record.id}/report.html" in index for record in ready.records())


def test_what_changed_is_asked_again(ready: SmallProject) -> None:
    ready.run("--candidate=good")
    ready.write("suites/support/prompt.md", "Say yes or no, in one word.")
    assert newly_asked(ready) == 80
    held = [row("support-0", "support zero?"), *rows("support", 40)[1:]]
    ready.write("suites/support/heldout.jsonl", jsonl(held))
    assert newly_asked(ready) == 80
    conftest = ready.path / "conftest.py"
    text = conftest.read_text(encoding="utf-8")
    conftest.write_text(text.replace('base="good"', 'base="good", version="2"'), encoding="utf-8")
    assert newly_asked(ready) == 40  # of the candidate alone
    assert newly_asked(ready, "--sizes=20") == 80
    assert newly_asked(ready) == 0


def test_another_reference_or_score_asks_nothing_and_scores_anew(ready: SmallProject) -> None:
    ready.run("--candidate=good")
    held = [row("support-0", "support 0?", "no"), *rows("support", 40)[1:]]
    ready.write("suites/support/heldout.jsonl", jsonl(held))
    assert newly_asked(ready) == 0
    first, second = (record.trials[0].scores["right"] for record in ready.records())
    assert (first[0].value, second[0].value) == (1.0, 0.0)


def test_candidates_that_differ_only_in_their_reply_share_nothing(project: SmallProject) -> None:
    project.conftest(
        """

@harness.candidate
def right_at_times():
    return Scripted(train="train.jsonl", reply=says(4))


@harness.candidate
def right_mostly():
    return Scripted(train="train.jsonl", reply=says(9))
"""
    )
    project.suite()
    project.run("--candidate=right*")
    assert [t.scores["right"][5].value for t in project.record.trials] == [0.0, 0.0, 1.0]


def test_an_interrupted_run_keeps_what_it_had_and_goes_on_from_there(ready: SmallProject) -> None:
    ready.conftest(
        """

def tired(prompt, size):
    log(prompt.row_id)
    if (HERE / "interrupt").exists() and prompt.row_id == "support-20":
        raise KeyboardInterrupt
    return "yes"


@harness.candidate
def works():
    return Scripted(train="train.jsonl", reply=tired)
"""
    )
    ready.write("interrupt", "")
    arguments = ["--candidate=works", "--baseline=old", "-p", "no:randomly", "-p", "no:cacheprovider"]
    first = ready.pytester.runpytest_inprocess(*arguments, no_reraise_ctrlc=True)
    assert first.ret == 2
    assert len(ready.asked) == 21
    assert ready.records() == []
    (ready.path / "interrupt").unlink()
    second = ready.run("--candidate=works")
    assert second.status == 0
    assert ready.asked[21:41] == [f"support-{number}" for number in range(20, 40)]
    assert len(ready.asked) == 21 + 20 + 40


def test_a_run_interrupted_after_some_gates_reports_them(ready: SmallProject) -> None:
    gate = """
def test_tired(candidate, baseline):
    raise KeyboardInterrupt
"""
    ready.suite(TARGET + gate)
    arguments = ["--candidate=good", "--baseline=old", "-p", "no:randomly", "-p", "no:cacheprovider"]
    result = ready.pytester.runpytest_inprocess(*arguments, no_reraise_ctrlc=True)
    assert result.ret == 2
    assert [decision.verdict.value for decision in ready.record.decisions] == ["INCONCLUSIVE"]
    assert "test_tired" in ready.record.decisions[0].reasons[0]


def test_a_failed_answer_is_asked_for_again(ready: SmallProject) -> None:
    ready.conftest(
        """

def shaky(prompt, size):
    log(prompt.row_id)
    if (HERE / "down").exists() and prompt.row_id.endswith("7"):
        raise TimeoutError("no answer in 30 s")
    return "yes"


@harness.candidate
def shaky_at_times():
    return Scripted(train="train.jsonl", reply=shaky)
"""
    )
    ready.write("down", "")
    ready.run("--candidate=shaky-at-times")
    assert len(ready.asked) == 80
    (ready.path / "down").unlink()
    ready.run("--candidate=shaky-at-times")
    assert ready.asked[80:] == ["support-7", "support-17", "support-27", "support-37"]
    first, second = (record.gates[0].comparison for record in ready.records())
    assert first is not None
    assert second is not None
    assert (first.n, first.failures, second.n, second.failures) == (36, 4, 40, 0)


def test_the_uses_of_a_heldout_file_are_counted_once_for_each_decision(ready: SmallProject) -> None:
    for arguments in (["good"], ["good"], ["bad"], ["good", "--sizes=10"]):
        ready.run(f"--candidate={arguments[0]}", *arguments[1:])
    assert [record.suites[0].uses for record in ready.records()] == [1, 1, 2, 3]
    page = (ready.path / "reports" / ready.record.id / "report.html").read_text(encoding="utf-8")
    assert "3 decisions on these rows: up to 14% that at least one GO among them is false" in page
    ready.run("--candidate=much-the-same", "-k", "nothing")
    ready.run("--candidate=good")
    assert ready.record.suites[0].uses == 3


def test_two_runs_at_once_share_one_store(ready: SmallProject) -> None:
    ready.write("suites/conftest.py", UNDRAWN)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:hypothesispytest"]
    command += ["-p", "no:cacheprovider", "--baseline=old"]
    both = [
        subprocess.Popen([*command, f"--candidate={name}"], cwd=ready.path, stdout=subprocess.PIPE, text=True)
        for name in ("good", "much-the-same")
    ]
    said = [run.communicate(timeout=100)[0] for run in both]
    assert [run.returncode for run in both] == [0, 1], said
    assert newly_asked(ready) == 0
