"""Faster ways are taken where the installed libraries allow them; the plain ways give the same."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import transformers
from tiny_llama import BF16, EXACT, rows
from transformers import Cache, GenerationMixin, Trainer

from harness.models import device, fast
from harness.models.device import DevicePlan, device_plan
from harness.models.fast import ALL_OFF, ALL_ON, NAMES, FastPaths, SlowPathWarning, examine, reading
from harness.models.local import LocalModel, batch_numeric_config
from harness.models.protocol import Decoding, Prompt
from harness.models.source import ModelSource
from harness.records import Message

INSTRUCTIONS = Message("system", "You sort tickets. Where is my order? Your order is on its way. " * 4)
PROMPTS = [Prompt(row.id, (INSTRUCTIONS, *row.prompt)) for row in rows(24)]
PLAIN = replace(EXACT, inference_attention="eager", fast=ALL_OFF)


@pytest.fixture(autouse=True)
def unwarned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that has warned of nothing, on a machine that remembers nothing."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    monkeypatch.delenv("HARNESS_FAST", raising=False)
    fast.warn_of.cache_clear()
    yield
    fast.warn_of.cache_clear()


# --------------------------------------------------------------------------- the same answers
def model_of(source: ModelSource, plan: DevicePlan, adapter: Path | None = None) -> LocalModel:
    """Half of its vocabulary ends an answer, so that rows end one after the other."""
    model = LocalModel.load(source, plan, adapter=adapter)
    model._model.generation_config.eos_token_id = list(range(0, model._model.config.vocab_size, 6))
    return model


def answers(model: LocalModel) -> dict[str, tuple[str, int | None, int | None, str]]:
    found = model.answer(PROMPTS, Decoding(max_new_tokens=12), frozenset())
    return {a.row_id: (a.text, a.prompt_tokens, a.completion_tokens, a.finish) for a in found}


def without(name: str) -> DevicePlan:
    paths = replace(ALL_ON, **{name: False})  # type: ignore[arg-type]  # it is the name of a bool
    return replace(EXACT, inference_attention="grouped_eager" if paths.attention else "eager", fast=paths)


@pytest.mark.parametrize("with_adapter", [False, True], ids=["base", "with adapter"])
@pytest.mark.parametrize("plan", [PLAIN, *map(without, NAMES)], ids=["all", *NAMES])
def test_plain_answers_are_the_fast_ones_token_by_token(
    tiny: ModelSource, adapter: Path, plan: DevicePlan, with_adapter: bool
) -> None:
    of = adapter if with_adapter else None
    quick = answers(model_of(tiny, EXACT, of))
    assert answers(model_of(tiny, plan, of)) == quick
    assert len({tokens for _, _, tokens, _ in quick.values()}) > 2


def test_plain_likelihoods_are_the_fast_ones(tiny: ModelSource) -> None:
    pairs = [("Where is my order?", " Your order is on its way."), ("I want", " my money back."), ("a", "b")]
    ours, plain = (LocalModel.load(tiny, plan).logprob(pairs) for plan in (EXACT, PLAIN))
    assert plain == pytest.approx(ours, abs=1e-5)


SHARING = [
    (f"Message: where is order {n}? First: it is late. Second:", f" {said}")
    for n in range(5)
    for said in (
        "it is late",
        "it is late",
        "it is lost",
        "a",
        "it is late and I want my money back " * (n + 1),
    )
] + [("it", " is late"), ("it is", " late"), ("", "it is late"), ("a", "b")]


def test_texts_that_begin_alike_are_read_as_each_alone(
    tiny: ModelSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bfloat16 too: which texts are read together changes nothing, so each is kept under its own key."""
    monkeypatch.setattr(reading, "TREE_TOKENS", 64)
    monkeypatch.setattr(reading, "PATH_TOKENS", 200)
    trees = LocalModel.load(tiny, BF16)
    assert trees._reads_trees
    together = trees.token_logprobs(SHARING)
    assert together[::-1] == trees.token_logprobs(SHARING[::-1])
    assert together == [trees.token_logprobs([pair])[0] for pair in SHARING]
    exact, plain = (LocalModel.load(tiny, plan).token_logprobs(SHARING) for plan in (EXACT, PLAIN))
    for ours, theirs in zip(exact, plain, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


# --------------------------------------------------------------------------- the cache keys
def test_the_fast_ways_keep_the_text_that_their_answers_were_kept_under() -> None:
    assert batch_numeric_config(BF16) == (
        "bfloat16 on cpu, grouped_eager attention, batches of 128 rows and 32768 tokens by length within 1.6,"
        " cut below 80% of rows, pools of 256 rows, read as fused trees, packed weights,"
        " shared beginnings from 32 tokens read once"
    )


def test_every_way_that_changes_a_rounding_is_in_the_cache_key() -> None:
    changing = [name for name in NAMES if name not in ("loss", "blocks", "memory")]
    texts = [batch_numeric_config(EXACT), *(batch_numeric_config(without(name)) for name in changing)]
    assert len(set(texts)) == len(texts)
    assert batch_numeric_config(PLAIN) == (
        "float32 on cpu, eager attention, batches of 128 rows and 32768 tokens by length within 1.6,"
        " never cut, read whole, logits at every position"
    )


# --------------------------------------------------------------------------- what decides
def test_the_installed_libraries_allow_all_of_them() -> None:
    """When this fails, look at the reasons: a library has changed, and a way has to be adapted to it."""
    assert (examine().reasons, examine()) == ((), ALL_ON)


@pytest.mark.parametrize(
    ("package", "found", "off"),
    [
        ("transformers", "4.57.0", ("attention", "decoding", "prefix", "loss")),
        ("transformers", "5.24.0.dev0", ("attention", "decoding", "prefix", "loss")),
        ("transformers", "6.0.0", ("attention", "decoding", "prefix", "loss")),
        ("transformers", "5.18.0rc1", ()),
        ("trl", "2.0.0", ("loss",)),
        ("torch", "3.0.0+cu130", ("attention", "decoding", "prefix", "products", "loss")),
        ("torch", "2.13.1+cpu", ()),
    ],
)
def test_versions_that_they_were_not_tested_with_turn_them_off(
    package: str, found: str, off: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast, "version", lambda name: found if name == package else version(name))
    assert examine().off == off
    assert all(f"{package} {found} is not among the versions tested" in r for r in examine().reasons)


@pytest.mark.parametrize(
    ("owner", "name", "off"),
    [
        (GenerationMixin, "_prefill", ("decoding",)),
        (GenerationMixin, "_update_model_kwargs_for_generation", ("decoding",)),
        (Cache, "batch_select_indices", ("decoding",)),
        (transformers.cache_utils, "DynamicLayer", ("prefix",)),
        (transformers.masking_utils, "eager_mask", ("attention", "prefix")),
        (Trainer, "training_step", ("loss",)),
    ],
)
def test_a_name_that_is_gone_turns_off_what_calls_it(
    owner: object, name: str, off: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(owner, name)
    found = examine()
    assert found.off == off
    assert f"{name}" in found.reasons[0]
    assert "is gone" in found.reasons[0]


def test_parameters_that_changed_turn_off_what_passes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def renamed(self: object, input_ids: object, config: object, kwargs: object) -> None: ...
    def longer(
        self: object, model: object, inputs: object, num_items_in_batch: object, more: object
    ) -> None: ...
    def optional(self: object, indices: object, more: int = 1, *rest: object, **others: object) -> None: ...

    monkeypatch.setattr(GenerationMixin, "_prefill", renamed)
    monkeypatch.setattr(Trainer, "training_step", longer)
    monkeypatch.setattr(Cache, "batch_select_indices", optional)
    assert examine().off == ("decoding", "loss")
    assert examine().reasons[0] == (
        "decoding: transformers.GenerationMixin._prefill takes (self, input_ids, config, kwargs),"
        " not (self, input_ids, generation_config, model_kwargs)"
    )


# --------------------------------------------------------------------------- from the decision to the plan
def test_with_a_changed_library_one_warning_is_given_and_the_answers_are_the_same(
    tiny: ModelSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answers(model_of(tiny, EXACT))
    monkeypatch.delattr(GenerationMixin, "_prefill")
    monkeypatch.setattr(transformers.masking_utils, "eager_mask", None)
    monkeypatch.delattr(transformers.masking_utils, "eager_mask")
    monkeypatch.setattr(fast, "installed", dict)
    with pytest.warns(SlowPathWarning) as caught:
        plan = device_plan()
    assert str(caught[0].message) == (
        "harness: plain, slower ways are taken for attention, decoding, prefix."
        " attention: transformers.masking_utils.eager_mask is gone;"
        " decoding: transformers.GenerationMixin._prefill is gone;"
        " prefix: transformers.masking_utils.eager_mask is gone."
        " Answers and losses are the same. `harness doctor` lists them all."
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert device_plan() == plan  # said once
    monkeypatch.undo()
    if plan.device == "cpu":
        assert plan.inference_attention == "eager"
        assert answers(model_of(tiny, replace(plan, dtype="float32"))) == expected


def test_the_decision_is_kept_until_a_library_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[FastPaths] = []

    def examined() -> FastPaths:
        counted.append(FastPaths(prefix=False, reasons=("prefix: a test says so",)))
        return counted[-1]

    monkeypatch.setattr(fast, "examine", examined)
    with pytest.warns(SlowPathWarning, match="prefix: a test says so"):
        plans = [device_plan(), device_plan()]
    assert [plan.fast.reasons for plan in plans] == [counted[0].reasons] * 2
    assert len(counted) == 1
    now = fast.installed()
    monkeypatch.setattr(fast, "installed", lambda: {**now, "transformers": "5.99.0"})
    device_plan()
    assert len(counted) == 2


def test_their_versions_are_read_without_them_and_examining_them_prints_nothing() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from harness.models.fast import installed; found = installed();"
        "assert 'none' not in found.values(), found;"
        "assert not {'torch', 'transformers', 'trl'} & set(sys.modules);"
        "from harness.models.device import ask_torch; ask_torch()"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, "", "")


def test_they_are_turned_off_by_the_environment_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = device_plan()
    monkeypatch.setenv("HARNESS_FAST", "0")
    plan = device_plan()
    assert plan.fast == ALL_OFF
    assert set(plan.fast.off) == set(NAMES)
    if plan.device == "cpu":
        assert plan.inference_attention == "eager"
    assert replace(plan, fast=usual.fast, inference_attention=usual.inference_attention) == usual
    monkeypatch.delenv("HARNESS_FAST")
    assert device_plan() == usual  # and nothing of it is remembered


def test_a_memory_of_an_earlier_version_is_asked_again(tmp_path: Path) -> None:
    plan = device_plan()
    memory = tmp_path / "device.json"
    kept = json.loads(memory.read_text(encoding="utf-8"))
    del kept["plan"]["fast"]
    memory.write_text(json.dumps(kept), encoding="utf-8")
    assert device_plan() == plan


def test_a_torch_without_its_private_names_works_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.ask_torch().dtype == "float32"


def test_doctor_lists_what_is_taken_and_why_the_rest_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.cli import doctor

    def lines() -> list[tuple[str, bool | None, str]]:
        wanted = ("fast paths", "plain path")
        return [(found.what, found.ok, found.says) for found in doctor.examine() if found.what in wanted]

    assert lines() == [
        ("fast paths", None, "attention, decoding, prefix, heads, products, loss, blocks, memory")
    ]
    monkeypatch.setenv("HARNESS_FAST", "0")
    assert lines() == [("fast paths", None, "none"), ("plain path", None, "HARNESS_FAST=0 is set")]
