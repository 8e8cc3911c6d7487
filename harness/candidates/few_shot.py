"""A model that is shown examples in its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from harness.candidates.base import Ask, Looked, asked_with_prompt
from harness.candidates.lab import Lab
from harness.candidates.nearest import By
from harness.candidates.prompted import Prompted
from harness.data.copies import asks_the_same
from harness.data.subsets import nested_subsets
from harness.errors import UsageError
from harness.fields import Count
from harness.records import Json, LookedUp, Message, Row
from harness.training.rows import TrainingData

CALLED = "You have correctly called this tool."  # LangChain's words in the same place


@dataclass(frozen=True, kw_only=True)
class FewShot(Prompted):
    """A model with the suite's full prompt and ``shots`` training rows as examples before the question.

    The examples are the first ``shots`` of the nested order of the training rows, stratified like the
    subsets that a fine-tune sees. A suite without a prompt is another task: it is asked without examples.
    Where the training rows have system messages of their own, each example's user turn begins with its own.

    Args:
        nearest: show each row the examples nearest to it, by BM25 (``True``) or by ``"embeddings"``. The
            nearest stands last: what stands next to the question weighs most (Zhao et al. 2021). Never shown
            is a row that asks what the held-out row asks. What is equally near comes in the file's order.
    """

    kind: ClassVar[str] = "few-shot"
    cost_rank: ClassVar[int] = 1

    train: str
    shots: Count = 5  # without examples it is a Prompted
    stratify: str | None = None
    nearest: bool | Literal["embeddings"] = False

    def described(self) -> dict[str, Json]:
        """See ``Candidate``."""
        found = super().described()
        if not self.nearest:
            del found["nearest"]
        return found

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nearest and self.stratify is not None:
            raise UsageError(
                f"FewShot(nearest={self.nearest!r}, stratify={self.stratify!r}): the nearest rows are shown,"
                " whatever they are; leave stratify= out."
            )

    def data(self, lab: Lab) -> TrainingData:
        """See ``Candidate``: rows that are shown, not learnt."""
        return TrainingData(
            lab.rows(self.train),
            lab.shown(self.train),
            stratify=self.stratify,
            is_trained=False,
            shown=None if self.nearest else self.shots,  # any of them may be
            prompts=self.own_prompts(lab),
        )

    @property
    def asked_with(self) -> str:
        """See ``Prompted``."""
        how = {"embeddings": " nearest by embeddings", True: " nearest by BM25"}.get(self.nearest, "")
        return f"{super().asked_with} and {self.shots} example{'s' * (self.shots > 1)}{how}"

    def looker(self, lab: Lab) -> Looked | None:
        """See ``Prompted``."""
        if not self.nearest:
            return None
        by: By = "embeddings" if self.nearest == "embeddings" else "bm25"
        rows = lab.rows(self.train)
        index = lab.index((self.train, by), [row.question for row in rows], by)

        def looked(row: Row) -> tuple[LookedUp, ...]:
            near = index.near(row.question, lambda at: not asks_the_same(rows[at], row), self.shots)
            return tuple(LookedUp(rows[at].where or rows[at].id, score, at) for at, score in near)

        return looked

    def asker(self, lab: Lab) -> Ask:
        """See ``Prompted``."""
        rows, looked = lab.rows(self.train), self.looker(lab)
        with_facts = len({row.instructions for row in rows}) > 1
        if self.shots > len(rows):
            raise UsageError(f"FewShot(shots={self.shots}): {lab.shown(self.train)} has {len(rows)} rows.")
        same = nested_subsets(rows, [self.shots], 0, self.stratify)[self.shots]

        def ask(row: Row, prompt: str | None) -> tuple[Message, ...]:
            turns = asked_with_prompt(row, prompt)
            if prompt is None:
                return turns
            examples = same if looked is None else [rows[one.at] for one in reversed(looked(row))]
            return (turns[0], *_shown(examples, with_facts=with_facts), *turns[1:])

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
