"""What a fine-tune forgets: short general questions with checkable answers."""

import pytest

from harness import Contains, Suite

right = Contains("accept", name="right answer")


@pytest.fixture(scope="module")
def suite():
    return Suite(heldout="heldout.jsonl", scores=(right,), slices=("kind",), max_tokens=48)


def test_general_knowledge_is_kept(candidate, baseline):
    assert candidate.scores(right) >= baseline.scores(right) - 0.10
