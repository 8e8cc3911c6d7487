"""Where fixtures have their corners: imported, inherited, parametrised oddly, named as others are."""

from __future__ import annotations

import shutil

import pytest
from small_project import GUARD, SUITE, TARGET, SmallProject
from test_scoping import OTHER, verdicts

SHARED = """
import harness
from harness.testing import Scripted


def yes(prompt, size):
    return "yes"


def no(prompt, size):
    return "no"


@harness.candidate
def mine(word):
    return Scripted(train="train.jsonl", reply=yes if word == "yes" else no, base=word)
"""
WORD = """
import pytest
from teamlib import mine


@pytest.fixture(scope="session")
def word():
    return "{word}"
"""


def test_a_function_that_two_conftests_import_is_a_candidate_of_each(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second team's tests were answered by the first team's candidate."""
    monkeypatch.syspath_prepend(project.path)
    project.write("teamlib.py", SHARED)
    for name, word in (("other", "no"), ("support", "yes")):
        project.suite(TARGET, name=name)
        project.write(f"suites/{name}/conftest.py", WORD.format(word=word))
    project.run("--candidate=mine")
    assert {g.suite: g.comparison and g.comparison.outcome for g in project.record.gates} == {
        "other": "refuted",
        "support": "shown",
    }
    assert sorted(verdicts(project).values()) == ["GO", "NO-GO"]


CLASSES = """
import harness
from harness.testing import Scripted


class Base:
    @harness.candidate
    def {name}(self):
        reply = says(self.word)
        return Scripted(train="../../train.jsonl", reply=reply, base=self.word)

    def test_better(self, candidate, baseline):
        assert candidate.scores(right) > baseline.scores(right)


def says(word):
    return lambda prompt, size: word


class TestNo(Base):
    word = "no"


class TestYes(Base):
    word = "yes"
"""


@pytest.mark.parametrize("name", ["mine", "good"])
def test_classes_that_inherit_a_candidate_are_judged_each_on_its_own(
    project: SmallProject, name: str
) -> None:
    """``good`` overrides the conftest's twice in one folder: two names."""
    project.suite(CLASSES.format(name=name))
    project.run(f"--candidate={name}")
    outcomes = {g.test: g.comparison and g.comparison.outcome for g in project.record.gates}
    assert {test.partition("::")[2].partition("::")[0]: said for test, said in outcomes.items()} == {
        "TestNo": "refuted",
        "TestYes": "shown",
    }
    assert sorted(verdicts(project).values()) == ["GO", "NO-GO"]


def test_paths_start_from_where_the_project_lies_now(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 9.2, pytest kept compiled conftests with their first path: a copy read the rows there."""
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    project.suite(TARGET)
    project.run("--candidate=good")
    here, copy = project.path, project.path.parent / "copy"
    shutil.copytree(here, copy)
    shutil.rmtree(copy / "reports")
    rows = (copy / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (copy / "train.jsonl").write_text("".join(rows[:12]), encoding="utf-8")
    result = project.pytester.runpytest_inprocess(
        "-p", "no:randomly", "--candidate=good", "--baseline=old", f"--rootdir={copy}", copy / "suites"
    )
    assert "GO: good at 12 rows" in result.stdout.str()
    shutil.rmtree(copy)


def test_a_baseline_need_not_be_seen_where_its_candidate_is_not(project: SmallProject) -> None:
    project.suite(TARGET)
    project.suite(TARGET, name="other")
    own = OTHER.format(name="own", train="../../train.jsonl", says="yes")
    before = OTHER.format(name="own_old", train="../../train.jsonl", says="no").replace('"other"', '"old"')
    project.write("suites/other/conftest.py", own + before)
    project.run("--candidate=own", baseline="own-old")
    assert verdicts(project) == {"own": "GO"}


def test_a_candidate_is_refused_where_what_it_asks_for_is_overridden(project: SmallProject) -> None:
    """pytest makes a session fixture once: the inner suite was judged on the candidate of the outer one."""
    word = '\nimport pytest\n\n\n@pytest.fixture(scope="session")\ndef word():\n    return {}\n'
    asking = """

@harness.candidate
def asking(word):
    return Scripted(train="train.jsonl", reply=says(word), base=str(word))
"""
    project.conftest(word.format(9) + asking)
    project.suite(TARGET)
    project.suite(TARGET, name="other")
    project.write("suites/support/conftest.py", word.format(0))
    project.run("--candidate=asking").assert_one_screen("asking asks for word", "suites/support/conftest.py")
    project.run("--candidate=asking", "suites/other")
    assert verdicts(project) == {"asking": "GO"}
    project.run("--candidate=asking", "suites/support")
    assert verdicts(project) == {"asking": "NO-GO"}


# --------------------------------------------------------------------------- names
@pytest.mark.parametrize("name", ["candidate", "baseline", "suite"])
def test_a_candidate_cannot_take_the_name_of_what_tests_ask_for(project: SmallProject, name: str) -> None:
    project.conftest(
        f'\n\n@harness.candidate\ndef {name}():\n    return Scripted(train="t", reply=says(9))\n'
    )
    project.suite(TARGET)
    project.run("--candidate=good").assert_one_screen("conftest.py:", f"a candidate cannot be called {name}")


PARAMS = """

import pytest


@harness.candidate(params={params})
def graded(request):
    strength = request.param[0] if isinstance(request.param, list) else request.param
    return Scripted(train="train.jsonl", reply=says(strength), base=str(strength))
"""


def test_params_may_be_pytests_own(project: SmallProject) -> None:
    project.conftest(PARAMS.format(params='[pytest.param(9, id="nine"), pytest.param(0), 8]'))
    project.suite(TARGET)
    project.run("--candidate=graded-*")
    assert verdicts(project) == {"graded-nine": "GO", "graded-0": "NO-GO", "graded-8": "GO"}


def test_a_name_that_is_given_whole_is_no_pattern(project: SmallProject) -> None:
    project.conftest(PARAMS.format(params="[[9], 9, 0]"))
    project.suite(TARGET)
    project.run("--candidate=graded-[9]")
    assert verdicts(project) == {"graded-[9]": "GO"}
    project.run("--candidate=graded-[09]")
    assert verdicts(project) == {"graded-9": "GO", "graded-0": "NO-GO"}


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ("[9, '9']", "two parameters are called '9'"),
        ("[]", "it is empty, so there is no candidate"),
        ("{}", "it is empty, so there is no candidate"),
        ("{'a_b': 9, 'a-b': 0}", "two parameters are called 'a-b'"),
        ("[pytest.param(9, marks=pytest.mark.skip)]", "pytest.param takes one value here, and no marks"),
    ],
)
def test_params_that_would_be_lost_are_refused(project: SmallProject, params: str, says: str) -> None:
    """The second of two candidates of one name was never tried."""
    project.conftest(PARAMS.format(params=params))
    project.suite(TARGET)
    outcome = project.run("--candidate=graded-*")
    assert outcome.status == 4
    assert says in outcome.said


FROM_OUTER = """
from dataclasses import replace

import harness


@harness.candidate
def good(good):
    return replace(good, version="inner")
"""


def test_a_candidate_that_is_made_from_the_outer_one_finds_its_files(project: SmallProject) -> None:
    project.suite(TARGET)
    project.write("suites/support/conftest.py", FROM_OUTER)
    outcome = project.run("--candidate=good")
    assert outcome.status == 0, outcome.said
    assert list(verdicts(project)) == ["suites/support:good"]


AUTOUSE = """

import pytest

FACTS = []


@pytest.fixture(scope="session", autouse=True)
def facts():
    FACTS.append(9)
    yield
    raise OSError("the drive is gone")


@harness.candidate
def informed():
    return Scripted(train="train.jsonl", reply=says(FACTS[0]), base="informed")
"""


def test_fixtures_that_every_test_gets_are_there_before_candidates_are_made(project: SmallProject) -> None:
    """And what fails while they are torn down is said without losing the plan."""
    project.conftest(AUTOUSE)
    project.suite(TARGET)
    outcome = project.run("--candidate=informed", "--plan")
    assert "= plan =" in outcome.out, outcome.said
    assert "a fixture failed while it was torn down: OSError: the drive is gone" in outcome.out
    assert (outcome.status, "INTERNALERROR" in outcome.said) == (1, False)
    project.run("--candidate=informed")
    assert verdicts(project) == {"informed": "GO"}


def test_two_functions_cannot_answer_to_one_name(project: SmallProject) -> None:
    more = PARAMS.format(params='{"r8": 0}')
    more += '\n\n@harness.candidate\ndef graded_r8():\n    return Scripted(train="t", reply=says(9))\n'
    project.conftest(more)
    project.suite(TARGET)
    project.run("--candidate=graded-r8").assert_one_screen("are both the candidate graded-r8")


# --------------------------------------------------------------------------- what functions give
ODD = """

from dataclasses import dataclass

from harness import LoRA
from harness.errors import TrainingError
from harness.training.rows import TrainingData


class Broken(Scripted):
    def prepare(self, lab, variant):
        log("begun")
        raise {error}("out of luck")


class Empty(Scripted):
    def data(self, lab):
        return TrainingData(())


class Odd(Scripted):
    def own_baseline(self):
        return "old"


@harness.candidate
def broken():
    return Broken(train="train.jsonl", reply=says(9), base="broken")


@harness.candidate
def empty():
    return Empty(train="train.jsonl", reply=says(9))


@harness.candidate
def odd():
    return Odd(train="train.jsonl", reply=says(9))


@harness.candidate
def with_a_list():
    return LoRA(base="tiny", train="train.jsonl", targets=["q_proj"])


@harness.candidate
def uncalled():
    return LoRA
"""


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("with-a-list", "LoRA(targets=['q_proj']): use a tuple of text"),
        ("uncalled", "gives the class LoRA: call it"),
        ("empty", "empty: its data() gives no training rows, and it is trained"),
    ],
)
def test_what_is_no_whole_candidate_is_refused(project: SmallProject, name: str, says: str) -> None:
    project.conftest(ODD.format(error="TrainingError"))
    project.suite(TARGET)
    project.run(f"--candidate={name}").assert_one_screen(says)


def test_an_own_baseline_must_be_a_candidate(project: SmallProject) -> None:
    project.conftest(ODD.format(error="TrainingError"))
    project.suite(TARGET)
    project.run("--candidate=odd", baseline="").assert_one_screen("the own_baseline() of odd gives str")


@pytest.mark.parametrize("error", ["RuntimeError", "TrainingError"])
def test_what_fails_to_train_is_begun_once_and_fails_its_own_gates_only(
    project: SmallProject, error: str
) -> None:
    project.conftest(ODD.format(error=error))
    project.suite(TARGET + GUARD)
    outcome = project.run("--candidate=broken", "--candidate=good")
    assert outcome.last_line == "2 failed, 2 passed"
    assert project.asked.count("begun") == 1
    assert verdicts(project) == {"broken": "INCONCLUSIVE", "good": "GO"}


def test_a_test_that_looks_at_the_baseline_alone_says_nothing_of_a_recipe(project: SmallProject) -> None:
    """The report was lost to an error while seeds were looked up for what had not been trained."""
    project.conftest(ODD.format(error="TrainingError"))
    project.suite(
        TARGET + "\n\ndef test_base(candidate, baseline):\n    assert baseline.scores(right).vector.values\n"
    )
    outcome = project.run("--candidate=broken")
    assert outcome.last_line == "1 failed, 1 passed"
    assert verdicts(project) == {"broken": "INCONCLUSIVE"}


@pytest.mark.parametrize("slots", [0, "'2'"])
def test_an_executor_says_how_many_slots_it_has(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch, slots: object
) -> None:
    monkeypatch.syspath_prepend(project.path)
    project.write("own_executor.py", f"class Own:\n    slots = {slots}\n    def run(self, job, bar): ...\n")
    project.suite(TARGET)
    project.run("--candidate=good", "--executor=own_executor:Own").assert_one_screen(
        "slots is", "a whole number from 1 on"
    )
    monkeypatch.delitem(__import__("sys").modules, "own_executor", raising=False)


def test_a_gate_that_is_left_out_by_name_is_missing(project: SmallProject) -> None:
    """``-k`` made it INCONCLUSIVE, and ``file::test`` a GO without the guard."""
    guard = GUARD.replace("baseline)", "baseline, margin)", 1).replace("- 0.1", "- margin")
    file = project.suite(f'{TARGET}\n\n@pytest.mark.parametrize("margin", [0.1, 0.2]){guard}')
    project.run("--candidate=good", f"{file}::test_better")
    assert verdicts(project) == {"good": "INCONCLUSIVE"}
    project.run("--candidate=good", f"{file}::test_better", f"{file}::test_not_worse[good@30-0.1]")
    missing = [g.test for g in project.record.gates if g.state == "missing"]
    assert missing == ["suites/support/test_support.py::test_not_worse[0.2]"]
    project.run("--candidate=good", str(file))
    assert verdicts(project) == {"good": "GO"}


UNITTEST = """
import unittest

class TestOld(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def asks(self, candidate):
        self.candidate = candidate

    def test_old(self):
        pass
"""
WHILE_IT_RUNS = """
def test_late(request):
    request.getfixturevalue("candidate")
"""


@pytest.mark.parametrize("gate", [UNITTEST, WHILE_IT_RUNS])
def test_a_test_that_asks_for_candidate_while_it_runs_is_told_how_to_ask(
    project: SmallProject, gate: str
) -> None:
    """It was an AttributeError of pytest's own."""
    project.suite(TARGET + gate)
    outcome = project.run("--candidate=good")
    assert outcome.status == 1
    assert "hint: take candidate as an argument of a test function" in outcome.out
    assert "asks for candidate while it runs" in outcome.out


def test_a_plan_says_which_suites_it_cannot_know(project: SmallProject) -> None:
    """It said that nothing is to be asked, and nothing to be paid."""
    project.suite(TARGET, head=SUITE.partition("@pytest.fixture")[0])
    project.write("suites/support/conftest.py", SUITE)
    out = " ".join(project.run("--candidate=good", "--plan").out.split())
    assert "Not in this plan: what the suite of suites/support/test_support.py asks" in out
    project.suite(TARGET)
    assert "Not in this plan" not in project.run("--candidate=good", "--plan").out


def test_a_real_plan_learns_nothing_from_rehearsals(project: SmallProject) -> None:
    project.suite(TARGET)
    project.run("--candidate=good")
    assert "by the spread of run" in project.run("--candidate=good", "--plan").out
    (file,) = (project.path / "reports").glob("*/run.json")
    text = file.read_text(encoding="utf-8")
    assert '"rehearsal": false' in text
    file.write_text(text.replace('"rehearsal": false', '"rehearsal": true'), encoding="utf-8")
    assert "not known before a first run" in project.run("--candidate=good", "--plan").out


def test_paths_of_a_linked_folder_start_from_what_is_linked(project: SmallProject) -> None:
    """The rows of a file of the same name beside the link were taken."""
    real = project.path.parent / "elsewhere"
    project.suite(TARGET, name="linked")
    project.write("suites/linked/conftest.py", OTHER.format(name="own", train="../train.jsonl", says="yes"))
    shutil.rmtree(real, ignore_errors=True)
    real.mkdir()
    (project.path / "suites/linked").rename(real / "linked")
    (project.path / "suites/linked").symlink_to(real / "linked")
    lines = (project.path / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (project.path / "suites/train.jsonl").write_text("".join(lines[:9]), encoding="utf-8")
    (real / "train.jsonl").write_text("".join(lines[:7]), encoding="utf-8")
    project.run("--candidate=own", "suites/linked")
    assert {gate.size for gate in project.record.gates} == {7}
    shutil.rmtree(real)
