"""Held-out rows remember what they have judged, in the store, in reports and in a record that is named."""

from __future__ import annotations

import shutil

import pytest
from small_project import Row, SmallProject, jsonl, rows

from harness.records import Comparison

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
    project.suite(held=rows("support", 20))
    return project


def uses(project: SmallProject) -> int:
    return project.record.suites[0].uses


def hold_out(project: SmallProject, held: list[Row]) -> None:
    project.write("suites/support/heldout.jsonl", jsonl(held))


def judged(project: SmallProject) -> Comparison:
    found = project.record.gates[0].comparison
    assert found is not None
    return found


def test_a_file_that_grew_is_judged_at_a_smaller_level_and_its_count_goes_on(ready: SmallProject) -> None:
    ready.run("--candidate=a-bit-better")
    assert (judged(ready).alpha, judged(ready).outcome) == (0.05, "inconclusive")

    hold_out(ready, rows("support", 30)[::-1])
    ready.conftest(MANY.replace("a_bit_better", "renamed"))
    out = ready.run("--candidate=renamed").out
    assert judged(ready).alpha == pytest.approx(0.005)
    why = "Judged at 0.5%, as these rows grew from 20 that gave no GO."
    assert judged(ready).reason.endswith(why)
    assert why in " ".join(out.split())
    assert "] (99%)" in out  # the interval is read at that level, too
    assert uses(ready) == 2

    ready.run("--candidate=renamed", "--candidate=good")  # nothing grew; another has not seen fewer rows
    alphas = {g.candidate: g.comparison.alpha for g in ready.record.gates if g.comparison is not None}
    assert alphas == {"renamed": pytest.approx(0.005), "good": 0.05}
    assert uses(ready) == 3


def test_the_count_outlives_the_store_and_the_reports_each(ready: SmallProject) -> None:
    ready.run("--candidate=good")
    shutil.rmtree(ready.path / ".harness")
    hold_out(ready, rows("support", 21))  # a row more
    ready.run("--candidate=bad")
    assert uses(ready) == 2
    shutil.rmtree(ready.path / "reports")
    ready.run("--candidate=much-the-same")
    assert uses(ready) == 3

    last = next((ready.path / "reports").glob("*/run.json"))
    last.rename(ready.path / "reference.json")
    shutil.rmtree(ready.path / "reports")
    shutil.rmtree(ready.path / ".harness")
    ready.run("--candidate=a-bit-better", "--reference-run=reference.json")
    assert uses(ready) == 4
    assert [use.candidate for use in ready.record.suites[0].history] == [
        "good",
        "bad",
        "much-the-same",
        "a-bit-better",
    ]


def test_each_candidate_of_a_run_is_a_use(ready: SmallProject) -> None:
    ready.run("--candidate=one*")
    out = ready.run("--candidate=good").out
    assert uses(ready) == 21
    said = "suites/support/heldout.jsonl: 21 candidates in 2 runs on these rows: up to 10% that at least one"
    assert f"{said} GO among them is false (1 - 0.95^2); judge the winner on rows" in " ".join(out.split())
    (decision,) = ready.record.decisions
    assert any(note.startswith(said) for note in decision.notes)
    folder = ready.path / "reports" / ready.record.id
    assert "1 - 0.95^2" in (folder / "report.html").read_text(encoding="utf-8")
    assert "1 - 0.95" in (folder / "report.md").read_text(encoding="utf-8")


def test_a_reference_run_that_cannot_be_read_is_said_before_anything_is_asked(ready: SmallProject) -> None:
    ready.write("broken.json", "{")
    for name in ("nowhere.json", "broken.json"):
        ready.run("--candidate=good", f"--reference-run={name}").assert_one_screen("--reference-run", name)
