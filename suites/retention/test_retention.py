"""What a fine-tune forgets: short general questions with checkable answers."""

import pytest

from harness import Contains, Suite

# each row asks for a few words, and no more are read: an answer that goes on mentions the right word by
# chance
right = Contains("accept", first_words=10, name="right answer")


@pytest.fixture(scope="module")
def suite():
    return Suite(heldout="heldout.jsonl", scores=(right,), slices=("kind",), max_tokens=48)


def test_general_knowledge_is_kept(candidate, baseline):
    assert candidate.scores(right) >= baseline.scores(right) - 0.10
