"""Greedy is greedy: a base's own defaults of generation are set aside, on both paths, and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_llama import EXACT, rows

from harness.models.device import DevicePlan
from harness.models.generation import note_on_defaults, set_aside
from harness.models.local import LocalModel
from harness.models.protocol import Decoding, Prompt
from harness.models.source import ModelSource, folder_digest

PROMPTS = [Prompt(row.id, row.prompt) for row in rows(4)]
SHORT = Decoding(max_new_tokens=8)
PLAIN = replace(EXACT, fast=replace(EXACT.fast, decoding=False))
#: each of them alone changes answers of ``generate``, or makes it fail
HOSTILE: list[dict[str, object]] = [
    {"repetition_penalty": 30.0},
    {"no_repeat_ngram_size": 1},
    {"suppress_tokens": list(range(3, 200))},
    {"begin_suppress_tokens": list(range(3, 200))},
    {"bad_words_ids": [[token] for token in range(3, 200)]},
    {"sequence_bias": [[[token], -50.0] for token in range(3, 200)]},
    {"forced_eos_token_id": 1},
    {"forced_bos_token_id": 5},
    {"min_new_tokens": 12, "exponential_decay_length_penalty": [1, 5.0]},
    {"num_beams": 3, "length_penalty": 4.0},
    {"do_sample": True, "temperature": 5.0, "top_k": 0, "top_p": 0.9, "min_p": 0.01},
    {"stop_strings": ["e", "o", "a"]},
    {"max_length": 3, "max_time": 0.0001},
    {"num_return_sequences": 2, "num_beams": 2},
    {"return_dict_in_generate": True, "output_scores": True},
    {"watermarking_config": {"greenlist_ratio": 0.1, "bias": 50.0}},
    {"encoder_repetition_penalty": 3.0, "remove_invalid_values": True},
    {"prompt_lookup_num_tokens": 3, "cache_implementation": "static"},
    {"guidance_scale": 3.0},
]


def said(folder: Path, plan: DevicePlan, decoding: Decoding = SHORT) -> list[tuple[str, str]]:
    model = LocalModel.load(ModelSource("tiny", folder, folder_digest(folder)), plan)
    answers = {a.row_id: a for a in model.answer(PROMPTS, decoding, frozenset())}
    return [(answers[p.row_id].text, answers[p.row_id].finish) for p in PROMPTS]


def with_defaults(tiny: ModelSource, folder: Path, defaults: Mapping[str, object]) -> Path:
    shutil.copytree(tiny.folder, folder)
    file = folder / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **defaults}))
    return folder


@pytest.fixture(scope="module")
def greedy(tiny: ModelSource) -> list[tuple[str, str]]:
    return said(tiny.folder, PLAIN)


@pytest.mark.parametrize("defaults", HOSTILE, ids=lambda given: next(iter(given)))
def test_no_default_of_the_base_changes_a_greedy_answer(
    tiny: ModelSource, tmp_path: Path, greedy: list[tuple[str, str]], defaults: dict[str, object]
) -> None:
    folder = with_defaults(tiny, tmp_path / "base", defaults)
    assert said(folder, PLAIN) == said(folder, EXACT) == greedy


def test_drawn_answers_follow_decoding_alone(tiny: ModelSource, tmp_path: Path) -> None:
    drawn = Decoding(max_new_tokens=8, temperature=0.9, seed=3)
    defaults = {"top_k": 1, "min_p": 0.5, "typical_p": 0.2, "repetition_penalty": 1.5}
    folder = with_defaults(tiny, tmp_path / "base", defaults)
    assert said(folder, EXACT, drawn) == said(tiny.folder, EXACT, drawn)


def test_the_end_tokens_of_the_base_stay(tiny: ModelSource, tmp_path: Path) -> None:
    folder = with_defaults(tiny, tmp_path / "base", {"eos_token_id": list(range(320))})
    assert {finish for _, finish in said(folder, EXACT)} == {"stop"}


def test_what_is_set_aside_is_named_and_neutral_defaults_are_not(tiny: ModelSource, tmp_path: Path) -> None:
    assert note_on_defaults(tiny.folder) == ()
    shipped = {"do_sample": True, "repetition_penalty": 1.05, "top_k": 20, "top_p": 1.0, "num_beams": 1}
    folder = with_defaults(tiny, tmp_path / "base", shipped)
    assert set_aside(folder) == {"do_sample": True, "repetition_penalty": 1.05, "top_k": 20}
    (told,) = note_on_defaults(folder)
    assert "repetition_penalty=1.05" in told
    quiet = {"top_k": 0, "min_length": 0, "length_penalty": 1.0, "use_cache": True, "pad_token_id": 0}
    loud = {"top_k": 1, "forced_bos_token_id": 0, "forced_eos_token_id": 1, "max_new_tokens": 1}
    assert set_aside(with_defaults(tiny, tmp_path / "other", quiet)) == {}
    assert set_aside(with_defaults(tiny, tmp_path / "third", loud)) == loud


@pytest.mark.parametrize("text", ["[]", "{", ""])
def test_a_broken_file_of_defaults_sets_nothing_aside(tmp_path: Path, text: str) -> None:
    (tmp_path / "generation_config.json").write_text(text)
    assert set_aside(tmp_path) == {}
