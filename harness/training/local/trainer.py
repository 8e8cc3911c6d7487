"""The training loop: TRL's SFTTrainer with a thinner loss, and what it measures on the way.

What the thin loss changes, and why (CPU, SmolLM2-135M): only positions that carry a label reach the output
head, as one contiguous matrix (a strided slice makes ``linear`` copy the whole vocabulary matrix once a
row); the products run in bfloat16 under autocast while adapters stay float32. Where a model does
something of its own after the head, or several devices share the work, TRL's own loss is used.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from harness.models.heads import has_plain_head, logits_at
from harness.models.progress import Bar
from harness.records import TrainingPoint
from harness.training.local.batches import PART_TOKENS, length_sampler, parts
from harness.training.local.tokens import IGNORED, Example

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from harness.models.device import DevicePlan
    from harness.training.local.recipe import Recipe


@dataclass(frozen=True, slots=True)
class TrainingCurve:
    """What one training run measured. ``seconds`` leaves out the development evaluations."""

    points: tuple[TrainingPoint, ...]
    steps: int
    seconds: float
    evaluation_seconds: float


@dataclass(frozen=True, slots=True)
class StepDone:
    """An optimiser step of ``total``: its own batch's loss and accuracy, and the point measured after it."""

    number: int
    total: int
    train_loss: float
    train_token_accuracy: float | None
    point: TrainingPoint | None


#: Told of a step, with the model as it is after it.
AfterStep: TypeAlias = "Callable[[StepDone, PreTrainedModel], None]"


@dataclass(frozen=True, slots=True)
class Loss:
    """Mean natural-log loss a supervised token, standard error over rows (None for one), token accuracy."""

    mean: float
    standard_error: float | None
    token_accuracy: float
    rows: int


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
) -> TrainingCurve:
    """Train ``model`` in place on ``examples`` and measure ``dev`` at evenly spaced steps.

    Every parameter that requires a gradient is trained; the caller has chosen them. What
    ``after_step`` raises ends the training.
    """
    import tempfile

    import datasets
    from transformers import PrinterCallback

    trainer_class = _trainer_class(plan)
    rows = datasets.Dataset.from_list([{"input_ids": e.input_ids, "labels": e.labels} for e in examples])
    weights = {p: p.data for p in model.parameters() if p.requires_grad}
    with tempfile.TemporaryDirectory() as scratch:
        trainer = trainer_class(
            model=model,
            args=_arguments(recipe, plan, seed, scratch),
            train_dataset=rows,
            processing_class=tokenizer,
        )
        for parameter, data in weights.items():
            parameter.data = data  # TRL rounds QLoRA's adapters to bfloat16, where small updates are lost
        _require_all_rows(trainer, examples)
        trainer.remove_callback(PrinterCallback)  # prints a dictionary when all is done
        observer = _observer_class()(trainer, recipe, dev, plan, bar, after_step)
        trainer.add_callback(observer)
        trainer.remove_callback(PrinterCallback)  # the bar reports
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
    return TrainingCurve(
        points=tuple(observer.points),
        steps=int(trainer.state.global_step),
        seconds=seconds - observer.evaluation_seconds,
        evaluation_seconds=observer.evaluation_seconds,
    )


def _arguments(recipe: Recipe, plan: DevicePlan, seed: int, scratch: str) -> object:
    from trl import SFTConfig

    return SFTConfig(
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
    )


def _require_all_rows(trainer: object, examples: Sequence[Example]) -> None:
    """TRL drops rows that it finds fully masked; here that would be a silent change of the experiment."""
    from harness.errors import TrainingError

    kept = trainer.train_dataset  # type: ignore[attr-defined]  # SFTTrainer, imported only when used
    tokens = sum(len(ids) for ids in kept["input_ids"])
    wanted = sum(len(e.input_ids) for e in examples)
    if len(kept) != len(examples) or tokens != wanted:
        raise TrainingError(
            f"TRL kept {len(kept)} rows and {tokens} tokens of {len(examples)} rows and {wanted} tokens."
        )


