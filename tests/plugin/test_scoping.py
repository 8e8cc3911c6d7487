"""Candidates are fixtures: they serve their folder, override, ask for fixtures, and are parametrised."""

from __future__ import annotations

import pytest
from small_project import CONFTEST, GUARD, TARGET, SmallProject

OTHER = """
import harness
from harness.testing import Scripted


@harness.candidate
def {name}():
    \"\"\"The other team's.\"\"\"
    return Scripted(train="{train}", reply=lambda prompt, size: "{says}", base="other")
"""


@pytest.fixture
def two(project: SmallProject) -> SmallProject:
    """Two suites, the second of which has a conftest with a candidate of its own called ``good``."""
    project.suite(TARGET)
    project.suite(TARGET, name="other")
    project.write("suites/other/conftest.py", OTHER.format(name="good", train="../../train.jsonl", says="no"))
    return project


def verdicts(project: SmallProject) -> dict[str, str]:
    return {decision.candidate: decision.verdict for decision in project.record.decisions}


def test_an_inner_candidate_overrides_an_outer_one_in_its_folder_only(two: SmallProject) -> None:
    """Once the later conftest won for every suite, and turned a GO into a NO-GO."""
    two.run("--candidate=good")
    assert verdicts(two) == {"good": "GO", "suites/other:good": "NO-GO"}
    tried = {(t.candidate, t.suite) for t in two.record.trials if "good" in t.candidate}
    gated = {(g.candidate, g.suite) for g in two.record.gates}
    assert gated == {("good", "support"), ("suites/other:good", "other")}
    assert tried >= gated


def test_one_suite_alone_is_judged_on_its_own_candidate(two: SmallProject) -> None:
    two.run("--candidate=good", "suites/support")
    assert verdicts(two) == {"good": "GO"}
    two.run("--candidate=good", "suites/other")
    assert verdicts(two) == {"suites/other:good": "NO-GO"}


def test_a_bad_candidate_is_not_saved_by_another_teams(project: SmallProject) -> None:
    project.suite(TARGET)
    project.suite(TARGET, name="other")
    project.write("suites/other/conftest.py", OTHER.format(name="bad", train="../../train.jsonl", says="yes"))
    project.run("--candidate=bad")
    assert verdicts(project) == {"bad": "NO-GO", "suites/other:bad": "GO"}


def test_a_candidate_serves_its_folder_and_no_other(project: SmallProject) -> None:
    project.suite(TARGET)
    project.suite(TARGET, name="other")
    project.write("suites/other/conftest.py", OTHER.format(name="own", train="../../train.jsonl", says="yes"))
    outcome = project.run("--candidate=own")
    assert verdicts(project) == {"own": "GO"}
    assert {t.suite for t in project.record.trials if t.candidate == "own"} == {"other"}
    assert "1 gate sees no such candidate" in outcome.out


def test_paths_start_from_the_candidates_own_folder(project: SmallProject) -> None:
    project.suite(TARGET)
    project.write("suites/support/conftest.py", OTHER.format(name="own", train="mine.jsonl", says="yes"))
    text = (project.path / "train.jsonl").read_text(encoding="utf-8")
    project.write("suites/support/mine.jsonl", "".join(text.splitlines(keepends=True)[:12]))
    project.run("--candidate=own")
    assert project.record.gates[0].size == 12
    (project.path / "suites/support/mine.jsonl").unlink()
    project.run("--candidate=own").assert_one_screen("mine.jsonl: there is no such file", asked=40)


def test_a_candidate_of_a_test_module_is_found(project: SmallProject) -> None:
    head = """
import pytest
import harness
from harness import ExactMatch, Suite
from harness.testing import Scripted

right = ExactMatch(name="right")


@harness.candidate
def local():
    return Scripted(train="../../train.jsonl", reply=lambda prompt, size: "yes", base="local")


@pytest.fixture(scope="module")
def suite():
    return Suite(heldout="heldout.jsonl", scores=(right,))

"""
    project.suite(TARGET, head=head)
    project.run("--candidate=local")
    assert verdicts(project) == {"local": "GO"}


