"""A training that was killed goes on from where it was, to the same artifact."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_llama import BF16, EXACT, rows

from harness import Full, LoRA, QLoRA
from harness.models.progress import SilentBar
from harness.models.source import ModelSource
from harness.records import Training
from harness.store.adapters import resume_file
from harness.training.local import resume
from harness.training.local.recipe import LocalTraining
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


def job(spec: LoRA | Full, source: ModelSource, folder: Path, plan: object = BF16) -> LocalTraining:
    folder.mkdir(exist_ok=True)
    data = TrainingRows(rows(9), dev=rows(12)[9:])
    return LocalTraining(
        spec.recipe(),
        source,
        data,
        0,
        plan,
        "name",
        folder,
        resume=resume_file(folder),
        resume_every_s=0.0,  # type: ignore[arg-type]
    )


def outcome(made: Training, folder: Path) -> tuple[bytes, Training]:
    (weights,) = folder.glob("*.safetensors")
    return weights.read_bytes(), replace(made, seconds=0, tokens_per_second=0)


@pytest.mark.parametrize(
    ("spec", "plan"),
    [
        (LORA, BF16),
        (QLoRA(**SHORT, r=4, learning_rate=2e-2, top_layers=1), BF16),  # type: ignore[arg-type]
        (Full(**SHORT), EXACT),  # type: ignore[arg-type]
    ],
    ids=["lora, packed, with dropout", "qlora above frozen blocks", "all weights"],
)
def test_it_makes_what_it_would_have_made(
    tiny: ModelSource, tmp_path: Path, spec: LoRA | Full, plan: object
) -> None:
    whole = job(spec, tiny, tmp_path / "whole", plan)
    expected = outcome(replace(whole, resume=None)(SilentBar()), tmp_path / "whole")
    going = job(spec, tiny, tmp_path / "cut", plan)
    for last in (3, 5):  # at the end of the first epoch, and within the second
        with pytest.raises(Killed):
            going(EndsAt(last))
        assert not list((tmp_path / "cut").iterdir())
    bar = EndsAt(0)
    assert outcome(going(bar), tmp_path / "cut") == expected
    assert bar.first == 5, "it went on after the fourth step"


@pytest.mark.parametrize("damage", ["a byte", "cut", "other rank", "text"])
def test_what_is_damaged_or_of_another_training_is_as_if_it_were_not_there(
    tiny: ModelSource, tmp_path: Path, damage: str
) -> None:
    going = job(LORA, tiny, tmp_path / "cut")
    expected = outcome(replace(going, resume=None)(SilentBar()), tmp_path / "cut")
    (tmp_path / "cut" / "adapter_model.safetensors").unlink()
    other = job(replace(LORA, r=8), tiny, tmp_path / "cut")
    with pytest.raises(Killed):
        (other if damage == "other rank" else going)(EndsAt(3))
    file = resume_file(tmp_path / "cut")
    content = bytearray(file.read_bytes())
    if damage == "a byte":
        content[-100] ^= 1
    file.write_bytes({"cut": content[: len(content) // 2], "text": b"text"}.get(damage, content))
    bar = EndsAt(0)
    assert outcome(going(bar), tmp_path / "cut") == expected
    assert bar.first == 1


def test_a_disk_that_takes_no_more_ends_no_training(tiny: ModelSource, tmp_path: Path) -> None:
    going = replace(job(LORA, tiny, tmp_path / "cut"), resume=tmp_path / "is not there" / "file")
    going(SilentBar())
    assert (tmp_path / "cut" / "adapter_model.safetensors").is_file()
