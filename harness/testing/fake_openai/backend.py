"""The interface to the models behind the service, and answers that are made to satisfy a requested schema.

A real service lets the model choose within the schema. Neither a script nor the small built-in model keeps to
one, so strings become the model's words and every choice follows from a hash of them: the shape is right, the
judgment is arbitrary.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from jsonschema import Draft202012Validator

from harness.records import Json, Message, Row

if TYPE_CHECKING:
    from harness.testing.fake_tinker.backend import TinkerBackend

LONGEST_STRING = 200  # characters: the whole answer has to fit into what is usually requested
MOST_TOKENS = 16  # of a model that keeps to no schema: its words only become the strings of the answer


@dataclass(frozen=True, slots=True)
class TuningTask:
    """What a job trains, every "auto" replaced by a number. ``base`` is the model's name at the service."""

    job_id: str
    base: str
    rows: tuple[Row, ...]
    dev: tuple[Row, ...]
    epochs: int
    batch_rows: int
    learning_rate_multiplier: float
    seed: int


@dataclass(frozen=True, slots=True)
class Step:
    """One optimiser step as it was measured; losses are mean nats a supervised token.

    ``weights`` names the folder, below the job's, of the checkpoint saved after this step.
    """

    number: int
    total: int
    train_loss: float
    train_accuracy: float | None
    dev_loss: float | None = None
    dev_accuracy: float | None = None
    weights: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A request to a model; the reply has to satisfy the JSON Schema ``schema``.

    ``weights`` is the folder of a tuned model's; None: the base itself answers.
    """

    model: str
    weights: Path | None
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    logprobs: bool = False
    schema: Mapping[str, Json] | None = field(default=None, compare=False)

    @property
    def last(self) -> str:
        """The last user turn."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")


@dataclass(frozen=True, slots=True)
class Token:
    """A generated token and its natural log-probability."""

    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class FakeReply:
    """A model's answer, and the tokens that are billed for it."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish: Literal["stop", "length"] = "stop"
    tokens: tuple[Token, ...] | None = None
    cached_tokens: int = 0


class Backend(Protocol):
    """The models. ``train`` runs in one thread; ``reply`` and ``count`` may be called from many."""

    def train(self, task: TuningTask, folder: Path, watch: Callable[[Step], None]) -> None:
        """Train, and save a checkpoint below ``folder`` at the end of each epoch.

        ``watch`` is called after each step. It may block (a paused job), or raise to end the training.
        """

    def reply(self, question: Question) -> FakeReply:
        """Answer."""

    def count(self, row: Row) -> int:
        """How many tokens training sees in a row."""

    def tinker(self) -> TinkerBackend:
        """The models for Tinker's wire, which computes nothing while these do."""


def answered_within(question: Question, answer: Callable[[Question], FakeReply]) -> FakeReply:
    """The reply of a model that keeps to no schema, made to satisfy the question's."""
    if question.schema is None:
        return answer(question)
    reply = answer(replace(question, schema=None, max_tokens=min(question.max_tokens, MOST_TOKENS)))
    return replace(reply, text=within(question.schema, reply.text), finish="stop", tokens=None)


def within(schema: Mapping[str, Json], text: str) -> str:
    """The text, if it satisfies the schema; else JSON that does."""
    try:
        if Draft202012Validator(schema).is_valid(json.loads(text)):
            return text
    except (ValueError, RecursionError):
        pass
    chance = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    words = text.strip()[:LONGEST_STRING] or "(no text)"
    return json.dumps(_value(schema, words, chance), ensure_ascii=False)


def _value(schema: Mapping[str, Any], text: str, chance: int) -> Json:
    """A value of the schema's shape; ``chance`` makes every choice."""
    if "enum" in schema:
        choices: list[Json] = schema["enum"]
        return choices[chance % len(choices)]
    if "anyOf" in schema:
        return _value(schema["anyOf"][0], text, chance)
    match schema.get("type"):
        case "object":
            return {k: _value(value, text, chance) for k, value in schema.get("properties", {}).items()}
        case "array":
            return [_value(schema.get("items", {}), text, chance)]
        case "integer" | "number":
            low, high = int(schema.get("minimum", 0)), int(schema.get("maximum", 10))
            return low + chance % max(1, high - low + 1)
        case "boolean":
            return bool(chance % 2)
    return text
