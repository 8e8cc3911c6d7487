"""A model that is shown examples in its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from harness.candidates.base import WITH_PROMPT, Ask, asked_with_prompt
from harness.candidates.lab import Lab
from harness.candidates.prompted import Prompted
from harness.data.subsets import nested_subsets
from harness.fields import Count
from harness.records import Message, Row
from harness.training.rows import TrainingData

CALLED = "You have correctly called this tool."  # LangChain's words in the same place


@dataclass(frozen=True, kw_only=True)
class FewShot(Prompted):
    """A model with the suite's full prompt and ``shots`` training rows as examples before the question.

    The examples are the first ``shots`` of the nested order of the training rows, stratified like the
    subsets that a fine-tune sees. A suite without a prompt is another task: it is asked without examples.
    Where the training rows have system messages of their own, each example's user turn begins with its own.
    """

    kind: ClassVar[str] = "few-shot"
    cost_rank: ClassVar[int] = 1

    train: str
    shots: Count = 5  # without examples it is a Prompted
    stratify: str | None = None

    def data(self, lab: Lab) -> TrainingData:
        """See ``Candidate``: rows that are shown, not learnt."""
        rows = lab.rows(self.train)
        file = lab.shown(self.train)
        return TrainingData(rows, file, stratify=self.stratify, is_trained=False, shown=self.shots)

    @property
    def asked_with(self) -> str:
        """See ``Prompted``."""
        return f"{WITH_PROMPT} and {self.shots} example{'s' * (self.shots > 1)}"

    def asker(self, lab: Lab) -> Ask:
        """See ``Prompted``."""
        rows = lab.rows(self.train)
        examples = nested_subsets(rows, [self.shots], 0, self.stratify)[self.shots]
        shown = _shown(examples, with_facts=len({row.instructions for row in rows}) > 1)

        def ask(row: Row, prompt: str | None) -> tuple[Message, ...]:
            turns = asked_with_prompt(row, prompt)
            return turns if prompt is None else (turns[0], *shown, *turns[1:])

        return ask


def _shown(examples: Sequence[Row], *, with_facts: bool) -> list[Message]:
    """The turns of the examples. A system turn among them would be refused by many templates."""
    shown: list[Message] = []
    for row in examples:
        facts = row.instructions if with_facts else ""
        for turn in (*row.turns, row.messages[-1]):
            if turn.role == "user" and facts:
                turn, facts = replace(turn, content=f"{facts}\n\n{turn.content}"), ""
            if turn.role in ("user", "assistant", "tool"):
                shown.append(turn)
        # a call that nothing answers is refused by services
        calls = row.messages[-1].tool_calls
        shown += [Message("tool", CALLED, tool_call_id=call.id) for call in calls]
    return shown
