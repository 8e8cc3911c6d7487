"""Answers that never came, and thoughts, beside the decision: terminal, page, summary and record."""

from __future__ import annotations

import pytest
from small_project import SmallProject

SIDES = """

def thinks(right, ends=10):
    def reply(prompt, size):
        number = int(prompt.row_id.rpartition("-")[2]) % 10
        said = "yes" if number < right else "no"
        return f"<think>Hm, {said}?</think>{said}" if number < ends else "<think>Hm, I do not"

    return reply


@harness.candidate
def thinker():
    return Scripted(train="train.jsonl", reply=thinks(9), base="thinker")


@harness.candidate
def half_thought():
    return Scripted(train="train.jsonl", reply=thinks(3, ends=5), base="half")
"""


@pytest.fixture
def thinking(project: SmallProject) -> SmallProject:
    project.conftest(SIDES)
    project.suite()
    return project


def test_a_thought_is_no_part_of_the_answer_and_the_difference_is_said(thinking: SmallProject) -> None:
    outcome = thinking.run("--candidate=thinker", "--baseline=old")
    assert outcome.status == 0
    assert "GO: thinker" in outcome.out
    assert "differ in thinking" in " ".join(outcome.out.split())
    (decision,) = thinking.record.decisions
    assert any("thought before" in note for note in decision.notes)
    trial = next(t for t in thinking.record.trials if t.candidate == "thinker")
    assert {answer.text for answer in trial.answers} == {"yes", "no"}
    assert (trial.counts.thought, trial.counts.n_failed) == (trial.counts.n, 0)


def test_a_baseline_that_never_answered_loses_no_gate_and_is_named(thinking: SmallProject) -> None:
    outcome = thinking.run("--candidate=good", "--baseline=half-thought")
    assert outcome.status == 1
    assert "INCONCLUSIVE: good" in outcome.out
    told = "of half-thought@30 never came"
    assert told in " ".join(outcome.out.split())
    folder = thinking.path / "reports" / thinking.record.id
    for name in ("report.html", "report.md", "run.json"):
        assert told.replace("@", "") in (folder / name).read_text("utf-8").replace(
            "&#64;\N{ZERO WIDTH SPACE}", ""
        ).replace("@", "")
