"""What only a GPU can tell, in eight minutes: ``python -m benchmarks.gpu [--to FOLDER] [--smoke]``.

Do the tests that are marked ``cuda`` pass; how fast LoRA and QLoRA train beside plain TRL, and in how much
memory, on models of Llama's shape with random weights; how long a curve's trainings take side by side; how
fast answers come beside one ``generate`` call a row; and how far ``predict_memory`` is off. Nothing is
downloaded.

Each part is a process of its own with a limit of seconds. What it measured is in ``gpu.jsonl`` as soon as it
is known; a part that fails or is cut is a failure with its reason, and the next one begins. The table is in
``gpu.md`` at the end, ready for docs/performance.md. ``--smoke`` runs all of it on tiny models, on a CPU too.
Exit status 1 where a part failed, 2 where there is no CUDA device.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from subprocess import STDOUT

from benchmarks.gpu_curve import run_curve
from benchmarks.gpu_log import Log, table
from benchmarks.gpu_models import SHAPES
from benchmarks.gpu_parts import LAST_CHARACTERS, Bench, plan_here, run_answers, run_tests, run_training
from benchmarks.recipes import ROOT
from harness.records import Json

VERSIONS = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate")
SCRATCH_BYTES = 2 * SHAPES["8B"].bytes


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
    parser.add_argument(
        "--smoke", action="store_true", help="tiny models, on a CPU too; figures mean nothing"
    )
    parser.add_argument("--seconds", type=float, default=460, help="for all parts together (default 460)")
    parser.add_argument("--only", default="", help=f"parts, of {', '.join(PARTS)}")
    parser.add_argument("--part", help=argparse.SUPPRESS)  # the child's
    given = parser.parse_args(arguments)
    log = Log(given.to / "gpu.jsonl")
    if given.part:
        PARTS[given.part].measure(Bench(log, given.smoke, plan_here(smoke=given.smoke)))
        return 0
    usual = [name for name in PARTS if not (given.smoke and name == "8B")]  # tiny models are all one size
    chosen = [name for name in PARTS if name in (given.only.split(",") if given.only else usual)]
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


def machine() -> dict[str, Json]:
    """Card, driver and versions, without importing torch in this process: a CUDA context takes memory."""
    versions: dict[str, str] = {}
    for name in VERSIONS:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    found: dict[str, Json] = {"date": today, "python": platform.python_version(), "versions": versions}
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
    command = [sys.executable, "-m", "benchmarks.gpu", "--part", part.name, "--to", str(folder.resolve())]
    began = time.monotonic()
    output = folder / f"{part.name}.log"
    # what a part leaves behind when it is cut goes with the folder: sixteen gigabytes of weights
    with output.open("w", encoding="utf-8") as file, tempfile.TemporaryDirectory(dir=_roomy()) as scratch:
        child = subprocess.Popen(
            [*command, *(["--smoke"] if smoke else [])],
            stdout=file,
            stderr=STDOUT,
            cwd=ROOT,
            start_new_session=True,  # what it began ends with it
            env={**os.environ, "TMPDIR": scratch, "HF_HUB_OFFLINE": "1"},
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


def _roomy() -> Path | None:
    """Memory, for weights that are written once and read often, where there is room for them."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and shutil.disk_usage(shared).free > SCRATCH_BYTES else None


def _last(output: Path) -> str:
    return " ".join(output.read_text(encoding="utf-8", errors="replace")[-LAST_CHARACTERS:].split())


PARTS = {
    part.name: part
    for part in (
        Part("tests", 80, run_tests),
        Part("1B", 80, partial(run_training, "1B")),
        Part("curve", 140, run_curve),
        Part("8B", 130, partial(run_training, "8B")),
        Part("answers", 50, run_answers),
    )
}

if __name__ == "__main__":
    sys.exit(main())
