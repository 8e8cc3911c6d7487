"""The whole way once with the built-in model: a small QLoRA training, a decision, a report; then again."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
from small_project import SmallProject

from harness.models.cache import cache_folder

EXAMPLE = Path(__file__).parents[2] / "suites" / "support"
CONFTEST = """
import harness

pytest_plugins = ["harness.plugin"]


@harness.candidate
def qlora_r8():
    return harness.QLoRA(
        base="smollm2-135m", train="suites/support/train.jsonl", r=8, alpha=16, epochs=1, batch_rows=4
    )
"""
SUITE = """
import pytest

from harness import FieldMatch, JsonSchema, Suite

valid = JsonSchema("ticket.schema.json")
intent = FieldMatch("intent")


@pytest.fixture(scope="module")
def suite():
    return Suite(
        heldout="heldout.jsonl", prompt="prompt.md", scores=(valid, intent), slices=("intent",), max_tokens=8
    )


def test_format(candidate, baseline):
    assert candidate.scores(valid) > baseline.scores(valid)


def test_intent(candidate, baseline):
    assert candidate.scores(intent) >= baseline.scores(intent) - 0.1
"""
RUN = """
import sys
import pytest

status = pytest.main(["suites", "--candidate=qlora-r8", "--sizes=8", *sys.argv[1:]])
print("torch was loaded:", "torch" in sys.modules)
sys.exit(status)
"""


@pytest.fixture(scope="session")
def users_cache() -> Path:
    """Where the built-in model lies; asked for before pytester gives each test a home of its own."""
    return cache_folder()


def cut(name: str, rows: int, into: Path) -> None:
    with (EXAMPLE / name).open(encoding="utf-8") as file:
        (into / name).write_text("".join(islice(file, rows)), encoding="utf-8")


def run(project: SmallProject) -> tuple[int, str, float]:
    """Exit status, what was printed, and seconds of processor time: others may be using the machine."""
    began = processor_seconds()
    command = [sys.executable, "-c", RUN, "-p", "no:randomly", "-p", "no:hypothesispytest"]
    done = subprocess.run(
        command, cwd=project.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout, processor_seconds() - began


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.slow
def test_train_decide_report_and_do_nothing_twice(
    users_cache: Path, project: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", os.fspath(users_cache))
    project.write("conftest.py", CONFTEST)
    folder = project.write("suites/support/test_support.py", SUITE).parent
    cut("train.jsonl", 8, folder)
    cut("heldout.jsonl", 4, folder)
    for name in ("prompt.md", "ticket.schema.json"):
        cut(name, 1_000, folder)

    status, said, _ = run(project)
    assert status in (0, 1), said  # 4 rows decide little: what counts is that there is a decision
    assert "torch was loaded: True" in said
    assert any(f"{verdict}: qlora-r8 at 8 rows" in said for verdict in ("GO", "NO-GO", "INCONCLUSIVE"))
    first = project.record
    assert [(t.label, len(t.answers)) for t in first.trials] == [
        ("qlora-r8@8", 4),
        ("prompted-smollm2-135m", 4),
    ]
    assert [t.training.rows for t in first.trials if t.training] == [8]
    page = project.path / "reports" / first.id / "report.html"
    assert "qlora-r8" in page.read_text(encoding="utf-8")

    again, said, seconds = run(project)
    assert again == status
    # tokenizers name the kept answers, and importing them takes most of the time; no weights are loaded
    assert project.record.timings_s.get("loading", 0.0) == 0.0
    assert seconds < 15
    assert project.record.id != first.id
    assert project.record.decisions == first.decisions
    assert [t.answers for t in project.record.trials] == [t.answers for t in first.trials]