ASKING = """

import pytest


@pytest.fixture(scope="session")
def address(tmp_path_factory):
    log("server up")
    yield str(tmp_path_factory.mktemp("server"))
    log("server down")


@harness.candidate
def asking(address):
    log(address and "candidate made")
    return Scripted(train="train.jsonl", reply=says(9), base=address)
"""


def test_a_candidate_may_ask_for_fixtures_that_live_as_long_as_the_session(project: SmallProject) -> None:
    project.conftest(ASKING)
    project.suite(TARGET + GUARD)
    assert project.run("--candidate=asking").status == 0
    asked = project.asked
    assert asked[:2] == ["server up", "candidate made"]
    assert asked[-1] == "server down"
    assert asked.count("server up") == asked.count("candidate made") == 1


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def odd(nowhere):", "in odd: there is no fixture 'nowhere'"),
        ("def odd(tmp_path):", "a candidate lives as long as the session"),
    ],
)
def test_a_fixture_that_cannot_be_had_is_named_with_the_candidates_line(
    project: SmallProject, code: str, says: str
) -> None:
    project.conftest(f'\n\n@harness.candidate\n{code}\n    return Scripted(train="t", reply=says(9))\n')
    project.suite(TARGET)
    line = (project.path / "conftest.py").read_text(encoding="utf-8").splitlines().index(code)
    project.run("--candidate=odd").assert_one_screen(f"conftest.py:{line}: in odd: ", says)


PARAMETRISED = """

@harness.candidate(params={"weak": 0, "strong_one": 9})
def graded(request):
    '''Two strengths.'''
    return Scripted(train="train.jsonl", reply=says(request.param), base=str(request.param))


@harness.candidate(params=[3, 8])
def numbered(request):
    return Scripted(train="train.jsonl", reply=says(request.param), base=f"n{request.param}")
"""


def test_a_parametrised_candidate_is_one_candidate_for_each_parameter(project: SmallProject) -> None:
    project.conftest(PARAMETRISED)
    project.suite(TARGET)
    project.run("--candidate=graded-*", "--candidate=numbered_8")
    assert verdicts(project) == {"graded-weak": "NO-GO", "graded-strong-one": "GO", "numbered-8": "GO"}
    project.run("--candidate=graded").assert_one_screen(
        "unknown candidate 'graded'", "graded-strong-one", asked=len(project.asked)
    )


def test_candidates_are_listed_with_where_each_comes_from(two: SmallProject) -> None:
    two.write("conftest.py", CONFTEST + PARAMETRISED)
    outcome = two.run("--candidates", baseline="")
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    own = next(i for i, text in enumerate(lines) if "suites/other/conftest.py" in text)
    assert lines[own].startswith("good -- suites/other/conftest.py:")
    assert lines[own].endswith("for suites/other")
    assert lines[own + 1].strip() == "The other team's."
    assert any(text.startswith("graded-weak, graded-strong-one -- conftest.py:") for text in lines)
    assert two.asked == []


def test_pytest_lists_candidates_among_its_fixtures(project: SmallProject) -> None:
    project.suite(TARGET)
    assert "much_the_same [session scope] -- conftest.py:" in project.run("--fixtures").out


def test_rehearse_may_stand_before_a_path(two: SmallProject) -> None:
    outcome = two.run("--candidate=good", "--rehearse", "suites/support")
    outcome.assert_one_screen("there is nothing to rehearse")  # and not: unknown mode 'suites/support'


def test_a_candidate_is_asked_the_suites_that_it_is_compared_on_and_no_others(two: SmallProject) -> None:
    """Two teams in one run pay for their own answers."""
    planned = two.run("--candidate=good", "--plan").out
    assert two.asked == []
    for name in ("good@30", "suites/other:good@30"):
        (line,) = (text.split() for text in planned.splitlines() if text.startswith(f"{name} "))
        assert line[4] == "40", "calls"
    two.run("--candidate=good")
    tried = {(t.candidate, t.suite) for t in two.record.trials if t.candidate != "old"}
    assert tried == {("good", "support"), ("suites/other:good", "other")}
