"""Which files of the harness one held-out row enters, from its file to the verdict.

    python -m benchmarks.walk

Runs a project of 40 rows with scripted candidates. Noted is each file in which some function is given a value
whose ``repr`` holds the row's id or its question. The report is left out.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from types import FrameType

import harness

ROOT = Path(harness.__file__).parent
MARKS = ("MARKED", "'h7'")
CONFTEST = """
import harness
from harness.testing import Scripted

pytest_plugins = ["harness.plugin"]


@harness.candidate
def good():
    return Scripted(train="train.jsonl", reply=lambda prompt, size: "yes")


@harness.candidate
def old():
    return Scripted(train="train.jsonl", reply=lambda prompt, size: "no", base="old")
"""
SUITE = """
import pytest
from harness import ExactMatch, Suite

right = ExactMatch(name="right")


@pytest.fixture(scope="module")
def suite():
    return Suite(heldout="heldout.jsonl", scores=(right,))


def test_better(candidate, baseline):
    assert candidate.scores(right) > baseline.scores(right)
"""


def write_project(folder: Path) -> None:
    """The project, with one held-out row that is marked."""

    def rows(name: str, count: int) -> str:
        questions = [f"{name} MARKED" if (name, k) == ("h", 7) else f"{name} {k}" for k in range(count)]
        turns = [[{"role": "user", "content": q}, {"role": "assistant", "content": "yes"}] for q in questions]
        return "".join(
            json.dumps({"id": f"{name}{k}", "messages": one}) + "\n" for k, one in enumerate(turns)
        )

    suite = folder / "suites" / "support"
    suite.mkdir(parents=True)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "train.jsonl").write_text(rows("t", 30))
    (suite / "heldout.jsonl").write_text(rows("h", 40))
    (suite / "test_support.py").write_text(SUITE)


def walk() -> list[str]:
    """The files entered, in order, relative to the package."""
    import pytest

    entered: dict[str, None] = {}
    busy = ended = False

    def look(frame: FrameType, event: str, _: object) -> None:
        nonlocal busy, ended
        file = frame.f_code.co_filename
        if busy or ended or event != "call" or not file.startswith(str(ROOT)):
            return
        name = file.removeprefix(f"{ROOT}/")
        ended = (name, frame.f_code.co_name) == ("run/recording.py", "make_record")
        if ended or name in entered:
            return
        busy = True  # a repr may call functions of the harness
        with contextlib.suppress(Exception):  # an object that is half made has no repr
            if any(mark in repr(value) for value in frame.f_locals.values() for mark in MARKS):
                entered[name] = None
        busy = False

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        write_project(Path(folder))
        before = Path.cwd()
        os.chdir(folder)
        sys.setprofile(look)
        try:
            pytest.main(["suites", "--candidate=good", "--baseline=old", "-q", "-p", "no:randomly"])
        finally:
            sys.setprofile(None)
            os.chdir(before)
    return list(entered)


if __name__ == "__main__":
    files = walk()
    print(f"{len(files)} files")
    for one in files:
        print(f"  {one}")
