"""Packed weights give what plain ones give, and adapters that add in place what PEFT's own layers give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_llama import BF16, EXACT
from torch import nn

from harness.models.device import DevicePlan
from harness.models.fast import products
from harness.models.fast.products import pack
from harness.models.local import LocalModel
from harness.models.source import ModelSource

needs_bf16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="a processor without AVX-512"
)


def logits(source: ModelSource, plan: DevicePlan, adapter: Path | None) -> torch.Tensor:
    model = LocalModel.load(source, plan, adapter=adapter)._model
    with torch.inference_mode():
        return model(input_ids=torch.arange(40).view(2, 20), use_cache=False).logits.float()


@pytest.mark.parametrize("plan", [EXACT, pytest.param(BF16, marks=needs_bf16)], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("with_adapter", [False, True], ids=["base", "with adapter"])
def test_packed_logits_are_the_plain_ones(
    tiny: ModelSource, adapter: Path, plan: DevicePlan, with_adapter: bool
) -> None:
    of = adapter if with_adapter else None
    plain = logits(tiny, replace(plan, fast=replace(plan.fast, products=False)), of)
    error = (logits(tiny, plan, of) - plain).abs().max().item()
    if plan is BF16 and not with_adapter:
        assert error == 0.0
    assert error <= (0.05 if plan is BF16 else 1e-5) * plain.abs().max().item()


class Odd(nn.Linear):
    """A layer of a kind of its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + 1


class Some(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.odd, self.two = nn.Linear(8, 12), Odd(12, 8), nn.Linear(8, 12, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        said: torch.Tensor = self.two(self.odd(self.one(x)))
        return said


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"lora_alpha": 7},
        {"use_dora": True},
        {"lora_bias": True, "target_modules": ["one"]},
        {"use_rslora": True, "target_modules": ["one"]},
    ],
    ids=str,
)
def test_whatever_peft_adds_is_added(config: dict[str, object]) -> None:
    torch.manual_seed(0)
    settings = {"r": 4, "target_modules": ["one", "two"], "init_lora_weights": False, **config}
    model = get_peft_model(Some(), LoraConfig(**settings)).eval().requires_grad_(False)  # type: ignore[arg-type]
    x = torch.randn(2, 3, 8)
    plain, none = model(x), model(x[:0])
    assert pack(model) == 2
    assert torch.allclose(model(x), plain, atol=1e-5)
    assert model(x[:0]).shape == none.shape


def test_a_large_model_keeps_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "MOST_BYTES", 8 * 12 * 4)
    assert pack(Some().requires_grad_(False)) == 0
