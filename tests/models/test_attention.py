"""Grouped eager attention is transformers' own eager attention without its copies."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from tiny_llama import EXACT
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward as gemma2_eager
from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward as gpt_oss_eager
from transformers.models.llama.modeling_llama import eager_attention_forward as llama_eager

from harness.models.fast.attention import NAME, grouped_eager
from harness.models.local import load_base
from harness.models.source import ModelSource

HEADS, KEY_HEADS, WIDTH = 6, 2, 8
Attention = Callable[..., tuple[torch.Tensor, torch.Tensor]]


def layer(**attributes: object) -> torch.nn.Module:
    """As much of an attention layer as the functions look at."""
    facts = {"num_key_value_groups": HEADS // KEY_HEADS, "training": False, "head_dim": WIDTH}
    return cast(torch.nn.Module, SimpleNamespace(**facts, **attributes))


def states(batch: int, queries: int, keys: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(3)
    query = torch.randn(batch, HEADS, queries, WIDTH, generator=random) * 3
    key, value = (torch.randn(batch, KEY_HEADS, keys, WIDTH, generator=random) * 3 for _ in range(2))
    return query, key, value


def left_padded(batch: int, queries: int, keys: int) -> torch.Tensor:
    """Additive causal mask; row b does not see its first b keys."""
    seen = torch.ones(keys, keys, dtype=torch.bool).tril()[-queries:].repeat(batch, 1, 1, 1)
    for b in range(batch):
        seen[b, :, :, :b] = False
    return torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)


def assert_same(theirs: Attention, ours: dict[str, object], module: torch.nn.Module, queries: int) -> None:
    query, key, value = states(3, queries, 7)
    for mask in (None, left_padded(3, queries, 7)):
        expected = theirs(module, query, key, value, mask, scaling=WIDTH**-0.5, **ours)
        found = grouped_eager(module, query, key, value, mask, scaling=WIDTH**-0.5, **ours)  # type: ignore[arg-type]
        for mine, own in zip(found, expected, strict=True):
            torch.testing.assert_close(mine, own, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("queries", [7, 3, 1], ids=["prefill", "chunk after a past", "one position decoded"])
def test_it_equals_llamas(queries: int) -> None:
    assert_same(llama_eager, {}, layer(), queries)


@pytest.mark.parametrize("queries", [7, 1])
def test_it_equals_gemma_2s_with_capped_scores(queries: int) -> None:
    assert_same(gemma2_eager, {"softcap": 5.0}, layer(), queries)


@pytest.mark.parametrize("queries", [7, 1])
def test_it_equals_gpt_oss_with_attention_sinks(queries: int) -> None:
    sinks = torch.linspace(-2, 8, HEADS)
    assert_same(gpt_oss_eager, {"s_aux": sinks}, layer(sinks=sinks), queries)


def test_a_mask_longer_than_the_keys_is_cut() -> None:
    query, key, value = states(2, 4, 4)
    mask = left_padded(2, 4, 4)
    longer = torch.cat([mask, torch.full((2, 1, 4, 3), torch.finfo(torch.float32).min)], dim=-1)
    torch.testing.assert_close(
        grouped_eager(layer(), query, key, value, longer)[0],
        grouped_eager(layer(), query, key, value, mask)[0],
    )


def test_a_model_answers_the_same_with_either(tiny: ModelSource) -> None:
    ids = torch.tensor([[2, 2, 7, 8, 9, 30], [5, 6, 7, 8, 9, 10]])
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    sequences = []
    for attention in (NAME, "eager"):
        model = load_base(tiny, EXACT, attention=attention)
        output = model.generate(  # type: ignore[operator]  # transformers leaves it untyped
            input_ids=ids, attention_mask=mask, max_new_tokens=8, pad_token_id=2, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
        sequences.append(torch.stack(output.logits))
    torch.testing.assert_close(sequences[0], sequences[1], atol=1e-5, rtol=1e-5)
