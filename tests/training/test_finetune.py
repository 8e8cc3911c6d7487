"""From rows to an artifact on disk and to answers: what was trained is what is evaluated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest
import torch
from safetensors.torch import load_file
from tiny_llama import BF16, CALLS_TOOLS, EXACT, ids_of, row, rows, save
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness import Full, LoRA, QLoRA
from harness.atomic import write_manifest
from harness.errors import DataError, TrainingError
from harness.models.chat import load_tokenizer
from harness.models.device import DevicePlan
from harness.models.fast.heads import has_plain_head
from harness.models.local import LocalModel, load_base
from harness.models.progress import SilentBar
from harness.models.protocol import Decoding, Prompt, Tools
from harness.models.source import ModelSource
from harness.records import Message, Row, ToolCall, Training
from harness.store.adapters import AdapterStore
from harness.training.local import recipe as room
from harness.training.local import trainer
from harness.training.local.recipe import LocalTraining, load_trained, training_fingerprint
from harness.training.rows import TrainingRows

Spec: TypeAlias = LoRA | Full
QUICK = {"base": "tiny", "train": "train.jsonl", "epochs": 2, "batch_rows": 4, "learning_rate": 2e-2}
LORA = LoRA(r=4, alpha=8, **QUICK)  # type: ignore[arg-type]
QLORA = QLoRA(r=4, alpha=8, **QUICK)  # type: ignore[arg-type]
FULL = Full(**{**QUICK, "learning_rate": 3e-3})  # type: ignore[arg-type]
ROWS = TrainingRows(own=rows(8))
DIGEST = "d" * 64
PROBE = "Where is my order? Your order is on its way."


@pytest.fixture
def store(tmp_path: Path) -> AdapterStore:
    return AdapterStore(tmp_path / "adapters")


@pytest.fixture
def as_trained(monkeypatch: pytest.MonkeyPatch) -> list[PreTrainedModel]:
    """The models in memory at the end of every training."""
    models: list[PreTrainedModel] = []
    train = trainer.train

    def keeping(model: PreTrainedModel, *rest: object) -> object:
        models.append(model)
        return train(model, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(room, "train", keeping)
    return models


def tune(
    spec: Spec,
    source: ModelSource,
    store: AdapterStore,
    plan: DevicePlan = EXACT,
    seed: int = 0,
    data: TrainingRows = ROWS,
) -> tuple[Training, Path]:
    recipe = spec.recipe()
    name = training_fingerprint(recipe, source.digest, data, seed, plan)
    made = store.get_or_train(
        name, lambda folder: LocalTraining(recipe, source, data, seed, plan, name, folder)(SilentBar())
    )
    return made, store.folder(made.fingerprint)


def load(
    spec: Spec, source: ModelSource, artifact: Path, plan: DevicePlan, store: AdapterStore
) -> LocalModel:
    return load_trained(spec.recipe(), spec.ship, source, artifact, plan, store)


def logits(model: torch.nn.Module, source: ModelSource) -> torch.Tensor:
    ids = torch.tensor([ids_of(load_tokenizer(source), PROBE)])
    training = model.training
    with torch.no_grad():
        found: torch.Tensor = model.eval()(ids).logits.float()
    model.train(training)
    return found


# --------------------------------------------------------------------------- every kind trains and comes back
@pytest.mark.parametrize("spec", [LORA, QLORA, FULL], ids=lambda spec: spec.kind)
@pytest.mark.parametrize("plan", [EXACT, BF16], ids=lambda plan: plan.dtype)
def test_each_kind_trains_and_loads_back_as_it_was_trained(
    tiny: ModelSource,
    store: AdapterStore,
    as_trained: list[PreTrainedModel],
    spec: Spec,
    plan: DevicePlan,
) -> None:
    made, artifact = tune(spec, tiny, store, plan)
    assert made.steps == 4
    assert made.rows == 8
    loaded = load(spec, tiny, artifact, plan, store)
    with torch.autocast("cpu", torch.bfloat16, enabled=plan is BF16):  # as it was trained
        trained = logits(as_trained[0], tiny)
    untrained = logits(load_base(tiny, plan, attention="eager", nf4=spec.nf4), tiny)
    shipped = logits(loaded._model, tiny)
    moved = float((trained - untrained).abs().mean())
    apart = float((shipped - trained).abs().mean())
    assert moved > 0.1
    if plan is EXACT:
        torch.testing.assert_close(shipped, trained, atol=1e-4, rtol=1e-4)
    else:
        assert apart < 0.05  # what bfloat16 leaves of logits of this size


def test_what_ships_of_a_qlora_is_the_quantised_base_with_its_adapter(
    tiny: ModelSource, store: AdapterStore, as_trained: list[PreTrainedModel]
) -> None:
    """Merged into the full-precision base it is another model, which must not be evaluated for it."""
    _, artifact = tune(QLORA, tiny, store)
    trained = logits(as_trained[0], tiny)
    adapter = load(QLORA, tiny, artifact, EXACT, store)
    merged = load(replace(QLORA, ship="merged"), tiny, artifact, EXACT, store)
    torch.testing.assert_close(logits(adapter._model, tiny), trained, atol=1e-4, rtol=1e-4)
    assert float((logits(merged._model, tiny) - trained).abs().max()) > 0.1
    assert hasattr(adapter._model, "peft_config")
    assert not hasattr(merged._model, "peft_config")


def test_merging_an_adapter_into_the_base_that_it_was_trained_on_changes_nothing(
    tiny: ModelSource, store: AdapterStore
) -> None:
    _, artifact = tune(LORA, tiny, store)
    adapter = load(LORA, tiny, artifact, EXACT, store)
    merged = load(replace(LORA, ship="merged"), tiny, artifact, EXACT, store)
    torch.testing.assert_close(
        logits(merged._model, tiny), logits(adapter._model, tiny), atol=1e-3, rtol=1e-3
    )


def test_merged_is_the_saved_folder_and_nothing_else(tiny: ModelSource, store: AdapterStore) -> None:
    _, artifact = tune(QLORA, tiny, store)
    spec = replace(QLORA, ship="merged")
    load(spec, tiny, artifact, EXACT, store)
    folder = artifact.with_name(artifact.name + "-merged")
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] *= 2
    from safetensors.torch import save_file

    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_manifest(folder)
    again = load(spec, tiny, artifact, EXACT, store)  # saved once: read, not merged again
    for name, parameter in again._model.named_parameters():
        assert torch.equal(parameter, weights[name])


def test_a_merged_model_keeps_its_sources_name_and_trust(
    tiny: ModelSource, store: AdapterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, artifact = tune(LORA, tiny, store)
    asked: list[ModelSource] = []
    monkeypatch.setattr(LocalModel, "load", lambda source, plan: asked.append(source))
    load(replace(LORA, ship="merged"), replace(tiny, trust_remote_code=True), artifact, EXACT, store)
    assert asked[0].trust_remote_code
    assert asked[0].name == tiny.name
    assert asked[0].digest != tiny.digest


def test_a_tuned_model_answers(tiny: ModelSource, store: AdapterStore, tmp_path: Path) -> None:
    """After enough steps it says and calls what it was taught, and stops: prompts are those of training."""
    source = save(load_base(tiny, EXACT, attention="eager"), _calling(tiny), tmp_path / "base")
    tools = ({"type": "function", "function": {"name": "pay", "parameters": {}}},)
    pays = Message("assistant", "", tool_calls=(ToolCall("c1", "pay", '{"usd": 5}'),))
    words = [row(f"Ask {k}", "Yes", id=f"r{k}") for k in range(4)]
    calls = [Row(f"c{k}", (Message("user", f"Pay {k}"), pays), tools=tools, where="f:1") for k in range(4)]
    taught = TrainingRows(own=(*words, *calls))
    _, artifact = tune(replace(LORA, epochs=15), source, store, data=taught)
    model = load(LORA, source, artifact, EXACT, store)
    asked = [Prompt(one.id, one.prompt, tools=Tools.of(one)) for one in (words[0], calls[0])]
    answers = {a.row_id: a for a in model.answer(asked, Decoding(max_new_tokens=60), frozenset())}
    assert (answers["r0"].text, answers["r0"].finish) == ("Yes", "stop")
    assert answers["c0"].text == calls[0].reference == '[{"name": "pay", "arguments": {"usd": 5}}]'
    assert answers["c0"].finish == "tool_calls"


def _calling(tiny: ModelSource) -> PreTrainedTokenizerBase:
    tokenizer = load_tokenizer(tiny)
    tokenizer.chat_template = CALLS_TOOLS
    return tokenizer


# --------------------------------------------------------------------------- the same content trains the same
def weights_of(artifact: Path) -> bytes:
    return (artifact / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("spec", [LORA, replace(QLORA, dropout=0.1)], ids=["lora", "qlora with dropout"])
def test_a_seed_gives_the_same_adapter_byte_for_byte(tiny: ModelSource, tmp_path: Path, spec: Spec) -> None:
    found = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.rand(5)  # what was drawn before does not matter
        _, artifact = tune(spec, tiny, AdapterStore(tmp_path / name), BF16, seed)
        found.append(weights_of(artifact))
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_what_was_trained_is_not_trained_again(
    tiny: ModelSource, store: AdapterStore, as_trained: list[PreTrainedModel]
) -> None:
    first, _ = tune(LORA, tiny, store)
    second, _ = tune(replace(LORA, decoding=Decoding(max_new_tokens=3)), tiny, store)
    assert second == first
    assert len(as_trained) == 1


def test_the_record_says_what_was_trained_on(tiny: ModelSource, store: AdapterStore) -> None:
    data = TrainingRows(own=rows(6)[:4], replay=rows(6)[4:], dev=rows(8)[6:])
    made, artifact = tune(replace(QLORA, epochs=1.0, dev_evaluations=1), tiny, store, BF16, data=data)
    assert made.row_ids == ("row-0", "row-1", "row-2", "row-3")
    assert (made.rows, made.replay_rows, made.steps) == (4, 2, 2)
    assert 0 < made.supervised_tokens < made.tokens
    assert made.tokens_per_second == pytest.approx(made.tokens / made.seconds)
    assert made.device == "cpu"
    assert made.numeric_config == (
        "nf4 base, double quantised, unpacked once; bfloat16 products, eager attention,"
        " packed rows shared by threads"
    )
    assert made.points[-1].dev_loss is not None
    assert made.points[-1].dev_loss_se is not None
    assert set(made.versions) >= {"torch", "trl", "peft", "bitsandbytes", "transformers"}
    assert store.find(made.fingerprint) == made
    assert "pickle" not in " ".join(path.name for path in artifact.iterdir())


def test_a_full_fine_tunes_weights_are_float32_in_its_record(tiny: ModelSource, store: AdapterStore) -> None:
    made, artifact = tune(replace(FULL, epochs=1), tiny, store, BF16)
    assert made.numeric_config == "float32 weights; bfloat16 products, eager attention, packed rows"
    assert {w.dtype for w in load_file(artifact / "model.safetensors").values()} == {torch.float32}


@pytest.mark.parametrize("spec", [LORA, QLORA], ids=lambda spec: spec.kind)
def test_adapters_are_trained_in_float32(tiny: ModelSource, store: AdapterStore, spec: Spec) -> None:
    """TRL rounds them to bfloat16 on a 4-bit base; updates below a 256th of a weight would be lost."""
    _, artifact = tune(spec, tiny, store, BF16)
    weights = load_file(artifact / "adapter_model.safetensors")
    assert {w.dtype for w in weights.values()} == {torch.float32}
    assert any(not torch.equal(w, w.bfloat16().float()) for w in weights.values())


def test_only_the_top_layers_are_adapted_when_asked(tiny: ModelSource, store: AdapterStore) -> None:
    _, artifact = tune(replace(LORA, top_layers=1), tiny, store)
    layers = {name.split(".layers.")[1][0] for name in load_file(artifact / "adapter_model.safetensors")}
    assert layers == {"1"}


# --------------------------------------------------------------------------- refusals leave nothing
@pytest.mark.parametrize("part", ["own", "replay", "dev"])
def test_a_row_that_is_too_long_is_named_before_anything_is_trained(
    tiny: ModelSource, store: AdapterStore, as_trained: list[PreTrainedModel], part: str
) -> None:
    long = row("one", "first " * 40, where=f"{part}.jsonl:5")
    given: dict[str, tuple[Row, ...]] = {"own": ROWS.own, "replay": ROWS.replay, "dev": ROWS.dev}
    given[part] = (*given[part], long)
    data = TrainingRows(given["own"], given["replay"], given["dev"])
    with pytest.raises(DataError, match=rf"^{part}\.jsonl:5: \d+ tokens, more than max_tokens=100"):
        tune(replace(LORA, max_tokens=100), tiny, store, data=data)
    assert as_trained == []
    assert not store.folder("x").parent.exists() or not [
        path for path in store.folder("x").parent.iterdir() if path.suffix != ".lock"
    ]


def test_a_target_that_the_base_does_not_have_is_named(tiny: ModelSource, store: AdapterStore) -> None:
    """PEFT would adapt the targets that there are and say nothing of the others."""
    spec = replace(LORA, targets=("q_proj", "gate_up_proj"))
    with pytest.raises(TrainingError, match=r"no linear layer named gate_up_proj") as caught:
        tune(spec, tiny, store)
    assert "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in str(caught.value)


def test_an_adapter_leaves_the_head_plain(tiny: ModelSource, adapter: Path) -> None:
    assert has_plain_head(LocalModel.load(tiny, BF16, adapter=adapter)._model)
