"""The predicted peak of a training, beside published and counted figures."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_llama import BF16
from transformers import TrainingArguments

from benchmarks.gpu_models import LlamaShape, build
from harness import Full, LoRA
from harness.models.device import DevicePlan
from harness.models.fast import FastPaths
from harness.models.source import ModelSource
from harness.training.local.batches import part_tokens
from harness.training.local.losses import autocast, token_losses
from harness.training.local.recipe import trainable_model
from harness.training.local.sft import arguments
from harness.training.memory import (
    CONTEXT_BYTES,
    FEWEST_TOKENS,
    NF4_BYTES,
    BaseShape,
    predict_memory,
    tokens_that_fit,
)

LLAMA_2_7B = BaseShape(32, 4096, 11_008, 4096, 4096, 32_000, tied=False)
LLAMA_2_13B = BaseShape(40, 5120, 13_824, 5120, 5120, 32_000, tied=False)
LLAMA_65B = BaseShape(80, 8192, 22_016, 8192, 8192, 32_000, tied=False)
ALL = tuple(LLAMA_2_7B.linears)


def gigabytes(
    shape: BaseShape, tokens: int, r: int | None, *, nf4: bool = False, trained_bytes: int = 4
) -> float:
    """With gradient checkpointing, all positions labelled, and the context that ``nvidia-smi`` shows."""
    adapters = None if r is None else shape.adapter_weights(r, ALL)
    memory = predict_memory(
        shape,
        tokens=tokens,
        labelled=tokens,
        adapter_weights=adapters,
        nf4=nf4,
        checkpointing=True,
        trained_bytes=trained_bytes,
    )
    return (memory.total + CONTEXT_BYTES) / 1e9


@pytest.mark.parametrize(
    ("tokens", "published"), [(1024, 6), (2048, 7), (4096, 9), (8192, 12), (16_384, 19), (32_768, 32)]
)
def test_qlora_at_growing_contexts(tokens: int, published: float) -> None:
    """LLaMA-Factory's wiki, Performance comparison: Llama 2 7B, FlashAttention 2, rank 8, batch 1, A100."""
    assert gigabytes(LLAMA_2_7B, tokens, 8, nf4=True) == pytest.approx(published, rel=0.15)


@pytest.mark.parametrize(("shape", "published"), [(LLAMA_2_7B, 17), (LLAMA_2_13B, 28)], ids=["7B", "13B"])
def test_lora(shape: BaseShape, published: float) -> None:
    """The same page: rank 8, batches of 4 rows of 1,024 tokens."""
    assert gigabytes(shape, 4096, 8) == pytest.approx(published, rel=0.15)


@pytest.mark.parametrize(("trained_bytes", "published"), [(4, 120), (2, 60)], ids=["mixed", "16 bits"])
def test_all_weights(trained_bytes: int, published: float) -> None:
    """LLaMA-Factory's README, Hardware requirement: 7B, mixed precision and pure bfloat16."""
    assert gigabytes(LLAMA_2_7B, 1024, None, trained_bytes=trained_bytes) == pytest.approx(
        published, rel=0.15
    )


def test_65_billion_weights_fit_into_48_gigabytes() -> None:
    """Dettmers et al. 2023, QLoRA: rank 64 on all layers in 16 bits, batch 1, 512 tokens."""
    assert 0.8 * 48 < gigabytes(LLAMA_65B, 512, 64, nf4=True, trained_bytes=2) < 48


def test_weights_are_those_of_the_model_card() -> None:
    config = {
        "num_hidden_layers": 32,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128_256,
    }
    shape = BaseShape.of(config)  # Llama 3.1 8B
    assert shape.linear_weights + shape.other_weights == 8_030_261_248
    assert pytest.approx(0.5 + 0.127 / 8, abs=1e-3) == NF4_BYTES  # QLoRA, §3: 0.127 bits a weight


@pytest.mark.parametrize(
    "spec", [LoRA(base="b", train="t", r=4), Full(base="b", train="t")], ids=["lora", "full"]
)
def test_activations_are_those_that_a_backward_pass_keeps(spec: LoRA | Full, tmp_path: Path) -> None:
    """Counted on this machine: what autograd saves, without parameters and their copies."""
    sizes = LlamaShape(2, 256, 896, 8, 8, 512, tied=True)
    plan = DevicePlan("cpu", "bfloat16", "sdpa", "sdpa", fast=FastPaths(attention=False))  # as on a GPU
    model = trainable_model(spec.recipe(), build(sizes, tmp_path, plan), plan)
    shapes = {tuple(p.shape) for p in model.parameters()}
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(saved: torch.Tensor) -> torch.Tensor:
        storage = saved.untyped_storage().data_ptr()
        if (
            storage not in own
            and not {tuple(saved.shape), tuple(saved.t().shape) if saved.ndim == 2 else ()} & shapes
        ):
            kept[storage] = saved
        return saved

    ids = torch.arange(3, 131).reshape(2, 64)
    labels = torch.where(torch.arange(64) < 62, -100, ids)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved), autocast(plan):
        token_losses(model, inputs)
    counted = sum(saved.untyped_storage().nbytes() for saved in kept.values())
    adapters = None if isinstance(spec, Full) else 0
    predicted = predict_memory(BaseShape.of(sizes.config), tokens=128, labelled=2, adapter_weights=adapters)
    assert predicted.activations == pytest.approx(counted, rel=0.15)


def test_a_batch_goes_in_parts_that_a_card_has_room_for(
    tiny: ModelSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trainable_model(LoRA(base="tiny", train="none", r=4).recipe(), tiny, BF16)
    card = SimpleNamespace(total_memory=1e9)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: card)

    def limit() -> int:
        return part_tokens(model, DevicePlan("cuda", "bfloat16", "sdpa", "sdpa"), needed=0)

    assert limit() == 16_384
    card.total_memory = CONTEXT_BYTES + 1e8
    assert FEWEST_TOKENS < limit() < 16_384
    card.total_memory = CONTEXT_BYTES
    assert limit() == FEWEST_TOKENS
    assert tokens_that_fit({"n_embd": 768}, 1e9, is_full=False) is None


def test_a_second_card_adds_no_rows_to_a_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def two_cards(self: TrainingArguments) -> torch.device:
        self._n_gpu = 2
        return torch.device("cpu")

    found = cached_property(two_cards)
    found.__set_name__(TrainingArguments, "_setup_devices")
    monkeypatch.setattr(TrainingArguments, "_setup_devices", found)
    recipe = LoRA(base="tiny", train="none", batch_rows=4).recipe()
    assert arguments(recipe, BF16, 0, str(tmp_path)).train_batch_size == 4
