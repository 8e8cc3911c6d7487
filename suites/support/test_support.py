"""Tickets from customers' messages: is the fine-tune better than the prompt that it would replace?"""

import pytest

from harness import FieldMatch, JsonSchema, Suite, TunedJudge

valid = JsonSchema("ticket.schema.json")
intent = FieldMatch("intent")
urgency = FieldMatch("urgency")
summary = TunedJudge(field="summary", labels="judge_labels.jsonl")


@pytest.fixture(scope="module")
def suite():
    return Suite(
        heldout="heldout.jsonl",
        prompt="prompt.md",  # full instructions: what prompted candidates get;
        scores=(valid, intent, urgency, summary),  # fine-tuned ones get each row's own short system message
        slices=("intent", "language"),
        max_tokens=80,
    )


def test_intent(candidate, baseline):
    assert candidate.scores(intent) > baseline.scores(intent)


def test_format(candidate, baseline):
    assert candidate.scores(valid) > baseline.scores(valid)


def test_urgency(candidate, baseline):
    assert candidate.scores(urgency) >= baseline.scores(urgency) - 0.05


def test_summary(candidate, baseline):
    assert candidate.scores(summary) > baseline.scores(summary)
