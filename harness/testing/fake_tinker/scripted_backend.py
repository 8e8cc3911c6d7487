"""A backend without a model: losses fall by the step, answers are scripted, weights are a count of steps."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.testing.fake_openai.scripted_backend import LEARNT, Script, ScriptedBackend
from harness.testing.fake_tinker.backend import AdamStep, Sampled, Sampling, TrainedTokens, UserError
from harness.testing.fake_tinker.records import Lora

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

STATE = "steps.json"
CONTEXT_TOKENS = 8_192
VOCABULARY = 49_152  # of the built-in model, whose tokens clients send
_ASKED = re.compile(r"<\|im_start\|>user\n(.*?)<\|im_end\|>", re.DOTALL)  # as its chat template writes turns
_END = "<|im_end|>"


class ScriptedTinker(ScriptedBackend):
    """A run's state is how many steps it took; each token's loss is 2 / (1 + steps) nats.

    Chats are answered as by ``ScriptedBackend``: with ``script`` None, a tuned model has learnt by heart what
    it was trained on, as the built-in model's tokenizer reads it. Samples repeat the prompt's last token.
    """

    def __init__(self, script: Script | None = lambda question: question.last) -> None:
        super().__init__(script)
        self._learns = script is None
        self._steps: dict[str, tuple[int, bool]] = {}  # and whether there are gradients
        self._seen: defaultdict[str, dict[tuple[tuple[int, ...], tuple[int, ...]], None]] = defaultdict(dict)
        self._learnt: dict[str, dict[str, str]] = {}  # replies by their questions

    def context_tokens(self, base: str) -> int:
        """See ``TinkerBackend``."""
        return CONTEXT_TOKENS

    def tokenizer(self, base: str) -> str:
        """See ``TinkerBackend``."""
        return base

    def create(self, run: str, base: str, lora: Lora) -> None:
        """See ``TinkerBackend``."""
        self._steps[run], self._learnt[run] = (0, False), {}

    def forward(self, run: str, data: Sequence[TrainedTokens], *, backward: bool) -> list[list[float]]:
        """See ``TinkerBackend``."""
        steps, had = self._steps[run]
        if any(not 0 <= token < VOCABULARY for d in data for token in (*d.tokens, *d.targets)):
            raise UserError("a token that the vocabulary does not have")
        self._steps[run] = (steps, had or backward)
        for datum in data if backward and self._learns else ():
            begin = next((k for k, weight in enumerate(datum.weights) if weight), len(datum.weights))
            self._seen[run][tuple(datum.tokens[: begin + 1]), tuple(datum.targets[begin:])] = None
        return [[-2 / (1 + steps)] * len(datum.tokens) for datum in data]

    def step(self, run: str, step: AdamStep) -> dict[str, float]:
        """See ``TinkerBackend``. Without gradients nothing changes."""
        steps, had = self._steps[run]
        self._steps[run] = (steps + had, False)
        return {"unclipped_grad_l2_norm": float(had)}

    def save(self, run: str, folder: Path, *, optimizer: bool) -> None:
        """See ``TinkerBackend``."""
        (folder / STATE).write_text(json.dumps(self._steps[run][0]), encoding="utf-8")
        for prompt, reply in self._seen.pop(run, {}):
            asked = _ASKED.findall(str(self._tokens.decode(list(prompt))))
            if asked:
                self._learnt[run][asked[-1]] = str(self._tokens.decode(list(reply))).partition(_END)[0]
        if self._learns:
            (folder / LEARNT).write_text(json.dumps(self._learnt[run]), encoding="utf-8")

    def load(self, run: str, folder: Path, *, optimizer: bool) -> None:
        """See ``TinkerBackend``."""
        self._steps[run] = (_steps(folder), False)
        file = folder / LEARNT
        self._learnt[run] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def sample(
        self, base: str, folder: Path | None, prompt: Sequence[int], how: Sampling, n: int
    ) -> list[Sampled]:
        """See ``TinkerBackend``."""
        tokens = list(prompt[-1:]) * how.max_tokens
        return [Sampled(tokens, [-0.1] * len(tokens), "length")] * n

    def logprobs(self, base: str, folder: Path | None, prompt: Sequence[int]) -> list[float]:
        """See ``TinkerBackend``."""
        return [-2 / (1 + (_steps(folder) if folder else 0))] * (len(prompt) - 1)

    @cached_property
    def _tokens(self) -> PreTrainedTokenizerBase:
        from harness.models.chat import load_tokenizer
        from harness.models.progress import Silent
        from harness.models.source import BUILTIN, resolve

        return load_tokenizer(resolve(BUILTIN, Silent()))


def _steps(folder: Path) -> int:
    return int(json.loads((folder / STATE).read_text(encoding="utf-8")))
