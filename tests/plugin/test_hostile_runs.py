"""One bad row never sinks a run: hostile answers and results go the whole way to the reports.

``python -m benchmarks.hostile_answers`` does the same with 5,000 answers.
"""

from __future__ import annotations

import pytest

from benchmarks.hostile_answers import ARGUMENTS, ended, write_project

ANSWERS = 300


def test_three_hundred_hostile_answers_end_in_reports(pytester: pytest.Pytester) -> None:
    write_project(pytester.path, 1000, ANSWERS, longest=500)
    result = pytester.runpytest_inprocess(*ARGUMENTS)
    done = ended(pytester.path, result.stdout.str() + result.stderr.str())
    assert done.problems == []
    assert done.record is not None
    hostile = [trial for trial in done.record.trials if trial.candidate == "a-hostile"]
    assert [trial.counts.n for trial in hostile] == [ANSWERS]
    assert 0 < hostile[0].counts.n_failed < ANSWERS
