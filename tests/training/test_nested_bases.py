"""Bases whose language model stands beside a vision tower: adapters go on the language model alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import transformers
from tiny_llama import EXACT, build_tokenizer, rows, save

from harness import Full, LoRA, QLoRA
from harness.models.fast.attention import can_share
from harness.models.fast.heads import has_plain_head
from harness.models.local import LocalModel, load_base
from harness.models.protocol import Decoding, Prompt
from harness.models.source import ModelSource, context_tokens
from harness.training.local.recipe import trainable_model

TEXT = {
    "vocab_size": len(build_tokenizer()),
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "eos_token_id": 1,
    "bos_token_id": 0,
    "pad_token_id": 2,
}
VISION = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}


def gemma3() -> transformers.PreTrainedModel:
    config = transformers.Gemma3Config(
        text_config={**TEXT, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 64},
        vision_config=VISION,
        mm_tokens_per_image=4,
    )
    return transformers.Gemma3ForConditionalGeneration(config)


def llava_next() -> transformers.PreTrainedModel:
    """No causal language model by itself: transformers lists it as image-text-to-text only."""
    config = transformers.LlavaNextConfig(
        text_config={"model_type": "llama", **TEXT},
        vision_config={"model_type": "clip_vision_model", **VISION},
        image_token_index=3,
    )
    return transformers.LlavaNextForConditionalGeneration(config)


@pytest.fixture(scope="module", params=[gemma3, llava_next], ids=lambda build: build.__name__)
def nested(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    import torch

    build: Callable[[], transformers.PreTrainedModel] = request.param
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build()
    return save(model, build_tokenizer(), tmp_path_factory.mktemp(build.__name__))


@pytest.mark.parametrize("kind", [LoRA, QLoRA])
def test_adapters_go_on_the_language_model_alone(nested: ModelSource, kind: type[LoRA]) -> None:
    model = trainable_model(kind(base="b", train="t", r=2).recipe(), nested, EXACT)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * 7 * 2  # two layers of seven matrices, two factors each
    assert all("language_model.layers." in name for name in trained)


def test_all_weights_are_those_of_the_language_model(nested: ModelSource) -> None:
    model = trainable_model(Full(base="b", train="t").recipe(), nested, EXACT)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained
    assert all("language_model" in name or "lm_head" in name for name in trained)


def test_top_layers_counts_those_of_the_language_model(nested: ModelSource) -> None:
    model = trainable_model(LoRA(base="b", train="t", r=2, top_layers=1).recipe(), nested, EXACT)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(trained) == 7 * 2
    assert all("layers.1." in name for name in trained)


def test_it_answers_text_and_says_its_context(nested: ModelSource) -> None:
    assert context_tokens(nested) == 512
    model = LocalModel.load(nested, EXACT)
    prompts = [Prompt(row.id, row.prompt) for row in rows(3)]
    answers = list(model.answer(prompts, Decoding(max_new_tokens=4), frozenset()))
    assert {answer.row_id for answer in answers} == {row.id for row in rows(3)}


def test_a_nested_sliding_window_is_seen(tmp_path: Path) -> None:
    """Shared beginnings attend to everything, which a window forbids."""
    source = save(gemma3(), build_tokenizer(), tmp_path)
    assert not can_share(load_base(source, EXACT, attention="grouped_eager"), "grouped_eager")


def test_a_language_model_that_is_its_own_base_has_the_thin_loss() -> None:
    small = {"head_dim": 16, "intermediate_size_mlp": 64, "num_local_experts": 2, "attention_chunk_size": 64}
    config = transformers.Llama4TextConfig.from_dict({**TEXT, **small})
    assert has_plain_head(transformers.Llama4ForCausalLM(config))
