"""Where the time of local answers goes: seconds of each kind of work, beside the matrix-product ceiling."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from unittest.mock import patch

from harness.models import bound, generation, local
from harness.models.fast import attention, reading
from harness.models.local import LocalModel

if TYPE_CHECKING:
    import torch

P, R = ParamSpec("P"), TypeVar("R")
PROMPTS, ANSWERS = "prompts", "answers"
PRODUCTS, ADAPTERS, HEAD = "products with weights", "adapters' products", "output head"
KINDS = {
    "attention": "scores, softmax and mixing",
    "cache": "keys and values taken in, rows cut",
    "between": "norms, rotation, SiLU, residuals, Python of the blocks",
    "schema": "masks of the grammar",
    "chances": "log-probabilities of drawn tokens",
    "steps": "choice of tokens, masks, Python of the loop",
}


class Clock:
    """Seconds by (phase, kind); what is nested counts to the inner kind alone."""

    def __init__(self) -> None:
        self.seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        self.phase, self._kinds, self._since = ANSWERS, ["steps"], time.perf_counter()

    def start(self) -> None:
        """Forget what was counted."""
        self.seconds.clear()
        self._since = time.perf_counter()

    def lap(self) -> None:
        """Count the time since the last change to what is being done."""
        now = time.perf_counter()
        self.seconds[self.phase, self._kinds[-1]] += now - self._since
        self._since = now

    def timed(self, kind: str, call: Callable[P, R], phase: str = "") -> Callable[P, R]:
        """The call, counted."""

        @wraps(call)
        def counted(*args: P.args, **kwargs: P.kwargs) -> R:
            self.lap()
            before = self.phase
            self.phase = phase or before
            self._kinds.append(kind)
            try:
                return call(*args, **kwargs)
            finally:
                self.lap()
                self._kinds.pop()
                self.phase = before

        return counted


@contextmanager
def watched(clock: Clock, load: Callable[[], LocalModel]) -> Iterator[LocalModel]:
    """A model whose work the clock counts."""
    pooled_layer = attention._pooled_layer_class()
    with ExitStack() as stack:

        def replace(holder: object, name: str, kind: str, phase: str = "") -> None:
            stack.enter_context(patch.object(holder, name, clock.timed(kind, getattr(holder, name), phase)))

        replace(local, "read_prompts", "steps", PROMPTS)
        replace(local, "pooled", "cache", PROMPTS)
        replace(attention, "grouped_eager", "attention")
        replace(attention, "_along_paths", "attention")
        replace(reading.Reading, "with_kept", "cache")
        replace(pooled_layer, "update", "cache")
        replace(pooled_layer, "batch_select_indices", "cache")
        replace(bound.BoundRows, "__call__", "schema")
        replace(generation.DrawnLogprobs, "__call__", "chances")
        replace(generation.DrawnLogprobs, "_note", "chances")
        model = load()
        _watch_modules(clock, model._model)
        yield model


def _watch_modules(clock: Clock, model: torch.nn.Module) -> None:
    import torch

    decoder, head = local.parts_of(model)
    for part in model.modules():
        if part is decoder:
            kind = "between"
        elif hasattr(part, "lora_A"):
            kind = ADAPTERS
        elif isinstance(part, torch.nn.Linear):
            kind = HEAD if part is head else PRODUCTS
        else:
            continue
        part.forward = clock.timed(kind, part.forward)  # type: ignore[method-assign]
