"""The two training recipes that are raced, and the meter that counts tokens and stamps steps for both."""

from __future__ import annotations

import importlib.util
import inspect
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.candidates.fixture import MARK
from harness.candidates.lora import LoRA, QLoRA
from harness.models import quiet_transformers
from harness.models.chat import load_tokenizer
from harness.models.device import DevicePlan
from harness.models.source import ModelSource
from harness.records import Row
from harness.training.local.recipe import trainable_model
from harness.training.local.tokens import Example
from harness.training.local.trainer import TrainingCurve, train

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, TrainerCallback

    from harness.training.local.packing import Packed

ROOT = Path(__file__).parent.parent
TUTORIAL = (
    "TRL SFTTrainer on messages, LoRA r=16 on q/k/v/o, alpha 32, dropout 0.05, batch 4 × 4 accumulated, "
    "learning rate 2e-4, AdamW, float32, no gradient checkpointing"
)


def demo_recipe() -> QLoRA:
    """The QLoRA candidate of the project's conftest; the default recipe where there is none."""
    path = ROOT / "conftest.py"
    spec = importlib.util.spec_from_file_location("project_conftest", path) if path.exists() else None
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        marked = [value for value in vars(module).values() if getattr(value, MARK, False)]
        found = [made for value in marked if isinstance(made := inspect.unwrap(value)(), QLoRA)]
        if found:
            return found[0]
    return QLoRA(base="smollm2-135m", train="train.jsonl", r=16, alpha=32, epochs=3, batch_rows=8)


@dataclass(frozen=True, slots=True)
class Stamp:
    """The end of an optimiser step: the clock, and the non-padding tokens that had gone in by then."""

    seconds: float
    tokens: int


@dataclass
class Meter:
    """Counts what enters a model's decoder while it trains. A progress ``Bar``: one report a step."""

    stamps: list[Stamp] = field(default_factory=list)
    tokens: int = 0
    positions: int = 0  # with padding; what the rows of a batch begin with once, where it is read once
    largest: int = 0  # of them that went through at once

    def watch(self, model: PreTrainedModel) -> None:
        """Count from now on. Non-padding tokens are those that the attention mask lets through."""
        import torch

        unwrap: Callable[[], PreTrainedModel] | None = getattr(model, "get_base_model", None)  # PEFT's
        decoder = (unwrap() if unwrap else model).base_model
        counting = threading.Lock()

        def count(module: torch.nn.Module, _: object, given: dict[str, torch.Tensor]) -> None:
            if module.training and torch.is_grad_enabled():  # lower blocks read a row without gradients
                mask = given["attention_mask"]
                packed: Packed | None = getattr(mask, "packed", None)
                tokens = int(mask.sum()) if packed is None else packed.read
                positions = given["input_ids"].numel()
                with counting:  # parts of a batch go through at once
                    self.tokens += tokens
                    self.positions += positions
                    self.largest = max(self.largest, positions)

        decoder.register_forward_pre_hook(count, with_kwargs=True)

    def at(self, done: float, total: float | None = None, note: str = "") -> None:
        """See ``Bar``: a step has ended."""
        self.stamps.append(Stamp(time.perf_counter(), self.tokens))

    def tokens_per_second(self, warm_up_steps: int) -> float:
        """Over whole optimiser steps, the first ``warm_up_steps`` left out."""
        first, last = self.stamps[warm_up_steps - 1], self.stamps[-1]
        return (last.tokens - first.tokens) / (last.seconds - first.seconds)


def train_ours(
    spec: LoRA,
    source: ModelSource,
    examples: Sequence[Example],
    dev: Sequence[Example],
    plan: DevicePlan,
    meter: Meter,
) -> TrainingCurve:
    """Train the harness's way; the meter stamps every step."""
    from transformers import set_seed

    set_seed(0)
    model = trainable_model(spec.recipe(), source, plan)
    meter.watch(model)
    return train(model, load_tokenizer(source), spec.recipe(), examples, dev, plan, 0, meter)


def for_steps(spec: QLoRA, steps: int, rows: int) -> QLoRA:
    """The recipe for so many optimiser steps, in fractions of an epoch over ``rows`` rows."""
    return replace(spec, epochs=steps / -(-rows // spec.batch_rows))


def train_tutorial(
    source: ModelSource,
    rows: Sequence[Row],
    plan: DevicePlan,
    meter: Meter,
    *,
    epochs: float,
    max_steps: int = -1,
) -> tuple[PreTrainedModel, float]:
    """Train the tutorial's way; the model, and the seconds that ``Trainer.train`` took.

    Gradient checkpointing, TRL's default, is switched off: it saves memory that is not short here, and the
    reference is faster without it.
    """
    import datasets
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    datasets.disable_progress_bars()
    turns = [{"messages": [{"role": m.role, "content": m.content} for m in row.messages]} for row in rows]
    with tempfile.TemporaryDirectory() as scratch, quiet_transformers():
        trainer = SFTTrainer(
            model=str(source.folder),
            args=SFTConfig(
                output_dir=scratch,
                num_train_epochs=epochs,
                max_steps=max_steps,
                learning_rate=2e-4,
                per_device_train_batch_size=4,
                gradient_accumulation_steps=4,
                optim="adamw_torch",
                bf16=False,
                gradient_checkpointing=False,
                model_init_kwargs={"dtype": "float32"},
                use_cpu=plan.device == "cpu",
                seed=0,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                dataloader_pin_memory=plan.device == "cuda",
            ),
            train_dataset=datasets.Dataset.from_list(turns),
            peft_config=LoraConfig(
                r=16,
                lora_alpha=32,
                lora_dropout=0.05,
                target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
                task_type="CAUSAL_LM",
            ),
        )
        meter.watch(trainer.model)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(stamping(meter))
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
    trained: PreTrainedModel = trainer.model
    return trained, seconds


def stamping(meter: Meter) -> TrainerCallback:
    """What makes a trainer stamp its steps."""
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Stamping(TrainerCallback):
        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            meter.at(state.global_step, state.max_steps)

    return Stamping()
