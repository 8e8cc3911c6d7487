"""The worked example, made small, on lesser machines: with AVX2 only, and beside a program that fills a core.

The instruction sets of a lesser processor are asked for by the variables with which oneDNN and PyTorch choose
their kernels. A processor that truly lacks the greater ones may differ in clock and cache.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.recipes import ROOT
from benchmarks.results import Options, Result

AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
SIZE, ROWS = 50, 40  # trained rows; held-out rows of each suite
PARTS = ("training", "generation", "scoring", "loading")
MOST_BUSY = 2.5


def measure(options: Options) -> list[Result]:
    """Seconds of the small example here, with AVX2 only, and beside a busy core; each from an empty store."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _write_small(folder, 2 if options.smoke else ROWS)
        size = 8 if options.smoke else SIZE
        alone = _run(folder, "alone", size, {})
        lesser = _run(folder, "avx2", size, AVX2)
        with _busy_core():
            busy = _run(folder, "busy", size, {})
    return [
        _result("small example, AVX2 only", lesser, alone),
        _result("small example, beside a busy core", busy, alone, bar=MOST_BUSY),
    ]


def _write_small(folder: Path, rows: int) -> None:
    shutil.copytree(ROOT / "suites", folder / "suites", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "conftest.py", folder)
    for heldout in folder.glob("suites/*/heldout.jsonl"):
        lines = heldout.read_text(encoding="utf-8").splitlines(keepends=True)
        heldout.write_text("".join(lines[:rows]), encoding="utf-8")


def _run(folder: Path, name: str, size: int, more: Mapping[str, str]) -> dict[str, float]:
    """Seconds of the whole process as ``total``, and of its parts as the run notes them."""
    command = [sys.executable, "-m", "pytest", "suites", "--candidate=qlora-r16", f"--sizes={size}"]
    places = [f"--harness-store=.{name}", f"--report-dir=reports-{name}", "-p", "no:cacheprovider"]
    quiet = ["-q", "-p", "no:randomly", "-p", "no:hypothesispytest"]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, *places, *quiet],
        cwd=folder,
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        check=False,
    )
    total = time.perf_counter() - began
    records = list(folder.glob(f"reports-{name}/*/run.json"))
    if done.returncode not in (0, 1) or len(records) != 1:  # 1: a decision other than GO
        raise RuntimeError(f"the {name} run ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    timings: dict[str, float] = json.loads(records[0].read_text(encoding="utf-8"))["timings_s"]
    return {**{part: timings.get(part, 0.0) for part in PARTS}, "total": total}


@contextmanager
def _busy_core() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as neighbour:
        try:
            yield
        finally:
            neighbour.kill()


def _result(
    name: str, found: Mapping[str, float], alone: Mapping[str, float], bar: float | None = None
) -> Result:
    ratios = (f"{part} {found[part] / alone[part]:.2f}×" for part in PARTS if alone[part] >= 1)
    return Result(
        name,
        found["total"],
        "s",
        f"qlora-r16 at {SIZE} rows, {ROWS} held-out rows a suite, empty store, once; {', '.join(ratios)}",
        reference="the same with all instruction sets, nothing else running",
        reference_value=alone["total"],
        ratio=found["total"] / alone["total"],
        bar=bar,
        bar_is=None if bar is None else "ratio at most",
    )
