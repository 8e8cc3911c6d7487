"""A candidate that says what a function tells it to. No model is loaded and nothing is trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from inspect import signature
from types import FunctionType
from typing import ClassVar

from harness.candidates.foresee import CostEstimate, TrainingEstimate, foresee
from harness.candidates.prepare import (
    Lab,
    Prepared,
    asked_with_prompt,
    prepare,
    require_ready,
)
from harness.candidates.specs import Candidate, Tuned
from harness.data.fingerprints import fingerprint
from harness.errors import UsageError
from harness.models.protocol import Decoding, Prompt
from harness.records import Answer, Json, Training

Reply = Callable[[Prompt, "int | None"], str] | Callable[[Prompt, "int | None", int], str]


@dataclass(frozen=True, kw_only=True)
class Scripted(Tuned):
    """A candidate with sizes and seeds like a fine-tune's, whose answers are ``reply(prompt, size)``.

    A ``reply`` of three arguments is given the seed, too.
    An exception that ``reply`` raises becomes the answer's failure. The cache key holds the name of
    ``reply``, the plain values that it closes over, and ``version``: change that when it answers otherwise.
    ``training`` is how it is said to have come to be: losses, seconds, signs of overfitting.

        @harness.candidate
        def parrot():
            return Scripted(train="train.jsonl", reply=lambda prompt, size: prompt.messages[-1].content)
    """

    kind: ClassVar[str] = "scripted"

    base: str = "scripted"
    reply: Reply
    version: str = "1"
    training: Training | None = field(default=None, compare=False)

    def described(self) -> dict[str, Json]:
        """The fields, the reply by its name."""
        named = {"base": self.base, "train": self.train, "version": self.version}
        return {"kind": self.kind, **named, "reply": _told_apart(self.reply)}

    def own_baseline(self) -> Candidate:
        """A script has no base.

        Raises:
            UsageError: always.
        """
        raise UsageError("a Scripted candidate has no baseline of its own: name one with --baseline=NAME.")


def _told_apart(value: object) -> Json:
    """A function by its name and what it closes over, a plain value by itself, anything else by its type."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if not isinstance(value, FunctionType):
        return type(value).__qualname__
    closed_over = [_told_apart(cell.cell_contents) for cell in value.__closure__ or ()]
    return [value.__qualname__, *closed_over] if closed_over else value.__qualname__


class ScriptedModel:
    """The model behind :class:`Scripted`: one token a word, no time at all."""

    numeric_config = "scripted"

    def __init__(self, reply: Reply, size: int | None, seed: int = 0) -> None:
        takes_seed = len(signature(reply).parameters) > 2
        self._reply: Callable[..., str] = reply
        self._given = (size, seed) if takes_seed else (size,)

    def answer(
        self, prompts: Sequence[Prompt], decoding: Decoding, known: frozenset[str]
    ) -> Iterator[Answer]:
        """One answer a prompt that is not known."""
        for prompt in prompts:
            if prompt.row_id not in known:
                yield self._one(prompt)

    def _one(self, prompt: Prompt) -> Answer:
        began = time.perf_counter()
        asked = sum(len(m.content.split()) for m in prompt.messages)
        try:
            text = self._reply(prompt, *self._given)
        except Exception as error:  # noqa: BLE001 - a failure is a value: it is counted and shown
            return Answer(prompt.row_id, "", asked, 0, 0.0, "failed", f"{type(error).__name__}: {error}")
        elapsed_ms = (time.perf_counter() - began) * 1000
        return Answer(prompt.row_id, text, asked, len(text.split()), elapsed_ms)

    def logprob(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Longer continuations are less likely; nothing more is known of a script."""
        return [-float(len(continuation)) for _, continuation in pairs]


@require_ready.register
def _scripted_ready(candidate: Scripted, lab: Lab, size: int | None, seed: int) -> None:
    """A script is always ready."""


@foresee.register
def _foresee_scripted(candidate: Scripted, lab: Lab, size: int | None, seed: int) -> CostEstimate:
    """There is nothing to train."""
    prepared = prepare(candidate, lab, size, seed)
    rows = len(lab.rows(candidate.train)) if size is None else size
    return CostEstimate(prepared, TrainingEstimate(prepared.identity, rows, is_kept=True))


@prepare.register
def _scripted(candidate: Scripted, lab: Lab, size: int | None, seed: int) -> Prepared:
    identity = fingerprint({**candidate.described(), "size": size, "seed": seed})
    return Prepared(
        model_name=candidate.base,
        model_digest=identity,
        identity=identity,
        numeric_config=ScriptedModel.numeric_config,
        load=lambda: ScriptedModel(candidate.reply, size, seed),
        ask=asked_with_prompt,
        training=candidate.training,
    )
