"""The training loop, and what it measures on the way. Importing this module imports no torch."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from harness.errors import TrainingError
from harness.models.progress import Bar
from harness.records import TrainingPoint
from harness.training.local.resident import RESIDENT, Resident
from harness.training.local.tokens import Example

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from harness.models.device import DevicePlan
    from harness.training.local.recipe import Recipe
    from harness.training.local.resume import Resume


@dataclass(frozen=True, slots=True)
class TrainingCurve:
    """What one training run measured. ``seconds`` leaves out the development evaluations."""

    points: tuple[TrainingPoint, ...]
    steps: int
    seconds: float
    evaluation_seconds: float
    reads_once: bool = False  # whether each row went through the frozen lower blocks once
    shared_steps: int = 0  # of ``steps``, those that were computed together with other trainings'


@dataclass(frozen=True, slots=True)
class StepDone:
    """An optimiser step of ``total``: its own batch's loss and accuracy, and the point measured after it."""

    number: int
    total: int
    train_loss: float
    train_token_accuracy: float | None
    point: TrainingPoint | None


#: Called after a step, with the model as it is then.
AfterStep: TypeAlias = "Callable[[StepDone, PreTrainedModel], None]"


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    recipe: Recipe,
    examples: Sequence[Example],
    dev: Sequence[Example],
    plan: DevicePlan,
    seed: int,
    bar: Bar,
    after_step: AfterStep | None = None,
    resume: Resume | None = None,
) -> TrainingCurve:
    """Train ``model`` in place on ``examples`` and measure ``dev`` at evenly spaced steps.

    Every parameter that requires a gradient is trained; the caller has chosen them. An exception from
    ``after_step`` ends the training. With ``resume`` it goes on where an earlier process was, and
    ``after_step`` hears of no step that is done.

    Raises:
        TrainingError: TRL would not train on all rows as they were given.
    """
    resident = RESIDENT.get() or Resident()
    with resident.building:
        import datasets
        from transformers import PrinterCallback

        from harness.training.local import sft
        from harness.training.local.losses import drops
        from harness.training.local.lower_blocks import lower_blocks_read_once
        from harness.training.local.workers import workers

    rows = datasets.Dataset.from_list([{"input_ids": e.input_ids, "labels": e.labels} for e in examples])
    weights = {p: p.data for p in model.parameters() if p.requires_grad}
    shares = shares_batches(recipe, plan) and not resident.is_shared
    with (
        tempfile.TemporaryDirectory() as scratch,
        workers() if shares else nullcontext() as threads,
        ExitStack() as stack,
    ):
        with resident.building:
            trainer = sft.ThinTrainer(
                plan,
                threads,
                model=model,
                args=sft.arguments(recipe, plan, seed, scratch, has_others=resident.is_shared),
                train_dataset=rows,
                processing_class=tokenizer,
            )
            for parameter, data in weights.items():
                parameter.data = data  # TRL rounds QLoRA's adapters to bfloat16, where small updates are lost
            require_all_rows(trainer.train_dataset["input_ids"], examples)
            observer = sft.Observer(trainer, recipe, dev, plan, bar, after_step)
            trainer.add_callback(observer)
            trainer.remove_callback(PrinterCallback)  # it prints a dictionary at the end; the bar reports
            if resume is not None:
                trainer.resume = resume
                resume.begin(trainer)
            tokens = sum(len(e.input_ids) for e in (*examples, *dev)) if plan.fast.blocks else None
            can_share = trainer.is_thin(model) and not drops(model)
            reads_once = stack.enter_context(lower_blocks_read_once(model, tokens, plan))
        with resident.beside(model, plan, can_share=can_share) as trainer.member:
            trainer.train()
        seconds = time.perf_counter() - observer.began
    return TrainingCurve(
        points=tuple(observer.points),
        steps=int(trainer.state.global_step),
        seconds=seconds - observer.evaluation_seconds,
        evaluation_seconds=observer.evaluation_seconds,
        reads_once=reads_once,
        shared_steps=trainer.member.steps if trainer.member else 0,
    )


def shares_batches(recipe: Recipe, plan: DevicePlan) -> bool:
    """Whether threads share a batch's rows, which rounds otherwise than one thread with all of them.

    Only adapters' gradients are small enough to be held once a part.
    """
    return packs_rows(plan) and recipe.adapter is not None and recipe.batch_rows > 1


def packs_rows(plan: DevicePlan) -> bool:
    """Whether rows are packed where the architecture allows it (packing.py)."""
    return plan.device == "cpu" and plan.fast.loss and plan.fast.attention


def require_all_rows(kept: Sequence[Sequence[int]], examples: Sequence[Example]) -> None:
    """TRL drops rows that it finds fully masked; here that would be a silent change of the experiment.

    Raises:
        TrainingError: rows or tokens are missing among those that TRL kept.
    """
    tokens = sum(len(ids) for ids in kept)
    wanted = sum(len(e.input_ids) for e in examples)
    if len(kept) != len(examples) or tokens != wanted:
        raise TrainingError(
            f"TRL kept {len(kept)} rows and {tokens} tokens of {len(examples)} rows and {wanted} tokens."
        )


def overfitting(points: Sequence[TrainingPoint]) -> str | None:
    """A sentence when development loss ended above its minimum by more than its standard error."""
    measured = [(p, p.dev_loss, p.dev_loss_se) for p in points]
    known = [(p, loss, error) for p, loss, error in measured if loss is not None and error is not None]
    if len(known) < 2:
        return None
    best, least, _ = min(known, key=lambda point: point[1])
    _, last, error = known[-1]
    if last <= least + error:
        return None
    return (
        f"development loss ended at {last:.3f} (standard error {error:.3f}), above its "
        f"minimum {least:.3f} at epoch {best.epoch:.1f}: train for fewer epochs"
    )
