"""What a CPU computes, a GPU computes too. ``pytest -m cuda`` runs the half that needs one.

Every test runs on this machine's CPU as well, so that nothing here is first run on a card. How often answers
of a batch are those of a row alone is a property of the test report: ``python -m benchmarks.gpu`` shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_llama import BF16, EXACT, rows, save
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from harness import Full, LoRA, QLoRA
from harness.models import quiet_transformers
from harness.models.chat import load_tokenizer
from harness.models.chat_format import load_chat
from harness.models.device import DevicePlan
from harness.models.local import LocalModel, load_base
from harness.models.progress import SilentBar
from harness.models.protocol import Decoding, Prompt
from harness.models.source import ModelSource
from harness.store.adapters import AdapterStore
from harness.training.local.losses import autocast, measure_loss, padded, token_losses
from harness.training.local.recipe import LocalTraining, Recipe, load_trained, trainable_model
from harness.training.local.tokens import Example, encode_rows
from harness.training.rows import TrainingRows

NO_CARD = "needs a CUDA device, and this machine has none"
CUDA = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_CARD)]
PAD = 2  # the tiny model's


def on_cuda(dtype: str) -> DevicePlan:
    return DevicePlan("cuda", dtype, "sdpa", "sdpa")


def devices(*cpu: DevicePlan) -> pytest.MarkDecorator:
    """The test for these plans of the CPU, and for each precision of a card."""
    cards = [pytest.param(on_cuda(dtype), marks=CUDA) for dtype in ("float32", "bfloat16", "float16")]
    return pytest.mark.parametrize("plan", [*cpu, *cards], ids=lambda plan: f"{plan.device}-{plan.dtype}")


# what rounding may change, as a share; float16 has three bits more than bfloat16
SLACK = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.08}
KINDS = {
    "lora": LoRA(base="tiny", train="none", r=4, alpha=8, batch_rows=4, epochs=2),
    "qlora": QLoRA(base="tiny", train="none", r=4, alpha=8, batch_rows=4, epochs=2),
    "full": Full(base="tiny", train="none", batch_rows=4, epochs=2),
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with quiet_transformers():
        yield


@pytest.fixture(scope="module")
def examples(tiny: ModelSource) -> list[Example]:
    return encode_rows(load_chat(tiny), rows(8), 1000)


# --------------------------------------------------------------------------- gradients
def gradients(
    recipe: Recipe, source: ModelSource, plan: DevicePlan, examples: list[Example]
) -> dict[str, torch.Tensor]:
    """Of the trained weights, by name, as the trainer's loss gives them; the adapters are no longer zero."""
    model = trainable_model(recipe, source, plan)
    random = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = (0.1 * torch.randn(parameter.shape, generator=random)).to(plan.device)
    with autocast(plan):
        losses, _, _ = token_losses(model, padded(examples, PAD, torch.device(plan.device)))
    losses.mean().backward()
    return {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", KINDS)
@devices(BF16)
def test_gradients_are_those_of_float32(
    tiny: ModelSource, examples: list[Example], kind: str, plan: DevicePlan, tmp_path: Path
) -> None:
    recipe, source = KINDS[kind].recipe(), tiny
    found = gradients(recipe, tiny, plan, examples)
    if recipe.nf4:  # the reference has what packing kept, in float32
        kept = load_base(tiny, plan, attention="eager", nf4=True)
        kept = kept if plan.device == "cpu" else kept.dequantize(dtype=plan.torch_dtype)
        source = save(torch.nn.Module.to(kept, "cpu", torch.float32), load_tokenizer(tiny), tmp_path)
    exact = gradients(replace(recipe, nf4=False), source, EXACT, examples)
    assert found.keys() == exact.keys()
    assert all(gradient.dtype == torch.float32 for gradient in found.values())
    ours, theirs = (torch.cat([g.flatten() for g in side.values()]) for side in (found, exact))
    assert float((ours - theirs).norm() / theirs.norm()) < SLACK[plan.dtype]


# --------------------------------------------------------------------------- packed weights
@devices(EXACT)
def test_packed_weights_compute_what_unpacked_ones_do(
    tiny: ModelSource, plan: DevicePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bitsandbytes.nn import Linear4bit

    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedModel, "dequantize", lambda self, dtype=None: self)
        packed = load_base(tiny, plan, attention="eager", nf4=True)
    layers = [module for module in packed.modules() if isinstance(module, Linear4bit)]
    assert len(layers) == 2 * 7
    for layer in layers:
        setattr(layer, "support_avx512bf16_for_cpu", False)  # noqa: B010 - else an evaluation on this CPU repacks the weights
    ids = torch.tensor([[5, 9, 13, 17, 40, 41, 42, 43]], device=plan.device)
    with torch.no_grad():
        before = packed(ids, use_cache=False).logits.float()
        unpacked = packed.dequantize(dtype=plan.torch_dtype)
        after = unpacked(ids, use_cache=False).logits.float()
    assert not any(isinstance(module, Linear4bit) for module in unpacked.modules())
    assert float((before - after).norm() / after.norm()) < SLACK[plan.dtype]


# --------------------------------------------------------------------------- what ships
@pytest.mark.parametrize("kind", ["lora", "qlora"])
@devices(BF16)
def test_the_adapter_that_ships_is_the_one_that_was_trained_and_is_evaluated(
    tiny: ModelSource, examples: list[Example], kind: str, plan: DevicePlan, tmp_path: Path
) -> None:
    from peft import PeftModel

    spec = KINDS[kind]
    data = TrainingRows(own=rows(8), dev=rows(8))
    made = LocalTraining(spec.recipe(), tiny, data, 0, plan, "name", tmp_path)(SilentBar())
    first, last = made.points[0], made.points[-1]
    assert first.dev_loss is not None
    assert last.dev_loss is not None
    assert last.dev_loss < first.dev_loss  # it learns
    evaluated = load_trained(spec.recipe(), "adapter", tiny, tmp_path, plan, AdapterStore(tmp_path / "store"))
    loss = measure_loss(evaluated._model, examples, plan, PAD)
    assert loss.mean == pytest.approx(last.dev_loss, rel=SLACK[plan.dtype])

    packed = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=plan.torch_dtype,
    )
    base = AutoModelForCausalLM.from_pretrained(
        tiny.folder,
        dtype=plan.torch_dtype,
        quantization_config=packed if spec.nf4 else None,
        device_map={"": plan.device},
    )
    served = PeftModel.from_pretrained(base, str(tmp_path)).eval()
    assert measure_loss(served, examples, plan, PAD).mean == pytest.approx(loss.mean, rel=SLACK[plan.dtype])


