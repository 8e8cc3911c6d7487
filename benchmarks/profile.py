"""Where the time of local answers goes: seconds of each kind of work, beside the same products alone."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from unittest.mock import patch

from benchmarks import ceiling
from benchmarks.generation import ADAPTERS as FOLDER
from benchmarks.generation import Artifact, find_artifact
from benchmarks.recipes import ROOT
from benchmarks.results import Options, Result
from harness.data.rows import read_rows
from harness.models import bound, generation, local
from harness.models.device import device_plan
from harness.models.fast import attention, reading
from harness.models.local import LocalModel
from harness.models.progress import Silent
from harness.models.protocol import AnswerSchema, Decoding, Prompt
from harness.models.source import resolve

if TYPE_CHECKING:
    import torch

P, R = ParamSpec("P"), TypeVar("R")
PROMPTS, ANSWERS = "prompts", "answers"
PRODUCTS, HEAD = "products with weights", "output head"
KINDS = {
    PRODUCTS: "of the base's linear layers",
    "adapters": "their products",
    HEAD: "logits",
    "attention": "scores, softmax, mixing",
    "cache": "keys and values taken in; rows cut",
    "between": "norms, rotation, SiLU, residuals; Python of the blocks",
    "schema": "masks of the grammar",
    "chances": "log-probabilities of the tokens drawn",
    "steps": "tokens chosen; Python of the loop",
}
SUITES = {"support": 80, "retention": 48}  # and their most new tokens
SCHEMA = ROOT / "suites" / "support" / "ticket.schema.json"


class Clock:
    """Seconds by (phase, kind); what is nested counts to the inner kind alone."""

    def __init__(self) -> None:
        self.seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        self.products: Counter[tuple[str, ceiling.Product]] = Counter()
        self.phase, self._kinds, self._since = ANSWERS, ["steps"], time.perf_counter()

    def start(self) -> None:
        """Forget what was counted."""
        self.seconds.clear()
        self.products.clear()
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
        if isinstance(part, torch.nn.Linear) and not hasattr(part, "lora_A"):
            kind = HEAD if part is head else PRODUCTS
            part.register_forward_pre_hook(_noting(clock))
        elif part is decoder or hasattr(part, "lora_A"):
            kind = "between" if part is decoder else "adapters"
        else:
            continue
        part.forward = clock.timed(kind, part.forward)  # type: ignore[method-assign]


def _noting(clock: Clock) -> Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], None]:
    def note(part: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        outputs, inputs = part.weight.shape
        clock.products[clock.phase, ceiling.Product(args[0].numel() // inputs, inputs, outputs)] += 1

    return note


def measure(options: Options) -> list[Result]:
    """Both suites of the worked example, answered as it answers them."""
    artifact = find_artifact(FOLDER)
    return [_profile(suite, most, artifact, options) for suite, most in SUITES.items()]


def _profile(suite: str, most: int, artifact: Artifact, options: Options) -> Result:
    source, plan, clock = resolve("smollm2-135m", Silent()), device_plan(), Clock()
    rows = list(read_rows(Path(ROOT / "suites" / suite / "heldout.jsonl")))
    prompts = [Prompt(row.id, row.prompt) for row in rows[: 8 if options.smoke else None]]
    schema = AnswerSchema(SCHEMA.read_text("utf-8"), "ticket") if suite == "support" else None
    decoding = Decoding(max_new_tokens=2 if options.smoke else most, schema=schema)
    with watched(
        clock, lambda: LocalModel.load(source, plan, nf4=artifact.nf4, adapter=artifact.folder)
    ) as model:
        list(model.answer(prompts[:1], Decoding(max_new_tokens=2, schema=schema), frozenset()))
        clock.start()
        answers = list(model.answer(prompts, decoding, frozenset()))
        clock.lap()
    products = {product: times for (_, product), times in clock.products.items()}
    speeds = ceiling.measured_speeds(list(products), plan, 0.01 if options.smoke else 0.1)
    total = sum(clock.seconds.values())
    alone = dict.fromkeys((PROMPTS, ANSWERS), 0.0)
    for (phase, product), times in clock.products.items():
        alone[phase] += product.flop * times / speeds[product]
    print(f"\n{suite}: {total:.1f} s\n\n| work | prompts, s | answers, s | share |\n|---|---|---|---|")
    for kind, what in KINDS.items():
        own = [clock.seconds[phase, kind] for phase in (PROMPTS, ANSWERS)]
        print(f"| {kind}: {what} | {own[0]:.1f} | {own[1]:.1f} | {sum(own) / total:.0%} |")
    ideal = sum(alone.values())
    of_phases = " | ".join(f"{seconds:.1f}" for seconds in alone.values())
    print(f"| *the same products at the ceiling* | {of_phases} | {ideal / total:.0%} |")
    read, said = (
        sum(getattr(a, kind) or 0 for a in answers) for kind in ("prompt_tokens", "completion_tokens")
    )
    return Result(
        name=f"profile of answers, {suite}",
        value=total,
        unit="s",
        detail=f"{artifact.name}; {len(prompts)} rows, {read} prompt tokens, {said} new ones; their products"
        f" alone, at the ceiling: {ideal:.1f} s",
    )
