"""The speed of this machine's matrix products at a model's own shapes, and how much work a model is.

The share of the ceiling is the time that the matrix products of the useful tokens alone would take at their
measured speed, over the time taken. Attention's own products, normalisation, softmax, the optimiser and
padding are no useful work here: they lower the share.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.candidates.lora import LoRA
from harness.models.source import ModelSource

if TYPE_CHECKING:
    from harness.models.device import DevicePlan

BEFORE_ATTENTION = ("q_proj", "k_proj", "v_proj")


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix product: (rows, inputs) times (inputs, outputs)."""

    rows: int
    inputs: int
    outputs: int

    @property
    def flop(self) -> float:
        """Floating-point operations, a multiplication and an addition counting two."""
        return 2.0 * self.rows * self.inputs * self.outputs


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer of a transformer block."""

    name: str  # "q_proj"
    block: int  # 0 is the lowest
    inputs: int
    outputs: int


@dataclass(frozen=True, slots=True)
class Architecture:
    """The linear layers of a model's blocks, and its output head as (inputs, outputs)."""

    linears: tuple[Linear, ...]
    head: tuple[int, int]

    def adapter_weights(self, spec: LoRA) -> int:
        """How many weights the adapters of ``spec`` have."""
        return sum(spec.r * (one.inputs + one.outputs) for one in self.adapted(spec))

    def adapted(self, spec: LoRA) -> list[Linear]:
        """The layers that get an adapter."""
        blocks = 1 + max(one.block for one in self.linears)
        lowest = blocks - (spec.top_layers or blocks)
        return [one for one in self.linears if one.name in spec.targets and one.block >= lowest]


def architecture_of(source: ModelSource) -> Architecture:
    """The layers of a model, from its config alone: no weights are loaded."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(str(source.folder), trust_remote_code=source.trust_remote_code)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    head = model.get_output_embeddings()
    linears = []
    for path, module in model.named_modules():
        block = re.search(r"\.(\d+)\.", path)
        if isinstance(module, torch.nn.Linear) and block:
            name = path.rpartition(".")[2]
            linears.append(Linear(name, int(block.group(1)), module.in_features, module.out_features))
    return Architecture(tuple(linears), (head.in_features, head.out_features))


def forward_products(model: Architecture, rows: int) -> Counter[Product]:
    """The products of one forward pass through the blocks over ``rows`` positions; the head is left out."""
    return Counter(Product(rows, one.inputs, one.outputs) for one in model.linears)


def training_products(model: Architecture, spec: LoRA, tokens: int, labelled: int) -> Counter[Product]:
    """The products of one training step over a frozen base, of which ``labelled`` positions reach the head.

    Forward through all blocks; backward to activations through the head and the blocks down to the lowest
    adapted one, whose projections before its attention have nothing below them to tell. The adapters' own
    products are in :func:`adapter_flop`.
    """
    lowest = min(one.block for one in model.adapted(spec))
    backward = (
        Product(tokens, one.inputs, one.outputs)
        for one in model.linears
        if one.block > lowest or (one.block == lowest and one.name not in BEFORE_ATTENTION)
    )
    products = forward_products(model, tokens) + Counter(backward)
    return products + Counter({Product(labelled, *model.head): 2})


def adapter_flop(model: Architecture, spec: LoRA) -> float:
    """Operations a token inside the adapters in training: forward, gradient of activations and of weights."""
    return 3 * 2.0 * model.adapter_weights(spec)


def total_flop(products: Mapping[Product, int]) -> float:
    """Operations of all products, each as often as it occurs."""
    return sum(product.flop * times for product, times in products.items())


def measured_speeds(
    products: Sequence[Product], plan: DevicePlan, seconds_each: float
) -> dict[Product, float]:
    """FLOP a second of each product in the plan's precision: the best of five rounds.

    One weight matrix is used again and again, so it stays in the cache where it fits: a ceiling.
    """
    return {product: _speed(product, plan, seconds_each) for product in products}


def _speed(product: Product, plan: DevicePlan, seconds: float) -> float:
    import torch

    device, dtype = torch.device(plan.device), plan.torch_dtype
    a = torch.randn(product.rows, product.inputs, device=device, dtype=dtype)
    weight = torch.randn(product.outputs, product.inputs, device=device, dtype=dtype)

    def timed(times: int) -> float:
        began = time.perf_counter()
        for _ in range(times):
            torch.nn.functional.linear(a, weight)
        if plan.device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / times

    with torch.inference_mode():
        timed(2)
        times = max(1, round(seconds / 5 / timed(2)))
        return product.flop / min(timed(times) for _ in range(5))


def ideal_seconds(products: Mapping[Product, int], speeds: Mapping[Product, float]) -> float:
    """How long the products take at their measured speeds, and nothing else."""
    return sum(product.flop * times / speeds[product] for product, times in products.items())


def faster_of(first: Mapping[Product, float], second: Mapping[Product, float]) -> dict[Product, float]:
    """The higher of two measured speeds of each product: what was disturbed once is no ceiling."""
    return {product: max(first[product], second[product]) for product in first}


def show_speeds(speeds: Mapping[Product, float], plan: DevicePlan) -> None:
    """Print GFLOP/s by shape."""
    print(f"matrix products in {plan.dtype}:")
    for product, speed in speeds.items():
        print(f"  {product.rows:>6} × {product.inputs:>5} × {product.outputs:>5}: {speed / 1e9:7.0f} GFLOP/s")
