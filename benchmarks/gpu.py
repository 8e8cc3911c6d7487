"""What only a GPU can tell, in eight minutes: ``python -m benchmarks.gpu [--to FOLDER] [--smoke]``.

Do the tests that are marked ``cuda`` pass; how fast LoRA and QLoRA train beside plain TRL, and in how much memory, on
models of Llama's shape with random weights; how fast answers come beside one ``generate`` call a row; and how
far ``predict_memory`` is off. Nothing is downloaded.

Each part is a process of its own with a limit of seconds. What it measured is in ``gpu.jsonl`` as soon as it is
known; a part that fails or is cut is a failure with its reason, and the next one begins. The table is in
``gpu.md`` at the end, ready for docs/performance.md. ``--smoke`` runs everything on tiny models, on a CPU as well.
Exit status 1 where a part failed, 2 where there is no CUDA device.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from random import Random
from subprocess import PIPE, STDOUT
from typing import TYPE_CHECKING

from benchmarks.generation import Spoken, one_call_a_row
from benchmarks.gpu_models import SHAPES, TINY, LlamaShape, build
from benchmarks.recipes import ROOT, Meter, stamping, train_ours
from harness.candidates.lora import LoRA, QLoRA
from harness.models import quiet_transformers
from harness.models.chat import load_tokenizer
from harness.models.device import DevicePlan, ask_torch
from harness.models.fast import ALL_ON
from harness.models.local import LocalModel, make_head_input_contiguous
from harness.models.protocol import Decoding, Prompt
from harness.models.source import ModelSource
from harness.records import Json, Message
from harness.training.local.tokens import IGNORED, Example
from harness.training.memory import BaseShape, predict_memory

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VERSIONS = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate")
TESTS = "tests/test_devices.py"
ROWS, BATCH_ROWS, LENGTHS = 128, 8, (96, 768)  # training rows, rows a step, tokens of a row
STEPS, WARM_UP = 14, 4
PROMPTS, PROMPT_CHARACTERS, SAMPLE, NEW_TOKENS = 256, (80, 480), 8, 64
LAST_CHARACTERS = 700  # of the output of a part that failed


# --------------------------------------------------------------------------- the parent
@dataclass(frozen=True, slots=True)
class Part:
    """Something to measure, and how many seconds it may take. ``measure`` runs in a process of its own."""

    name: str
    seconds: float
    measure: Callable[[Bench], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts one after another; see the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--to", type=Path, default=Path(os.environ.get("OUT") or "reports/gpu"))
    parser.add_argument("--smoke", action="store_true", help="tiny models, on a CPU too; figures mean nothing")
    parser.add_argument("--seconds", type=float, default=460, help="for all parts together (default 460)")
    parser.add_argument("--only", default="", help=f"parts, of {', '.join(PARTS)}")
    parser.add_argument("--part", help=argparse.SUPPRESS)  # the child's
    given = parser.parse_args(arguments)
    log = Log(given.to / "gpu.jsonl")
    if given.part:
        PARTS[given.part].measure(Bench(log, given.smoke, plan_here(smoke=given.smoke)))
        return 0
    chosen = [name for name in PARTS if name in (given.only.split(",") if given.only else PARTS)]
    given.to.mkdir(parents=True, exist_ok=True)
    log.path.unlink(missing_ok=True)
    about = machine()
    log.add("machine", **about)
    if "card" not in about and not given.smoke:
        print("no CUDA device here: nothing was measured (--smoke runs on a CPU)", file=sys.stderr)
        return 2
    end = time.monotonic() + given.seconds
    for name in chosen:
        run_part(PARTS[name], given.to, log, min(PARTS[name].seconds, end - time.monotonic()), given.smoke)
    page = table(log.read())
    (given.to / "gpu.md").write_text(page, encoding="utf-8")
    print(page)
    return 1 if any(entry["kind"] == "failure" for entry in log.read()) else 0


@dataclass(frozen=True, slots=True)
class Log:
    """What was measured, a JSON line each."""

    path: Path

    def add(self, kind: str, **found: Json) -> None:
        """Append a line. It is on the disk when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **found}, ensure_ascii=False) + "\n")
        print(f"  {kind}: {found}", flush=True)

    def read(self) -> list[dict[str, Json]]:
        """Every whole line; a process that was killed may have left half of one."""
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
        return found


