"""A job in a process of its own makes the same, reports as it goes, and says what went wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import cast

import pytest
from tiny_llama import BF16, rows

from harness import QLoRA
from harness.errors import TrainingError
from harness.models.progress import Bar, SilentBar
from harness.models.source import ModelSource
from harness.training.executor import SubprocessExecutor, TrainingJob
from harness.training.local import subprocess_training
from harness.training.local.recipe import LocalTraining, checkpoint_name
from harness.training.local.subprocess_training import run_in_subprocess
from harness.training.local.trainer import StepDone
from harness.training.rows import TrainingRows

RECIPE = QLoRA(
    base="tiny", train="train.jsonl", epochs=1, batch_rows=4, learning_rate=2e-2, r=4, alpha=8
).recipe()


class Heard(SilentBar):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.news: list[tuple[float, float | None, str]] = []

    def at(self, done: float, total: float | None = None, note: str = "") -> None:
        self.news.append((done, total, note))


def training(source: ModelSource, folder: Path) -> LocalTraining:
    data = TrainingRows(own=rows(8))
    return LocalTraining(RECIPE, source, data, 0, BF16, "name", folder, keeps_checkpoints=True)


def test_a_training_in_a_subprocess_makes_what_one_in_this_process_makes(
    tiny: ModelSource, tmp_path: Path
) -> None:
    bar, here, there = Heard(), tmp_path / "here", tmp_path / "there"
    steps: list[StepDone] = []
    made = run_in_subprocess(training(tiny, there), bar, steps.append)
    same = replace(training(tiny, here), keeps_checkpoints=False)(SilentBar())
    assert replace(made, seconds=0, tokens_per_second=0) == replace(same, seconds=0, tokens_per_second=0)
    adapters = [folder / "adapter_model.safetensors" for folder in (here, there)]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()
    assert [(done, total) for done, total, _ in bar.news] == [(1, 2), (2, 2)]
    assert [(done.number, done.total) for done in steps] == [(1, 2), (2, 2)]
    assert tuple(done.point for done in steps if done.point) == same.points
    kept = {done.number: (there / checkpoint_name(done) / adapters[0].name).is_file() for done in steps}
    assert kept == {done.number: done.point is not None for done in steps}
    assert not [path for path in here.iterdir() if path.is_dir()]


@dataclass(frozen=True)
class Stepping:
    """It waits after its first step, and leaves a file at its end."""

    made: Path

    def __call__(self, bar: Bar, after_step: Callable[[StepDone], None] | None = None) -> None:
        assert after_step is not None
        after_step(StepDone(1, 2, 1.0, None, None))
        self.made.touch()


def test_who_hears_of_the_steps_may_end_the_training(tmp_path: Path) -> None:
    heard: list[int] = []

    def cancel(done: StepDone) -> None:
        heard.append(done.number)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_subprocess(Stepping(tmp_path / "made"), SilentBar(), cancel)
    assert heard == [1]
    assert not (tmp_path / "made").exists()


# --------------------------------------------------------------------------- jobs of any kind
@dataclass(frozen=True)
class Doubling:
    """A job of a user's own, defined in a test module."""

    number: int
    outcome: str = "returns"

    def __call__(self, bar: Bar) -> object:
        bar.at(1, 2, "half")
        sys.stdout.write("output of a library must not get among the messages")
        if self.outcome == "raises":
            raise TrainingError("the loss is not finite")
        if self.outcome == "breaks":
            raise ZeroDivisionError("odd")
        if self.outcome == "dies":
            raise SystemExit("killed by a test")
        return self if self.outcome == "returns" else lambda: None


def test_a_job_of_any_class_gives_its_result_and_reports_on_the_way() -> None:
    bar = Heard()
    assert SubprocessExecutor().run(Doubling(4), bar) == Doubling(4)
    assert bar.news == [(1, 2, "half")]


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        ("raises", r"^the loss is not finite$"),
        ("breaks", r"(?s)Traceback.*__call__.*ZeroDivisionError: odd"),
        ("dies", r"(?s)died \(status 1\).*killed by a test.*hint: "),
        ("returns what cannot be sent", r"(?s)Traceback.*lambda"),
    ],
)
def test_what_goes_wrong_in_the_child_is_raised_here(outcome: str, says: str) -> None:
    with pytest.raises(TrainingError, match=says):
        run_in_subprocess(Doubling(4, outcome), SilentBar())


def test_a_child_that_cannot_read_its_job_leaves_its_last_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "another_child.py").write_text("raise SystemExit('no memory')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(subprocess_training, "__name__", "another_child")
    with pytest.raises(TrainingError, match=r"(?s)died \(status 1\).*no memory.*hint: "):
        run_in_subprocess(Doubling(4), SilentBar())


CONFTEST = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Job:
    answer: int = {answer}

    def __call__(self, bar):
        return self.answer * {factor}
"""


@pytest.fixture
def conftest_job(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, int], TrainingJob[int]]:
    """A job of a class in a conftest, imported as pytest imports it: several have one name."""

    def make(folder: Path, factor: int) -> TrainingJob[int]:
        folder.mkdir()
        file = folder / "conftest_of_a_test.py"
        file.write_text(CONFTEST.format(answer=21, factor=factor), encoding="utf-8")
        spec = spec_from_file_location(file.stem, file)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        monkeypatch.setitem(sys.modules, file.stem, module)
        spec.loader.exec_module(module)
        return cast("TrainingJob[int]", module.Job())

    return make


@pytest.mark.parametrize("is_on_path", [True, False])
def test_a_job_of_a_conftest_is_the_one_of_its_own_folder(
    conftest_job: Callable[[Path, int], TrainingJob[int]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_on_path: bool,
) -> None:
    conftest_job(tmp_path / "a", 1)
    if is_on_path:  # the child would import this one
        monkeypatch.syspath_prepend(str(tmp_path / "a"))
    assert run_in_subprocess(conftest_job(tmp_path / "b", 2), SilentBar()) == 42


def test_a_job_of_a_class_that_was_replaced_is_named(
    conftest_job: Callable[[Path, int], TrainingJob[int]], tmp_path: Path
) -> None:
    first = conftest_job(tmp_path / "a", 1)
    conftest_job(tmp_path / "b", 2)
    with pytest.raises(TrainingError, match=r"type Job cannot be sent .*not the same object(?s:.*)hint: "):
        run_in_subprocess(first, SilentBar())


def test_a_job_whose_module_is_gone_is_named(
    conftest_job: Callable[[Path, int], TrainingJob[int]], tmp_path: Path
) -> None:
    job = conftest_job(tmp_path / "a", 1)
    (tmp_path / "a" / "conftest_of_a_test.py").write_text("import nowhere_at_all", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"cannot be read .*ModuleNotFoundError(?s:.*)hint: put"):
        run_in_subprocess(job, SilentBar())


def test_a_job_that_cannot_be_pickled_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match=r"cannot be sent to a process of its own(?s:.*)hint: put"):
        run_in_subprocess(lambda bar: 1, SilentBar())
    monkeypatch.setattr(Doubling, "__module__", "__main__")
    with pytest.raises(TrainingError, match=r"type Doubling .*: it is defined in the script that is running"):
        run_in_subprocess(Doubling(1), SilentBar())
