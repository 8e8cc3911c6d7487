"""A run of a million kept answers: how long ``harness decide`` and ``harness report`` take, and in how much memory.

The run is drawn from a seed, into a folder that is deleted. Each command is a process of its own.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from subprocess import PIPE, Popen

from benchmarks.decide_report import BASE, TUNED, decided, suite_of, trial_of
from benchmarks.results import Options, Result
from harness.atomic import write_atomically
from harness.report.runjson import dumped
from harness.scoring.run_labels import answer_digest

ROWS, SLICE_KEYS = 500_000, 4  # of each of two sides
LABELLED = 200  # rows whose answers people labelled
SECONDS, GIGABYTES, PAGE_MB = 60.0, 2.0, 5.0


def measure(options: Options) -> list[Result]:
    """Decide a run of ``ROWS`` rows again with labels, and write its pages again."""
    n = 2_000 if options.smoke else ROWS
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "reports" / "benchmark"
        labels = Path(place) / "labels.jsonl"
        made = Popen([sys.executable, "-m", __name__, str(n), str(folder), str(labels)])
        if made.wait():
            raise SystemExit("the run could not be made")
        each = [
            _timed(["decide", str(folder), "--labels", str(labels)]),
            _timed(["report", str(folder)]),
        ]
        sizes = {path.name: path.stat().st_size / 1e6 for path in folder.iterdir()}
    seconds, peak = sum(s for s, _ in each), max(gb for _, gb in each)
    told = "; ".join(
        f"{name} {s:.1f} s, {gb:.2f} GB" for name, (s, gb) in zip(("decide", "report"), each, strict=True)
    )
    files = ", ".join(f"{name} {mb:,.1f} MB" for name, mb in sorted(sizes.items()))
    what = f"{2 * n:,} kept answers: 2 sides × {n:,} rows, 2 scores, {SLICE_KEYS} slice keys; {told}; {files}"
    name = f"decide and report, {2 * ROWS:,} kept answers"
    return [
        Result(name, seconds, "s", what, bar=SECONDS, bar_is="value at most"),
        Result(f"{name}, peak memory", peak, "GB", what, bar=GIGABYTES, bar_is="value at most"),
        Result(f"{name}, report.html", sizes["report.html"], "MB", what, bar=PAGE_MB, bar_is="value at most"),
    ]


def _timed(arguments: Sequence[str]) -> tuple[float, float]:
    """Seconds and peak gigabytes of a command of the harness."""
    began = time.perf_counter()
    with Popen([sys.executable, "-m", "harness.cli", *arguments], stdout=PIPE, stderr=PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.read()
        said = child.stderr.read().decode()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 1):  # 1 is a decision other than GO
        raise SystemExit(f"harness {' '.join(arguments)} failed ({child.returncode}):\n{said}")
    return time.perf_counter() - began, used.ru_maxrss * 1024 / 1e9


def write_run(n: int, folder: Path, labels: Path) -> None:
    """Write ``run.json`` of ``n`` rows into ``folder``, and labels of some of its summaries."""
    suite = suite_of(n, SLICE_KEYS)
    base, tuned = trial_of(suite, BASE, 0.6), trial_of(suite, TUNED, 0.8)
    record = decided(suite, (base, tuned))
    gates = tuple(
        replace(gate, state="advisory", why="labels are awaited")
        if gate.comparison and gate.comparison.score == "summary"
        else gate
        for gate in record.gates
    )
    write_atomically(folder / "run.json", dumped(replace(record, gates=gates)))
    chance = Random(1)
    said = [
        {
            "run": record.id,
            "suite": suite.name,
            "score": "summary",
            "row": suite.rows[at].id,
            "side": trial.label,
            "seed": trial.seed,
            "answer": answer_digest(trial.answers[at].text),
            "annotator": "ada",
            "label": "good" if chance.random() < rate else "bad",
            "probability": LABELLED / n,
        }
        for at in sorted(chance.sample(range(n), LABELLED))
        for trial, rate in ((base, 0.5), (tuned, 0.7))
    ]
    write_atomically(labels, "".join(json.dumps(one) + "\n" for one in said))


if __name__ == "__main__":
    write_run(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