# --------------------------------------------------------------------------- answers
PROMPTS = [Prompt(row.id, row.prompt) for row in rows(64)]
GREEDY = Decoding(max_new_tokens=8)
NOTHING: frozenset[str] = frozenset()


def answered(model: LocalModel, prompts: list[Prompt], decoding: Decoding) -> dict[str, str]:
    return {a.row_id: a.text for a in model.answer(prompts, decoding, NOTHING)}


@pytest.mark.parametrize("nf4", [False, True], ids=["whole", "nf4"])
@devices(EXACT, BF16)
def test_greedy_answers_of_a_batch_are_those_of_a_row_alone(
    tiny: ModelSource,
    adapter: Path,
    plan: DevicePlan,
    nf4: bool,
    record_property: Callable[[str, object], None],
) -> None:
    model = LocalModel.load(tiny, plan, nf4=nf4, adapter=adapter)
    prompts = PROMPTS if plan.device == "cuda" else PROMPTS[:10]
    together = answered(model, prompts, GREEDY)
    alone = {p.row_id: answered(model, [p], GREEDY)[p.row_id] for p in prompts}
    same = sum(together[row_id] == alone[row_id] for row_id in alone)
    record_property(
        "measured",
        f"{same} of {len(prompts)} greedy answers of a batch are those of the row alone"
        f" ({'nf4, ' if nf4 else ''}{plan.dtype} on {plan.device})",
    )
    assert len(set(alone.values())) > 3
    assert same == len(prompts) if plan.dtype == "float32" else same > len(prompts) / 2


@devices(BF16)
def test_sampled_answers_follow_their_seed(tiny: ModelSource, plan: DevicePlan) -> None:
    model = LocalModel.load(tiny, plan)
    sampled = [
        answered(model, PROMPTS[:4], replace(GREEDY, temperature=1.5, seed=seed)) for seed in (1, 1, 2)
    ]
    assert sampled[0] == sampled[1] != sampled[2]


@devices(BF16)
def test_likelihoods_are_those_of_float32(tiny: ModelSource, adapter: Path, plan: DevicePlan) -> None:
    pairs = [
        ("Where is my order?", " Your order is on its way."),
        ("I want my money back.", " The refund"),
        ("", "a"),
    ]
    exact = LocalModel.load(tiny, EXACT, adapter=adapter).logprob(pairs)
    found = LocalModel.load(tiny, plan, adapter=adapter).logprob(pairs)
    assert found == pytest.approx(exact, rel=SLACK[plan.dtype])
