"""Matrix products with packed weights, and adapters that cost no passes of their own.

A plain product lays its weight out anew each time it is called, as oneDNN reads it; for the few rows of a
decoding step that takes up to half of it. In bfloat16 the packed product gives the same bits. PEFT adds an
adapter in four passes; here its second product adds to the base's output in place.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

MOST_BYTES = 2**31  # of packed weights, which are held beside the plain ones
ROWS = 128  # that the layout is chosen for; others are as fast with it within some percent


def pack(model: PreTrainedModel) -> int:
    """Give a frozen model's linear layers packed weights, in place; returns how many have one.

    Left as they are: layers of a kind of their own, all layers of a model that is not on an x86 processor or
    has more than ``MOST_BYTES`` of them, and adapters that are more than two products (DoRA).
    """
    import torch

    plain = [part for part in model.modules() if type(part) is torch.nn.Linear and min(part.weight.shape) > 1]
    adapters = [part for part in model.modules() if hasattr(part, "lora_A")]
    own = {inner for part in adapters for inner in part.modules() if inner is not _base(part)}
    plain = [part for part in plain if part not in own and _can_pack(part.weight)]
    if sum(part.weight.nbytes for part in plain) > MOST_BYTES:
        return 0
    for part in plain:
        packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(part.weight.detach(), ROWS)
        setattr(part, "forward", partial(_product, packed, part.weight, part.bias))  # noqa: B010 - a method
    for part in adapters:
        if _base(part) in plain and (held := _two_products(part)) is not None:
            setattr(part, "forward", partial(_adapted, _base(part), *held))  # noqa: B010
    return len(plain)


def _base(adapter: torch.nn.Module) -> torch.nn.Module | None:
    base = getattr(adapter, "base_layer", None)
    return cast("torch.nn.Module | None", base)


def _can_pack(weight: torch.Tensor) -> bool:
    import torch

    if weight.device.type != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    if weight.dtype is torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype is torch.float32 and torch.backends.mkldnn.is_available()


def _product(
    packed: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor
) -> torch.Tensor:
    import torch

    if not x.numel() or x.dtype is not weight.dtype:
        return torch.nn.functional.linear(x, weight, bias)
    found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return found


def _two_products(adapter: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor, float] | None:
    """PEFT's down weight, its up weight transposed, and their factor, where its layer adds nothing else."""
    (name, *others) = getattr(adapter, "active_adapters", None) or ["", ""]
    is_off = getattr(adapter, "merged", True) or getattr(adapter, "disable_adapters", True)
    if others or is_off or name in getattr(adapter, "lora_variant", [name]):
        return None
    down, up = (getattr(adapter, kind)[name] for kind in ("lora_A", "lora_B"))
    base = _base(adapter)
    same = base is not None and down.weight.dtype is up.weight.dtype is next(base.parameters()).dtype
    if not same or up.bias is not None or down.bias is not None:
        return None
    return down.weight, up.weight.t(), float(getattr(adapter, "scaling")[name])  # noqa: B009


def _adapted(
    base: Callable[[torch.Tensor], torch.Tensor],
    down: torch.Tensor,
    up: torch.Tensor,
    factor: float,
    x: torch.Tensor,
) -> torch.Tensor:
    import torch

    found, narrow = base(x), torch.nn.functional.linear(x, down)
    found.view(-1, found.shape[-1]).addmm_(narrow.view(-1, narrow.shape[-1]), up, alpha=factor)
    return found
