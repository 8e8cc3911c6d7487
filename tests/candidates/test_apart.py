"""A training in a process of its own makes the same, reports as it goes, and says what went wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_llama import BF16, rows

from harness.candidates import apart
from harness.candidates.apart import Job, train_apart
from harness.candidates.finetune import TrainingRows, train_into
from harness.candidates.specs import QLoRA
from harness.errors import TrainingError
from harness.models.progress import SilentBar
from harness.models.source import ModelSource

SPEC = QLoRA(base="tiny", train="train.jsonl", epochs=1, batch_rows=4, learning_rate=2e-2, r=4, alpha=8)


class Heard(SilentBar):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.news: list[tuple[float, float | None]] = []

    def at(self, done: float, total: float | None = None, note: str = "") -> None:
        self.news.append((done, total))


def job(source: ModelSource, folder: Path) -> Job:
    return Job(SPEC, source, TrainingRows(own=rows(8)), 0, BF16, "name", folder)


def test_a_training_apart_makes_what_one_at_home_makes(tiny: ModelSource, tmp_path: Path) -> None:
    bar, here, there = Heard(), tmp_path / "here", tmp_path / "there"
    made = train_apart(job(tiny, there), bar)
    same = train_into(here, SPEC, tiny, TrainingRows(own=rows(8)), 0, BF16, "name", SilentBar())
    assert replace(made, seconds=0, tokens_per_second=0) == replace(same, seconds=0, tokens_per_second=0)
    adapters = [folder / "adapter_model.safetensors" for folder in (here, there)]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()
    assert bar.news == [(1, 2), (2, 2)]


def test_what_goes_wrong_there_is_said_here(tiny: ModelSource, tmp_path: Path) -> None:
    wrong = replace(job(tiny, tmp_path / "out"), spec=replace(SPEC, targets=("no_such_layer",)))
    with pytest.raises(TrainingError, match="has no linear layer named no_such_layer"):
        train_apart(wrong, SilentBar())


def test_a_process_that_dies_leaves_its_last_words(
    tiny: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text("raise SystemExit('killed by a test')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(apart, "__name__", "broken")
    with pytest.raises(TrainingError, match=r"(?s)died \(status 1\).*killed by a test.*mend: "):
        train_apart(job(tiny, tmp_path / "out"), SilentBar())
