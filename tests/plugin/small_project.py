"""A project of a few lines and forty rows, written where a test wants it, with scripted candidates."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.records import RunRecord
from harness.report.runjson import load_run

CONFTEST = """
from pathlib import Path

import harness
from harness import FewShot, Prompted, QLoRA
from harness.testing import Scripted

pytest_plugins = ["harness.plugin"]
HERE = Path(__file__).parent


def log(row_id):
    with (HERE / "asked.txt").open("a") as file:
        file.write(row_id + "\\n")


def says(right, wrong="no"):
    '''"yes", the reference, to ``right`` of any ten rows, and ``wrong`` to the others.'''

    def reply(prompt, size):
        log(prompt.row_id)
        number = int(prompt.row_id.rpartition("-")[2])
        return "yes" if number % 10 < (right(size) if callable(right) else right) else wrong

    return reply


@harness.candidate
def old():
    return Scripted(train="train.jsonl", reply=says(3))


@harness.candidate
def good():
    return Scripted(train="train.jsonl", reply=says(9), base="good")


@harness.candidate
def bad():
    return Scripted(train="train.jsonl", reply=says(0), base="bad")


@harness.candidate
def much_the_same():
    return Scripted(train="train.jsonl", reply=says(3), base="same")
"""

SUITE = """
import pytest

from harness import Contains, ExactMatch, JsonSchema, LikelihoodJudge, Suite, assert_better, assert_not_worse

right = ExactMatch(name="right")


@pytest.fixture(scope="module")
def suite():
    return Suite(heldout="heldout.jsonl", scores=(right,))

"""

TARGET = """
def test_better(candidate, baseline):
    assert candidate.scores(right) > baseline.scores(right)
"""

GUARD = """
def test_not_worse(candidate, baseline):
    assert candidate.scores(right) >= baseline.scores(right) - 0.1
"""

#: for runs in processes of their own: importing matplotlib and drawing take half of their time
UNDRAWN = """
from harness.report.pages import CHARTS, environment

environment().globals.update({chart.__name__: lambda *_: "" for chart in CHARTS})
"""

Row = dict[str, object]


def row(row_id: str, question: str, answer: str = "yes", **metadata: object) -> Row:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"id": row_id, **metadata, "messages": turns}


def jsonl(rows: Sequence[Row]) -> str:
    return "".join(json.dumps(one) + "\n" for one in rows)


def rows(name: str, count: int) -> list[Row]:
    """Rows of two words: too short for two of them to look alike."""
    return [row(f"{name}-{number}", f"{name} {number}?") for number in range(count)]


@dataclass
class SmallProject:
    """The folder of ``pytester`` with ``conftest.py``, ``train.jsonl`` and suites."""

    pytester: pytest.Pytester

    @property
    def path(self) -> Path:
        return self.pytester.path

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def conftest(self, more: str = "") -> None:
        self.write("conftest.py", CONFTEST + more)
        self.write("train.jsonl", jsonl(rows("train", 30)))

    def suite(
        self, gates: str = TARGET, name: str = "support", head: str = SUITE, held: list[Row] | None = None
    ) -> Path:
        """``suites/NAME/test_NAME.py`` with its held-out rows."""
        self.write(f"suites/{name}/heldout.jsonl", jsonl(rows(name, 40) if held is None else held))
        return self.write(f"suites/{name}/test_{name}.py", head + gates)

    def run(self, *arguments: str, baseline: str = "old", plugins: Sequence[str] = ()) -> Outcome:
        """pytest on this project, in this process."""
        given = [*arguments]
        if baseline and not any(a.startswith("--baseline") for a in given):
            given.append(f"--baseline={baseline}")
        if "--lf" not in given and "cache" not in plugins:
            given += ["-p", "no:cacheprovider"]
        if "pytest_rerunfailures" not in given:
            given += ["-p", "no:rerunfailures"]
        result = self.pytester.runpytest_inprocess("-p", "no:randomly", "-p", "no:hypothesispytest", *given)
        return Outcome(self, result)

    @property
    def asked(self) -> list[str]:
        """Ids of the rows that scripted candidates were asked, in order, since the project was written."""
        log = self.path / "asked.txt"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    def records(self) -> list[RunRecord]:
        files = sorted((self.path / "reports").glob("*/run.json"), key=lambda file: file.stat().st_mtime_ns)
        return [load_run(file.read_text(encoding="utf-8"), str(file)) for file in files]

    @property
    def record(self) -> RunRecord:
        return self.records()[-1]


@dataclass
class Outcome:
    """What a run of pytest said."""

    project: SmallProject
    result: pytest.RunResult

    @property
    def status(self) -> int:
        return int(self.result.ret)

    @property
    def out(self) -> str:
        return self.result.stdout.str()

    @property
    def said(self) -> str:
        return self.out + self.result.stderr.str()

    @property
    def last_line(self) -> str:
        """The counts of the last line, without the time: ``1 failed, 1 passed``."""
        return re.sub(r"^=* ?| in [\d.]+s.*$", "", self.result.outlines[-1])

    def assert_one_screen(self, *words: str, status: int = 4, asked: int = 0) -> None:
        """An error for a person: it says ``words``, without a traceback, and nobody was asked (again)."""
        assert self.status == status, self.said
        for word in words:
            assert word in self.said, self.said
        assert "Traceback" not in self.said
        assert "INTERNALERROR" not in self.said
        assert len(self.said.splitlines()) <= 40
        assert len(self.project.asked) == asked


Make = Callable[..., SmallProject]
