"""Threads that share a batch compute what one thread computes, whatever the number of cores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny_llama import BF16, EXACT, rows

from harness import LoRA
from harness.models.device import DevicePlan
from harness.models.progress import SilentBar
from harness.models.source import ModelSource
from harness.records import Training
from harness.training.local import trainer
from harness.training.local.batches import even_parts
from harness.training.local.recipe import LocalTraining
from harness.training.rows import TrainingRows

SPEC = LoRA(base="tiny", train="train.jsonl", r=4, batch_rows=4, epochs=1, learning_rate=2e-2, top_layers=1)
DATA = TrainingRows(rows(11), dev=rows(3))


@pytest.fixture(autouse=True)
def same_threads_after() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def trained(
    spec: LoRA, source: ModelSource, plan: DevicePlan, folder: Path, cores: int
) -> tuple[Training, dict[str, torch.Tensor]]:
    folder.mkdir()
    torch.set_num_threads(cores)
    made = LocalTraining(spec.recipe(), source, DATA, 0, plan, "name", folder)(SilentBar())
    assert torch.get_num_threads() == cores
    return made, load_file(folder / "adapter_model.safetensors")


def test_a_shared_batch_trains_as_a_whole_one(
    tiny: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, weights = trained(SPEC, tiny, EXACT, tmp_path / "shared", 2)
    monkeypatch.setattr(trainer, "shares_batches", lambda recipe, plan: False)
    whole, others = trained(SPEC, tiny, EXACT, tmp_path / "whole", 1)
    for ours, theirs in zip(shared.points, whole.points, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-5)
        assert ours.train_token_accuracy == pytest.approx(theirs.train_token_accuracy)
        assert (ours.dev_loss, ours.dev_loss_se) == pytest.approx(
            (theirs.dev_loss, theirs.dev_loss_se), rel=1e-5
        )
    torch.testing.assert_close(weights, others, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_one_core_and_two_make_the_same_artifact(tiny: ModelSource, tmp_path: Path, dropout: float) -> None:
    spec = replace(SPEC, dropout=dropout)
    one, two = (trained(spec, tiny, BF16, tmp_path / str(cores), cores) for cores in (1, 2))
    assert one[0].points == two[0].points
    assert all(torch.equal(weight, two[1][name]) for name, weight in one[1].items())


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    limit=st.integers(1, 80),
    multiple=st.integers(1, 3),
)
def test_each_row_is_in_one_part(lengths: list[int], limit: int, multiple: int) -> None:
    width = max(lengths)
    mask = torch.tensor([[1] * n + [0] * (width - n) for n in lengths])
    ids = torch.arange(1, len(lengths) + 1)[:, None] * mask
    parts = even_parts({"input_ids": ids, "attention_mask": mask}, limit, multiple)
    found = [int(row[0]) for part in parts for row in part["input_ids"]]
    assert sorted(found) == list(range(1, len(lengths) + 1))
    assert len(parts) == len(lengths) or len(parts) % multiple == 0
    assert sum(int(part["attention_mask"].sum()) for part in parts) == sum(lengths)
    sizes = [len(part["input_ids"]) for part in parts]
    assert max(sizes) - min(sizes) <= 1
