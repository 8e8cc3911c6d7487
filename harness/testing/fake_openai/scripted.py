"""A backend without a model: for tests of what speaks to the service."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.records import Row
from harness.testing.fake_openai.backend import Order, Question, Reply, Step, Token, Trained
from harness.testing.fake_openai.schemas import within

LEARNT = "learnt.json"
Script = Callable[[Question], "str | Reply"]


def echo(question: Question) -> str:
    """The question, as if it were the answer."""
    return question.last


class ScriptedBackend:
    """Trains by heart and answers by script; a token is a word.

    A tuned model gives the trained reply to a question that it was trained on, and ``script`` otherwise. What
    does not satisfy a question's schema is made to (see ``schemas.within``), but for a whole ``Reply``.

    Args:
        script: what a model answers, as text or as a whole ``Reply``.
        step_s: how long a training step takes.
        reply_s: how long a reply takes.
    """

    def __init__(self, script: Script = echo, step_s: float = 0.0, reply_s: float = 0.0) -> None:
        self._script, self._step_s, self._reply_s = script, step_s, reply_s

    def train(self, order: Order, folder: Path, watch: Callable[[Step], None]) -> Trained:
        """See ``Backend``. The loss falls from 2 nats as 1 / (1 + step)."""
        steps = []
        for step in _steps(order):
            time.sleep(self._step_s)
            if step.weights:
                (folder / step.weights).mkdir(parents=True, exist_ok=True)
                learnt = {_asked(row): row.reference for row in order.rows}
                (folder / step.weights / LEARNT).write_text(json.dumps(learnt), encoding="utf-8")
            watch(step)
            steps.append(step)
        return Trained(steps[-1].weights or "", tuple(steps))

    def reply(self, question: Question) -> Reply:
        """See ``Backend``."""
        time.sleep(self._reply_s)
        said = self._learnt(question) or self._script(question)
        if isinstance(said, Reply):
            return said
        words = (said if question.schema is None else within(question.schema, said)).split(" ")
        kept = words[: question.max_tokens]
        tokens = tuple(
            Token(word if k == 0 else f" {word}", -0.1, ((word, -0.1),)[: question.top_logprobs or 0])
            for k, word in enumerate(kept)
        )
        return Reply(
            text=" ".join(kept),
            prompt_tokens=sum(len(m.content.split()) + 1 for m in question.messages),
            completion_tokens=len(kept),
            finish="stop" if len(kept) == len(words) else "length",
            tokens=tokens if question.top_logprobs is not None else None,
        )

    def count(self, row: Row) -> int:
        """See ``Backend``."""
        return sum(len(message.content.split()) + 1 for message in row.messages)

    def close(self) -> None:
        """Nothing was started."""

    def _learnt(self, question: Question) -> str | None:
        if question.weights is None:
            return None
        learnt = json.loads((question.weights / LEARNT).read_text(encoding="utf-8"))
        found = learnt.get(question.last)
        return None if found is None else str(found)


def _asked(row: Row) -> str:
    return next((m.content for m in reversed(row.prompt) if m.role == "user"), "")


def _steps(order: Order) -> Iterator[Step]:
    in_epoch = math.ceil(len(order.rows) / order.batch_rows)
    total = in_epoch * order.epochs
    for number in range(1, total + 1):
        ends_epoch = number % in_epoch == 0
        loss = 2 / (1 + number)
        yield Step(
            number=number,
            total=total,
            train_loss=loss,
            train_accuracy=1 - loss / 2,
            dev_loss=loss + 0.1 if order.dev and ends_epoch else None,
            dev_accuracy=0.9 - loss / 2 if order.dev and ends_epoch else None,
            weights=f"step-{number}" if ends_epoch else None,
        )
