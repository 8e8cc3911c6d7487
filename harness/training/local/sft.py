"""TRL's SFTTrainer with batches of like length, a thinner loss, and an eye on every step.

What the thin loss changes, and why (CPU, SmolLM2-135M): only positions that carry a label reach the output
head, as one contiguous matrix (a strided slice makes ``linear`` copy the whole vocabulary matrix once a
row); the products run in bfloat16 under autocast while adapters stay float32. Where a model does something of
its own after the head, several devices share the work, or ``FastPaths.loss`` is off, TRL's own loss is used:
the same number from the same batches.

Only methods that transformers' documentation offers for overriding are overridden, but for the telemetry.
Importing this module takes seconds: TRL.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, cast

import torch
from accelerate.state import is_initialized
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import SFTConfig, SFTTrainer

from harness.errors import TrainingError
from harness.models.fast.heads import has_plain_head
from harness.models.progress import Bar
from harness.records import TrainingPoint
from harness.training.local.batches import WORKER_TOKENS, LengthSampler, even_parts, part_tokens, parts
from harness.training.local.losses import autocast, measure_loss, token_losses
from harness.training.local.packing import can_pack
from harness.training.local.resume import Resume
from harness.training.local.tokens import Example
from harness.training.local.trainer import AfterStep, StepDone
from harness.training.local.workers import WORKERS, Workers
from harness.training.memory import ADAM_BYTES

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from harness.models.device import DevicePlan
    from harness.training.local.recipe import Recipe
    from harness.training.local.side_by_side import Member


class ThinTrainer(SFTTrainer):  # type: ignore[misc]  # TRL ships no types
    """SFTTrainer whose loss touches only labelled positions. ``kwargs`` are SFTTrainer's."""

    def __init__(self, plan: DevicePlan, workers: Workers | None = None, **kwargs: object) -> None:
        self._plan = plan
        self.workers = workers  # threads that share a batch, where it is shared
        self.resume: Resume | None = None  # where it goes on from
        self.last_loss: float | None = None  # of the step's own batch
        self.last_accuracy: float | None = None  # None where TRL computes the loss
        self.member: Member | None = None  # of the trainings that run side by side with this one
        self._limit: int | None = None  # tokens that go through the model at once
        self._thin: bool | None = None  # whether the thin loss is used; known once there is a model to ask
        self._packs = False  # whether rows are packed, likewise
        self._sums: tuple[float, int, int] = (0.0, 0, 0)  # this step's loss, right and labelled tokens
        super().__init__(**kwargs)

    def get_train_dataloader(self) -> torch.utils.data.DataLoader[object]:
        """Batches of like length; see ``LengthSampler``."""
        lengths = [len(ids) for ids in self.train_dataset["input_ids"]]
        batch_rows = self.args.train_batch_size
        loader: torch.utils.data.DataLoader[object] = torch.utils.data.DataLoader(
            self.train_dataset,
            batch_size=batch_rows,
            sampler=LengthSampler(lengths, batch_rows, self.args.seed),
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
            # each epoch draws a number, which must not come between those of another training's first weights
            generator=None if self.member is None else torch.Generator(),
        )
        return cast("torch.utils.data.DataLoader[object]", self.accelerator.prepare(loader))

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Forward and backward, part by part; the gradients add up to those of the whole batch."""
        self._sums = (0.0, 0, 0)
        is_thin = self.is_thin(model)
        if self.resume is not None and self.state.global_step < self.resume.step:
            return torch.zeros((), device=self.args.device)  # without gradients, no weight changes
        if not is_thin or num_items_in_batch is None:
            whole: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
            return whole
        if self.member is not None and (made := self.member.step(inputs, num_items_in_batch)) is not None:
            loss, self.last_loss, self.last_accuracy = made
            return loss
        if self.workers is not None:
            return self._shared_step(model, inputs, num_items_in_batch, self.workers)
        if self._limit is None:
            trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
            needed = trained * (4 + ADAM_BYTES)
            self._limit = part_tokens(cast("PreTrainedModel", model), self._plan, needed)
        with self.turn:
            losses: list[torch.Tensor] = [
                super(ThinTrainer, self).training_step(model, part, num_items_in_batch)
                for part in parts(inputs, self._limit)
            ]
        return sum(losses[1:], losses[0])

    @property
    def turn(self) -> AbstractContextManager[object]:
        """What is computed within it is the only thing that is, of trainings side by side."""
        return nullcontext() if self.member is None else self.member.turn

    def _shared_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        items: torch.Tensor | int,
        workers: Workers,
    ) -> torch.Tensor:
        """The same with parts on several threads, which must not add to one gradient at once."""
        model.train()
        weights = [weight for weight in model.parameters() if weight.requires_grad]

        def work(
            part: dict[str, torch.Tensor],
        ) -> tuple[torch.Tensor, int, int, Sequence[torch.Tensor | None]]:
            with autocast(self._plan):
                losses, right, _ = token_losses(model, part, packs=self._packs)
                total = losses.sum()
            slopes = torch.autograd.grad(total / items, weights, allow_unused=True)
            return total.detach(), int(right.sum()), len(losses), slopes

        done = workers.map_drawing(work, even_parts(inputs, WORKER_TOKENS, WORKERS))
        totals, rights, counts, slopes = zip(*done, strict=True)
        for weight, *given in zip(weights, *slopes, strict=True):
            known = [slope for slope in given if slope is not None]
            weight.grad = sum(known[1:], known[0]) if known else None
        loss: torch.Tensor = sum(totals[1:], totals[0])
        self.last_loss, self.last_accuracy = float(loss) / sum(counts), sum(rights) / sum(counts)
        return loss / items

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Sum of token losses over labelled positions, divided by the tokens of the whole step."""
        with autocast(self._plan):
            if not self.is_thin(model):
                loss: torch.Tensor = super().compute_loss(
                    model, inputs, num_items_in_batch=num_items_in_batch
                )
                self.last_loss, self.last_accuracy = float(loss.detach()), None
                return loss
            losses, right, _ = token_losses(model, inputs, packs=self._packs)
        total = losses.sum()
        summed, correct, count = self._sums
        self._sums = (summed + float(total.detach()), correct + int(right.sum()), count + len(losses))
        self.last_loss, self.last_accuracy = self._sums[0] / self._sums[2], self._sums[1] / self._sums[2]
        return total / (len(losses) if num_items_in_batch is None else num_items_in_batch)

    def is_thin(self, model: torch.nn.Module) -> bool:
        """Whether only labelled positions reach the head."""
        if self._thin is None:
            is_alone = self.accelerator.num_processes == 1 and self.args.n_gpu <= 1
            with autocast(
                self._plan
            ):  # its own: autocast would reuse weights that were cast without gradients
                self._thin = self._plan.fast.loss and is_alone and has_plain_head(model)
                self._packs = self._thin and can_pack(model)
        return self._thin

    def _send_telemetry(self) -> None:
        """Nothing: TRL tells its makers of every training, and what a team trains is its own."""


