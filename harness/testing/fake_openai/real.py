"""The built-in model behind the service: jobs train QLoRA adapters on it, and the trained models answer."""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.extras import require_extra
from harness.models.chat import load_tokenizer, render
from harness.models.device import DevicePlan, device_plan
from harness.models.fast.heads import has_plain_head, logits_at
from harness.models.local import LocalModel, load_base, make_head_input_contiguous, with_adapter
from harness.models.progress import Progress, Silent
from harness.models.protocol import Decoding, Prompt
from harness.models.source import BUILTIN, ModelSource, context_tokens, resolve
from harness.records import Row
from harness.testing.fake_openai.backend import FakeReply, Question, Step, Token, TuningTask
from harness.testing.fake_openai.microbatching import Microbatcher, YieldLock
from harness.testing.fake_openai.structured_output import answered_within

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TARGETS = ("gate_proj", "up_proj", "down_proj")
LEARNING_RATE = 2e-3  # at a learning_rate_multiplier of 1, for adapters on these layers
MOST_MODELS = 3  # in memory
DEFAULT_CONTEXT_TOKENS = 8_192


@dataclass(frozen=True)
class _Loaded:
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    answers: LocalModel


class RealBackend:
    """Real training and real answers. Greedy questions that come together are answered in one batch.

    A job's adapters are trained on the nf4 base and answer on it, as local QLoRA candidates do. While a job
    trains, questions are answered between its steps.

    Args:
        base: the model behind every name that the service offers, as candidates name models.
        progress: shows the download of the base.
    """

    def __init__(self, base: str = BUILTIN, progress: Progress | None = None) -> None:
        require_extra("local", "the twin with a real model (without --scripted)")
        self._base, self._progress = base, progress or Silent()
        self._lock = YieldLock()
        self._counting = threading.Lock()
        self._models: OrderedDict[Path | None, _Loaded] = OrderedDict()
        self._batcher = Microbatcher(self._answer)

    @cached_property
    def _source(self) -> ModelSource:
        return resolve(self._base, self._progress)

    @cached_property
    def _plan(self) -> DevicePlan:
        return device_plan()

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return load_tokenizer(self._source)

    def count(self, row: Row) -> int:
        """See ``Backend``."""
        with self._counting:  # tokenizers are not safe to use from several threads
            return len(render(self._tokenizer, row.messages, reply_follows=False))

    def reply(self, question: Question) -> FakeReply:
        """See ``Backend``."""
        return answered_within(question, self._batcher.ask)

    def close(self) -> None:
        """See ``Backend``."""
        self._batcher.close()
        self._models.clear()

    def train(self, task: TuningTask, folder: Path, watch: Callable[[Step], None]) -> None:
        """See ``Backend``. The training has a process of its own."""
        from harness.candidates.lora import QLoRA
        from harness.training.local.recipe import LocalTraining, checkpoint_name
        from harness.training.local.subprocess_training import run_in_subprocess
        from harness.training.local.trainer import StepDone
        from harness.training.rows import TrainingRows

        candidate = QLoRA(
            base=self._base,
            train="",
            targets=TARGETS,
            epochs=task.epochs,
            learning_rate=LEARNING_RATE * task.learning_rate_multiplier,
            batch_rows=task.batch_rows,
            max_tokens=context_tokens(self._source) or DEFAULT_CONTEXT_TOKENS,
            dev_evaluations=task.epochs,
        )
        training = LocalTraining(
            candidate.recipe(),
            self._source,
            TrainingRows(task.rows, dev=task.dev),
            task.seed,
            self._plan,
            task.job_id,
            folder,
            keeps_checkpoints=True,
        )

        def after_step(done: StepDone) -> None:
            step = Step(done.number, done.total, done.train_loss, done.train_token_accuracy)
            if done.point is not None:
                step = replace(
                    step,
                    weights=checkpoint_name(done),
                    dev_loss=done.point.dev_loss,
                    dev_accuracy=done.point.dev_token_accuracy,
                )
            with self._lock.yielded():  # questions are answered between steps
                watch(step)

        folder.mkdir(parents=True, exist_ok=True)
        with self._lock.long(), Silent().task("", unit="step") as bar:
            run_in_subprocess(training, bar, after_step)

    def _answer(self, questions: Sequence[Question]) -> list[FakeReply]:
        """Replies to questions of one model and one decoding."""
        first = questions[0]
        decoding = Decoding(
            max_new_tokens=first.max_tokens,
            temperature=first.temperature,
            top_p=first.top_p,
            seed=random.getrandbits(31) if first.seed is None else first.seed,
        )
        prompts = [Prompt(str(k), question.messages) for k, question in enumerate(questions)]
        with self._lock.short():
            loaded = self._loaded(first.weights)
            answers = {a.row_id: a for a in loaded.answers.answer(prompts, decoding, frozenset())}
            replies = []
            for prompt, question in zip(prompts, questions, strict=True):
                answer, tokens = answers[prompt.row_id], None
                if question.top_logprobs is not None:
                    tokens = self._tokens(loaded, question, answer.text, question.top_logprobs)
                reply = FakeReply(
                    text=answer.text,
                    prompt_tokens=answer.prompt_tokens,
                    completion_tokens=answer.completion_tokens,
                    finish="length" if answer.finish == "length" else "stop",
                    tokens=tokens,
                )
                replies.append(reply)
        return replies

    def _loaded(self, weights: Path | None) -> _Loaded:
        """The base or a tuned model, from memory if it answered recently."""
        if weights not in self._models:
            plan = self._plan
            base = load_base(self._source, plan, attention=plan.inference_attention, nf4=weights is not None)
            make_head_input_contiguous(base)
            model = base if weights is None else with_adapter(base, weights, plan)
            tokenizer = load_tokenizer(self._source)
            self._models[weights] = _Loaded(model, tokenizer, LocalModel(model, tokenizer, plan))
        self._models.move_to_end(weights)
        while len(self._models) > MOST_MODELS:
            self._models.popitem(last=False)
        return self._models[weights]

    def _tokens(self, loaded: _Loaded, question: Question, text: str, top: int) -> tuple[Token, ...]:
        """The answer's tokens with their log-probabilities, from one forward pass over the whole text."""
        import torch

        before = render(loaded.tokenizer, question.messages, reply_follows=True)
        said: list[int] = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
        if not said:
            return ()
        ids = torch.tensor([before + said], device=self._plan.device)
        keep = torch.zeros_like(ids, dtype=torch.bool)
        keep[0, len(before) - 1 : -1] = True
        with torch.inference_mode():
            plain = has_plain_head(loaded.model)
            logits = logits_at(loaded.model, ids, torch.ones_like(ids), keep, plain=plain).float()
        logprobs = torch.log_softmax(logits, dim=-1)
        best = logprobs.topk(max(top, 1), dim=-1)

        def decoded(token: int) -> str:
            return str(loaded.tokenizer.decode([token]))

        return tuple(
            Token(
                text=decoded(token),
                logprob=float(logprobs[k, token]),
                top=tuple(
                    (decoded(int(other)), float(logprob))
                    for other, logprob in zip(best.indices[k][:top], best.values[k][:top], strict=True)
                ),
            )
            for k, token in enumerate(said)
        )
