"""The built-in model behind the twin: jobs train QLoRA adapters on it, and what was trained answers."""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.candidates.specs import QLoRA
from harness.extras import require_extra
from harness.models.builtin import NAME
from harness.models.chat import load_tokenizer, render
from harness.models.device import DevicePlan, device_plan
from harness.models.heads import has_plain_head, logits_at
from harness.models.local import LocalModel, load_base, make_head_input_contiguous, with_adapter
from harness.models.progress import Progress, Silent
from harness.models.protocol import Decoding, Prompt
from harness.models.source import ModelSource, context_tokens, resolve
from harness.records import Answer, Row
from harness.testing.fake_openai.backend import Order, Question, Reply, Step, Token, Trained
from harness.testing.fake_openai.gathering import Gatherer
from harness.testing.fake_openai.schemas import answered_within
from harness.testing.fake_openai.turns import Turns
from harness.training.local.recipe import TrainingRows
from harness.training.local.subprocess_training import Job, checkpoint_name, train_apart
from harness.training.local.trainer import StepDone

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TARGETS = ("gate_proj", "up_proj", "down_proj")
LEARNING_RATE = 2e-3  # what a learning_rate_multiplier of 1 means; for adapters on these layers
KEPT_MODELS = 3  # in memory
DEFAULT_CONTEXT_TOKENS = 8_192


@dataclass(frozen=True)
class _Loaded:
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    answers: LocalModel


class RealBackend:
    """Real training and real answers. Greedy questions that come together are answered in one batch.

    A job's adapters are trained on the nf4 base and answer on it, as ``QLoRA`` candidates do. Questions that
    come while a job trains are answered between its steps.

    Args:
        base: whose weights stand behind every model of the twin; any name that a candidate may have.
        progress: where the fetching of the base is announced.
    """

    def __init__(self, base: str = NAME, progress: Progress | None = None) -> None:
        require_extra("local", "the twin with a real model (without --scripted)")
        self._base, self._progress = base, progress or Silent()
        self._turns = Turns()
        self._counting = threading.Lock()
        self._models: OrderedDict[Path | None, _Loaded] = OrderedDict()
        self._gatherer = Gatherer(self._answer)

    @cached_property
    def _source(self) -> ModelSource:
        return resolve(self._base, self._progress)

    @cached_property
    def _plan(self) -> DevicePlan:
        return device_plan()

    @cached_property
    def _counter(self) -> PreTrainedTokenizerBase:
        return load_tokenizer(self._source)

    def count(self, row: Row) -> int:
        """See ``Backend``."""
        with self._counting:
            return len(render(self._counter, row.messages, reply_follows=False))

    def reply(self, question: Question) -> Reply:
        """See ``Backend``."""
        return answered_within(question, self._gatherer.ask)

    def close(self) -> None:
        """End the answering thread and let go of the models."""
        self._gatherer.close()
        self._models.clear()

    # ------------------------------------------------------------------ training
    def train(self, order: Order, folder: Path, watch: Callable[[Step], None]) -> Trained:
        """See ``Backend``. The training has a process of its own."""
        spec = QLoRA(
            base=self._base,
            train="",
            targets=TARGETS,
            epochs=order.epochs,
            learning_rate=LEARNING_RATE * order.learning_rate_multiplier,
            batch_rows=order.batch_rows,
            max_tokens=context_tokens(self._source) or DEFAULT_CONTEXT_TOKENS,
            dev_evaluations=order.epochs,
        )
        rows = TrainingRows(order.rows, dev=order.dev)
        job = Job(spec, self._source, rows, order.seed, self._plan, order.job_id, folder)
        steps: list[Step] = []

        def after(done: StepDone) -> None:
            steps.append(_step(done))
            with self._turns.lend():  # questions are answered between steps
                watch(steps[-1])

        folder.mkdir(parents=True, exist_ok=True)
        with self._turns.long(), Silent().task("", unit="step") as bar:
            train_apart(job, bar, after)
        return Trained(steps[-1].weights or "", tuple(steps))

    # ------------------------------------------------------------------ answering
    def _answer(self, questions: Sequence[Question]) -> list[Reply]:
        """Answers to questions of one model and one decoding."""
        first = questions[0]
        decoding = Decoding(
            max_new_tokens=first.max_tokens,
            temperature=first.temperature,
            top_p=first.top_p,
            seed=random.getrandbits(31) if first.seed is None else first.seed,
        )
        prompts = [Prompt(str(k), question.messages) for k, question in enumerate(questions)]
        with self._turns.short():
            loaded = self._loaded(first.weights)
            answers = {a.row_id: a for a in loaded.answers.answer(prompts, decoding, frozenset())}
            return [
                self._reply(loaded, question, answers[prompt.row_id])
                for question, prompt in zip(questions, prompts, strict=True)
            ]

    def _loaded(self, weights: Path | None) -> _Loaded:
        """The base or a tuned model, from memory if it was asked lately."""
        if weights not in self._models:
            plan = self._plan
            base = load_base(self._source, plan, attention=plan.inference_attention, nf4=weights is not None)
            make_head_input_contiguous(base)
            model = base if weights is None else with_adapter(base, weights, plan)
            tokenizer = load_tokenizer(self._source)
            self._models[weights] = _Loaded(model, tokenizer, LocalModel(model, tokenizer, plan))
        self._models.move_to_end(weights)
        while len(self._models) > KEPT_MODELS:
            self._models.popitem(last=False)
        return self._models[weights]

    def _reply(self, loaded: _Loaded, question: Question, answer: Answer) -> Reply:
        wanted = question.top_logprobs
        return Reply(
            text=answer.text,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            finish="length" if answer.finish == "length" else "stop",
            tokens=None if wanted is None else self._tokens(loaded, question, answer.text, wanted),
        )

    def _tokens(self, loaded: _Loaded, question: Question, text: str, top: int) -> tuple[Token, ...]:
        """The answer's tokens with their log-probabilities, from reading it once more."""
        import torch

        tokenizer = loaded.tokenizer
        before = render(tokenizer, question.messages, reply_follows=True)
        said: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        if not said:
            return ()
        ids = torch.tensor([before + said], device=self._plan.device)
        mask = torch.ones_like(ids)
        keep = torch.zeros_like(ids, dtype=torch.bool)
        keep[0, len(before) - 1 : -1] = True
        with torch.inference_mode():
            plain = has_plain_head(loaded.model)
            logits = logits_at(loaded.model, ids, mask, keep, plain=plain).float()
        chances = torch.log_softmax(logits, dim=-1)
        likeliest = chances.topk(max(top, 1), dim=-1)
        return tuple(
            Token(
                text=str(tokenizer.decode([token])),
                logprob=float(chances[k, token]),
                top=tuple(
                    (str(tokenizer.decode([int(other)])), float(chance))
                    for other, chance in zip(
                        likeliest.indices[k][:top], likeliest.values[k][:top], strict=True
                    )
                ),
            )
            for k, token in enumerate(said)
        )


def _step(done: StepDone) -> Step:
    step = Step(done.number, done.total, done.train_loss, done.train_token_accuracy)
    if done.point is None:
        return step
    dev_loss, dev_accuracy = done.point.dev_loss, done.point.dev_token_accuracy
    return replace(step, weights=checkpoint_name(done), dev_loss=dev_loss, dev_accuracy=dev_accuracy)
