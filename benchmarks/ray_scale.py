"""Trainings on a Ray cluster of two nodes of one core each, against one process of one core."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path

from benchmarks.results import Options, Result
from harness import LoRA
from harness.data.rows import read_rows
from harness.models.device import device_plan
from harness.models.progress import Silent, SilentBar
from harness.models.source import BUILTIN, ModelSource, folder_digest, resolve
from harness.records import Answer
from harness.store.answers import AnswerStore
from harness.training.executor import InlineExecutor
from harness.training.local.recipe import LocalTraining
from harness.training.rows import TrainingRows

RATES = (5e-4, 1e-3, 2e-3, 3e-3)  # four candidates
SIZES = (1, 2, 3, 4)  # batches
BATCH_ROWS = 8
PROCESSES = 2
WRITERS = 16


def _base(folder: Path) -> ModelSource:
    """A Llama of random weights and 18 million parameters, with the built-in model's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(resolve(BUILTIN, Silent()).folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=4,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return ModelSource("random", folder, folder_digest(folder))


def _jobs(base: Path, folder: Path, options: Options) -> list[LocalTraining]:
    """The first two are not timed: with them, processes start and import what they need."""
    source, plan = ModelSource("random", base, folder_digest(base)), device_plan()
    rows = read_rows(Path("suites/support/train.jsonl"))
    sizes = SIZES[:1] if options.smoke else SIZES
    return [
        LocalTraining(
            LoRA(
                base="random",
                train="-",
                epochs=1,
                learning_rate=rate,
                batch_rows=BATCH_ROWS,
                dev_evaluations=1,
            ).recipe(),
            source,
            TrainingRows(own=rows[: int(BATCH_ROWS * size)]),
            0,
            plan,
            f"{rate}-{size}",
            folder / f"{rate}-{size}",
        )
        for size, rate in [*((0.5, rate) for rate in RATES[:2]), *product(sorted(sizes, reverse=True), RATES)]
    ]


def alone(base: str, folder: str, is_smoke: str) -> None:
    """All trainings in this process, one after another; the child of ``measure``."""
    began = time.perf_counter()
    for number, job in enumerate(_jobs(Path(base), Path(folder), Options(smoke=is_smoke == "True"))):
        if number == PROCESSES:
            print(time.perf_counter() - began)
            began = time.perf_counter()
        job.folder.mkdir(parents=True)
        InlineExecutor().run(job, SilentBar())
    print(time.perf_counter() - began)


def measure(options: Options) -> list[Result]:
    """Both sides train the same 16 adapters, in processes that have started; and what the driver writes."""
    return [_trainings(options), _writes(options)]


def _trainings(options: Options) -> Result:
    import ray
    from ray.cluster_utils import Cluster

    from harness.training.ray_executor import RayExecutor

    os.environ |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        code = "import sys; from benchmarks.ray_scale import alone; alone(*sys.argv[1:])"
        base = _base(here / "base").folder
        command = [sys.executable, "-c", code, str(base), str(here / "one"), str(options.smoke)]
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        reference_start_s, reference_s = map(float, ran.stdout.split()[-2:])
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        try:
            executor, jobs = RayExecutor(cluster.address), _jobs(base, here / "two", options)
            with ThreadPoolExecutor(executor.slots) as pool:
                seconds = []
                for part in (jobs[:PROCESSES], jobs[PROCESSES:]):
                    began = time.perf_counter()
                    list(pool.map(lambda job: executor.run(job, SilentBar()), part))
                    seconds.append(time.perf_counter() - began)
        finally:
            ray.shutdown()
            cluster.shutdown()
        weights = "adapter_model.safetensors"
        same = [
            (here / "one" / job.folder.name / weights).read_bytes() == (job.folder / weights).read_bytes()
            for job in jobs[PROCESSES:]
        ]
    return Result(
        name="ray: 4 candidates × 4 sizes on two nodes of one core",
        value=seconds[1],
        unit="s",
        detail=(
            f"{len(same)} LoRA trainings of a Llama of 18M parameters on {BATCH_ROWS * SIZES[0]} to"
            f" {BATCH_ROWS * SIZES[-1]} rows, one thread each; {sum(same)} of {len(same)} adapters are equal"
            f" byte for byte; before that, processes start and train once ({reference_start_s:.0f} s alone,"
            f" {seconds[0]:.0f} s on the cluster, which is there)"
        ),
        reference="the same trainings in one process of one core, one after another",
        reference_value=reference_s,
        ratio=reference_s / seconds[1],
        bar=1.7,
        bar_is="ratio at least",
    )


def _writes(options: Options) -> Result:
    """Answers that the driver's SQLite file takes a second, from threads that each keep one at a time."""
    each = 20 if options.smoke else 500
    text = "Your order 10293 is on its way and arrives on Tuesday. " * 5
    with tempfile.TemporaryDirectory() as scratch:
        store = AnswerStore(Path(scratch, "answers.sqlite"))
        one = Answer("", text, 80, 60, 900.0)

        def write(writer: int) -> None:
            for number in range(each):
                store.keep_answers(f"{writer:064}", [replace(one, row_id=f"{number:064}")])

        began = time.perf_counter()
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(write, range(WRITERS)))
        seconds = time.perf_counter() - began
        store.close()
        size = Path(scratch, "answers.sqlite").stat().st_size / (each * WRITERS)
    return Result(
        name="ray: answers that the driver keeps",
        value=each * WRITERS / seconds,
        unit="writes/s",
        detail=(
            f"{each * WRITERS} answers of {len(text)} characters from {WRITERS} threads, each a transaction;"
            f" SQLite {sqlite3.sqlite_version}; {size:.0f} bytes an answer on the disk"
        ),
    )
