"""A learning curve's trainings against its largest one alone, from the start of a process to the artifact."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.recipes import ROOT, demo_recipe
from benchmarks.results import Options, Result
from harness.data.rows import read_rows
from harness.models.device import device_plan
from harness.models.progress import Silent, SilentBar
from harness.models.source import resolve
from harness.training.executor import SubprocessExecutor
from harness.training.local.recipe import LocalTraining
from harness.training.rows import TrainingData, draw_rows

SIZES = (50, 100, 200, 400)
SMOKE_SIZES = (4, 8)


def measure(options: Options) -> list[Result]:
    """Seconds of the worked example's curve and of its largest training, as a run trains them."""
    sizes = SMOKE_SIZES if options.smoke else SIZES
    curve, alone = _seconds(sizes, options.smoke), _seconds(sizes[-1:], options.smoke)
    return [
        Result(
            name=f"training a curve of {len(sizes)} sizes",
            value=curve,
            unit="s",
            detail=f"sizes {', '.join(map(str, sizes))}, the worked example's recipe, general and development"
            " rows; in one process, one after another, from its start to the last artifact",
            reference=f"its largest training alone, {sizes[-1]} rows",
            reference_value=alone,
            ratio=curve / alone,
            bar=2.0,
            bar_is="ratio at most",
        )
    ]


def _seconds(sizes: Sequence[int], smoke: bool) -> float:
    spec, executor = demo_recipe(), SubprocessExecutor()
    source, plan = resolve(spec.base, Silent()), device_plan()
    general = read_rows(ROOT / spec.replay)[: 2 if smoke else None] if isinstance(spec.replay, str) else ()
    dev = read_rows(ROOT / spec.dev)[: 2 if smoke else None] if spec.dev else ()
    data = TrainingData(read_rows(ROOT / spec.train), dev=dev, general=general, stratify=spec.stratify)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(executor.slots) as pool:

        def train(size: int) -> None:
            folder = Path(scratch, str(size))
            folder.mkdir()
            rows = draw_rows(data, size, 0)
            executor.run(LocalTraining(spec.recipe(), source, rows, 0, plan, str(size), folder), SilentBar())

        began = time.perf_counter()
        list(pool.map(train, sorted(sizes, reverse=True)))
        return time.perf_counter() - began
