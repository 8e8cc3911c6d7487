"""``harness validate`` on large files: time with token counts, memory, and the lint apart."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.leakage import synthetic_rows
from benchmarks.recipes import ROOT
from benchmarks.results import Options, Result
from harness.data.convert import to_json
from harness.data.rows import read_rows

ROWS, MANY_ROWS = 100_000, 1_000_000
TRAIN = ROOT / "suites" / "support" / "train.jsonl"
# run in a process of its own, which says how much memory it held at most (Linux)
_COMMAND = """
import sys
from harness.cli import main
status = main(sys.argv[1:])
held = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(held.split()[1], file=sys.stderr)
raise SystemExit(status)
"""
_PLAIN = """
import json, sys, bpe_openai
encode = bpe_openai.get_encoding("o200k_base").encode_ordinary
for line in open(sys.argv[1], encoding="utf-8"):
    for message in json.loads(line)["messages"]:
        len(encode(message["content"]))
"""


@dataclass(frozen=True, slots=True)
class _Run:
    seconds: float
    peak_mb: float
    tokens_a_row: float


def measure(options: Options) -> list[Result]:
    """Three runs of the command, and the same lines parsed and counted without any check."""
    rows, many = (ROWS // 100, MANY_ROWS // 100) if options.smoke else (ROWS, MANY_ROWS)
    with tempfile.TemporaryDirectory() as folder:
        file = _file(Path(folder) / "rows.jsonl", rows)
        plain = _plain_seconds(file)
        checked = _run(file, "--no-lint")
        varied = _varied_file(Path(folder) / "varied.jsonl", rows)
        unlinted, linted = _run(varied, "--no-lint"), _run(varied, "--lint")
        large = _run(_file(Path(folder) / "many.jsonl", many), "--no-lint")
    what = f"whole command in a new process; {checked.tokens_a_row:.0f} tokens a row"
    return [
        Result(
            name=f"validate, {rows:,} rows",
            value=checked.seconds,
            unit="s",
            detail=f"{what}, counted; peak memory {checked.peak_mb:.0f} MB",
            reference="json.loads and token counts alone, in a new process",
            reference_value=plain,
            ratio=plain / checked.seconds,
            bar=20.0,
            bar_is="value at most",
        ),
        Result(
            name=f"validate, peak memory, {many:,} rows",
            value=large.peak_mb,
            unit="MB",
            detail=f"{what}; {large.seconds:.0f} s; every row has an id of its own, and ids are remembered",
            bar=500.0,
            bar_is="value at most",
        ),
        Result(
            name=f"lint, {rows:,} rows",
            value=linted.seconds - unlinted.seconds,
            unit="s",
            detail=f"beyond the validation, {linted.tokens_a_row:.0f} tokens a row; peak memory "
            f"{linted.peak_mb:.0f} MB: it holds all rows",
        ),
    ]


def _file(path: Path, rows: int) -> Path:
    """The worked example's training rows, over and over, each with an id and a number of its own."""
    texts = []
    for row in read_rows(TRAIN):
        value = to_json(row, metadata=False)
        texts.append(json.dumps(value, ensure_ascii=False)[1:])
    opening = '"user", "content": "'
    with path.open("w", encoding="utf-8") as file:
        for k in range(rows):
            numbered = texts[k % len(texts)].replace(opening, f"{opening}{k} ", 1)
            file.write(f'{{"id": "r{k}", {numbered}\n')
    return path


def _varied_file(path: Path, rows: int) -> Path:
    """Rows that differ: Zipf-distributed words with stock openings. For the lint, which compares them."""
    made = synthetic_rows(rows, 0, 0)[0]
    path.write_text("".join(json.dumps(to_json(row)) + "\n" for row in made), encoding="utf-8")
    return path


def _run(file: Path, *options: str) -> _Run:
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _COMMAND, "validate", str(file), "--json", *options],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = time.perf_counter() - began
    tokens = json.loads(done.stdout)["tokens"]["mean"]
    return _Run(seconds, float(done.stderr.split()[-1]) / 1024, tokens)


def _plain_seconds(file: Path) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-W", "ignore", "-c", _PLAIN, str(file)], check=True)
    return time.perf_counter() - began
