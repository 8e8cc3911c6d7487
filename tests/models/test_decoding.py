"""Finished answers leave the batch, and nobody's answer changes by it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_llama import EXACT, rows
from transformers import Cache

from harness.models.fast import decoding
from harness.models.local import LocalModel
from harness.models.protocol import Decoding, Prompt
from harness.models.source import ModelSource

PROMPTS = [Prompt(row.id, row.prompt) for row in rows(16)]


@pytest.fixture
def model(tiny: ModelSource) -> LocalModel:
    """Half of its vocabulary ends an answer, so that rows end one after the other."""
    loaded = LocalModel.load(tiny, EXACT)
    config = loaded._model.generation_config
    config.eos_token_id = list(range(0, loaded._model.config.vocab_size, 6))
    return loaded


def answers(model: LocalModel) -> dict[str, tuple[str, int | None, str, float]]:
    found = model.answer(PROMPTS, Decoding(max_new_tokens=12), frozenset())
    return {a.row_id: (a.text, a.completion_tokens, a.finish, round(a.logprob or 0, 4)) for a in found}


def test_answers_are_those_of_a_batch_that_is_never_cut(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: list[int] = []
    cut = Cache.batch_select_indices

    def noting(cache: Cache, kept: torch.Tensor) -> None:
        widths.append(len(kept))
        cut(cache, kept)

    monkeypatch.setattr(Cache, "batch_select_indices", noting)
    shrunk = answers(model)
    assert widths, "no batch was cut: the test shows nothing"
    monkeypatch.setattr(decoding, "KEEP_SHARE", 0.0)
    assert answers(model) == shrunk
    assert len({tokens for _, tokens, *_ in shrunk.values()}) > 2
    assert {finish for _, _, finish, _ in shrunk.values()} == {"stop", "length"}


def test_answers_are_those_of_transformers_own_greedy_search(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = answers(model)
    monkeypatch.setattr(model, "_plan", replace(EXACT, fast=replace(EXACT.fast, decoding=False)))
    assert answers(model) == ours


def test_a_model_whose_cache_cannot_be_cut_keeps_its_batch(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrunk = answers(model)
    monkeypatch.delattr(Cache, "batch_select_indices")
    assert answers(model) == shrunk
