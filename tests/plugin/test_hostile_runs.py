"""One bad row never sinks a run: hostile answers and results go the whole way to the reports.

``python -m benchmarks.hostile_answers`` does the same with 5,000 answers.
"""

from __future__ import annotations

import pytest
from small_project import SmallProject

from benchmarks.hostile_answers import ARGUMENTS, ended, write_project

ANSWERS = 300


def test_three_hundred_hostile_answers_end_in_reports(pytester: pytest.Pytester) -> None:
    write_project(pytester.path, 1000, ANSWERS, longest=500)
    # three claims of seven: every score is made all the same
    result = pytester.runpytest_inprocess(*ARGUMENTS, "-k", "binary or bar")
    done = ended(pytester.path, result.stdout.str() + result.stderr.str())
    assert done.problems == []
    assert done.record is not None
    hostile = [trial for trial in done.record.trials if trial.candidate == "a-hostile"]
    assert [trial.counts.n for trial in hostile] == [ANSWERS]
    assert 0 < hostile[0].counts.n_failed < ANSWERS


JUDGES = """
import math
from dataclasses import dataclass

from harness import Suite
from harness.records import Admission, Kind, Rate, Score


@dataclass(frozen=True)
class Own:
    name: str
    breaks: bool = False
    admitted: object = 1.0
    kind = Kind.GRADED
    trust = "transfer"

    def spec(self):
        return {"name": self.name}

    def bind(self, read):
        return self

    def require_ready(self, oracle):
        pass

    def estimate(self, rows):
        return None

    def redirected(self, url):
        return self

    def calibrated(self, oracle):
        if self.breaks:
            raise ZeroDivisionError("no labels \\x1b[31m\\ud800")
        return self

    @property
    def admission(self):
        rate = Rate(self.admitted, 0.9, 1.0, 50)
        return Admission(self.name, True, rate, rate, rate, 0.5, 50, 50, ())

    def score_many(self, rows, answers, oracle):
        while True:
            if self.name == "endless":
                yield Score(1.0)
                continue
            yield from (Score(float(answer.text == "yes")) for answer in answers)
            return


JUDGES = sound, *others = (
    *(Own("sound"), Own("broken", breaks=True), Own("odd", admitted=math.nan), Own("endless")),
)


@pytest.fixture(scope="module")
def suite():
    return Suite(heldout="heldout.jsonl", scores=JUDGES)


@pytest.mark.parametrize("judge", JUDGES, ids=lambda judge: judge.name)
def test_judged(candidate, baseline, judge):
    assert candidate.scores(judge) > baseline.scores(judge)
"""


def test_a_judge_that_breaks_fails_alone_and_bars_a_go(project: SmallProject) -> None:
    project.suite("", head="import pytest\n" + JUDGES)
    outcome = project.run("--candidate=good")
    assert outcome.last_line == "1 passed, 3 inconclusive"
    assert "\x1b" not in outcome.said
    record = project.record
    assert [decision.verdict.value for decision in record.decisions] == ["INCONCLUSIVE"]
    admitted = [score.name for score in record.suites[0].scores if score.admission is not None]
    assert admitted == ["sound", "endless"]
    failures = {name: scores[0].failure for name, scores in record.trials[0].scores.items()}
    assert failures["sound"] is None
    assert str(failures["broken"]).startswith("broken: not calibrated: ZeroDivisionError: no labels")
    assert "not finite" in str(failures["odd"])
    assert failures["endless"] == "endless: gave more than 40 scores for 40 rows"
