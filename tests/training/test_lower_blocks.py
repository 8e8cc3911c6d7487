"""Rows that went through the frozen blocks once train as those that go through them every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_llama import BF16, EXACT, rows
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from harness import QLoRA
from harness.models.device import DevicePlan
from harness.models.fast import ALL_ON
from harness.models.progress import SilentBar
from harness.models.source import ModelSource
from harness.records import Training
from harness.training.local import packing
from harness.training.local.lower_blocks import LowerBlocks, lower_blocks_read_once
from harness.training.local.recipe import LocalTraining, trainable_model, training_fingerprint
from harness.training.rows import TrainingRows

SPEC = QLoRA(base="tiny", train="train.jsonl", r=4, batch_rows=4, epochs=2, learning_rate=2e-2, top_layers=1)
DATA = TrainingRows(rows(8), dev=rows(3))
IDS = torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, 2, 2, 2]])
BATCH = {
    "input_ids": IDS,
    "attention_mask": torch.tensor([[1] * 6, [1] * 3 + [0] * 3]),
    "labels": torch.where(IDS == 2, -100, IDS),
}


def plain(plan: DevicePlan) -> DevicePlan:
    return replace(plan, fast=replace(ALL_ON, blocks=False))


def trained(source: ModelSource, plan: DevicePlan, folder: Path) -> Training:
    folder.mkdir()
    return LocalTraining(SPEC.recipe(), source, DATA, 0, plan, "name", folder)(SilentBar())


@pytest.mark.parametrize(("plan", "rounding"), [(EXACT, 1e-5), (BF16, 0.01)], ids=["float32", "bfloat16"])
def test_rows_are_read_once_and_losses_are_the_plain_ones(
    tiny: ModelSource, tmp_path: Path, plan: DevicePlan, rounding: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[int, ...]] = []
    reads = LowerBlocks.read

    def counted(self: LowerBlocks, row: tuple[int, ...]) -> torch.Tensor:
        read.append(row)
        return reads(self, row)

    monkeypatch.setattr(LowerBlocks, "read", counted)
    fast, slow = (trained(tiny, p, tmp_path / str(p.fast.blocks)) for p in (plan, plain(plan)))
    for ours, theirs in zip(fast.points, slow.points, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=rounding)
        assert ours.dev_loss == pytest.approx(theirs.dev_loss, rel=rounding)
    assert "lower blocks read once a row" in fast.numeric_config
    assert "read once" not in slow.numeric_config
    own = [row for row in read if len(row) > len(packing.PROBE[0])]
    assert len(own) == len(set(own)) == len(DATA.own)  # the development rows are among them
    if plan is EXACT:
        a, b = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("True", "False"))
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_the_key_tells_both_ways_apart_and_leaves_other_recipes_alone() -> None:
    def key(spec: QLoRA, plan: DevicePlan) -> str:
        return training_fingerprint(spec.recipe(), "d" * 64, DATA, 0, plan)

    everywhere = replace(SPEC, top_layers=None)
    assert key(SPEC, BF16) != key(SPEC, plain(BF16))
    assert key(everywhere, BF16) == key(everywhere, plain(BF16))


# --------------------------------------------------------------------------- where the plain way is taken
def test_without_frozen_blocks_nothing_is_kept(tiny: ModelSource) -> None:
    model = trainable_model(replace(SPEC, top_layers=None).recipe(), tiny, EXACT)
    with lower_blocks_read_once(model, 10, EXACT) as is_used:
        assert not is_used


def test_states_that_would_not_fit_are_not_kept(tiny: ModelSource) -> None:
    model = trainable_model(SPEC.recipe(), tiny, EXACT)
    for tokens, fits in ((2**20, True), (2**24 + 1, False)):
        with lower_blocks_read_once(model, tokens, EXACT) as is_used:
            assert is_used is fits


def test_dropout_below_is_drawn_anew_each_time() -> None:
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        attention_dropout=0.5,
    )
    model = upper_half_trained(LlamaForCausalLM(config))
    with lower_blocks_read_once(model, 10, EXACT) as is_used:
        assert not is_used


def test_an_error_gives_the_blocks_their_own_forward_back(tiny: ModelSource) -> None:
    model = trainable_model(SPEC.recipe(), tiny, EXACT)
    before = model(IDS).logits
    with pytest.raises(KeyError), lower_blocks_read_once(model, 10, EXACT):
        raise KeyError
    torch.testing.assert_close(model(IDS).logits, before, atol=0, rtol=0)


def upper_half_trained(model: PreTrainedModel) -> PreTrainedModel:
    model.requires_grad_(False)
    model.model.layers[-1].requires_grad_(True)
    return model