def machine() -> dict[str, Json]:
    """Card, driver and versions, without importing torch in this process: a CUDA context takes memory."""
    found: dict[str, Json] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "versions": {},
    }
    for name in VERSIONS:
        with suppress(PackageNotFoundError):
            found["versions"][name] = version(name)
    with suppress(OSError, subprocess.SubprocessError):
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        said = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout
        card, driver, memory = (field.strip() for field in said.splitlines()[0].split(","))
        found |= {"card": card, "driver": driver, "memory": memory}
    return found


def run_part(part: Part, folder: Path, log: Log, seconds: float, smoke: bool) -> None:
    """Run a part in a process of its own and end it, and what it began, after so many seconds."""
    print(f"== {part.name}: at most {seconds:.0f} s", flush=True)
    if seconds < 1:
        log.add("failure", part=part.name, reason="no time was left")
        return
    command = [sys.executable, "-m", "benchmarks.gpu", "--part", part.name, "--to", str(folder)]
    began = time.monotonic()
    output = folder / f"{part.name}.log"
    with output.open("w", encoding="utf-8") as file:
        child = subprocess.Popen(
            [*command, *(["--smoke"] if smoke else [])],
            stdout=file,
            stderr=STDOUT,
            cwd=ROOT,
            start_new_session=True,  # what it began ends with it
            env={**os.environ, "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"},
        )
        try:
            status = child.wait(timeout=seconds)
            reason = "" if status == 0 else f"exit status {status}: {_last(output)}"
        except subprocess.TimeoutExpired:
            reason = f"cut after {seconds:.0f} s"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    if reason:
        log.add("failure", part=part.name, reason=reason)
    print(f"== {part.name}: {time.monotonic() - began:.0f} s", flush=True)


def _last(output: Path) -> str:
    return " ".join(output.read_text(encoding="utf-8", errors="replace")[-LAST_CHARACTERS:].split())


# --------------------------------------------------------------------------- what the parts share
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
    """A model folder with random weights, in memory where there is room."""
    shape = TINY if bench.smoke else SHAPES[name]
    shared = Path("/dev/shm")
    has_room = shared.is_dir() and shutil.disk_usage(shared).free > 2 * shape.bytes
    with tempfile.TemporaryDirectory(dir=shared if has_room else None) as folder:
        began = time.perf_counter()
        source = build(shape, Path(folder), bench.plan)
        bench.log.add("built", model=name, seconds=round(time.perf_counter() - began, 1))
        yield source, shape


class SyncedMeter(Meter):
    """A step has ended when the card has done it, not when it was told to."""

    def at(self, done: float, total: float | None = None, note: str = "") -> None:
        """See ``Meter``."""
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        super().at(done, total, note)


# --------------------------------------------------------------------------- tests
def run_tests(bench: Bench) -> None:
    """The tests that are marked ``cuda``; on a CPU, for smoke, their other half."""
    marked = ["-m", "not cuda", "-k", "gradient"] if bench.smoke else ["-m", "cuda"]
    command = [sys.executable, "-m", "pytest", TESTS, *marked, "-q", "-rA", "--tb=short", "-W", "default", "-n0"]
    process = subprocess.run(command, cwd=ROOT, stdout=PIPE, stderr=STDOUT, text=True, check=False)
    print(process.stdout)
    lines = process.stdout.splitlines()
    for line in lines:
        outcome, _, test = line.partition(" ")
        if outcome in ("PASSED", "FAILED", "ERROR", "SKIPPED"):
            bench.log.add("test", outcome=outcome.lower(), test=test.removeprefix(f"{TESTS}::"))
    for line in lines:
        if line.startswith("measured: "):
            bench.log.add("measured", what=line.removeprefix("measured: "))
    if process.returncode:
        bench.log.add("failure", part="tests", reason=lines[-1] if lines else "pytest said nothing")


# --------------------------------------------------------------------------- training
def run_training(name: str, bench: Bench) -> None:
    """Ours and TRL's in turns: QLoRA and LoRA, TRL without gradient checkpointing as ours, then as it comes."""
    with a_model(bench, name) as (source, shape):
        examples = random_rows(shape, 16 if bench.smoke else ROWS)
        steps = 3 if bench.smoke else STEPS
        specs = [kind(base=name, train="none", batch_rows=BATCH_ROWS, dev_evaluations=1) for kind in (QLoRA, LoRA)]
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
            bench.attempt("answers", "nf4" if nf4 else bench.plan.dtype, partial(_answers, bench, source, nf4))


