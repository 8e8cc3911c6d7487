"""A run parses each file of rows once, however many candidates, sizes and gates ask for it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from harness.data.rows import read_rows
from small_project import GUARD, SUITE, TARGET, SmallProject

import harness.candidates.lab
import harness.run.suite_loading
from harness.records import Row


def test_training_and_heldout_files_are_parsed_once(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a training file was parsed at each question: 133 times with 3 candidates and 5 gates."""
    parsed: Counter[str] = Counter()

    def counting(path: Path) -> tuple[Row, ...]:
        parsed[path.name] += 1
        return read_rows(path)

    for module in (harness.candidates.lab, harness.run.suite_loading):
        monkeypatch.setattr(module, "read_rows", counting)
    gates = TARGET + "".join(GUARD.replace("not_worse", f"not_worse_{k}") for k in range(4))
    project.suite(gates, head=SUITE)
    project.run("--candidate=good", "--candidate=bad", "--candidate=much-the-same")
    assert parsed == {"train.jsonl": 1, "heldout.jsonl": 1}
