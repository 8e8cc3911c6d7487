"""What ``benchmarks.gpu`` measures; each part runs in a process of its own."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from benchmarks.generation import Spoken, one_call_a_row
from benchmarks.gpu_log import Log
from benchmarks.gpu_models import SHAPES, TINY, LlamaShape, build
from benchmarks.recipes import ROOT, Meter, stamping, train_ours
from harness.candidates.lora import LoRA, QLoRA
from harness.models import quiet_transformers
from harness.models.chat import load_tokenizer
from harness.models.device import DevicePlan, ask_torch
from harness.models.fast import ALL_ON
from harness.models.local import LocalModel, load_base, make_head_input_contiguous
from harness.models.protocol import Decoding, Prompt
from harness.models.source import ModelSource
from harness.records import Json, Message
from harness.training.local.tokens import IGNORED, Example
from harness.training.memory import BaseShape, predict_memory

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TESTS = ("tests/test_devices.py", "tests/training/test_side_by_side.py")
ROWS, BATCH_ROWS, LENGTHS = 128, 8, (96, 768)  # training rows, rows a step, tokens of a row
STEPS, WARM_UP = 14, 4
PROMPTS, PROMPT_CHARACTERS, SAMPLE, NEW_TOKENS = 256, (80, 480), 8, 64
LAST_CHARACTERS = 700  # of what a failure said


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a part's measurements go, and what they are made on."""

    log: Log
    smoke: bool
    plan: DevicePlan

    def attempt(self, part: str, what: str, measure: Callable[[], None]) -> None:
        """Measure; a failure is noted with its reason, and the next measurement begins on a clean card."""
        try:
            measure()
        except Exception as error:  # noqa: BLE001 - it is counted, with its reason
            said = " ".join(str(error).split())[:LAST_CHARACTERS]
            self.log.add("failure", part=part, what=what, reason=f"{type(error).__name__}: {said}")
        clear()


def plan_here(*, smoke: bool) -> DevicePlan:
    """The plan of this machine, with the faster ways even where torch is older than those tested."""
    plan = ask_torch()
    if smoke and plan.device == "cpu":
        return replace(plan, dtype="float32")
    return replace(plan, fast=ALL_ON)


