"""Prompts of unlike lengths are read apart and decoded together, and nobody's answer changes by it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_llama import EXACT
from transformers import Cache, MambaConfig, MambaModel

from harness.models.fast.reading import follows_trees
from harness.models.local import MAX_BATCH_TOKENS, MAX_POOL_ROWS, LocalModel, pools_by_length
from harness.models.protocol import Decoding, Prompt
from harness.models.source import ModelSource
from harness.records import Message

SENTENCE = "where is my order it has not come and the card was charged two times"
PROMPTS = [
    Prompt(f"{k:02}", (Message("user", " ".join((SENTENCE.split()[k % 9 :] * (1 + k // 4))[: 3 + 2 * k])),))
    for k in range(24)
]


@pytest.fixture
def model(tiny: ModelSource) -> LocalModel:
    """A part of its vocabulary ends an answer, so that rows end one after the other."""
    loaded = LocalModel.load(tiny, EXACT)
    loaded._model.generation_config.eos_token_id = list(range(0, loaded._model.config.vocab_size, 6))
    return loaded


def told(model: LocalModel, prompts: list[Prompt]) -> dict[str, tuple[str, int | None]]:
    found = model.answer(prompts, Decoding(max_new_tokens=16), frozenset())
    return {a.row_id: (a.text, a.completion_tokens) for a in found}


@pytest.mark.parametrize("beginning", ["", "You sort tickets. Say what it is about in a word. " * 5])
def test_rows_of_a_pool_are_answered_as_if_alone(
    model: LocalModel, beginning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [Prompt(p.row_id, (Message("system", beginning), *p.messages)) for p in PROMPTS]
    monkeypatch.setattr("harness.models.local.MIN_BATCH_ROWS", 2)
    left: list[int] = []
    cut = Cache.batch_select_indices

    def noting(cache: Cache, kept: torch.Tensor) -> None:
        left.append(len(kept))
        cut(cache, kept)

    monkeypatch.setattr(Cache, "batch_select_indices", noting)
    together = told(model, prompts)
    assert len(left) > 3, "hardly a row left the pool: the test shows nothing"
    assert len({tokens for _, tokens in together.values()}) > 4
    for prompt in prompts[::5]:
        assert together[prompt.row_id] == told(model, [prompt])[prompt.row_id], prompt.row_id
    monkeypatch.setattr(model, "_plan", replace(EXACT, fast=replace(EXACT.fast, decoding=False)))
    assert told(model, prompts) == together  # transformers' own greedy search


def test_only_models_that_follow_trees_are_read_so(tiny: ModelSource) -> None:
    """A state-space model takes no note of a tree; this one's places are counted from the end."""
    model = LocalModel.load(tiny, EXACT)._model
    assert follows_trees(model.model)
    deaf = MambaModel(MambaConfig(vocab_size=16, hidden_size=8, num_hidden_layers=2, state_size=2))
    assert not follows_trees(deaf.eval())
    turn = model.model.rotary_emb.forward
    model.model.rotary_emb.forward = lambda x, position_ids: turn(x, position_ids.flip(-1))
    assert not follows_trees(model.model)


@given(st.lists(st.integers(1, 2000), max_size=600))
def test_pools_hold_every_row_once_in_order_and_bound_memory(unsorted: list[int]) -> None:
    lengths = sorted(unsorted)
    pools = list(pools_by_length(range(len(lengths)), lengths))
    assert [k for pool in pools for part in pool for k in part] == list(range(len(lengths)))
    for pool in pools:
        assert sum(map(len, pool)) <= MAX_POOL_ROWS
        assert len(pool) == 1 or sum(len(part) * lengths[part[-1]] for part in pool) <= MAX_BATCH_TOKENS
