"""Held-out rows remember what they have judged, wherever that is written down, and whatever they are called."""

from __future__ import annotations

import json
import shutil

import pytest
from small_project import GUARD, TARGET, Row, SmallProject, jsonl, row, rows

from harness.records import Comparison, Verdict

MANY = """

def at_times(number):
    def reply(prompt, size):
        return "yes" if int(prompt.row_id.rpartition("-")[2]) % 10 < 3 + number % 2 else "no"

    return reply


@harness.candidate(params={f"c{number}": number for number in range(20)})
def one(request):
    return Scripted(train="train.jsonl", reply=at_times(request.param), base=f"base {request.param}")


@harness.candidate
def a_bit_better():
    return Scripted(train="train.jsonl", reply=says(4), base="a bit")
"""


@pytest.fixture
def ready(project: SmallProject) -> SmallProject:
    project.conftest(MANY)
    project.suite()
    return project


def uses(project: SmallProject) -> int:
    return project.record.suites[0].uses


def held(project: SmallProject, rows: list[Row]) -> None:
    project.write("suites/support/heldout.jsonl", jsonl(rows))


def judged(project: SmallProject) -> Comparison:
    found = project.record.gates[0].comparison
    assert found is not None
    return found


def test_a_file_that_grew_is_judged_at_a_smaller_level_and_its_count_goes_on(ready: SmallProject) -> None:
    ready.run("--candidate=a-bit-better")
    first = judged(ready)
    assert (first.alpha, first.outcome) == (0.05, "inconclusive")
    assert first.rows_needed is not None

    held(ready, rows("support", 60)[::-1])
    out = ready.run("--candidate=a-bit-better").out
    assert judged(ready).alpha == pytest.approx(0.005)
    why = "Judged at 0.5%, as these rows grew from 40 that did not decide it."
    assert judged(ready).reason.endswith(why)
    assert " ".join(why.split()) in " ".join(out.split())
    assert uses(ready) == 2

    ready.run("--candidate=a-bit-better")  # nothing grew since
    assert (judged(ready).alpha, uses(ready)) == (pytest.approx(0.005), 2)
    ready.run("--candidate=good")  # another candidate has not been judged on fewer
    assert (judged(ready).alpha, uses(ready)) == (0.05, 3)
