"""Adapters that are trained at once end as each ends alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_llama import EXACT, rows

from harness import LoRA, QLoRA
from harness.errors import TrainingError
from harness.models.chat_format import load_chat
from harness.models.progress import SilentBar
from harness.models.source import ModelSource
from harness.training.local.recipe import LocalTraining
from harness.training.local.side_by_side import Share, train_side_by_side
from harness.training.local.tokens import encode_rows
from harness.training.rows import TrainingRows

SPEC = QLoRA(base="tiny", train="train.jsonl", r=4, batch_rows=4, epochs=1.5, learning_rate=2e-2)
SHARES = ((5, 0), (11, 1))  # rows, seed


def test_each_adapter_is_the_one_that_it_would_be_alone(tiny: ModelSource, tmp_path: Path) -> None:
    chat, recipe = load_chat(tiny), SPEC.recipe()
    shares = [Share(encode_rows(chat, rows(n), 1000), seed) for n, seed in SHARES]
    model, losses = train_side_by_side(recipe, tiny, EXACT, shares, chat.tokenizer.pad_token_id)
    model.save_pretrained(tmp_path)
    for k, (n, seed) in enumerate(SHARES):
        folder = tmp_path / f"alone-{k}"
        folder.mkdir()
        made = LocalTraining(recipe, tiny, TrainingRows(rows(n)), seed, EXACT, "name", folder)(SilentBar())
        own, alone = (load_file(at / "adapter_model.safetensors") for at in (tmp_path / f"share{k}", folder))
        torch.testing.assert_close(own, alone, atol=1e-4, rtol=1e-4)
        assert len(losses[f"share{k}"]) == made.steps


def test_dropout_is_refused(tiny: ModelSource) -> None:
    recipe = replace(SPEC, dropout=0.1).recipe()
    with pytest.raises(TrainingError, match="without dropout"):
        train_side_by_side(recipe, tiny, EXACT, [], 0)


def test_all_weights_are_refused(tiny: ModelSource) -> None:
    recipe = replace(LoRA(base="tiny", train="train.jsonl").recipe(), adapter=None)
    with pytest.raises(TrainingError, match="only adapters"):
        train_side_by_side(recipe, tiny, EXACT, [], 0)