def _trainer_class(plan: DevicePlan) -> type:
    """The trainer, made here because importing TRL takes seconds."""
    from trl import SFTTrainer

    class ThinTrainer(SFTTrainer):  # type: ignore[misc]  # TRL ships no types
        """SFTTrainer whose loss touches only labelled positions."""

        last_loss: float | None = None
        last_accuracy: float | None = None
        _thin: bool | None = None
        _step: tuple[float, int, int] = (0.0, 0, 0)  # summed loss, right and labelled tokens of this step

        def _get_train_sampler(self, train_dataset: object = None) -> torch.utils.data.Sampler[int]:
            lengths = [len(ids) for ids in self.train_dataset["input_ids"]]
            return length_sampler(lengths, self._train_batch_size, self.args.seed)

        def training_step(
            self,
            model: torch.nn.Module,
            inputs: dict[str, torch.Tensor],
            num_items_in_batch: torch.Tensor | int | None = None,
        ) -> torch.Tensor:
            """Forward and backward, part by part; the gradients add up to those of the whole batch."""
            self._step = (0.0, 0, 0)
            if not self._is_thin(model) or num_items_in_batch is None:
                whole: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
                return whole
            inputs = self._prepare_inputs(inputs)
            losses: list[torch.Tensor] = [
                super(ThinTrainer, self).training_step(model, part, num_items_in_batch)
                for part in parts(inputs, PART_TOKENS[plan.device])
            ]
            total: torch.Tensor = sum(losses[1:], losses[0])
            return total

        def compute_loss(
            self,
            model: torch.nn.Module,
            inputs: dict[str, torch.Tensor],
            return_outputs: bool = False,
            num_items_in_batch: torch.Tensor | int | None = None,
        ) -> torch.Tensor:
            """Sum of token losses over labelled positions, divided by the tokens of the whole step."""
            with autocast(plan):
                if not self._is_thin(model):
                    loss: torch.Tensor = super().compute_loss(model, inputs, False, num_items_in_batch)
                    self.last_loss, self.last_accuracy = float(loss.detach()), None
                    return loss
                total, correct, count = labelled_loss(model, inputs)
            before = self._step
            self._step = (before[0] + float(total.detach()), before[1] + correct, before[2] + count)
            self.last_loss, self.last_accuracy = self._step[0] / self._step[2], self._step[1] / self._step[2]
            return total / (count if num_items_in_batch is None else num_items_in_batch)

        def _send_telemetry(self) -> None:
            """Nothing: TRL tells its makers of every training, and what a team trains is its own."""

        def _is_thin(self, model: torch.nn.Module) -> bool:
            if self._thin is None:
                alone = self.accelerator.num_processes == 1 and self.args.n_gpu <= 1
                with autocast(plan):  # its own: autocast would reuse weights that were cast without gradients
                    self._thin = alone and has_plain_head(model)
            return self._thin

    return ThinTrainer


def labelled_loss(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, int, int]:
    """Summed cross-entropy over labelled positions, how many were predicted right, and their number.

    ``inputs`` holds input_ids, attention_mask and labels of shape (rows, tokens).
    """
    losses, right, _ = token_losses(model, inputs)
    return losses.sum(), int(right.sum()), len(losses)