def _answers(bench: Bench, source: ModelSource, nf4: bool) -> None:
    rng = Random("prompts")
    n, sample, new = (6, 2, 4) if bench.smoke else (PROMPTS, SAMPLE, NEW_TOKENS)
    texts = ["".join(rng.choice("abcdefgh ") for _ in range(rng.randint(*PROMPT_CHARACTERS))) for _ in range(n)]
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
    from harness.models.local import load_base

    model = load_base(source, plan, attention="sdpa", nf4=nf4)
    make_head_input_contiguous(model)
    return model


# --------------------------------------------------------------------------- the table
def table(entries: Sequence[dict[str, Json]]) -> str:
    """The page in Markdown."""
    by_kind: dict[str, list[dict[str, Json]]] = {}
    for entry in entries:
        by_kind.setdefault(entry["kind"], []).append(entry)
    about = by_kind["machine"][0]
    versions = ", ".join(f"{name} {found}" for name, found in about["versions"].items())
    card = f"{about['card']}, driver {about['driver']}" if "card" in about else "no card: the figures mean nothing"
    lines = [f"{card}; Python {about['python']}, {versions}; {about['date']}.", ""]
    tests = by_kind.get("test", [])
    counted = {o: sum(test["outcome"] == o for test in tests) for o in ("passed", "failed", "error", "skipped")}
    lines += [f"Tests on the device: {', '.join(f'{n} {o}' for o, n in counted.items() if n or o == 'passed')}."]
    lines += [f"Not passed: {test['test']}." for test in tests if test["outcome"] in ("failed", "error")]
    lines += [f"{entry['what']}." for entry in by_kind.get("measured", [])]
    lines += ["", *_training_table(by_kind.get("training", [])), "", *_answers_table(by_kind.get("answers", []))]
    failures = by_kind.get("failure", [])
    lines += ["", f"{len(failures)} failures." if failures else "Nothing failed."]
    lines += [f"- {f['part']}{', ' + f['what'] if 'what' in f else ''}: {f['reason']}" for f in failures]
    return "\n".join(lines) + "\n"


def _training_table(entries: Sequence[dict[str, Json]]) -> list[str]:
    lines = [
        "| model | method | side | tokens/s | ours over it | peak memory | predicted | error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    ours = {(e["model"], e["method"]): e["tokens_per_second"] for e in entries if e["side"] == "ours"}
    for e in entries:
        own = ours.get((e["model"], e["method"]))
        ratio = f"{own / e['tokens_per_second']:.2f}×" if own and e["side"] != "ours" else ""
        predicted = e.get("predicted")
        error = f"{predicted / e['peak'] - 1:+.0%}" if predicted and e["peak"] else ""
        lines.append(
            f"| {e['model']} | {e['method']} | {e['side']} | {e['tokens_per_second']:,.0f} | {ratio}"
            f" | {_gigabytes(e['peak'])} | {_gigabytes(predicted)} | {error} |"
        )
    return lines


def _answers_table(entries: Sequence[dict[str, Json]]) -> list[str]:
    lines = [
        "| model | weights | answers/s | one call a row | ratio | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for e in entries:
        ratio = e["tokens_per_second"] / e["one_by_one_tokens_per_second"]
        lines.append(
            f"| {e['model']} | {e['weights']} | {e['answers_per_second']:.1f} ({e['tokens_per_second']:,.0f} tokens/s)"
            f" | {e['one_by_one_answers_per_second']:.2f} ({e['one_by_one_tokens_per_second']:,.0f} tokens/s)"
            f" | {ratio:.1f}× | {_gigabytes(e['peak'])} |"
        )
    return lines


def _gigabytes(count: float | None) -> str:
    return "" if count is None else f"{count / 1e9:.1f} GB"


PARTS = {
    part.name: part
    for part in (
        Part("tests", 100, run_tests),
        Part("1B", 110, partial(run_training, "1B")),
        Part("8B", 190, partial(run_training, "8B")),
        Part("answers", 80, run_answers),
    )
}

if __name__ == "__main__":
    sys.exit(main())
