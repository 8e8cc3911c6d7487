"""pytest-xdist: one decision and one report, whatever the number of workers and the way of sharing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from small_project import GUARD, SUITE, TARGET, Outcome, SmallProject, row

CANDIDATES = """
import os


def made(name, right):
    with (HERE / "made.txt").open("a") as file:
        file.write(f"{name} {os.environ.get('PYTEST_XDIST_WORKER', 'controller')}\\n")
    return Scripted(train="train.jsonl", reply=says(right), base=name)


@harness.candidate
def better():
    return made("better", lambda size: 7 if size < 30 else 9)


@harness.candidate
def worse():
    return made("worse", 1)
"""

JUDGE = """
from dataclasses import dataclass

from harness.records import Kind, Score
from harness.scoring.admission import admit


@dataclass(frozen=True)
class Affirmative:
    name: str = "affirmative"
    kind = Kind.BINARY
    trust = "transfer"

    def spec(self):
        return {"judge": "affirmative"}

    def bind(self, read):
        return self

    def require_ready(self, oracle):
        pass

    def estimate(self, rows):
        return None

    def redirected(self, url):
        return self

    def calibrated(self, oracle):
        labels = [True, False] * 25
        return Calibrated(self.name, admit(self.name, labels, labels, threshold=0.5, n_calibration=0))


@dataclass(frozen=True)
class Calibrated:
    name: str
    admission: object

    def score_many(self, rows, answers, oracle):
        return tuple(Score(float(answer.text == "yes")) for answer in answers)


affirmative = Affirmative()
"""

GATES = """
@pytest.mark.parametrize("language", ["en", "es"])
def test_slice(candidate, baseline, language):
    where = {"language": language}
    assert candidate.scores(right, **where) >= baseline.scores(right, **where) - 0.25


def test_judged(candidate, baseline):
    assert candidate.scores(affirmative) > baseline.scores(affirmative)


class TestLevel:
    def test_level(self, candidate):
        assert candidate.scores(right) > 0.5
"""

OTHERS = """
from unittest import TestCase

import pytest


@pytest.mark.parametrize("number", range(8))
def test_plain(number):
    assert number >= 0


@pytest.mark.skip
def test_skipped():
    pass


class TestOld(TestCase):
    def test_true(self):
        self.assertTrue(True)
