"""A backend without a model: a whole rehearsal takes seconds, and tests get repeatable answers."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from harness.records import Row
from harness.testing.fake_openai.backend import FakeReply, Question, Step, Token, TuningTask, within

if TYPE_CHECKING:
    from harness.testing.fake_tinker.backend import TinkerBackend

LEARNT = "learnt.json"
MOST_COMPARED = 2_000  # examples; more would take longer to compare than the answer is worth
LONGEST_ECHO = 200  # characters
Script: TypeAlias = Callable[[Question], "str | FakeReply"]
Examples: TypeAlias = Mapping[str, str]  # a reply by its question


class ScriptedBackend:
    """Learns training rows by heart and answers by script; a token is a word.

    A tuned model gives the trained reply to a question that it was trained on, and ``script`` answers all
    others. Text that does not satisfy a question's schema is made to (see ``within``); a
    whole ``FakeReply`` is passed on as it is.

    Args:
        script: what a model answers. None: the reply to the most similar example, among the rows that it was
            tuned on and the earlier turns; the beginning of the question if there is no example.
        step_s, reply_s: how long a training step and a reply take.
    """

    def __init__(
        self,
        script: Script | None = lambda question: question.last,
        step_s: float = 0.0,
        reply_s: float = 0.0,
    ) -> None:
        self._script, self._step_s, self._reply_s = script, step_s, reply_s

    def train(self, task: TuningTask, folder: Path, watch: Callable[[Step], None]) -> None:
        """See ``Backend``. The loss falls from 2 nats as 1 / (1 + step)."""
        learnt = json.dumps({row.question: row.reference for row in task.rows})
        steps_an_epoch = math.ceil(len(task.rows) / task.batch_rows)
        total = steps_an_epoch * task.epochs
        for number in range(1, total + 1):
            time.sleep(self._step_s)
            loss = 2 / (1 + number)
            step = Step(number, total, loss, 1 - loss / 2)
            if number % steps_an_epoch == 0:
                step = replace(step, weights=f"step-{number}")
                if task.dev:
                    step = replace(step, dev_loss=loss + 0.1, dev_accuracy=0.9 - loss / 2)
                (folder / f"step-{number}").mkdir(parents=True, exist_ok=True)
                (folder / f"step-{number}" / LEARNT).write_text(learnt, encoding="utf-8")
            watch(step)

    def reply(self, question: Question) -> FakeReply:
        """See ``Backend``."""
        time.sleep(self._reply_s)
        learnt = _examples(question.weights) if question.weights else {}
        said: str | FakeReply | None = learnt.get(question.last)
        if said is None:
            said = self._script(question) if self._script else _nearest(question, learnt)
        if isinstance(said, FakeReply):
            return said
        words = (said if question.schema is None else within(question.schema, said)).split(" ")
        given = words[: question.max_tokens]
        tokens = tuple(Token(word if k == 0 else f" {word}", -0.1) for k, word in enumerate(given))
        return FakeReply(
            text=" ".join(given),
            prompt_tokens=self.count(Row("question", question.messages)),
            completion_tokens=len(given),
            finish="stop" if len(given) == len(words) else "length",
            tokens=tokens if question.logprobs else None,
        )

    def count(self, row: Row) -> int:
        """See ``Backend``."""
        return sum(len(message.content.split()) + 1 for message in row.messages)

    def tinker(self) -> TinkerBackend:
        """See ``Backend``."""
        from harness.testing.fake_tinker.scripted_backend import ScriptedTinker

        return ScriptedTinker(self._script)


@cache
def _examples(weights: Path) -> Examples:
    file = weights / LEARNT  # absent if the real backend trained this model
    found: Examples = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def _nearest(question: Question, learnt: Examples) -> str:
    """The reply to the example that shares most words with the question (Jaccard index)."""
    examples = [
        (before.content, reply.content)
        for before, reply in pairwise(question.messages)
        if before.role == "user" and reply.role == "assistant"
    ]
    examples += list(learnt.items())[:MOST_COMPARED]
    words = _words(question.last)

    def similarity(example: tuple[str, str]) -> float:
        others = _words(example[0])
        return len(words & others) / max(1, len(words | others))

    return max(examples, key=similarity)[1] if examples else question.last[:LONGEST_ECHO]


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower()))
