"""From an installed wheel to the first verdict: three commands in an empty folder, as newcomers type them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.results import Options, Result

ROOT = Path(__file__).parents[1]
PARTS = ("harness", "pyproject.toml", "README.md", "LICENSE")
MOST_S = 600
VERDICTS = ("GO:", "NO-GO:", "INCONCLUSIVE:")


def measure(options: Options) -> list[Result]:
    """Seconds of each command, and of the three. The built-in model is fetched and converted anew.

    The wheel is built and the virtual environment made before the clock starts. Smoke: the installation and
    the project, without the run.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        wheel, binaries = _wheel(folder / "built"), folder / "venv" / "bin"
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        commands = {
            "pip install": [str(binaries / "pip"), "install", "--quiet", f"{wheel}[local]"],
            "harness init": [str(binaries / "harness"), "init", "--yes"],
            "pytest suites/": [str(binaries / "pytest"), "suites/"],
        }
        if options.smoke:
            del commands["pytest suites/"]
        project = folder / "project"
        project.mkdir()
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environment = {**inherited, "HARNESS_CACHE": str(folder / "cache")}
        seconds, said = {}, ""
        for name, command in commands.items():
            began = time.perf_counter()
            done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
            seconds[name], said = time.perf_counter() - began, done.stdout
            if done.returncode:
                raise RuntimeError(f"{name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    verdict = next((line for line in said.splitlines() if line.startswith(VERDICTS)), "no verdict")
    parts = ", ".join(f"{name} {spent:.0f} s" for name, spent in seconds.items())
    total = None if verdict == "no verdict" else sum(seconds.values())
    what = f"{parts}; {os.cpu_count()} cores; {verdict}"
    return [Result("first verdict", total, "s", what, bar=MOST_S, bar_is="value at most")]


def _wheel(to: Path) -> Path:
    """The wheel of this checkout, built from a copy, so that nothing is left in it."""
    source = to / "source"
    source.mkdir(parents=True)
    for part in PARTS:
        origin = ROOT / part
        if origin.is_dir():
            shutil.copytree(origin, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(origin, source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(to),
        str(source),
    ]
    subprocess.run(command, check=True)
    return next(to.glob("*.whl"))