"""

HEAD = SUITE.replace("scores=(right,)", "scores=(right, affirmative), slices=('language',)").replace(
    "import pytest\n", f"import pytest\n{JUDGE}", 1
)
SEVERAL = ("--candidate=better", "--candidate=worse", "--sizes=10,30", "--train-seeds=0,1", "--baseline=old")
WORKERS = "the gates run in this process; workers run the other tests"


@pytest.fixture
def shared(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> SmallProject:
    """Two suites with six gates each, and a file of ten other tests."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # these tests may be run by a worker themselves
    project.conftest(CANDIDATES)
    for name in ("mail", "chat"):
        held = [row(f"{name}-{n}", f"{name} {n}?", language="en" if n // 10 % 2 else "es") for n in range(60)]
        project.suite(TARGET + GUARD + GATES + OTHERS, name, HEAD, held)
    project.write("tests/test_others.py", OTHERS)
    return project


@pytest.fixture
def small(project: SmallProject) -> SmallProject:
    project.suite(TARGET + GUARD)
    project.write("tests/test_others.py", OTHERS)
    return project


def decision(outcome: Outcome) -> str:
    """The decision section."""
    section = re.split(r"=+ decision =+\n", outcome.out)[1]
    return re.split(r"\n(report: |=+ )", section)[0]


def measured(project: SmallProject) -> object:
    """The last run's record without what differs between any two runs: times, its name, the command."""
    record = project.record
    text = (project.path / "reports" / record.id / "run.json").read_text(encoding="utf-8")
    plain = json.loads(text)
    for name in ("id", "created", "command", "timings_s"):
        del plain[name]
    for trial in plain["trials"]:
        del trial["seconds"]
        for answer in trial["answers"]:
            del answer["latency_ms"]
    return plain


def forget(project: SmallProject) -> None:
    """As before the first run, so that the next one asks and writes everything anew."""
    for name in ("asked.txt", "made.txt"):
        (project.path / name).unlink(missing_ok=True)
    for path in (".harness/answers.sqlite", ".harness/answers.sqlite-wal", ".harness/answers.sqlite-shm"):
        (project.path / path).unlink(missing_ok=True)


def compare_with_one_process(project: SmallProject, *options: str, arguments: tuple[str, ...]) -> Outcome:
    """The run with ``options`` says, asks and writes what a run without workers does."""
    alone = project.run(*arguments, "-n0")
    wanted = decision(alone), measured(project), Counter(project.asked), alone.status
    forget(project)
    outcome = project.run(*arguments, *options)
    assert WORKERS in outcome.out
    assert (decision(outcome), measured(project), Counter(project.asked), outcome.status) == wanted
    assert len(project.records()) == 2
    return outcome


def test_one_decision_and_one_report(shared: SmallProject) -> None:
    """Two suites, two candidates at two sizes and seeds, slices, a judge with labels, gates that fail."""
    outcome = compare_with_one_process(shared, "-n2", "--junitxml=out.xml", arguments=SEVERAL)
    assert outcome.status == 1
    figures = re.findall('<property name="outcome', (shared.path / "out.xml").read_text(encoding="utf-8"))
    assert len(figures) == len([gate for gate in shared.record.gates if gate.comparison and gate.place])
    assert {d.candidate: str(d.verdict) for d in shared.record.decisions} == {
        "better": "GO",
        "worse": "NO-GO",
    }
    assert outcome.last_line == "8 failed, 39 passed, 3 skipped, 24 measured, 4 inconclusive"
    made = (shared.path / "made.txt").read_text(encoding="utf-8").split("\n")
    assert sorted(filter(None, made)) == ["better controller", "worse controller"], "and in no worker"


@pytest.mark.slow
def test_every_worker_may_run_every_test(shared: SmallProject) -> None:
    compare_with_one_process(shared, "-n2", "--dist=each", arguments=SEVERAL)


@pytest.mark.slow
def test_a_project_with_workers_by_default_and_xdist_hooks_of_its_own(
    small: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.conftest(
        """
import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class ByLastLetter(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return nodeid[-2]

    return ByLastLetter(config, log)


def pytest_xdist_auto_num_workers(config):
    return 3


def pytest_configure_node(node):
    node.workerinput["theirs"] = 7


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["theirs"] = session.config.workerinput["theirs"]


def pytest_testnodedown(node, error):
    print("down with", node.workeroutput["theirs"])


@pytest.fixture(scope="session", autouse=True)
def worker(worker_id):
    with (HERE / "workers.txt").open("a") as file:
        file.write(worker_id + "\\n")
"""
    )
    small.write("pytest.ini", "[pytest]\naddopts = -n auto --dist=loadscope\n")
    outcome = small.run("--candidate=good", "-s")
    assert outcome.status == 0, outcome.said
    assert "3 workers [10 items]" in outcome.out
    assert outcome.out.count("down with 7") == 3
    assert set((small.path / "workers.txt").read_text().split()) > {"master", "gw0"}
    plan = small.run("--candidate=good", "--plan")
    assert "workers [" not in plan.out
    assert "= plan =" in plan.out


# --------------------------------------------------------------------------- what is chosen
def test_nothing_is_run_and_no_worker_started_to_show_a_plan(small: SmallProject) -> None:
    for option, section in (
        ("--plan", "plan"),
        ("--candidates", "candidates"),
        ("--co", "collected 12 items"),
    ):
        outcome = small.run("--candidate=good", option, "-n2")
        assert section in outcome.out
        assert "workers [" not in outcome.out


def test_without_pytest_xdist_nothing_is_missed(small: SmallProject) -> None:
    outcome = small.run("--candidate=good", plugins=("cache",))
    assert outcome.status == 0
    assert small.run("--candidate=good", "-p", "no:xdist").status == 0


def test_gates_that_wait_for_a_candidate_are_counted_though_only_workers_saw_them(
    small: SmallProject,
) -> None:
    outcome = small.run("-n1", baseline="")
    assert (outcome.status, outcome.last_line) == (0, "9 passed, 1 skipped")
    assert "2 gates wait for a candidate" in outcome.out


def test_what_cannot_be_is_said_on_one_screen(small: SmallProject) -> None:
    small.run("--candidate=god", "-n1").assert_one_screen("unknown candidate 'god'", "Did you mean 'good'?")


def test_a_gate_may_be_chosen_by_its_id_and_the_others_are_missing(small: SmallProject) -> None:
    gate, other = (
        "suites/support/test_support.py::test_better[good@30]",
        "tests/test_others.py::test_plain[3]",
    )
    outcome = small.run("--candidate=good", gate, other, "-n1")
    assert (outcome.status, outcome.last_line) == (1, "2 passed")
    assert [g.test for g in small.record.gates if g.state == "missing"] == [
        "suites/support/test_support.py::test_not_worse"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--lf", "--sw"])
def test_what_failed_last_time_is_the_same_for_workers(small: SmallProject, option: str) -> None:
    """The other tests that run depend on the gates that failed, which workers leave out."""
    last = []
    for workers in ("-n0", "-n1"):
        small.run("--candidate=bad", "-n0", plugins=("cache",))
        outcome = small.run("--candidate=bad", workers, option, plugins=("cache",))
        last.append((outcome.status, decision(outcome), outcome.last_line))
    assert last[0] == last[1]


# --------------------------------------------------------------------------- what goes wrong
def test_a_worker_that_crashes_takes_no_gate_with_it(small: SmallProject) -> None:
    crash = (
        "import os\n\n\ndef test_crash():\n    assert 'PYTEST_XDIST_WORKER' in os.environ\n    os._exit(3)\n"
    )
    small.write("tests/test_crash.py", crash)
    outcome = small.run("--candidate=good", "-n1")
    assert (outcome.status, outcome.last_line) == (1, "1 failed, 11 passed, 1 skipped")
    assert "crashed while running 'tests/test_crash.py::test_crash'" in outcome.out
    assert [str(d.verdict) for d in small.record.decisions] == ["GO"]


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["atests", "tests"])
def test_the_first_failure_ends_the_run_as_it_does_without_workers(
    project: SmallProject, folder: str
) -> None:
    """Whether gates were reached follows from the order of the files, and so does the decision."""
    project.suite(TARGET + GUARD)
    project.write(f"{folder}/test_fails.py", "def test_fails():\n    assert 0\n")
    found = []
    for workers in ("-n0", "-n1"):
        outcome = project.run("--candidate=good", "-x", "--fresh", workers)
        found.append((outcome.status, decision(outcome), outcome.last_line))
        assert "stopping after 1 failures" in outcome.out
    assert found[0] == found[1]
    assert found[0][0] == 1


@pytest.mark.slow
def test_a_module_that_cannot_be_imported_stops_the_run_before_anything_is_asked(small: SmallProject) -> None:
    small.write("tests/test_broken.py", "import nothing_of_that_name\n")
    outcome = small.run("--candidate=good", "-n1")
    assert (outcome.status, outcome.last_line) == (2, "1 error")
    assert small.asked == []


@pytest.mark.slow
def test_an_interrupted_run_keeps_what_came(small: SmallProject) -> None:
    """As a terminal does it: Ctrl-C reaches the workers as well."""
    small.suite(
        TARGET + "\n\ndef test_long(candidate, baseline):\n    import pathlib, time\n"
        "    pathlib.Path('reached').touch()\n    time.sleep(60)\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", "-n1"]
    run = subprocess.Popen(
        [*command, "--baseline=old", "--candidate=good"],
        cwd=small.path,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 60
        while not (small.path / "reached").exists() and time.monotonic() < end:
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGINT)
        said = run.communicate(timeout=60)[0]
    finally:
        run.kill()
    assert run.returncode == 2, said
    assert "INCONCLUSIVE: good at 30 rows" in said
    assert [g.state for g in small.record.gates] == ["gated", "missing"]
