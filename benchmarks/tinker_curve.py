"""A learning curve over Tinker's wire against the local one: the same batches, the same losses.

Both sides train LoRA on a Llama of two layers with random weights and the built-in model's tokenizer, in
float32, from the same first weights. Batches are compared as they reach the two models, token for token.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from benchmarks.recipes import ROOT, demo_recipe
from benchmarks.results import Options, Result
from harness.candidates.lora import LoRA
from harness.data.rows import read_rows
from harness.models import quiet_transformers
from harness.models.chat import load_tokenizer
from harness.models.chat_format import load_chat
from harness.models.device import DevicePlan
from harness.models.progress import Silent, SilentBar
from harness.models.source import BUILTIN, ModelSource, folder_digest, resolve
from harness.records import Training
from harness.testing.fake_tinker import running_fake_tinker
from harness.testing.fake_tinker.backend import TrainedTokens
from harness.testing.fake_tinker.real import ALPHA, RealTinker
from harness.training.local.recipe import LocalTraining
from harness.training.local.tokens import IGNORED, encode_rows
from harness.training.local.trainer import StepDone
from harness.training.rows import TrainingData, TrainingRows, draw_rows
from harness.training.tinker.loop import Adapter, Surroundings, TinkerJob, TinkerState, tune
from harness.training.tinker.plan import TrainingPlan
from harness.training.tinker.service import TinkerService

if TYPE_CHECKING:
    import torch

SIZES, SMOKE_SIZES = (50, 100, 200, 400), (6, 12)
EXACT = DevicePlan("cpu", "float32", "eager", "grouped_eager")
RANK, SEED = 16, 3
NOISE = 2e-4  # nats a token: float32 sums in another order, over hundreds of steps of the optimizer

#: One row of a batch: what is read, what comes next, and whether that is learnt.
Sequence_ = tuple[tuple[int, ...], tuple[int, ...], tuple[bool, ...]]


@dataclass
class Side:
    """What one side was given and what it found."""

    batches: list[list[Sequence_]] = field(default_factory=list)  # of each step, in no order
    losses: list[float] = field(default_factory=list)  # of each step
    dev: tuple[float, ...] = ()
    steps: int = 0


def measure(options: Options) -> list[Result]:
    """The largest difference of any step's loss, and of the development losses."""
    sizes = SMOKE_SIZES if options.smoke else SIZES
    with tempfile.TemporaryDirectory() as scratch:
        source, epochs = _base(Path(scratch, "base")), 1 if options.smoke else 3
        found = compare(Path(scratch), source, _demo_rows(), sizes, epochs)
    steps = sum(here.steps for here, _ in found)
    rows = sum(len(batch) for here, _ in found for batch in here.batches)
    apart = [abs(a - b) for here, there in found for a, b in zip(here.losses, there.losses, strict=True)]
    dev = [abs(a - b) for here, there in found for a, b in zip(here.dev, there.dev, strict=True)]
    last = found[-1][0].losses
    detail = (
        f"sizes {', '.join(map(str, sizes))}: {steps} steps and {rows} sequences, each the same tokens and"
        f" mask in the same batch; the largest size's loss goes from {last[0]:.2f} to {last[-1]:.2f}"
    )
    measures = (("a step", apart, detail), ("the development rows", dev, f"{len(dev)} measurements"))
    return [
        Result(
            f"loss of {what}: Tinker's wire against LoRA here, at most apart",
            max(values),
            "nats",
            told,
            bar=NOISE,
            bar_is="value at most",
        )
        for what, values, told in measures
    ]


def compare(
    scratch: Path, source: ModelSource, data: TrainingData, sizes: Sequence[int], epochs: float
) -> list[tuple[Side, Side]]:
    """Both sides at each size.

    Raises:
        AssertionError: a step of the two holds other rows, tokens or masks.
    """
    spec = LoRA(base=str(source.folder), train="train.jsonl", r=RANK, alpha=ALPHA, epochs=epochs)
    found = []
    for size in sizes:
        rows = draw_rows(data, size, SEED)
        here, there = _here(scratch / f"local-{size}", spec, source, rows), _there(spec, source, rows)
        assert here.steps == there.steps, f"{here.steps} steps here, {there.steps} there"
        for step, (one, other) in enumerate(zip(here.batches, there.batches, strict=True), start=1):
            assert sorted(one) == sorted(other), f"size {size}, step {step}: other rows, tokens or masks"
        found.append((here, there))
    return found


