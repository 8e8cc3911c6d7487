"""A backend without a model: losses fall by the step, answers are scripted, weights are a count of steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from harness.testing.fake_openai.scripted_backend import Script, ScriptedBackend
from harness.testing.fake_tinker.backend import AdamStep, Sampled, Sampling, TrainedTokens, UserError
from harness.testing.fake_tinker.records import Lora

STATE = "steps.json"
CONTEXT_TOKENS = 8_192
VOCABULARY = 49_152  # of the built-in model, whose tokens clients send


class ScriptedTinker(ScriptedBackend):
    """A run's state is how many steps it took; each token's loss is 2 / (1 + steps) nats.

    Chats are answered as by ``ScriptedBackend``. Samples repeat the prompt's last token.
    """

    def __init__(self, script: Script | None = None) -> None:
        super().__init__(script)
        self._steps: dict[str, tuple[int, bool]] = {}  # and whether there are gradients

    def context_tokens(self, base: str) -> int:
        """See ``TinkerBackend``."""
        return CONTEXT_TOKENS

    def tokenizer(self, base: str) -> str:
        """See ``TinkerBackend``."""
        return base

    def create(self, run: str, base: str, lora: Lora) -> None:
        """See ``TinkerBackend``."""
        self._steps[run] = (0, False)

    def forward(self, run: str, data: Sequence[TrainedTokens], *, backward: bool) -> list[list[float]]:
        """See ``TinkerBackend``."""
        steps, had = self._steps[run]
        if any(not 0 <= token < VOCABULARY for d in data for token in (*d.tokens, *d.targets)):
            raise UserError("a token that the vocabulary does not have")
        self._steps[run] = (steps, had or backward)
        return [[-2 / (1 + steps)] * len(datum.tokens) for datum in data]

    def step(self, run: str, step: AdamStep) -> dict[str, float]:
        """See ``TinkerBackend``. Without gradients nothing changes."""
        steps, had = self._steps[run]
        self._steps[run] = (steps + had, False)
        return {"unclipped_grad_l2_norm": float(had)}

    def save(self, run: str, folder: Path, *, optimizer: bool) -> None:
        """See ``TinkerBackend``."""
        (folder / STATE).write_text(json.dumps(self._steps[run][0]), encoding="utf-8")

    def load(self, run: str, folder: Path, *, optimizer: bool) -> None:
        """See ``TinkerBackend``."""
        self._steps[run] = (int(json.loads((folder / STATE).read_text(encoding="utf-8"))), False)

    def sample(
        self, base: str, folder: Path | None, prompt: Sequence[int], how: Sampling, n: int
    ) -> list[Sampled]:
        """See ``TinkerBackend``."""
        tokens = list(prompt[-1:]) * how.max_tokens
        return [Sampled(tokens, [-0.1] * len(tokens), "length")] * n

    def logprobs(self, base: str, folder: Path | None, prompt: Sequence[int]) -> list[float]:
        """See ``TinkerBackend``."""
        steps = int(json.loads((folder / STATE).read_text(encoding="utf-8"))) if folder else 0
        return [-2 / (1 + steps)] * (len(prompt) - 1)
