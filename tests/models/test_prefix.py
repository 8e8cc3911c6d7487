"""A beginning that all prompts share is read once, and changes no answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_llama import BF16, EXACT, rows
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from harness.models.fast.attention import MIN_PREFIX_TOKENS, NAME, SharedPrefix, can_share, common_prefix
from harness.models.local import LocalModel
from harness.models.protocol import Decoding, Prompt
from harness.models.source import ModelSource
from harness.records import Message

INSTRUCTIONS = Message("system", "You sort tickets. Where is my order? Your order is on its way. " * 4)
PROMPTS = [Prompt(row.id, (INSTRUCTIONS, *row.prompt)) for row in rows(7)]


def answers(model: LocalModel, prompts: list[Prompt]) -> dict[str, tuple[str, int | None]]:
    found = model.answer(prompts, Decoding(max_new_tokens=6), frozenset())
    return {answer.row_id: (answer.text, answer.prompt_tokens) for answer in found}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The length of every prefix that was read."""
    seen: list[int] = []
    read = SharedPrefix.__init__

    def noting(self: SharedPrefix, model: object, tokens: list[int]) -> None:
        seen.append(len(tokens))
        read(self, model, tokens)  # type: ignore[arg-type]

    monkeypatch.setattr(SharedPrefix, "__init__", noting)
    return seen


@pytest.mark.parametrize("with_adapter", [False, True], ids=["base", "with adapter"])
def test_answers_are_those_of_the_whole_prompts(
    tiny: ModelSource, adapter: Path, with_adapter: bool, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LocalModel.load(tiny, EXACT, adapter=adapter if with_adapter else None)
    monkeypatch.setattr("harness.models.local.MAX_POOL_ROWS", 3)
    monkeypatch.setattr("harness.models.local.MAX_BATCH_ROWS", 3)
    shared = answers(model, PROMPTS)
    assert len(reads) == 1  # once for three batches
    assert reads[0] > MIN_PREFIX_TOKENS
    monkeypatch.setattr("harness.models.local.MIN_PREFIX_TOKENS", 10_000)
    assert answers(model, PROMPTS) == shared
    assert len(reads) == 1
    assert len({text for text, _ in shared.values()}) > 1


def test_a_short_beginning_is_read_with_every_row(tiny: ModelSource, reads: list[int]) -> None:
    answers(LocalModel.load(tiny, EXACT), [Prompt(row.id, row.prompt) for row in rows(4)])
    assert reads == []


def test_equal_prompts_keep_a_token_of_their_own(tiny: ModelSource, reads: list[int]) -> None:
    model = LocalModel.load(tiny, EXACT)
    twice = answers(model, [Prompt("a", PROMPTS[0].messages), Prompt("b", PROMPTS[0].messages)])
    assert twice["a"] == twice["b"] == answers(model, PROMPTS)["row-0"]


def test_another_attention_shares_nothing(tiny: ModelSource, reads: list[int]) -> None:
    plan = type(BF16)("cpu", "float32", "eager", "eager")
    assert answers(LocalModel.load(tiny, plan), PROMPTS) == answers(LocalModel.load(tiny, EXACT), PROMPTS)
    assert len(reads) == 1


def test_a_model_with_a_sliding_window_shares_nothing() -> None:
    small: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    model = LlamaForCausalLM(LlamaConfig(vocab_size=8, num_key_value_heads=1, **small))
    assert can_share(model, NAME)
    assert not can_share(model, "eager")
    sliding = MistralForCausalLM(
        MistralConfig(vocab_size=8, num_key_value_heads=1, sliding_window=8, **small)
    )
    assert not can_share(sliding, NAME)


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=5))
def test_the_common_prefix_is_the_longest_that_leaves_every_prompt_a_token(prompts: list[list[int]]) -> None:
    found = common_prefix(prompts)
    assert all(prompt[: len(found)] == found and len(prompt) > len(found) for prompt in prompts)
    longer = len(found) + 1
    assert any(prompt[:longer] != prompts[0][:longer] or len(prompt) == longer for prompt in prompts)


def test_the_head_meets_contiguous_memory_behind_a_shared_prefix(tiny: ModelSource) -> None:
    model = LocalModel.load(tiny, BF16)
    seen: list[bool] = []

    def look(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        seen.append(args[0].is_contiguous())

    model._model.get_output_embeddings().register_forward_pre_hook(look)
    answers(model, PROMPTS)
    assert all(seen)
    assert len(seen) >= 6
