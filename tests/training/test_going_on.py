"""A training that was killed goes on from where it was, to the same artifact."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_llama import BF16, rows

from harness import LoRA, QLoRA
from harness.models.progress import SilentBar
from harness.models.source import ModelSource
from harness.records import Training
from harness.store.adapters import resume_file
from harness.training.local import resume
from harness.training.local.recipe import LocalTraining
from harness.training.local.resume import Resume
from harness.training.rows import TrainingRows

SHORT = {"base": "tiny", "train": "t", "epochs": 2, "batch_rows": 4, "dev_evaluations": 2}
LORA = LoRA(**SHORT, r=4, dropout=0.1, learning_rate=2e-2)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "MOST_OF_THE_TIME", math.inf)


class Killed(Exception):  # noqa: N818 - it is none
    pass


class EndsAt(SilentBar):
    """A bar at which the training ends before it has written how far it is at ``step``."""

    def __init__(self, step: int) -> None:
        self.step, self.first = step, 0.0  # the first step that was computed

    def at(self, done: float, total: float | None = None, note: str = "") -> None:
        if "goes on" not in note:
            self.first = self.first or done
        if done == self.step:
            raise Killed


def job(spec: LoRA, source: ModelSource, folder: Path) -> LocalTraining:
    folder.mkdir(exist_ok=True)
    data = TrainingRows(rows(9), dev=rows(12)[9:])
    recipe, resumes = spec.recipe(), resume_file(folder)
    return LocalTraining(recipe, source, data, 0, BF16, "name", folder, resume=resumes, resume_every_s=0.0)


def outcome(made: Training, folder: Path) -> tuple[bytes, Training]:
    (weights,) = folder.glob("*.safetensors")
    return weights.read_bytes(), replace(made, seconds=0, tokens_per_second=0)


@pytest.mark.parametrize(
    ("spec", "cuts"),
    [
        (LORA, (3, 5)),  # at the end of the first epoch, and within the second
        (QLoRA(**SHORT, r=4, learning_rate=2e-2, top_layers=1), (3,)),  # type: ignore[arg-type]
    ],
    ids=["lora, packed, with dropout", "qlora above frozen blocks"],
)
def test_it_makes_what_it_would_have_made(
    tiny: ModelSource, tmp_path: Path, spec: LoRA, cuts: tuple[int, ...]
) -> None:
    whole = job(spec, tiny, tmp_path / "whole")
    expected = outcome(replace(whole, resume=None)(SilentBar()), tmp_path / "whole")
    going = job(spec, tiny, tmp_path / "cut")
    for last in cuts:
        with pytest.raises(Killed):
            going(EndsAt(last))
        assert not list((tmp_path / "cut").iterdir())
    bar = EndsAt(0)
    assert outcome(going(bar), tmp_path / "cut") == expected
    assert bar.first == cuts[-1], "it went on from the last step that was written"


class Told:
    """What an observer has measured."""

    def state(self) -> dict[str, object]:
        return {"points": [], "losses": [1.0], "accuracies": [], "seconds": 1.0, "evaluation_seconds": 0.0}


def trainer(width: int = 4) -> object:
    """A layer after one step."""
    layer = torch.nn.Linear(width, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, width)).sum().backward()
    optimizer.step()
    return SimpleNamespace(model=layer, optimizer=optimizer, args=SimpleNamespace(fp16=False))


def step_of(path: Path, one: object) -> int:
    found = Resume(path, 0.0)
    found.begin(one)  # type: ignore[arg-type]
    return found.step


def test_what_is_damaged_or_of_another_training_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    one, file = trainer(), tmp_path / "resume.safetensors"
    Resume(file, 0.0).write(7, one, Told())  # type: ignore[arg-type]
    content = file.read_bytes()
    assert step_of(file, one) == 7
    changed = bytearray(content)
    changed[-20] ^= 1
    for damaged in (bytes(changed), content[: len(content) // 2], b"text", b""):
        file.write_bytes(damaged)
        assert step_of(file, one) == 0
        assert not file.exists()
    file.write_bytes(content)
    assert step_of(file, trainer(width=5)) == 0


def test_a_disk_that_takes_no_more_ends_no_training(tmp_path: Path) -> None:
    Resume(tmp_path / "is not there" / "file", 0.0).write(7, trainer(), Told())  # type: ignore[arg-type]


def test_writing_takes_a_small_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "MOST_OF_THE_TIME", 1e-9)
    going, one = Resume(tmp_path / "file", 0.0), trainer()
    for step in (1, 2):
        going.write(step, one, Told())  # type: ignore[arg-type]
    assert step_of(tmp_path / "file", one) == 1
