"""Facts that only a row's own system message holds reach both sides of a comparison."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from small_project import SUITE, SmallProject, jsonl

from harness.candidates.base import asked_with_prompt
from harness.candidates.few_shot import FewShot
from harness.candidates.lab import Lab
from harness.models.progress import Silent
from harness.records import Message, Row
from harness.run.suite_loading import load_suite
from harness.scoring.checks import ExactMatch
from harness.scoring.suite import Suite
from harness.store.adapters import AdapterStore

PLANS = ("free", "plus", "family", "business")
SIDES = '''
import re
from dataclasses import dataclass, replace

from harness.candidates.base import asked_as_trained
from harness.records import Answer


class Reads:
    """Knows nothing but what it is sent."""

    numeric_config = "plain"

    def answer(self, prompts, decoding, known):
        for prompt in prompts:
            if prompt.row_id not in known:
                sent = "\\n".join(message.content for message in prompt.messages)
                found = re.findall(r"PLAN=(\\w+)", sent)
                yield Answer(prompt.row_id, found[-1] if found else "unknown", 1, 1, 0.0)


@dataclass(frozen=True)
class AsTrained(Scripted):
    """Stands for a fine-tune that learned nothing: it is asked as fine-tunes are."""

    def prepare(self, lab, variant):
        return replace(super().prepare(lab, variant), ask=asked_as_trained, load=Reads)


@dataclass(frozen=True)
class AsPrompted(Scripted):
    def prepare(self, lab, variant):
        return replace(super().prepare(lab, variant), load=Reads)


@harness.candidate
def tuned():
    return AsTrained(train="train.jsonl", reply=says(0), base="a")


@harness.candidate
def prompted():
    return AsPrompted(train="train.jsonl", reply=says(0), base="b")
'''
GATE = """
def test_better(candidate, baseline):
    assert candidate.scores(right) > baseline.scores(right)
"""
HEAD = SUITE.replace("scores=(right,)", "scores=(right,), prompt='prompt.md'")


def conversation(number: int, *turns: tuple[str, str]) -> dict[str, object]:
    messages = [{"role": role, "content": text} for role, text in turns]
    return {"id": f"support-{number}", "messages": messages}


def customers(count: int = 40) -> list[dict[str, object]]:
    return [
        conversation(
            number,
            ("system", f"Say the plan. Account {number * 977}: PLAN={PLANS[number % 4]}."),
            ("user", f"what do I pay for, asks number {number}"),
            ("assistant", PLANS[number % 4]),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("prompt", ["Answer with the plan alone.", "Account:\n{system}\nSay the plan."])
def test_one_model_on_both_sides_is_no_go(project: SmallProject, prompt: str) -> None:
    project.conftest(SIDES)
    project.suite(GATE, head=HEAD, held=customers())
    project.write("suites/support/prompt.md", prompt)

    project.run("suites/", "--candidate=tuned", baseline="prompted")

    (record,) = project.records()
    means = {trial.candidate: [s.value for s in trial.scores["right"]] for trial in record.trials}
    assert means == {"tuned": [1.0] * 40, "prompted": [1.0] * 40}
    assert [decision.verdict for decision in record.decisions] == ["INCONCLUSIVE"]
    assert record.suites[0].own_system == ("placed" if "{system}" in prompt else "beside")


def loaded(folder: Path, rows: list[dict[str, object]], prompt: str) -> tuple[list[Row], list[str]]:
    (folder / "held.jsonl").write_text(jsonl(rows), encoding="utf-8")
    (folder / "prompt.md").write_text(prompt, encoding="utf-8")
    suite = Suite(heldout="held.jsonl", prompt="prompt.md", scores=(ExactMatch(),))
    found = load_suite(suite, folder / "test_it.py", folder)
    sent = [asked_with_prompt(row, found.prompt_of(row)) for row in found.rows]
    return list(found.rows), ["|".join(f"{m.role}:{m.content}" for m in turns) for turns in sent]


def test_one_system_message_of_all_rows_is_replaced_by_the_prompt(tmp_path: Path) -> None:
    rows = [conversation(n, ("system", "Sort it."), ("user", f"q{n}"), ("assistant", "a")) for n in range(3)]
    _, sent = loaded(tmp_path, rows, 'Answer {"team": "…"}.')
    assert sent[0] == 'system:Answer {"team": "…"}.|user:q0'


def test_rows_with_and_without_a_system_message_keep_theirs(tmp_path: Path) -> None:
    rows = [
        conversation(0, ("system", "Tier: gold."), ("user", "q0"), ("assistant", "a")),
        conversation(1, ("user", "q1"), ("assistant", "a")),
    ]
    _, sent = loaded(tmp_path, rows, "Sort it.")
    assert sent == ["system:Sort it.\n\nTier: gold.|user:q0", "system:Sort it.|user:q1"]


def test_a_system_message_between_turns_stays_where_it_is(tmp_path: Path) -> None:
    rows = [
        conversation(
            n,
            ("system", "Sort it."),
            ("user", f"q{n}"),
            ("assistant", "wait"),
            ("system", f"Stock: {n}"),
            ("user", "and now?"),
            ("assistant", "a"),
        )
        for n in range(2)
    ]
    _, sent = loaded(tmp_path, rows, "Full text.")
    assert sent[1] == "system:Full text.|user:q1|assistant:wait|system:Stock: 1|user:and now?"


def test_every_leading_system_message_counts(tmp_path: Path) -> None:
    rows = [
        conversation(n, ("system", "Sort it."), ("system", f"Date: {n}"), ("user", "q"), ("assistant", "a"))
        for n in range(2)
    ]
    _, sent = loaded(tmp_path, rows, "Full. {system} End.")
    assert sent[1] == "system:Full. Sort it.\n\nDate: 1 End.|user:q"


def test_examples_bring_their_own_facts(tmp_path: Path) -> None:
    """A few-shot prompt whose examples lack the facts that their answers follow from teaches guessing."""
    (tmp_path / "facts.jsonl").write_text(jsonl(customers(6)), encoding="utf-8")
    lab = Lab(tmp_path, AdapterStore(tmp_path / "store"), Silent())
    candidate = FewShot(model="smollm2-135m", train="facts.jsonl", shots=2)
    row = Row("r", (Message("system", "PLAN=plus"), Message("user", "mine?"), Message("assistant", "plus")))

    _, first, said, *_, last = candidate.asker(lab)(row, "Say the plan.\n\nPLAN=plus")

    plan = re.search(r"PLAN=(\w+)", first.content)
    assert first.role == "user"
    assert plan is not None
    assert plan[1] == said.content
    assert last.content == "mine?"


def test_an_example_that_calls_a_tool_has_its_call_answered(tmp_path: Path) -> None:
    """Services refuse a conversation that goes on past a call that nothing answers."""
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    turns = [{"role": "user", "content": "Look."}, {"role": "assistant", "tool_calls": [call]}]
    tools = [{"type": "function", "function": {"name": "look"}}]
    (tmp_path / "calls.jsonl").write_text(jsonl([{"messages": turns, "tools": tools}]), encoding="utf-8")
    lab = Lab(tmp_path, AdapterStore(tmp_path / "store"), Silent())
    row = Row("r", (Message("user", "mine?"), Message("assistant", "plus")))
    asked = FewShot(model="smollm2-135m", train="calls.jsonl", shots=1).asker(lab)(row, "Help.")
    assert [turn.role for turn in asked] == ["system", "user", "assistant", "tool", "user"]
    assert asked[3].tool_call_id == asked[2].tool_calls[0].id == "c1"