def clear() -> None:
    """Give back what the last measurement held."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak() -> int | None:
    """Bytes that PyTorch had allocated at most since ``clear``; None on a CPU."""
    import torch

    return int(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else None


@contextmanager
def a_model(bench: Bench, name: str) -> Iterator[tuple[ModelSource, LlamaShape]]:
    """A model folder with random weights."""
    shape = TINY if bench.smoke else SHAPES[name]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        source = build(shape, Path(folder), bench.plan)
        bench.log.add("built", model=name, seconds=round(time.perf_counter() - began, 1))
        yield source, shape


class SyncedMeter(Meter):
    """A step has ended when the card has done it, not when it was told to."""

    def watch(self, model: PreTrainedModel) -> None:
        """See ``Meter``. The peak that loading took does not count."""
        clear()
        super().watch(model)

    def at(self, done: float, total: float | None = None, note: str = "") -> None:
        """See ``Meter``."""
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        super().at(done, total, note)


# --------------------------------------------------------------------------- tests
def run_tests(bench: Bench) -> None:
    """The tests that are marked ``cuda``; for smoke, some of their other half."""
    import pytest

    class Noting:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.when != "call" and report.passed:
                return
            test = report.nodeid.rpartition("::")[2]
            reason = {"reason": report.longreprtext[-LAST_CHARACTERS:]} if report.failed else {}
            bench.log.add("test", outcome=report.outcome, test=test, **reason)
            for name, value in report.user_properties:
                bench.log.add(name, what=value)

    marked = ["-m", "not cuda", "-k", "gradient"] if bench.smoke else ["-m", "cuda"]
    options = ["-q", "--tb=short", "-W", "default", "-n0", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
    status = pytest.main([*(str(ROOT / file) for file in TESTS), *marked, *options], plugins=[Noting()])
    if status:
        bench.log.add("failure", part="tests", reason=f"pytest ended with exit status {int(status)}")


# --------------------------------------------------------------------------- training
def run_training(name: str, bench: Bench) -> None:
    """QLoRA and LoRA, ours beside TRL without gradient checkpointing as ours; then TRL as it comes."""
    with a_model(bench, name) as (source, shape):
        examples = random_rows(shape, 16 if bench.smoke else ROWS)
        steps = 3 if bench.smoke else STEPS
        specs = [
            kind(base=name, train="none", batch_rows=BATCH_ROWS, dev_evaluations=1) for kind in (QLoRA, LoRA)
        ]
        for spec in specs:
            ours = partial(_ours, bench, name, spec, source, shape, examples, steps)
            bench.attempt(name, f"{spec.kind}, ours", ours)
            theirs = partial(_theirs, bench, name, spec, source, examples, steps)
            bench.attempt(name, f"{spec.kind}, TRL", partial(theirs, checkpointing=False))
        for spec in specs:
            theirs = partial(_theirs, bench, name, spec, source, examples, steps)
            bench.attempt(name, f"{spec.kind}, TRL, checkpointing", partial(theirs, checkpointing=True))


def random_rows(shape: LlamaShape, n: int) -> list[Example]:
    """Rows of random tokens, the last quarter of each to be learnt."""
    rng = Random("rows")
    lowest, highest = (16, 64) if shape is TINY else LENGTHS
    found = []
    for k in range(n):
        ids = [rng.randrange(shape.vocabulary) for _ in range(rng.randint(lowest, highest))]
        asked = len(ids) * 3 // 4
        found.append(Example(f"row-{k}", ids, [IGNORED] * asked + ids[asked:]))
    return found


def _ours(
    bench: Bench,
    name: str,
    spec: LoRA,
    source: ModelSource,
    shape: LlamaShape,
    examples: Sequence[Example],
    steps: int,
) -> None:
    meter = SyncedMeter()
    spec = replace(spec, epochs=steps / -(-len(examples) // spec.batch_rows))
    train_ours(spec, source, examples, (), bench.plan, meter)
    adapters = BaseShape.of(shape.config).adapter_weights(spec.r, spec.targets)
    predicted = predict_memory(
        BaseShape.of(shape.config),
        tokens=meter.largest,
        labelled=meter.largest // 4,
        adapter_weights=adapters,
        nf4=spec.nf4,
        base_bytes=4 if bench.plan.dtype == "float32" else 2,
    )
    _note(bench, name, spec.kind, "ours", meter, predicted=round(predicted.total))


def _theirs(
    bench: Bench,
    name: str,
    spec: LoRA,
    source: ModelSource,
    examples: Sequence[Example],
    steps: int,
    *,
    checkpointing: bool,
) -> None:
    meter = SyncedMeter()
    train_plain(spec, source, examples, bench.plan, meter, steps, checkpointing=checkpointing)
    _note(bench, name, spec.kind, "TRL, checkpointing" if checkpointing else "TRL", meter)


def _note(bench: Bench, model: str, kind: str, side: str, meter: Meter, **more: Json) -> None:
    bench.log.add(
        "training",
        model=model,
        method=kind,
        side=side,
        tokens_per_second=round(meter.tokens_per_second(1 if bench.smoke else WARM_UP), 1),
        steps=len(meter.stamps),
        padding=round(1 - meter.tokens / meter.positions, 3),
        positions=meter.largest,
        peak=peak(),
        **more,
    )


def train_plain(
    spec: LoRA,
    source: ModelSource,
    examples: Sequence[Example],
    plan: DevicePlan,
    meter: Meter,
    steps: int,
    *,
    checkpointing: bool,
) -> None:
    """TRL as its documentation has it, with the same adapters, rows, labels and rows a step."""
    import datasets
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig, PrinterCallback
    from trl import SFTConfig, SFTTrainer

    packed = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=plan.torch_dtype,
    )
    loading: dict[str, object] = {"dtype": plan.dtype}
    if spec.nf4:
        loading |= {"quantization_config": packed, "device_map": {"": plan.device}}
    rows = [{"input_ids": e.input_ids, "labels": e.labels} for e in examples]
    with tempfile.TemporaryDirectory() as scratch, quiet_transformers():
        trainer = SFTTrainer(
            model=str(source.folder),
            args=SFTConfig(
                output_dir=scratch,
                max_steps=steps,
                learning_rate=spec.learning_rate,
                per_device_train_batch_size=spec.batch_rows,
                gradient_checkpointing=checkpointing,
                model_init_kwargs=loading,
                max_length=None,
                use_cpu=plan.device == "cpu",
                bf16=plan.dtype == "bfloat16",
                fp16=plan.dtype == "float16",
                seed=0,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                dataloader_pin_memory=plan.device == "cuda",
            ),
            train_dataset=datasets.Dataset.from_list(rows),
            processing_class=load_tokenizer(source),
            peft_config=LoraConfig(
                r=spec.r, lora_alpha=spec.alpha, target_modules=list(spec.targets), task_type="CAUSAL_LM"
            ),
        )
        meter.watch(trainer.model)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(stamping(meter))
        trainer.train()


# --------------------------------------------------------------------------- answers
def run_answers(bench: Bench) -> None:
    """Greedy answers of one model, packed to nf4 and in its working precision, in batches and one by one."""
    with a_model(bench, "1B") as (source, _):
        for nf4 in (False, True):
            bench.attempt(
                "answers", "nf4" if nf4 else bench.plan.dtype, partial(_answers, bench, source, nf4)
            )


def _answers(bench: Bench, source: ModelSource, nf4: bool) -> None:
    rng = Random("prompts")
    n, sample, new = (6, 2, 4) if bench.smoke else (PROMPTS, SAMPLE, NEW_TOKENS)
    texts = [
        "".join(rng.choice("abcdefgh ") for _ in range(rng.randint(*PROMPT_CHARACTERS))) for _ in range(n)
    ]
    prompts = [Prompt(str(k), (Message("user", text),)) for k, text in enumerate(texts)]
    model = LocalModel.load(source, bench.plan, nf4=nf4)
    decoding = Decoding(max_new_tokens=new)
    list(model.answer(prompts[:2], decoding, frozenset()))
    began = time.perf_counter()
    answers = list(model.answer(prompts, decoding, frozenset()))
    ours = Spoken(sum(a.completion_tokens or 0 for a in answers), time.perf_counter() - began)
    memory = peak()
    del model
    clear()
    plain = _plain(source, bench.plan, nf4)
    one_call_a_row(plain, source, bench.plan, prompts[:1], new)
    theirs = one_call_a_row(plain, source, bench.plan, prompts[1 : 1 + sample], new)
    bench.log.add(
        "answers",
        model="1B",
        weights="nf4" if nf4 else bench.plan.dtype,
        rows=n,
        answers_per_second=round(n / ours.seconds, 2),
        tokens_per_second=round(ours.pace, 1),
        one_by_one_rows=sample,
        one_by_one_answers_per_second=round(sample / theirs.seconds, 2),
        one_by_one_tokens_per_second=round(theirs.pace, 1),
        peak=memory,
    )


def _plain(source: ModelSource, plan: DevicePlan, nf4: bool) -> PreTrainedModel:
    """The model as anybody loads it, but for the head's input, whose cure is a matter of CPUs."""
    model = load_base(source, plan, attention="sdpa", nf4=nf4)
    make_head_input_contiguous(model)
    return model
