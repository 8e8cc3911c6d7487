"""Many trainings on one base: a learning curve's sizes and seeds side by side, for ``benchmarks.gpu``."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from random import Random

from benchmarks.gpu_models import TINY, LlamaShape
from benchmarks.gpu_parts import BATCH_ROWS, LENGTHS, Bench, SyncedMeter, a_model, clear, peak, train_plain
from harness.candidates.lora import QLoRA
from harness.models.chat_format import load_chat
from harness.models.progress import SilentBar
from harness.models.source import ModelSource
from harness.records import Message, Row, Training
from harness.training.local.recipe import LocalTraining
from harness.training.local.resident import RESIDENT, Resident
from harness.training.local.tokens import encode_rows
from harness.training.rows import TrainingRows

SIZES, SEEDS = (32, 64, 128, 256), (0, 1, 2)  # rows; every row is seen ``EPOCHS`` times
EPOCHS, TRL_STEPS, TRL_WARM_UP = 0.5, 8, 3


@dataclass(frozen=True, slots=True)
class Curve:
    """Trainings of one recipe at some sizes and seeds."""

    bench: Bench
    spec: QLoRA
    source: ModelSource
    rows: Sequence[Row]
    folder: Path

    def train(self, size: int, seed: int, *, beside: bool) -> Training:
        """One of them: the first rows, and as many development rows as a batch has."""
        folder = self.folder / f"{size}-{seed}-{beside}"
        folder.mkdir()
        data = TrainingRows(
            tuple(self.rows[BATCH_ROWS : BATCH_ROWS + size]), dev=tuple(self.rows[:BATCH_ROWS])
        )
        plan = self.bench.plan
        job = LocalTraining(
            self.spec.recipe(), self.source, data, seed, plan, folder.name, folder, beside=beside
        )
        return job(SilentBar())

    def side_by_side(self, places: Sequence[tuple[int, int]]) -> tuple[list[Training], float]:
        """All of them at once, and the seconds that it took with what each builds for itself."""
        began = time.perf_counter()
        with ThreadPoolExecutor(len(places)) as pool:
            works = [partial(self.train, *place, beside=True) for place in places]
            made = [pool.submit(copy_context().run, work) for work in works]
            return [one.result() for one in made], time.perf_counter() - began


def run_curve(bench: Bench) -> None:
    """Side by side against the longest alone, against the same losses alone, and against TRL in turn."""
    token = RESIDENT.set(Resident())
    try:
        with a_model(bench, "8B") as (source, shape), tempfile.TemporaryDirectory() as folder:
            bench.attempt("curve", "side by side", lambda: _measure(bench, source, shape, Path(folder)))
    finally:
        RESIDENT.reset(token)


def _measure(bench: Bench, source: ModelSource, shape: LlamaShape, folder: Path) -> None:
    sizes, seeds = ((4, 8), SEEDS[:2]) if bench.smoke else (SIZES, SEEDS)
    epochs = 1 if bench.smoke else EPOCHS
    spec = QLoRA(base="8B", train="none", batch_rows=BATCH_ROWS, epochs=epochs, dev_evaluations=1)
    rows = random_texts(BATCH_ROWS + sizes[-1], (16, 64) if shape is TINY else LENGTHS)
    curve, places = Curve(bench, spec, source, rows, folder), list(product(sizes, seeds))
    curve.train(sizes[0], len(seeds), beside=False)  # the base is loaded, and the card is warm
    longest = curve.train(sizes[-1], seeds[0], beside=False)
    clear()
    made, seconds = curve.side_by_side(places)
    memory = peak()
    bench.log.add(
        "curve",
        trainings=len(places),
        steps=sum(one.steps for one in made),
        shared=sum("side by side" in one.numeric_config for one in made),
        seconds=round(seconds, 2),
        longest=round(longest.seconds, 2),
        peak=memory,
    )
    for (size, seed), one in zip(places, made, strict=True):
        alone = longest if (size, seed) == (sizes[-1], seeds[0]) else curve.train(size, seed, beside=False)
        point, other = one.points[-1], alone.points[-1]
        pairs = (point.train_loss, other.train_loss), (point.dev_loss, other.dev_loss)
        off = max(abs(ours / theirs - 1) for ours, theirs in pairs if ours and theirs)
        bench.log.add("curve loss", size=size, seed=seed, off=off)
    examples = encode_rows(load_chat(source), rows[BATCH_ROWS:], spec.max_tokens)
    RESIDENT.set(None)  # TRL loads its own base
    clear()
    meter = SyncedMeter()
    train_plain(
        spec, source, examples, bench.plan, meter, 3 if bench.smoke else TRL_STEPS, checkpointing=False
    )
    pace = meter.tokens_per_second(1 if bench.smoke else TRL_WARM_UP)
    tokens = sum(one.tokens for one in made) * spec.epochs
    bench.log.add("curve in turn", tokens_per_second=round(pace, 1), seconds=round(tokens / pace, 2))


def random_texts(n: int, lengths: tuple[int, int]) -> list[Row]:
    """Rows whose tokens are their letters, the last quarter of each to be learnt."""
    rng = Random("texts")

    def text(count: int) -> str:
        return "".join(rng.choice("abcdefgh ") for _ in range(max(1, count)))

    found = []
    for k in range(n):
        count = rng.randint(*lengths)
        turns = Message("user", text(count * 3 // 4)), Message("assistant", text(count // 4))
        found.append(Row(id=f"row-{k}", messages=turns, where=f"random:{k}"))
    return found
