"""Answers that several calls make: each call's own answers are kept, and what they make is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.candidates.base import Call
from harness.models.embeddings import embedder_is_at_hand
from harness.records import Answer, Row
from harness.run.suite_loading import LoadedSuite
from harness.scoring.judges import BUILTIN_EMBEDDER, embedder_of

if TYPE_CHECKING:
    from harness.models.embeddings import Vectors
    from harness.run.answering import Answerer


class LiveAsker:
    """Asks; see ``Asker``."""

    def __init__(self, answerer: Answerer, bound: LoadedSuite, label: str) -> None:
        self._answerer, self._bound, self._label = answerer, bound, label
        self.calls: list[Call] = []  # that were put

    def prompt(self, row: Row, text: str | None = None) -> str | None:
        """See ``Asker``."""
        return self._bound.prompt_of(row, text)

    def ask(self, call: Call) -> Mapping[str, Answer]:
        """See ``Asker``."""
        if not call.prompts:
            return {}
        self.calls.append(call)
        return {one.row_id: one for one in self._answerer.answered(self._label, call, self._bound)}

    def embed(self, texts: Sequence[str], model: str) -> Vectors | None:
        """See ``Asker``."""
        return embedder_of(self._answerer.oracle, model).embed(texts)


class KeptAsker(LiveAsker):
    """Asks nobody, and notes what would be asked."""

    def __init__(self, answerer: Answerer, bound: LoadedSuite) -> None:
        super().__init__(answerer, bound, "")
        self._rows = {row.id: row for row in bound.rows}

    def ask(self, call: Call) -> Mapping[str, Answer]:
        """See ``Asker``."""
        if not call.prompts:
            return {}
        self.calls.append(call)
        asked = self._answerer.asked(call, self._bound)
        found: dict[str, Answer] = {}
        for prompt, key in zip(call.prompts, asked.keys, strict=True):
            kept = asked.kept.get(key)
            row = self._rows.get(prompt.row_id)
            reference = Answer(prompt.row_id, row.reference if row else "", None, None, None)
            found[prompt.row_id] = reference if kept is None else asked.read(kept)
        return found

    def embed(self, texts: Sequence[str], model: str) -> Vectors | None:
        """See ``Asker``."""
        if model == BUILTIN_EMBEDDER and not embedder_is_at_hand():
            return None
        return super().embed(texts, model)
