"""The built-in model behind the service: jobs train QLoRA adapters on it, and the trained models answer."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.extras import require_extra
from harness.models.bound import require_held
from harness.models.chat import load_tokenizer, render
from harness.models.device import device_plan
from harness.models.local import LocalModel
from harness.models.progress import Progress, Silent
from harness.models.protocol import AnswerSchema, Decoding, Prompt
from harness.models.source import BUILTIN, ModelSource, resolve
from harness.records import Answer, Json, Row
from harness.testing.fake_openai.backend import (
    FakeReply,
    Question,
    Step,
    Token,
    TuningTask,
    answered_within,
    within,
)
from harness.testing.fake_openai.completions import CONTEXT_TOKENS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from harness.testing.fake_tinker.backend import TinkerBackend

TARGETS = ("gate_proj", "up_proj", "down_proj")
LEARNING_RATE = 2e-3  # at a learning_rate_multiplier of 1, for adapters on these layers
MOST_MODELS = 3  # in memory
LINGER_S = 0.25  # how long a batch waits for further questions: on a CPU a small first one costs seconds
POLL_S = 0.002


class RealBackend:
    """Real training and real answers. Greedy questions of one model and length are answered in one batch.

    A job's adapters are trained on the nf4 base and answer on it, as local QLoRA candidates do. Training and
    answering share a processor and the libraries' process-wide switches (warnings, verbosity, torch's seed),
    so neither runs beside the other: while a job trains, questions are answered between its steps.

    ``progress`` shows the download of the model; ``lock`` is held by whatever computes.
    """

    def __init__(self, progress: Progress | None = None, lock: threading.Lock | None = None) -> None:
        require_extra("local", "the twin with a real model (without --scripted)")
        self._progress = progress or Silent()
        self._lock, self._counting = lock or threading.Lock(), threading.Lock()
        self._waiting: dict[Future[FakeReply], Question] = {}
        self._loaded = lru_cache(MOST_MODELS)(self._load)

    @cached_property
    def _source(self) -> ModelSource:
        return resolve(BUILTIN, self._progress)

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return load_tokenizer(self._source)

    def count(self, row: Row) -> int:
        """See ``Backend``."""
        with self._counting:  # tokenizers are not safe to use from several threads
            return len(render(self._tokenizer, row.messages, reply_follows=False))

    def reply(self, question: Question) -> FakeReply:
        """See ``Backend``."""
        if question.schema is None or question.weights is None:
            return answered_within(question, self._ask)
        # what a tuned model says within a schema is what a run compares; of others the shape is enough
        reply = self._ask(question)
        return replace(reply, text=within(question.schema, reply.text))

    def train(self, task: TuningTask, folder: Path, watch: Callable[[Step], None]) -> None:
        """See ``Backend``. The training has a process of its own."""
        from harness.candidates.lora import QLoRA
        from harness.training.local.recipe import LocalTraining, checkpoint_name
        from harness.training.local.subprocess_training import run_in_subprocess
        from harness.training.local.trainer import StepDone
        from harness.training.rows import TrainingRows

        candidate = QLoRA(
            base=BUILTIN,
            train="uploaded.jsonl",
            targets=TARGETS,
            epochs=task.epochs,
            learning_rate=LEARNING_RATE * task.learning_rate_multiplier,
            batch_rows=task.batch_rows,
            max_tokens=CONTEXT_TOKENS,
            dev_evaluations=task.epochs,
        )
        training = LocalTraining(
            candidate.recipe(),
            self._source,
            TrainingRows(task.rows, dev=task.dev),
            task.seed,
            device_plan(),
            task.job_id,
            folder,
            keeps_checkpoints=True,
        )

        def after_step(done: StepDone) -> None:
            measured, at = (done.number, done.total, done.train_loss, done.train_token_accuracy), done.point
            step = Step(*measured)
            if at is not None:
                step = Step(*measured, at.dev_loss, at.dev_token_accuracy, checkpoint_name(done))
            self._lock.release()  # questions are answered between steps
            try:
                watch(step)
                while self._waiting:
                    time.sleep(POLL_S)
            finally:
                self._lock.acquire()

        folder.mkdir(parents=True, exist_ok=True)
        with self._lock, Silent().task("", unit="step") as bar:
            run_in_subprocess(training, bar, after_step)

    def tinker(self) -> TinkerBackend:
        """See ``Backend``."""
        from harness.testing.fake_tinker.real import RealTinker

        return RealTinker(self._progress, self._lock)

    def _ask(self, question: Question) -> FakeReply:
        """The reply; whoever gets the lock answers all waiting questions that fit its own."""

        def key(q: Question) -> tuple[object, ...]:
            return q.temperature, self._base(q.model), q.weights, q.max_tokens, json.dumps(q.schema)

        mine: Future[FakeReply] = Future()
        self._waiting[mine] = question
        with self._lock:
            if not mine.done():
                batch = {mine: question}
                if question.temperature == 0:  # a sampled one has a seed of its own
                    time.sleep(LINGER_S)
                    batch |= {f: q for f, q in list(self._waiting.items()) if key(q) == key(question)}
                for future in batch:
                    del self._waiting[future]
                try:
                    for future, reply in zip(batch, self._answers([*batch.values()]), strict=True):
                        future.set_result(reply)
                except Exception as error:  # noqa: BLE001 - raised again where the question was asked
                    for future in batch:
                        future.set_exception(error)
        return mine.result()

    def _answers(self, questions: Sequence[Question]) -> list[FakeReply]:
        first = questions[0]
        decoding = Decoding(
            max_new_tokens=first.max_tokens,
            temperature=first.temperature,
            top_p=first.top_p,
            seed=random.getrandbits(31) if first.seed is None else first.seed,
            schema=_held(first.schema),
        )
        model = self._loaded(self._base(first.model), first.weights)
        prompts = [Prompt(str(k), question.messages) for k, question in enumerate(questions)]
        answers = {int(a.row_id): a for a in model.answer(prompts, decoding, frozenset())}
        return [
            FakeReply(
                text=answers[k].text,
                prompt_tokens=answers[k].prompt_tokens or 0,
                completion_tokens=answers[k].completion_tokens or 0,
                finish="length" if answers[k].finish == "length" else "stop",
                tokens=self._tokens(answers[k]) if question.logprobs else None,
            )
            for k, question in enumerate(questions)
        ]

    def _base(self, name: str) -> str:
        """What is behind the name of a base."""
        return BUILTIN

    def _load(self, base: str, adapter: Path | None) -> LocalModel:
        return LocalModel.load(self._source, device_plan(), nf4=adapter is not None, adapter=adapter)

    def _tokens(self, answer: Answer) -> tuple[Token, ...]:
        """The answer's tokens, each with the mean log-probability of all."""
        with self._counting:
            ids: list[int] = self._tokenizer(answer.text, add_special_tokens=False)["input_ids"]
            words = [str(self._tokenizer.decode([token])) for token in ids]
        return tuple(Token(word, answer.logprob or 0.0) for word in words)


def _held(schema: Mapping[str, Json] | None) -> AnswerSchema | None:
    """The schema, if it can be held here; a service holds others in its own way."""
    if schema is None:
        return None
    found = AnswerSchema(json.dumps(schema), "the schema")
    try:
        require_held(found)
    except UsageError:
        return None
    return found