class Observer(TrainerCallback):
    """Reports every step to the bar and measures the development rows at evenly spaced steps."""

    def __init__(
        self,
        trainer: ThinTrainer,
        recipe: Recipe,
        dev: Sequence[Example],
        plan: DevicePlan,
        bar: Bar,
        after_step: AfterStep | None,
    ) -> None:
        self._trainer, self._recipe, self._dev, self._plan, self._bar = trainer, recipe, dev, plan, bar
        self._after_step = after_step
        self.points: list[TrainingPoint] = []
        self.evaluation_seconds = 0.0
        self._losses: list[float] = []  # of the steps since the last measurement, as are the accuracies
        self._accuracies: list[float] = []
        self.began = time.perf_counter()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Called by transformers after every optimiser step."""
        resume = self._trainer.resume
        if resume is not None and resume.takes_over(state.global_step, self._trainer, self):
            self._bar.at(state.global_step, state.max_steps, "goes on from here")
            return
        model = cast("PreTrainedModel", kwargs["model"])
        loss, accuracy = cast("float", self._trainer.last_loss), self._trainer.last_accuracy
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at step {state.global_step} of {state.max_steps}.\n"
                f"  hint: lower learning_rate, which is {self._recipe.learning_rate:g}."
            )
        self._losses.append(loss)
        if accuracy is not None:
            self._accuracies.append(accuracy)
        spent = time.perf_counter() - self.began - self.evaluation_seconds
        self._bar.at(
            state.global_step, state.max_steps, f"loss {loss:.3f}, {state.global_step / spent:.1f} steps/s"
        )
        point = None
        evaluations = max(1, self._recipe.dev_evaluations)
        if state.global_step in {round(state.max_steps * (k + 1) / evaluations) for k in range(evaluations)}:
            point = self._measure(state, model)
            self.points.append(point)
            self._losses, self._accuracies = [], []
        if self._after_step is not None:
            done = StepDone(state.global_step, state.max_steps, loss, accuracy, point)
            self._after_step(done, model)
        if resume is not None:
            resume.write(state.global_step, self._trainer, self)

    def state(self) -> dict[str, object]:
        """What is measured so far, as JSON holds it."""
        return {
            "points": [asdict(point) for point in self.points],
            "losses": self._losses,
            "accuracies": self._accuracies,
            "seconds": time.perf_counter() - self.began,
            "evaluation_seconds": self.evaluation_seconds,
        }

    def restore(self, told: Mapping[str, object]) -> None:
        """Take over what ``state`` gave in another process."""
        from pydantic import TypeAdapter

        numbers = TypeAdapter(list[float]).validate_python
        self.points = TypeAdapter(list[TrainingPoint]).validate_python(told["points"])
        self._losses, self._accuracies = numbers(told["losses"]), numbers(told["accuracies"])
        spent, self.evaluation_seconds = numbers([told["seconds"], told["evaluation_seconds"]])
        self.began = time.perf_counter() - spent

    def _measure(self, state: TrainerState, model: torch.nn.Module) -> TrainingPoint:
        began = time.perf_counter()
        pad = self._trainer.processing_class.pad_token_id
        workers = self._trainer.workers
        with self._trainer.turn:
            dev = measure_loss(model, self._dev, self._plan, pad, workers=workers) if self._dev else None
        self.evaluation_seconds += time.perf_counter() - began
        accuracies = self._accuracies
        return TrainingPoint(
            step=state.global_step,
            epoch=float(state.epoch or 0.0),
            train_loss=sum(self._losses) / len(self._losses),
            train_token_accuracy=sum(accuracies) / len(accuracies) if accuracies else None,
            dev_loss=dev.mean if dev else None,
            dev_loss_se=dev.standard_error if dev else None,
            dev_token_accuracy=dev.token_accuracy if dev else None,
        )


def arguments(
    recipe: Recipe, plan: DevicePlan, seed: int, scratch: str, *, has_others: bool = False
) -> SFTConfig:
    """TRL's settings for a recipe. ``scratch`` is a folder that TRL may write to.

    ``has_others``: whether this process may have other trainings, which Accelerate's state is not taken from.
    """
    made = SFTConfig(
        output_dir=scratch,
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup,  # below 1 it is a share of all steps
        weight_decay=recipe.weight_decay,
        lr_scheduler_type="cosine",
        per_device_train_batch_size=recipe.batch_rows,
        optim="adamw_torch",
        max_length=None,  # nothing is truncated: rows that are too long were refused
        gradient_checkpointing=False,
        use_cpu=plan.device == "cpu",
        bf16=plan.device == "cuda" and plan.dtype == "bfloat16",
        fp16=plan.device == "cuda" and plan.dtype == "float16",
        seed=seed,
        data_seed=seed,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=plan.device == "cuda",
        accelerator_config={"use_configured_state": has_others and is_initialized()},
    )
    if made.n_gpu > 1:
        made._n_gpu = 1  # the trainer would give every card of the machine ``batch_rows``
    return made
