"""The interface to the models behind Tinker's wire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from harness.testing.fake_openai.backend import Backend
from harness.testing.fake_tinker.records import Lora


class UserError(Exception):
    """A request that was accepted and cannot be done: its result says so."""


@dataclass(frozen=True, slots=True)
class TrainedTokens:
    """A datum: each position's token, the one to predict there, and what its log-probability weighs."""

    tokens: list[int]
    targets: list[int]
    weights: list[float]


@dataclass(frozen=True, slots=True)
class AdamStep:
    """One step of AdamW; ``clip`` bounds the norm of all gradients together, 0: not at all."""

    learning_rate: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    clip: float


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. ``stops``: tokens and texts that end a sequence; None: the model's own end."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    seed: int | None = None
    stops: tuple[int | str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Sampled:
    """A drawn sequence, its end token included, and the natural log-probability of each token."""

    tokens: list[int]
    logprobs: list[float]
    stop: Literal["stop", "length"] = field(default="stop")


class TinkerBackend(Backend, Protocol):
    """The models. Calls for one run come one after another; others may come from many threads.

    ``run`` names a model that is trained; ``folder`` holds a checkpoint's weights (None: the base's own).
    """

    def context_tokens(self, base: str) -> int:
        """The longest sequence."""

    def tokenizer(self, base: str) -> str:
        """A name or folder that ``AutoTokenizer`` takes: the base's own may be another."""

    def create(self, run: str, base: str, lora: Lora) -> None:
        """A new model; one of that name is replaced."""

    def forward(self, run: str, data: Sequence[TrainedTokens], *, backward: bool) -> list[list[float]]:
        """Log-probabilities of the targets. ``backward``: add to the gradients of -sum(weight * logprob)."""

    def step(self, run: str, step: AdamStep) -> dict[str, float]:
        """Change the weights, forget the gradients; gives metrics."""

    def save(self, run: str, folder: Path, *, optimizer: bool) -> None:
        """Write the adapters in PEFT's format, and the optimizer's state."""

    def load(self, run: str, folder: Path, *, optimizer: bool) -> None:
        """Take over the weights that ``save`` wrote, and the optimizer's state."""

    def sample(
        self, base: str, folder: Path | None, prompt: Sequence[int], how: Sampling, n: int
    ) -> list[Sampled]:
        """Draw sequences after a prompt."""

    def logprobs(self, base: str, folder: Path | None, prompt: Sequence[int]) -> list[float]:
        """Log-probabilities of the prompt's tokens from the second on."""
