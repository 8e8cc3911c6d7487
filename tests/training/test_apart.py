"""A training in a process of its own makes the same, reports as it goes, and says what went wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_llama import BF16, rows

from harness.candidates.specs import QLoRA
from harness.errors import TrainingError
from harness.models.progress import SilentBar
from harness.models.source import ModelSource
from harness.training.local import subprocess_training
from harness.training.local.recipe import TrainingRows, train_into
from harness.training.local.subprocess_training import Job, checkpoint_name, train_apart
from harness.training.local.trainer import StepDone

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
    steps: list[StepDone] = []
    made = train_apart(job(tiny, there), bar, steps.append)
    same = train_into(here, SPEC, tiny, TrainingRows(own=rows(8)), 0, BF16, "name", SilentBar())
    assert replace(made, seconds=0, tokens_per_second=0) == replace(same, seconds=0, tokens_per_second=0)
    adapters = [folder / "adapter_model.safetensors" for folder in (here, there)]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()
    assert bar.news == [(1, 2), (2, 2)]
    assert [(done.number, done.total) for done in steps] == [(1, 2), (2, 2)]
    assert tuple(done.point for done in steps if done.point) == same.points
    kept = {done.number: (there / checkpoint_name(done) / adapters[0].name).is_file() for done in steps}
    assert kept == {done.number: done.point is not None for done in steps}


def test_who_hears_of_the_steps_may_end_the_training(tiny: ModelSource, tmp_path: Path) -> None:
    heard: list[int] = []

    def cancel(done: StepDone) -> None:
        heard.append(done.number)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_apart(job(tiny, tmp_path / "out"), SilentBar(), cancel)
    assert heard == [1]
    assert not (tmp_path / "out" / "adapter_model.safetensors").exists()


RAISES = """
from harness.training.local import subprocess_training
from harness.errors import TrainingError


def train_into(*job):
    raise {error}


apart.train_into = train_into
apart.main()
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Takes the program that the child is to run in place of its own."""

    def runs(program: str) -> None:
        (tmp_path / "program_of_child.py").write_text(program, encoding="utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setattr(subprocess_training, "__name__", "program_of_child")

    return runs


def test_what_goes_wrong_there_is_said_here(
    tiny: ModelSource, tmp_path: Path, child: Callable[[str], None]
) -> None:
    child(RAISES.format(error='TrainingError("the loss is not finite")'))
    with pytest.raises(TrainingError) as caught:
        train_apart(job(tiny, tmp_path / "out"), SilentBar())
    assert str(caught.value) == "the loss is not finite"


def test_what_nobody_expected_there_is_said_with_its_traceback(
    tiny: ModelSource, tmp_path: Path, child: Callable[[str], None]
) -> None:
    child(RAISES.format(error='ZeroDivisionError("odd")'))
    with pytest.raises(TrainingError, match=r"(?s)Traceback.*train_into.*ZeroDivisionError: odd"):
        train_apart(job(tiny, tmp_path / "out"), SilentBar())


def test_a_process_that_dies_leaves_its_last_words(
    tiny: ModelSource, tmp_path: Path, child: Callable[[str], None]
) -> None:
    child("raise SystemExit('killed by a test')")
    with pytest.raises(TrainingError, match=r"(?s)died \(status 1\).*killed by a test.*hint: "):
        train_apart(job(tiny, tmp_path / "out"), SilentBar())
