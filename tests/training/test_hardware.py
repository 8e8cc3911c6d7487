"""What trainings take, by configurations alone: published figures, what to use, whose config is read."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from gguf import GGUFWriter

from benchmarks.hardware import BASES, PUBLISHED, predicted
from harness import Full, LoRA, Prompted
from harness.cli import main
from harness.models.configs import config_of
from harness.run.plan_hardware import planned_memory
from harness.run.session import Session
from harness.training.hardware import best_need, cards_for_all, needs, rank_advice, shape_of
from harness.training.memory import BaseShape

LLAMA_2_7B = BaseShape(32, 4096, 11_008, 4096, 4096, 32_000, tied=False)


@pytest.mark.parametrize("name", BASES)
def test_weights_are_those_that_the_model_page_counts(name: str) -> None:
    config, weights = BASES[name]
    shape = shape_of(config)
    # biases and further norms are left out
    assert shape.linear_weights + shape.other_weights == pytest.approx(weights, rel=1e-4)


@pytest.mark.parametrize(("name", "method", "published", "by"), PUBLISHED)
def test_within_15_percent_of_what_others_publish(name: str, method: str, published: float, by: str) -> None:
    assert predicted(shape_of(BASES[name][0]))[method] == pytest.approx(published, rel=0.15)


def test_what_to_use_on_which_card() -> None:
    found = needs(LLAMA_2_7B, tokens=2048, r=16)
    chosen = {gb: best_need(found, gb) for gb in (80, 24, 16, 10, 5)}
    assert {gb: one and one.name for gb, one in chosen.items()} == {
        80: "LoRA",
        24: "LoRA, gradient checkpointing",
        16: "QLoRA, gradient checkpointing",
        10: "QLoRA, gradient checkpointing",
        5: None,
    }
    assert all(one.gigabytes > 80 for one in found if one.method == "all weights")
    assert cards_for_all(found) == 2
    large = needs(shape_of(BASES["Llama 3.1 70B"][0]), tokens=2048, r=16)
    assert cards_for_all(large) > 8  # several nodes
    assert "r=16: 40 M weights, 0.7 GB" in rank_advice(LLAMA_2_7B)


def test_more_tokens_and_higher_ranks_take_more() -> None:
    small, long, high = (needs(LLAMA_2_7B, tokens=t, r=r) for t, r in ((512, 8), (4096, 8), (512, 64)))
    for a, b, c in zip(small, long, high, strict=True):
        assert a.gigabytes < b.gigabytes
        assert a.gigabytes < c.gigabytes or a.method == "all weights"


# ----------------------------------------------------------------- whose configuration
def test_of_a_folder_a_file_and_a_gguf_file(tmp_path: Path) -> None:
    config, _ = BASES["Llama 3.1 8B"]
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    writer = GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_block_count(32)
    writer.add_embedding_length(4096)
    writer.add_feed_forward_length(14_336)
    writer.add_head_count(32)
    writer.add_head_count_kv(8)
    writer.add_vocab_size(128_256)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    shapes = [shape_of(config_of(str(tmp_path / name))) for name in ("", "config.json")]
    assert shapes == [shape_of(config)] * 2
    read = config_of(str(tmp_path / "model.gguf"))
    assert read["tie_word_embeddings"] is True  # it has no output head
    assert shape_of({**read, "tie_word_embeddings": False}) == shapes[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", ":1: this is no JSON"),
        ("[]", "a configuration is a JSON object"),
        ('{"model_type": "gpt_neox", "hidden_size": 8}', "model_type 'gpt_neox' is not of Llama's shape"),
        ('{"hidden_size": 8}', "it has no 'num_attention_heads'"),
        (f'{{"num_attention_heads": {10**30}}}', "is no number of one size"),
        ('{"num_attention_heads": [8, 4]}', "num_attention_heads=[8, 4] is no number of one size"),
    ],
)
def test_a_configuration_that_says_too_little(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, said: str
) -> None:
    file = tmp_path / "config.json"
    file.write_text(content, "utf-8")
    assert main(["doctor", "--config", str(file)]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "hint:" in error


def test_what_is_not_on_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--model", "nobody/no-such-model"]) == 1
    assert "`hf download nobody/no-such-model config.json`" in capsys.readouterr().err
    assert main(["doctor", "--memory", "24"]) == 2
    assert "of which base?" in capsys.readouterr().err
    assert main(["doctor", "--model", "smollm3"]) == 2
    assert "Did you mean 'smollm2-135m'?" in capsys.readouterr().err
    assert main(["doctor", "--model", str(tmp_path)]) == 1
    assert "config.json: there is no such file" in capsys.readouterr().err


def test_the_command_says_what_to_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(BASES["Llama 3.1 8B"][0]), "utf-8")
    assert main(["doctor", "--config", str(file), "--memory", "24"]) == 0
    assert "use QLoRA, gradient checkpointing in a card of 24 GB" in capsys.readouterr().out
    assert main(["doctor", "--config", str(file), "--memory", "6"]) == 1
    assert "nothing fits in a card of 6 GB" in capsys.readouterr().out
    assert main(["doctor", "--config", str(file), "--memory", "80", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["use"] == "LoRA"
    assert {one["method"] for one in found["needs"]} == {"all weights", "LoRA", "QLoRA"}


def test_a_plan_says_which_training_has_too_little_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(BASES["Mistral 7B v0.3"][0]), "utf-8")
    base = str(tmp_path)
    own = {
        "lora": LoRA(base=base, train="t", r=16),
        "full": Full(base=base, train="t"),
        "prompted": Prompted(model=base),
        "away": LoRA(base="nobody/none", train="t"),
    }
    run = SimpleNamespace(
        selection=SimpleNamespace(chosen=lambda: own, sized=lambda n: [SimpleNamespace(candidate=own[n])]),
        lab_of=lambda arm: SimpleNamespace(path_or_name=lambda name: name),
    )
    monkeypatch.setattr("harness.run.plan_hardware.device_memory", lambda: (24.0, "a card of 24 GB"))
    lora, full, away = planned_memory(cast(Session, run))
    assert "lora: LoRA" in lora
    assert "takes 29.6 GB for a row of 2,048 tokens, and a card of 24 GB has too little" in lora
    assert "QLoRA would fit (19.3 GB)" in lora
    assert "full: all weights" in full
    assert "is not in the Hugging Face cache" in away
    monkeypatch.setattr("harness.run.plan_hardware.device_memory", lambda: (80.0, "a card of 80 GB"))
    assert "a card of 80 GB has room" in next(planned_memory(cast(Session, run)))