def token_losses(
    model: torch.nn.Module, inputs: dict[str, torch.Tensor], *, plain: bool = True
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cross-entropy (nats) of every labelled token, whether it was the likeliest, and its row's index.

    ``plain`` says that logits are ``head(hidden)`` and nothing more (see ``has_plain_head``).
    """
    import torch

    targets = inputs["labels"].roll(-1, dims=1)
    targets[:, -1] = IGNORED
    keep = targets != IGNORED
    logits = logits_at(model, inputs["input_ids"], inputs["attention_mask"], keep, plain=plain)
    wanted = targets[keep]
    losses = torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="none")
    rows = keep.nonzero()[:, 0]
    return losses, logits.detach().argmax(dim=-1) == wanted, rows


def autocast(plan: DevicePlan) -> torch.autocast:
    """Matrix products in the plan's precision. Trainer's own autocast is off on a CPU."""
    import torch

    return torch.autocast(plan.device, plan.torch_dtype, enabled=plan.dtype != "float32")


def measure_loss(
    model: torch.nn.Module, examples: Sequence[Example], plan: DevicePlan, pad: int, batch_rows: int = 8
) -> Loss:
    """Loss of a model on rows. The standard error is that of a ratio of means over rows."""
    import numpy as np
    import torch

    sums, counts, right = [], [], 0
    ordered = sorted(examples, key=lambda e: (len(e.input_ids), e.row_id))
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    with torch.no_grad(), autocast(plan):
        plain = has_plain_head(model)
        for start in range(0, len(ordered), batch_rows):
            batch = ordered[start : start + batch_rows]
            losses, correct, rows = token_losses(model, _padded(batch, pad, device), plain=plain)
            sums += [float(losses[rows == k].sum()) for k in range(len(batch))]
            counts += [e.supervised for e in batch]
            right += int(correct.sum())
    model.train(training)
    total, n = np.array(sums), np.array(counts, dtype=float)
    mean = total.sum() / n.sum()
    residual = total - mean * n
    error = np.sqrt(len(n) / (len(n) - 1) * (residual**2).sum()) / n.sum() if len(n) > 1 else None
    return Loss(float(mean), None if error is None else float(error), right / float(n.sum()), len(n))


def _padded(batch: Sequence[Example], pad: int, device: torch.device) -> dict[str, torch.Tensor]:
    import torch

    width = max(len(e.input_ids) for e in batch)

    def stack(rows: list[list[int]], fill: int) -> torch.Tensor:
        return torch.tensor([r + [fill] * (width - len(r)) for r in rows], device=device)

    return {
        "input_ids": stack([e.input_ids for e in batch], pad),
        "attention_mask": stack([[1] * len(e.input_ids) for e in batch], 0),
        "labels": stack([e.labels for e in batch], IGNORED),
    }


def _observer_class() -> type:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Observer(TrainerCallback):
        """Reports every step to the bar and measures the development rows at evenly spaced steps."""

        def __init__(
            self,
            trainer: object,
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
            self._losses: list[float] = []
            self._accuracies: list[float] = []
            self._began = time.perf_counter()

        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
        ) -> None:
            trainer = self._trainer
            self._losses.append(trainer.last_loss)  # type: ignore[attr-defined]  # ThinTrainer
            accuracy: float | None = trainer.last_accuracy  # type: ignore[attr-defined]
            if accuracy is not None:
                self._accuracies.append(accuracy)
            spent = time.perf_counter() - self._began - self.evaluation_seconds
            note = f"loss {self._losses[-1]:.3f}, {state.global_step / spent:.1f} steps/s"
            self._bar.at(state.global_step, state.max_steps, note)
            loss, point = self._losses[-1], None
            if self._is_due(state.global_step, state.max_steps):
                point = self._measure(state, kwargs["model"])  # type: ignore[arg-type]
                self.points.append(point)
                self._losses, self._accuracies = [], []
            if self._after_step is not None:
                done = StepDone(state.global_step, state.max_steps, loss, accuracy, point)
                self._after_step(done, kwargs["model"])  # type: ignore[arg-type]

        def _is_due(self, step: int, last: int) -> bool:
            parts = max(1, self._recipe.dev_evaluations)
            return step in {round(last * (k + 1) / parts) for k in range(parts)}

        def _measure(self, state: TrainerState, model: torch.nn.Module) -> TrainingPoint:
            began = time.perf_counter()
            pad = self._trainer.processing_class.pad_token_id  # type: ignore[attr-defined]
            dev = measure_loss(model, self._dev, self._plan, pad) if self._dev else None
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

    return Observer


def overfitting(points: Sequence[TrainingPoint]) -> str | None:
    """A sentence when development loss ended above its minimum by more than its standard error."""
    measured = [p for p in points if p.dev_loss is not None and p.dev_loss_se is not None]
    if len(measured) < 2:
        return None
    best = min(measured, key=lambda p: p.dev_loss or 0.0)
    last = measured[-1]
    assert best.dev_loss is not None
    assert last.dev_loss is not None
    assert last.dev_loss_se is not None
    if last.dev_loss <= best.dev_loss + last.dev_loss_se:
        return None
    return (
        f"development loss ended at {last.dev_loss:.3f} (standard error {last.dev_loss_se:.3f}), above its "
        f"minimum {best.dev_loss:.3f} at epoch {best.epoch:.1f}: train for fewer epochs"
    )
