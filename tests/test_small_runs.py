"""The benchmarks of runs that are killed, and of disks that fail, go on where they were interrupted."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.small_runs import Journal


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_an_interrupted_benchmark_goes_on_where_it_was() -> None:
    Journal("kills", kept=True).note("0", Counter(kills=3, repeated=1))
    Journal("kills", kept=True).note("1", Counter(kills=4))
    assert Journal("kills", kept=True).total() == {"kills": 7, "repeated": 1}


def test_parts_are_added_up_by_how_their_names_begin() -> None:
    journal = Journal("faults", kept=True)
    journal.note("a run, EIO", Counter(said=1))
    journal.note("the store, EIO", Counter(said=1))
    assert journal.total("a run") == {"said": 1}


def test_the_benchmark_after_one_that_ended_begins_anew() -> None:
    journal = Journal("kills", kept=True)
    journal.note("0", Counter(kills=3))
    journal.end()
    assert Journal("kills", kept=True).total() == {}


def test_a_smoke_run_leaves_no_file(tmp_path: Path) -> None:
    Journal("kills", kept=False).note("0", Counter(kills=3))
    assert list(tmp_path.iterdir()) == []
