"""What any model here can do: answer prompts, and say how likely a text is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Protocol, runtime_checkable

from harness.data.fingerprints import fingerprint
from harness.fields import Count, Span, require_fields
from harness.records import Answer, Json, Message, Row


@dataclass(frozen=True, slots=True)
class AnswerSchema:
    """A JSON schema that answers are bound to, with its keys in their order: they are written in it."""

    text: str
    name: str = field(compare=False)  # as people see it

    @property
    def document(self) -> Mapping[str, Json]:
        """The schema itself."""
        document: Mapping[str, Json] = json.loads(self.text)
        return document


@dataclass(frozen=True, slots=True)
class Decoding:
    """How answers are drawn. Temperature 0 is greedy; ``seed`` matters only above 0.

    ``max_new_tokens`` bounds the answer alone. A thinking model may write ``max_thinking_tokens`` before it.
    """

    max_new_tokens: Count = 128
    temperature: Annotated[float, Span(0, 100)] = 0.0
    top_p: Annotated[float, Span(above=0, most=1)] = 1.0
    seed: Annotated[int, Span(0, 2**63 - 1)] = 0
    thinking: bool | None = None  # whether it thinks before it answers; None: as the model is served
    max_thinking_tokens: Count = 2048  # on top of max_new_tokens, where it thinks
    schema: AnswerSchema | None = None  # set by the harness, from a candidate's ``schema``

    def __post_init__(self) -> None:
        require_fields(self)

    def settings(self) -> dict[str, Json]:
        """The settings that shape an answer, for keys and records; of thinking and a schema where set."""
        settings: dict[str, Json] = {
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
        }
        if self.thinking is not None:
            settings["thinking"] = self.thinking
        if self.thinking:
            settings["max_thinking_tokens"] = self.max_thinking_tokens
        if self.schema is not None:
            settings["schema"] = fingerprint(self.schema.text)
        return settings

    def described(self) -> dict[str, Json]:
        """``settings``, for the record: with what people call the schema."""
        settings = self.settings()
        if self.schema is not None:
            settings["schema"] = {"name": self.schema.name, "digest": settings["schema"]}
        return settings


@dataclass(frozen=True, slots=True)
class Tools:
    """The functions that a row offers, as JSON text in the form of OpenAI's ``tools``."""

    text: str
    parallel: bool | None = None  # whether several calls at once are wanted; None: not said

    @classmethod
    def of(cls, row: Row) -> Tools | None:
        """Those of a row; None where it offers none."""
        text = json.dumps(list(row.tools), ensure_ascii=False)
        return cls(text, row.parallel_tool_calls) if row.tools else None

    @property
    def definitions(self) -> list[Mapping[str, Json]]:
        """The list itself."""
        definitions: list[Mapping[str, Json]] = json.loads(self.text)
        return definitions


@dataclass(frozen=True, slots=True)
class Prompt:
    """The turns that one row puts to a model."""

    row_id: str
    messages: tuple[Message, ...]
    repeat: int = 0  # tells prompts of the same turns apart where each is to have a draw of its own
    tools: Tools | None = None


class Model(Protocol):
    """A model that is loaded and ready. ``numeric_config`` says how its numbers are computed."""

    numeric_config: str

    def answer(
        self, prompts: Sequence[Prompt], decoding: Decoding, known: frozenset[str]
    ) -> Iterator[Answer]:
        """Answers as they come, in any order; ``known`` names rows already answered.

        A batch of known rows is skipped, and any other is generated whole, so that an answer never depends on
        what was kept from earlier runs.
        """

    def logprob(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Mean natural log-probability a token of each continuation after its context."""


@runtime_checkable
class Interruptible(Protocol):
    """A model that has answers on their way while others are being looked at."""

    @property
    def note(self) -> str:
        """The state of its work, for a progress bar."""

    def late(self) -> Sequence[Answer]:
        """Answers that came after the last iteration over ``answer`` was left, once; they were paid for.

        It may hold answers that the iteration gave, too.
        """
