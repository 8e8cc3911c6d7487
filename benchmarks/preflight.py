"""What a run checks of local bases before anything is trained: time, without weights being loaded."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.leakage import synthetic_rows
from benchmarks.results import Options, Result
from harness.data.convert import to_json
from harness.models.cache import cache_folder
from harness.models.device import device_plan
from harness.models.progress import Silent
from harness.models.source import BUILTIN, resolve
from harness.records import Row

ROWS, HELDOUT_ROWS = 400, 200
FAMILIES = ("qwen2_5", "qwen3")  # chat templates that trl ships, on the built-in model's tokenizer
CONFTEST = """
import harness
from harness import LoRA

pytest_plugins = ["harness.plugin"]


@harness.candidate(params={name: name for name in %r})
def tuned(request):
    return LoRA(base=request.param, train="train.jsonl")
"""
SUITE = """
import pytest

from harness import ExactMatch, Suite

right = ExactMatch()


@pytest.fixture(scope="module")
def suite():
    return Suite(heldout="heldout.jsonl", prompt="prompt.md", scores=(right,))


def test_better(candidate, baseline):
    assert candidate.scores(right) > baseline.scores(right)
"""
# in a process of its own, which has imported nothing yet; the base's formats are not remembered there
_COMMAND = """
import sys, time
import pytest
from harness.run.session import Session

began = time.process_time()
from transformers import AutoTokenizer
from transformers.models.llama import LlamaConfig
imports = time.process_time() - began

problems = Session.problems
seconds = 0.0

def timed(self, **given):
    global seconds
    began = time.process_time()
    found = list(problems(self, **given))
    seconds += time.process_time() - began
    return found

Session.problems = timed
status = pytest.main(["suites", "--candidate=*", "--plan", "-q", "-p", "no:cacheprovider"])
print(f"\\n{seconds} {imports}")
raise SystemExit(status)
"""


def measure(options: Options) -> list[Result]:
    """A plan over three bases and two suites in a new process; the checks of rows and prompts are timed."""
    shrink = 20 if options.smoke else 1
    with tempfile.TemporaryDirectory() as folder:
        bases = _project(Path(folder), ROWS // shrink, HELDOUT_ROWS // shrink)
        # what the machine can do is known; what the bases' templates want is not
        device_plan()
        cache = Path(folder, "cache")
        cache.mkdir()
        (cache / "device.json").write_bytes((cache_folder() / "device.json").read_bytes())
        environment = {**os.environ, "HARNESS_CACHE": str(cache), "PYTHONPATH": str(Path.cwd())}
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", _COMMAND], cwd=folder, env=environment, capture_output=True, text=True
        )
        whole = time.perf_counter() - began
    last = done.stdout.strip().splitlines()[-1].split() if done.stdout.strip() else []
    ended = done.returncode == 0 and len(last) == 2
    if not ended:
        print(done.stdout[-2000:], done.stderr[-2000:])
    return [
        Result(
            name=f"preflight of {len(bases)} local bases",
            value=float(last[0]) if ended else None,
            unit="CPU s",
            detail=f"{ROWS // shrink} training rows, two suites of {HELDOUT_ROWS // shrink} rows,"
            f" own baselines; first {float(last[1]) if ended else 0:.1f} CPU s for importing transformers;"
            f" whole plan {whole:.1f} s",
            bar=5.0,
            bar_is="value at most",
        )
    ]


def _project(folder: Path, rows: int, heldout: int) -> list[str]:
    """A project with bases that have no weights; gives their names."""
    import json

    import trl

    builtin = resolve(BUILTIN, Silent()).folder
    own, asked = synthetic_rows(rows, 2 * heldout, 0)

    def lines(chosen: Sequence[Row]) -> str:
        return "".join(json.dumps(to_json(row), ensure_ascii=False) + "\n" for row in chosen)

    names = ["smollm2", *FAMILIES]
    for name in names:
        base = folder / name
        base.mkdir()
        for file in builtin.iterdir():
            if file.suffix in (".json", ".jinja", ".txt") and file.name != "manifest.json":
                (base / file.name).write_bytes(file.read_bytes())
        if name in FAMILIES:
            template = Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja"
            (base / "chat_template.jinja").write_bytes(template.read_bytes())
        (base / "model.safetensors").write_bytes(b"")  # never opened
    (folder / "pyproject.toml").write_text("[tool.pytest.ini_options]\n", encoding="utf-8")
    (folder / "conftest.py").write_text(CONFTEST % (names,), encoding="utf-8")
    (folder / "train.jsonl").write_text(lines(own), encoding="utf-8")
    for k in range(2):
        suite = folder / "suites" / f"suite{k}"
        suite.mkdir(parents=True)
        (suite / f"test_suite{k}.py").write_text(SUITE, encoding="utf-8")
        (suite / "prompt.md").write_text("Sort the message. Answer with one word.", encoding="utf-8")
        (suite / "heldout.jsonl").write_text(lines(asked[k::2]), encoding="utf-8")
    return names
