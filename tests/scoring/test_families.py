"""Which model names are of one family: by a word that names no size, stage or format."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from harness import LikelihoodJudge, RemoteModel, Rubric
from harness.models.source import BUILTIN
from harness.scoring.families import models_of, same_family


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("gpt-4o-mini", "gpt-4.1"),
        ("gpt-4o-mini-2024-07-18", "ft:gpt-4.1-nano:acme::abc123"),
        ("meta-llama/Llama-3.1-8B-Instruct", "Meta-Llama-3-70B"),
        ("Qwen/Qwen2.5-7B-Instruct", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"),
        ("smollm2-135m", "HuggingFaceTB/SmolLM2-1.7B-Instruct"),
        ("claude-3-5-sonnet-latest", "claude-opus-4"),
        ("models/gemma-2-9b-it-GGUF", "google/gemma-2-2b"),
        ("r7b", "r7b"),
    ],
)
def test_names_of_one_family(first: str, second: str) -> None:
    assert same_family(first, second)
    assert same_family(second, first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("gpt-4o-mini", "mistral-small-mini"),
        ("meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("acme/base-model", "acme/chat-model"),
        ("acme/falcon-7b", "acme/yi-34b"),
        ("mixtral-8x7b-instruct-v0.1", "mistral-7b-instruct-v0.1"),
        ("ft:gpt-4.1:gemma-fans::x", "gemma-2"),
        ("", ""),
        ("7b", "13b"),
    ],
)
def test_names_of_different_families(first: str, second: str) -> None:
    assert not same_family(first, second)


def test_the_models_of_a_judge_are_told_by_it_and_by_its_members() -> None:
    rubric = Rubric(RemoteModel("gpt-4o-mini"), "It is good.", labels="x")
    reader = LikelihoodJudge(labels="x")

    @dataclass(frozen=True)
    class Several:
        judges: tuple[object, ...] = (rubric, reader)

    assert list(models_of(Several())) == ["gpt-4o-mini", BUILTIN]
    assert list(models_of(object())) == []
