"""A candidate that says what a function tells it to. No model is loaded and nothing is trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from inspect import signature
from types import FunctionType

from harness.candidates.base import (
    WITH_PROMPT,
    Candidate,
    CostEstimate,
    Prepared,
    PricedModel,
    TrainingEstimate,
    Variant,
    asked_with_prompt,
)
from harness.candidates.lab import Lab
from harness.data.fingerprints import fingerprint
from harness.errors import UsageError
from harness.fields import require_fields, shown_value
from harness.models.protocol import Decoding, Prompt
from harness.records import Answer, Json, Training
from harness.training.rows import TrainingData

Reply = Callable[[Prompt, "int | None"], str] | Callable[[Prompt, "int | None", int], str]


@dataclass(frozen=True, kw_only=True)
class Scripted:
    """A candidate with sizes and seeds like a fine-tune's, whose answers are ``reply(prompt, size)``.

    It is no subclass of the real kinds: it meets the harness as any class of a project's own would. A
    ``reply`` of three arguments is given the seed, too. An exception that ``reply`` raises becomes the
    answer's failure. The cache key holds the name of ``reply``, the plain values that it closes over, and
    ``version``: change that when it answers otherwise.

        @harness.candidate
        def parrot():
            return Scripted(train="train.jsonl", reply=lambda prompt, size: prompt.messages[-1].content)

    Args:
        reply: what it says.
        train: training rows, which are read and compared with held-out rows, and else not used.
        dev, replay: development and general rows, treated alike.
        stratify: see ``QLoRA``.
        version: part of the cache key.
        training: how it is said to have come to be: losses, seconds, signs of overfitting.
    """

    reply: Reply
    train: str
    dev: str | None = None
    replay: str | None = None
    stratify: str | None = None
    version: str = "1"
    base: str = "scripted"
    kind: str = "scripted"
    cost_rank: int = 4
    decoding: Decoding = field(default_factory=Decoding)
    training: Training | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        require_fields(self)

    @property
    def model_name(self) -> str:
        """See ``Candidate``."""
        return self.base

    def described(self) -> dict[str, Json]:
        """The fields, the reply by its name."""
        named: dict[str, Json] = {"base": self.base, "train": self.train, "version": self.version}
        return {"kind": self.kind, **named, "reply": _told_apart(self.reply)}

    def own_baseline(self) -> Candidate:
        """A script has no base.

        Raises:
            UsageError: always.
        """
        raise UsageError("a Scripted candidate has no baseline of its own: name one with --baseline=NAME.")

    def data(self, lab: Lab) -> TrainingData:
        """See ``Candidate``."""
        dev, general = (lab.rows(path) if path else () for path in (self.dev, self.replay))
        return TrainingData(lab.rows(self.train), lab.shown(self.train), dev, general, self.stratify)

    def endpoint(self) -> PricedModel | None:
        """See ``Candidate``: nothing is hosted."""
        return None

    def redirected(self, url: str) -> Candidate:
        """See ``Candidate``: nothing is hosted."""
        return self

    def preflight(self, lab: Lab, variant: Variant) -> None:
        """A script is always ready."""

    def estimate(self, lab: Lab, variant: Variant) -> CostEstimate:
        """See ``Candidate``: there is nothing to train."""
        prepared = self.prepare(lab, variant)
        rows = len(lab.rows(self.train)) if variant.size is None else variant.size
        return CostEstimate(prepared, TrainingEstimate(prepared.identity, rows, is_kept=True))

    def prepare(self, lab: Lab, variant: Variant) -> Prepared:
        """See ``Candidate``."""
        size, seed = variant.size, variant.seed or 0
        identity = fingerprint({**self.described(), "size": size, "seed": seed})
        return Prepared(
            model_name=self.base,
            model_digest=identity,
            identity=identity,
            numeric_config=ScriptedModel.numeric_config,
            load=lambda: ScriptedModel(self.reply, size, seed),
            ask=asked_with_prompt,
            asked_with=WITH_PROMPT,
            training=self.training,
        )

    def notes(self, lab: Lab, variant: Variant) -> Sequence[str]:
        """See ``Candidate``."""
        return ()


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
            text: object = self._reply(prompt, *self._given)
            if not isinstance(text, str):
                raise TypeError(f"reply gives {shown_value(text)}, and no text")
        except Exception as error:  # noqa: BLE001 - a failure is a value: it is counted and shown
            return Answer(prompt.row_id, "", asked, 0, 0.0, "failed", f"{type(error).__name__}: {error}")
        elapsed_ms = (time.perf_counter() - began) * 1000
        return Answer(prompt.row_id, text, asked, len(text.split()), elapsed_ms)

    def logprob(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Longer continuations are less likely; nothing more is known of a script."""
        return [-float(len(continuation)) for _, continuation in pairs]
