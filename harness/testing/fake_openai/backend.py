"""The interface to the models behind the service: something that can be trained and can answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from harness.records import Json, Message, Row


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
