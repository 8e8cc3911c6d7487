"""Several candidates in one run share the level of GO (Holm)."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from small_project import TARGET, SmallProject

from harness.records import Verdict

NEAR = """
def nearly(base):
    def reply(prompt, size):
        number = int(prompt.row_id.rpartition("-")[2])
        return "yes" if (0 < number and number % 10 < 3) or number in (5, 6, 7, 15, 16, 17) else "no"

    return Scripted(train="train.jsonl", reply=reply, base=base)


@harness.candidate
def near_one():
    '''Six rows gained and one lost: a p of 0.029.'''
    return nearly("one")


@harness.candidate
def near_two():
    return nearly("two")
"""
GO, NO_GO, OPEN = Verdict.GO, Verdict.NO_GO, Verdict.INCONCLUSIVE


@pytest.fixture
def near(project: SmallProject) -> SmallProject:
    project.conftest(NEAR)
    project.suite(TARGET)
    return project


def test_two_that_are_go_alone_are_not_together_and_the_reports_say_the_level(near: SmallProject) -> None:
    assert near.run("--candidate=near-one", "--sizes=10,20,30").status == 0  # sizes are no candidates
    (alone,) = near.record.decisions
    assert (alone.verdict, alone.level, alone.candidates_judged) == (GO, 0.05, 1)
    outcome = near.run("--candidate=near-*", "--candidate=bad")
    assert outcome.last_line == "1 failed, 2 passed"  # each gate says what its rows show
    assert outcome.status == 1
    one, two, bad = near.record.decisions
    assert [one.verdict, two.verdict, bad.verdict] == [OPEN, OPEN, NO_GO]
    assert (one.level, bad.level, bad.candidates_judged) == (0.05 / 3, None, 3)
    assert one.p_value == pytest.approx(0.0294, abs=1e-4)
    assert "refuted" in bad.reasons[0]
    why = "this one would have to hold at 1.67% (Holm), and the largest p of its gates is 2.94%, of target"
    assert why in " ".join(outcome.out.split())
    assert "exit status 1: under --gate=release" in outcome.out
    folder = next((near.path / "reports").glob("*3-candidates*"))
    for page in ("report.md", "report.html"):
        text = (folder / page).read_text(encoding="utf-8")
        assert "The level that each candidate met" in text
        assert "1.67%" in text


def test_a_strong_one_keeps_its_go_and_leaves_more_to_the_others(near: SmallProject) -> None:
    outcome = near.run("--candidate=near-one", "--candidate=good")
    assert outcome.status == 0
    near_one, good = near.record.decisions
    assert [near_one.verdict, good.verdict] == [GO, GO]
    assert [near_one.level, good.level] == [0.05, 0.025]
    assert "holds at 2.5% among the 2 candidates of this run (Holm)" in " ".join(outcome.out.split())
    assert asdict(near_one)["candidates_judged"] == 2
