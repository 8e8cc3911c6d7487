"""GO needs every collected gate; what is left out is named; and the exit status follows the policy."""

from __future__ import annotations

import pytest
from small_project import GUARD, TARGET, Outcome, SmallProject

OTHER = """
def test_of_something_else():
    assert True
"""


def verdicts(project: SmallProject) -> dict[str, str]:
    return {decision.candidate: decision.verdict.value for decision in project.record.decisions}


def flat(outcome: Outcome) -> str:
    return " ".join(outcome.out.split())


@pytest.mark.parametrize(
    ("candidate", "verdict", "release", "regression"),
    [("good", "GO", 0, 0), ("bad", "NO-GO", 1, 1), ("much-the-same", "INCONCLUSIVE", 1, 0)],
)
def test_the_exit_status_follows_the_policy(
    project: SmallProject, candidate: str, verdict: str, release: int, regression: int
) -> None:
    project.suite(TARGET + GUARD)
    assert project.run(f"--candidate={candidate}").status == release
    assert verdicts(project) == {candidate: verdict}
    assert project.run(f"--candidate={candidate}", "--gate=regression").status == regression


@pytest.mark.parametrize(("policy", "status"), [("release", 1), ("regression", 0)])
def test_a_deselected_gate_makes_the_decision_inconclusive_and_is_named(
    project: SmallProject, policy: str, status: int
) -> None:
    project.suite(TARGET + GUARD)
    outcome = project.run("--candidate=good", "-k", "test_better", f"--gate={policy}")
    assert outcome.last_line == "1 passed, 1 deselected"
    assert outcome.status == status
    assert verdicts(project) == {"good": "INCONCLUSIVE"}
    named = "guard gate suites/support/test_support.py::test_not_worse (suite support) is missing"
    assert named in flat(outcome)
    assert ("exit status 1" in outcome.out) == (status == 1)


def test_a_gate_that_exitfirst_never_reached_is_named(project: SmallProject) -> None:
    project.suite(GUARD + TARGET)
    outcome = project.run("--candidate=bad", "-x")
    assert verdicts(project) == {"bad": "NO-GO"}
    assert "test_better (suite support) is missing" in flat(outcome)


def test_gates_of_files_that_last_failed_leaves_out_are_named(project: SmallProject) -> None:
    project.suite(TARGET, name="one")
    project.suite(GUARD, name="two")
    broken = "\n\ndef test_broken():\n    assert False\n"
    project.suite(TARGET + broken, name="one")
    project.run("--candidate=good", plugins=["cache"])
    outcome = project.run("--candidate=good", "--lf")
    assert outcome.last_line == "1 failed, 2 deselected"
    for test in ("one/test_one.py::test_better", "two/test_two.py::test_not_worse"):
        assert f"suites/{test} (suite" in flat(outcome)
    assert "INCONCLUSIVE: good at 30 rows" in outcome.out


def test_all_gates_deselected_is_no_go_even_where_other_tests_pass(project: SmallProject) -> None:
    project.suite(TARGET + OTHER)
    outcome = project.run("--candidate=good", "-k", "something_else")
    assert outcome.last_line == "1 passed, 1 deselected"
    assert outcome.status == 1
    assert "INCONCLUSIVE: good at 30 rows" in outcome.out
    assert project.records() == []  # nothing was tried, so there is nothing to report
    assert project.run("--candidate=good", "-k", "something_else", "--gate=regression").status == 0


def test_a_candidate_that_was_never_reached_is_decided_too(project: SmallProject) -> None:
    project.suite()
    project.run("--candidate=bad", "--candidate=good", "-x")
    assert verdicts(project) == {"bad": "NO-GO", "good": "INCONCLUSIVE"}
    only = project.run("--candidate=good", "--candidate=bad", "-k", "good")
    assert verdicts(project) == {"good": "GO", "bad": "INCONCLUSIVE"}
    assert only.status == 1


def test_a_parametrised_gate_is_missing_where_one_of_its_parameters_is(project: SmallProject) -> None:
    gates = """
@pytest.mark.parametrize("bar", [0.1, 0.2], ids=["low", "high"])
def test_bar(candidate, baseline, bar):
    assert candidate.scores(right) > baseline.scores(right) + bar
"""
    project.suite(gates)
    assert project.run("--candidate=good").last_line == "2 passed"
    assert [gate.test.rpartition("::")[2] for gate in project.record.gates] == [
        "test_bar[low]",
        "test_bar[high]",
    ]
    outcome = project.run("--candidate=good", "-k", "low")
    assert verdicts(project) == {"good": "INCONCLUSIVE"}
    assert "test_bar[high] (suite support) is missing" in flat(outcome)


def test_a_skipped_gate_is_missing(project: SmallProject) -> None:
    project.suite(TARGET + "\n\n@pytest.mark.skip" + GUARD.lstrip("\n").join(["\n", ""]))
    outcome = project.run("--candidate=good")
    assert outcome.last_line == "1 passed, 1 skipped"
    assert verdicts(project) == {"good": "INCONCLUSIVE"}
    assert outcome.status == 1


def test_a_bar_is_no_target(project: SmallProject) -> None:
    """Found before anybody is asked where it can be read, and in the decision where it cannot."""
    bar = """
def test_bar(candidate):
    assert candidate.scores(right) > 0.5
"""
    project.suite(bar)
    project.run("--candidate=good").assert_one_screen("test_support.py:14", "hold no target", "hint:")
    project.suite(bar.replace("0.5", "BAR").replace("\ndef", "\nBAR = 0.5\n\n\ndef"))
    outcome = project.run("--candidate=good")
    assert outcome.last_line == "1 passed"
    assert outcome.status == 1
    assert "nothing claims an improvement" in flat(outcome)


def test_two_suites_decide_together(project: SmallProject) -> None:
    project.suite(TARGET, name="one")
    project.suite(GUARD, name="two")
    assert project.run("--candidate=good").status == 0
    assert {gate.suite for gate in project.record.gates} == {"one", "two"}
    assert [suite.name for suite in project.record.suites] == ["one", "two"]


@pytest.mark.parametrize(
    "option", ["--co", "--setup-plan", "--setup-only", "--fixtures", "--fixtures-per-test"]
)
def test_showing_what_there_is_decides_nothing(project: SmallProject, option: str) -> None:
    project.suite()
    outcome = project.run("--candidate=good", option)
    assert outcome.status == 0
    assert "test_better[good@30]" in outcome.out or option == "--fixtures"
    assert "= decision =" not in outcome.out
    assert project.asked == []
