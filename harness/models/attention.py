"""Eager attention that reads grouped keys and values in place.

transformers' eager attention copies every key and value once a query head before it multiplies (three
times for SmolLM2); during decoding that copy costs more than the attention itself. Here the query heads
that share a key head form one matrix product with it. Same mathematics, no copy. SDPA's CPU kernel is slower
than either when one position is decoded at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

NAME = "grouped_eager"


def register_grouped_eager() -> str:
    """Make the attention known to transformers; returns the name to load a model with."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register(NAME, grouped_eager)
    AttentionMaskInterface.register(NAME, eager_mask)
    return NAME


def grouped_eager(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: object,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scaled dot-product attention.

    Args:
        module: the attention layer (its training flag gates dropout).
        query: (batch, query heads, queries, width).
        key: (batch, key heads, keys, width); key heads divide query heads.
        value: like ``key``.
        attention_mask: additive, (batch, 1, queries, at least keys), or None.
        scaling: factor on the scores; 1/sqrt(width) when None.
        dropout: probability of dropping an attention weight, in training.

    Returns:
        (batch, queries, query heads, width), and the weights (batch, query heads, queries, keys).
    """
    import torch

    batch, heads, queries, width = query.shape
    key_heads, keys = key.shape[1], key.shape[2]
    group = heads // key_heads
    scaling = width**-0.5 if scaling is None else scaling
    stacked = query.reshape(batch, key_heads, group * queries, width) * scaling
    weights = (stacked @ key.transpose(2, 3)).view(batch, key_heads, group, queries, keys)
    if attention_mask is not None:
        weights = weights + attention_mask[:, :, None, :, :keys]
    weights = torch.softmax(weights, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = torch.nn.functional.dropout(weights, p=dropout, training=module.training)
    mixed = weights.view(batch, key_heads, group * queries, keys) @ value
    output = mixed.view(batch, heads, queries, width).transpose(1, 2).contiguous()
    return output, weights.view(batch, heads, queries, keys)
