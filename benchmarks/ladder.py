"""What climbing a ladder takes over its rungs' own runs: both from a cold store, in new processes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.results import Options, Result

ROOT = Path(__file__).parents[1]
ROWS, DELAY_MS, LOCAL_ROWS = 40, 20, 10
SCRIPTED = ("1", "2", "3", "4")  # at the same cost, the order is by name
LOCAL = ("prompted", "few-shot-5", "nearest-5")
MOST = 1.05
CONFTEST = f"""
import time

import harness
from harness.testing import Scripted

pytest_plugins = ["harness.plugin"]


def says(right):
    def reply(prompt, size):
        time.sleep({DELAY_MS / 1000})
        return "yes" if int(prompt.row_id) % 10 < right else "no"

    return reply


@harness.candidate(params={{"old": 3, "1": 0, "2": 2, "3": 3, "4": 9}})
def rung(request):
    return Scripted(train="train.jsonl", reply=says(request.param), base=str(request.param))
"""
SUITE = """
import pytest

from harness import {check}, Suite

right = {check}({arguments})


@pytest.fixture(scope="module")
def suite():
    return Suite(heldout="heldout.jsonl", {more}scores=(right,))


def test_better(candidate, baseline):
    assert candidate.scores(right) > baseline.scores(right)
"""
_ROW = '{{"id": "{0}", "messages": [{{"role": "user", "content": "{1} {0}?"}},'
_ROW += ' {{"role": "assistant", "content": "yes"}}]}}\n'


def measure(options: Options) -> list[Result]:
    """Scripted rungs, of which the last holds."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _write(folder, CONFTEST, SUITE.format(check="ExactMatch", arguments="", more=""))
        for file, n in (("train.jsonl", 30), ("suites/support/heldout.jsonl", 4 if options.smoke else ROWS)):
            rows = (_ROW.format(at, Path(file).stem) for at in range(n))
            (folder / file).write_text("".join(rows), encoding="utf-8")
        names = [f"rung-{name}" for name in SCRIPTED]
        found = [_both(folder, names, "--ladder", "--baseline=rung-old") for _ in range(options.rounds)]
    what = f"{len(SCRIPTED)} scripted rungs, {ROWS} rows, {DELAY_MS} ms an answer; the last one holds"
    return [_result("ladder: scripted", found, what)]


def measure_local(options: Options) -> list[Result]:
    """Three rungs of the example on the built-in model, once."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        shutil.copytree(ROOT / "suites/support", folder / "suites/support")
        more = 'prompt="prompt.md", max_tokens=80, '
        conftest = (ROOT / "conftest.py").read_text(encoding="utf-8")
        _write(folder, conftest, SUITE.format(check="FieldMatch", arguments='"intent"', more=more))
        heldout = folder / "suites/support/heldout.jsonl"
        lines = heldout.read_text(encoding="utf-8").splitlines(keepends=True)
        heldout.write_text("".join(lines[: 2 if options.smoke else LOCAL_ROWS]), encoding="utf-8")
        found = [_both(folder, LOCAL, "--ladder=all")]
    what = f"{', '.join(LOCAL)} of the example, {LOCAL_ROWS} held-out rows, --ladder=all"
    return [_result("ladder: local", found, what)]


def _write(folder: Path, conftest: str, suite: str) -> None:
    place = folder / "suites/support/test_support.py"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(suite, encoding="utf-8")
    (folder / "conftest.py").write_text(conftest, encoding="utf-8")


def _both(folder: Path, names: Sequence[str], ladder: str, *options: str) -> tuple[float, float]:
    """Seconds of the ladder, which goes first and so meets files that nobody has read, and of its parts.

    The parts share one store, so that the baseline is asked once, as the ladder asks it.
    """
    for store in (".ladder", ".parts"):
        shutil.rmtree(folder / store, ignore_errors=True)
    each = [f"--candidate={name}" for name in names]
    whole = _seconds(folder, "ladder", [ladder, *each, *options])
    compared = [
        one for one in each if one != f"--candidate={LOCAL[0]}"
    ]  # which is what those are compared with
    return whole, sum(_seconds(folder, "parts", [one, *options]) for one in compared)


def _seconds(folder: Path, store: str, arguments: Sequence[str]) -> float:
    command = [sys.executable, "-m", "pytest", "suites", "-rs", f"--harness-store=.{store}", "-q", *arguments]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:hypothesispytest"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    if done.returncode not in (0, 1) or "\nreport: " not in done.stdout:  # 1: a decision other than GO
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    if "not tried: rung" in done.stdout:
        raise RuntimeError(f"a rung was left out, so the work is not the same:\n{done.stdout}")
    return seconds


def _result(name: str, found: Sequence[tuple[float, float]], what: str) -> Result:
    ratios = [whole / parts for whole, parts in found]
    spread = (
        f"{min(ratios):.2f} to {max(ratios):.2f} over {len(ratios)} rounds" if len(ratios) > 1 else "once"
    )
    return Result(
        name,
        median(whole for whole, _ in found),
        "s",
        f"{what}; its time over that of its rungs, {spread}; imports and report included",
        reference="the rungs one by one",
        reference_value=median(parts for _, parts in found),
        ratio=median(ratios),
        bar=MOST,
        bar_is="ratio at most",
    )
