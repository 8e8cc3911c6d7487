"""What people do with pytest: tests that run again, plugins of their own or switched off, odd terminals."""

from __future__ import annotations

import io
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest
from _pytest.terminal import TerminalReporter
from small_project import GUARD, TARGET, SmallProject

from harness.plugin.ending import _write as write_lines

FISHING = """
margins, tries = iter([0.9, *[0.0] * 9]), iter([1, 0, 0, 0])


class TestOnceMore:
    @pytest.mark.flaky(reruns=5)
    def test_lowered(self, candidate, baseline):
        assert candidate.scores(right) > baseline.scores(right) + next(margins)


@pytest.mark.parametrize("allowed", [0.1, 0.2])
def test_each(candidate, baseline, allowed):
    assert candidate.scores(right) >= baseline.scores(right) - allowed


def test_of_something_else():
    assert next(tries) == 0
"""
THEIR_OWN = """

import pytest

seen = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    seen.append((item.name, report.outcome))
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    seen.append((item.name, "begun"))
    return (yield)


def pytest_collection_modifyitems(items):
    items.reverse()


def pytest_report_teststatus(report):
    return ("theirs", "t", "THEIRS") if report.passed and report.when == "call" else None


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(f"begun: {[name for name, what in seen if what == 'begun']}")
"""


@pytest.fixture
def unpickled() -> Iterator[list[str]]:
    """What pickles named while the test ran: whoever can write one can run code."""
    found: list[str] = []
    is_on = True

    def hear(event: str, arguments: tuple[object, ...]) -> None:  # for good: no hook can be taken away
        if is_on and event == "pickle.find_class":
            found.append(str(arguments))

    sys.addaudithook(hear)
    yield found
    is_on = False


def test_a_gate_that_failed_is_not_run_again_and_other_tests_are(project: SmallProject) -> None:
    pytest.importorskip("pytest_rerunfailures")
    project.suite(FISHING)
    outcome = project.run(
        "--candidate=good", "--reruns=3", "-p", "pytest_rerunfailures", "--junitxml=junit.xml"
    )
    assert outcome.last_line == "1 failed, 3 passed, 1 rerun", outcome.said
    assert "NO-GO: good" in outcome.out
    (refuted,) = [g for g in project.record.gates if "test_lowered" in g.test]
    assert refuted.comparison is not None
    assert refuted.comparison.outcome == "refuted"
    assert len(project.asked) == 80
    cases = ET.parse(project.path / "junit.xml").iter("testcase")
    assert {case.get("name"): len(case.findall("failure")) for case in cases} == {
        "test_lowered[good@30]": 1,
        "test_each[good@30-0.1]": 0,
        "test_each[good@30-0.2]": 0,
        "test_of_something_else": 0,
    }


def test_a_projects_own_hooks_see_every_gate_once(project: SmallProject, unpickled: list[str]) -> None:
    project.conftest(THEIR_OWN)
    project.suite(TARGET + GUARD)
    project.write("suites/conftest.py", "import harness\n")
    outcome = project.run("--candidate=good", "--durations=2", "--import-mode=importlib", "-qq")
    assert "begun: ['test_not_worse[good@30]', 'test_better[good@30]']" in outcome.out
    assert "GO: good" in outcome.out
    assert outcome.status == 0
    assert unpickled == []


def test_nothing_that_was_left_out_is_taken_for_shown(project: SmallProject) -> None:
    project.suite(TARGET + GUARD)
    outcome = project.run("--candidate=good", "-k", "nothing")
    assert outcome.status == 1  # and not pytest's 5, as the last lines say
    assert "INCONCLUSIVE: good" in outcome.out
    assert "exit status 1" in outcome.out
    assert project.asked == []


def test_without_a_terminal_the_decision_is_the_same(project: SmallProject) -> None:
    project.suite()
    result = project.run("--candidate=bad", "-p", "no:terminal")
    assert result.status == 1
    assert "NO-GO: bad at 30 rows" in result.out
    assert [one.verdict for one in project.record.decisions] == ["NO-GO"]
    project.run("--candidate=nobody", "-p", "no:terminal").assert_one_screen("nobody", asked=80)


def test_where_there_is_only_ascii_it_says_the_same_line_by_line(request: pytest.FixtureRequest) -> None:
    """As under ``LC_ALL=C``, where pytest would write all of a text as one line with escapes."""
    file = io.TextIOWrapper(io.BytesIO(), "ascii")
    write_lines(TerminalReporter(request.config, file), "GO: good at 30 rows\n  30.0 → 90.0% − 5×\nü")
    file.seek(0)
    assert file.read().splitlines() == ["GO: good at 30 rows", "  30.0 -> 90.0% - 5x", "\\xfc"]