def _demo_rows() -> TrainingData:
    example = demo_recipe()
    return TrainingData(
        read_rows(ROOT / example.train),
        dev=read_rows(ROOT / example.dev)[:24] if example.dev else (),
        stratify=example.stratify,
    )


def _here(folder: Path, spec: LoRA, source: ModelSource, rows: TrainingRows) -> Side:
    side = Side()
    folder.mkdir()

    def ended(done: StepDone) -> None:
        side.losses.append(done.train_loss)

    with _watching(side):
        job = LocalTraining(spec.recipe(), source, rows, SEED, EXACT, "local", folder)
        made: Training = job(SilentBar(), ended)
    side.dev = tuple(point.dev_loss or 0.0 for point in made.points)
    side.steps = made.steps
    return side


@contextmanager
def _watching(side: Side) -> Iterator[None]:
    """Note the batches of the local trainer as its model is given them."""
    from harness.training.local.sft import ThinTrainer

    plain = ThinTrainer.training_step

    def noted(
        self: ThinTrainer,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        batch = []
        for ids, labels, mask in zip(
            inputs["input_ids"].tolist(),
            inputs["labels"].tolist(),
            inputs["attention_mask"].tolist(),
            strict=True,
        ):
            n = sum(mask)
            learnt = tuple(label != IGNORED for label in labels[1:n])
            batch.append((tuple(ids[: n - 1]), tuple(ids[1:n]), learnt))
        side.batches.append(batch)
        return plain(self, model, inputs, num_items_in_batch)

    with patch.object(ThinTrainer, "training_step", noted):
        yield


class _Noting(RealTinker):
    """A service that notes what it learns from."""

    side: Side

    def forward(self, run: str, data: Sequence[TrainedTokens], *, backward: bool) -> list[list[float]]:
        found = super().forward(run, data, backward=backward)
        if backward:
            self.side.batches.append(
                [(tuple(d.tokens), tuple(d.targets), tuple(w != 0 for w in d.weights)) for d in data]
            )
            weighted = zip(data, found, strict=True)
            pairs = [(w, p) for d, row in weighted for w, p in zip(d.weights, row, strict=True)]
            self.side.losses.append(-sum(weight * logprob for weight, logprob in pairs))
        return found


def _there(spec: LoRA, source: ModelSource, rows: TrainingRows) -> Side:
    chat, backend = load_chat(source), _Noting(Silent(), plan=EXACT)
    side = backend.side = Side()
    plan = TrainingPlan.make(
        encode_rows(chat, rows.own, spec.max_tokens),
        encode_rows(chat, rows.dev, spec.max_tokens),
        spec.recipe(),
        SEED,
    )
    job = TinkerJob("0" * 64, str(source.folder), plan, Adapter(RANK, True, True, False), SEED, 20, 30)
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, {"TINKER_TELEMETRY": "0"}))
        service = stack.enter_context(running_fake_tinker(backend=backend))
        tuned = tune(job, TinkerService(service.url, "TINKER_BENCHMARK_KEY"), Surroundings(), TinkerState())
        billed = service.billed_tokens["training"]
        assert billed == plan.tokens(), f"{billed} tokens billed, {plan.tokens()} planned"
    side.dev = tuple(point.dev_loss or 0.0 for point in tuned.points)
    side.steps = len(plan.steps)
    return side


def _base(folder: Path) -> ModelSource:
    """A model of two layers that reads the built-in one's tokens."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = load_tokenizer(resolve(BUILTIN, Silent()))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2_048,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(), quiet_transformers():
        torch.manual_seed(1)
        LlamaForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return ModelSource(str(folder), folder, folder_digest(folder))
