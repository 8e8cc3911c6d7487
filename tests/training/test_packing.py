"""Packed rows train as padded ones: the same losses and gradients, with what rows begin with read once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_llama import EXACT
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from harness import Full, LoRA
from harness.models.fast import ALL_ON
from harness.models.fast.attention import NAME as GROUPED_EAGER
from harness.models.fast.attention import can_share
from harness.training.local.losses import token_losses
from harness.training.local.packing import can_pack, pack, use_packing
from harness.training.local.trainer import packs_rows, shares_batches

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
ROWS = ([5, 6, 7, 8, 9, 10, 11], [5, 6, 7, 20, 21], [5, 6, 7, 8, 30, 31, 32, 33, 34])
LABELLED = ((5, 6), (4,), (5, 7, 8))  # the second row begins with a label right behind what is shared


def batch(
    rows: tuple[list[int], ...] = ROWS, labelled: tuple[tuple[int, ...], ...] = LABELLED
) -> dict[str, torch.Tensor]:
    width = max(map(len, rows)) + 2
    ids, labels = torch.zeros(len(rows), width, dtype=torch.long), torch.full((len(rows), width), -100)
    for k, (row, at) in enumerate(zip(rows, labelled, strict=True)):
        ids[k, : len(row)] = torch.tensor(row)
        labels[k, list(at)] = ids[k, list(at)]
    mask = (torch.arange(width) < torch.tensor(list(map(len, rows)))[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def made(kind: str) -> PreTrainedModel:
    torch.manual_seed(0)
    if kind == "Qwen 3":  # its queries and keys are normalised
        return Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=8))
    if kind == "Mistral":
        return MistralForCausalLM(MistralConfig(**SIZES, sliding_window=None))
    return LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=kind == "tied"))


@pytest.mark.parametrize("kind", ["Llama", "tied", "Qwen 3", "Mistral"])
@pytest.mark.parametrize("is_frozen", [True, False], ids=["frozen head", "trained head"])
def test_losses_and_gradients_are_those_of_padded_rows(kind: str, is_frozen: bool) -> None:
    model = made(kind).requires_grad_(not is_frozen)
    for parameter in model.model.layers.parameters():
        parameter.requires_grad_(True)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    found = []
    for packs in (False, True):
        if packs:
            use_packing(model)
            assert can_pack(model)
        losses, right, rows = token_losses(model.train(), batch(), packs=packs)
        found.append((losses.detach(), right, rows, torch.autograd.grad((losses * losses).sum(), weights)))
    for padded, packed in zip(*found, strict=True):
        torch.testing.assert_close(packed, padded, atol=1e-5, rtol=1e-4)


@given(
    shared=st.integers(0, 4),
    own=st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=6), min_size=1, max_size=4),
    shares=st.booleans(),
)
@settings(max_examples=60)
def test_every_label_is_predicted_by_a_token_of_its_own_row(
    shared: int, own: list[list[int]], shares: bool
) -> None:
    rows = tuple([9] * shared + row for row in own)
    labelled = tuple(tuple(range(max(1, len(row) - 2), len(row))) for row in rows)
    packed = pack(batch(rows, labelled), torch.float32, shares=shares)
    assert packed.shared == 0 or (shares and len(rows) > 1)
    assert len(packed.predict) == len(set(packed.predict.tolist())) == sum(map(len, labelled))
    ids, places = packed.ids[0].tolist(), packed.places[0].tolist()
    for node, target, k in zip(
        *(part.tolist() for part in (packed.predict, packed.targets, packed.row_of)), strict=True
    ):
        assert ids[node] == rows[k][places[node]]
        assert target == rows[k][places[node] + 1]
        assert node >= packed.shared
    assert len(ids) == packed.shared + sum(len(row) - 1 - packed.shared for row in rows)
    if packed.shared:
        assert all(list(row[: packed.shared]) == ids[: packed.shared] for row in packed.rows)


def test_rows_share_no_dropout() -> None:
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES, attention_dropout=0.5))
    use_packing(model)
    lengths: list[int] = []
    model.model.register_forward_pre_hook(
        lambda module, args, given: lengths.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    token_losses(model.train(), batch(), packs=True)
    token_losses(model.eval(), batch(), packs=True)
    whole = sum(max(at) for at in LABELLED)
    assert lengths == [whole, whole - 3 * (len(ROWS) - 1)]


def test_where_rows_are_padded_as_before() -> None:
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2))
    assert not can_pack(gpt2)
    sliding = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=4))
    assert not can_share(sliding, GROUPED_EAGER)
    blind = LlamaForCausalLM(LlamaConfig(**SIZES))
    use_packing(blind)
    inner = blind.model.forward
    blind.model.forward = lambda position_ids=None, **given: inner(**given)  # it counts places for itself
    assert not can_pack(blind)
    lora = LoRA(base="tiny", train="t").recipe()
    assert shares_batches(lora, EXACT)
    assert not shares_batches(replace(lora, batch_rows=1), EXACT)  # nothing to share
    assert not shares_batches(Full(base="tiny", train="t").recipe(), EXACT)
    for plan in (replace(EXACT, device="cuda"), replace(EXACT, fast=replace(ALL_ON, attention=False))):
        assert not packs_rows(plan)
        assert not shares_batches(lora, plan)
