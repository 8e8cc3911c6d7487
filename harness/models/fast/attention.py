"""Eager attention that reads grouped keys and values in place.

transformers' eager attention copies every key and value once a query head before it multiplies (three
times for SmolLM2); during decoding that copy costs more than the attention itself. Here the query heads
that share a key head form one matrix product with it. Same mathematics, no copy. SDPA's CPU kernel is slower
than either when one position is decoded at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import torch

Prefix: TypeAlias = "tuple[torch.Tensor, torch.Tensor]"  # (key heads, tokens, width) each

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
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: object,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scaled dot-product attention.

    Args:
        module: the attention layer (its training flag gates dropout).
        query: (batch, query heads, queries, width).
        key: (batch, key heads, keys, width); key heads divide query heads. It may carry a
            ``shared_prefix`` (see ``prefix.py``), which every row attends to before its own keys.
        value: like ``key``.
        attention_mask: additive, (batch, 1, queries, at least keys), or None.
        scaling: factor on the scores; 1/sqrt(width) when None.
        dropout: probability of dropping an attention weight, in training.
        softcap: scores are bent to stay within plus and minus this (Gemma 2).
        s_aux: (query heads,), a score for attending to nothing (gpt-oss).

    Returns:
        (batch, queries, query heads, width), and the weights (batch, query heads, queries, keys).
    """
    import torch

    batch, heads, queries, width = query.shape
    key_heads, keys = key.shape[1], key.shape[2]
    group = heads // key_heads
    prefix: Prefix | None = getattr(key, "shared_prefix", None)
    stacked = query.reshape(batch, key_heads, group * queries, width)
    stacked = stacked * (width**-0.5 if scaling is None else scaling)
    weights = (stacked @ key.transpose(2, 3)).view(batch, key_heads, group, queries, keys)
    if prefix is not None:
        weights = torch.cat([_prefix_scores(stacked, prefix).view(*weights.shape[:-1], -1), weights], dim=-1)
    keys = weights.shape[-1]
    if softcap is not None:
        weights = torch.tanh(weights / softcap) * softcap
    if attention_mask is not None:
        weights = weights + attention_mask[:, :, None, :, :keys]
    if s_aux is not None:
        nothing = s_aux.to(weights.dtype).view(1, key_heads, group, 1, 1).expand(batch, -1, -1, queries, 1)
        weights = torch.cat([weights, nothing], dim=-1)
    weights = torch.softmax(weights, dim=-1, dtype=torch.float32).to(query.dtype)[..., :keys]
    weights = torch.nn.functional.dropout(weights, p=dropout, training=module.training)
    flat = weights.reshape(batch, key_heads, group * queries, keys)
    own = flat[..., -key.shape[2] :]
    mixed = own @ value if prefix is None else own @ value + _prefix_mix(flat, prefix)
    output = mixed.view(batch, heads, queries, width).transpose(1, 2).contiguous()
    return output, weights.reshape(batch, heads, queries, keys)


def _prefix_scores(stacked: torch.Tensor, prefix: Prefix) -> torch.Tensor:
    """(batch, key heads, rows, width) against keys that all of the batch share: one product a head."""
    batch, key_heads, rows, width = stacked.shape
    together = stacked.transpose(0, 1).reshape(key_heads, batch * rows, width)
    scores = together @ prefix[0].transpose(1, 2)
    return scores.view(key_heads, batch, rows, -1).transpose(0, 1).contiguous()


def _prefix_mix(weights: torch.Tensor, prefix: Prefix) -> torch.Tensor:
    """The prefix's values, mixed by its share of the weights: (batch, key heads, rows, width)."""
    values = prefix[1]
    batch, key_heads, rows, _ = weights.shape
    together = weights[..., : values.shape[1]].transpose(0, 1).reshape(key_heads, batch * rows, -1)
    return (together @ values).view(key_heads, batch, rows, -1).transpose(0, 1)
