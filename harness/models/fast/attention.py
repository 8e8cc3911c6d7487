"""Eager attention that reads grouped keys and values in place.

transformers' eager attention copies every key and value once a query head before it multiplies (three
times for SmolLM2); during decoding that copy costs more than the attention itself. Here the query heads
that share a key head form one matrix product with it. Same mathematics, no copy. SDPA's CPU kernel is slower
than either when one position is decoded at a time.

A prompt that many rows begin with is read once, and its keys and values are held once. transformers can
start from a cache, but only from one copy a row; at 500 shared tokens those copies are most of the memory
traffic of decoding. Here the rows' own keys grow as usual and the prefix stays one tensor, which
``grouped_eager`` multiplies with all rows at once (Juravsky et al. 2024, Hydragen).

Rows of unlike lengths are decoded together, but each length's keys stay a tensor of their own
(``PooledLayer``): linear layers want many rows, attention wants none of the padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, TypeAlias, cast

if TYPE_CHECKING:
    import torch
    from transformers import Cache, PreTrainedModel

    from harness.models.fast.reading import Paths, PromptsRead, Reading

Prefix: TypeAlias = "tuple[torch.Tensor, torch.Tensor]"  # (key heads, tokens, width) each

Part: TypeAlias = "tuple[int, torch.Tensor, torch.Tensor]"  # rows, keys and values
Scaling: TypeAlias = (
    "tuple[float | None, float, float | None, torch.Tensor | None]"  # as grouped_eager takes it
)

NAME = "grouped_eager"
MIN_PREFIX_TOKENS = 32  # below this, reading the prefix with every row is as fast


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
            ``shared_prefix``, which every row attends to before its own keys, or the ``parts`` of a pool:
            of each the number of rows, their keys and their values.
        value: like ``key``.
        attention_mask: additive, (batch, 1, queries, at least keys), or None. It may carry a ``tree``, whose
            nodes are then the queries and keys of the one row (reading.py).
        scaling: factor on the scores; 1/sqrt(width) when None.
        dropout: probability of dropping an attention weight, in training.
        softcap: scores are bent to stay within plus and minus this (Gemma 2).
        s_aux: (query heads,), a score for attending to nothing (gpt-oss).

    Returns:
        (batch, queries, query heads, width), and the weights (batch, query heads, queries, keys); none of
        a pool or a tree.
    """
    import torch

    rest = scaling, dropout, softcap, s_aux
    if (parts := getattr(key, "parts", None)) is not None:
        return _in_parts(parts, module, query, attention_mask, rest), query.new_empty(0)
    if (tree := getattr(attention_mask, "tree", None)) is not None:
        return _along_paths(tree, module, query, key, value, rest), query.new_empty(0)
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


def _in_parts(
    parts: Sequence[Part],
    module: torch.nn.Module,
    query: torch.Tensor,
    attention_mask: torch.Tensor | None,
    rest: Scaling,
) -> torch.Tensor:
    """A pool's rows: each part with its own keys, and as much of the mask as they are wide."""
    import torch

    outputs, begin = [], 0
    for rows, keys, values in parts:
        at = slice(begin, begin + rows)
        mask = None if attention_mask is None else _columns(attention_mask[at], keys)
        outputs.append(grouped_eager(module, query[at], keys, values, mask, *rest)[0])
        begin += rows
    return torch.cat(outputs)


def _along_paths(
    tree: Reading,
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    rest: Scaling,
) -> torch.Tensor:
    """A tree's nodes: each branch with the nodes of its own path."""
    import torch

    key, value = tree.with_kept(key, value)
    prefix = next(tree.prefixes, None)
    output = torch.empty_like(query[0].transpose(0, 1))
    for of in tree.paths:
        asks, has, gives = (
            nodes[0, :, at].transpose(0, 1)
            for nodes, at in ((query, of.queries), (key, of.keys), (value, of.keys))
        )
        if prefix is not None:
            has, gives = (_behind(one, own) for one, own in zip(prefix, (has, gives), strict=True))
        if tree.is_fused and rest[2] is None and rest[3] is None:
            mixed = _fused(asks, has, gives, of, rest[0])
        else:
            mixed = grouped_eager(module, asks, has, gives, of.mask, *rest)[0]
        output[of.queries[of.is_own]] = mixed[of.is_own]
    return output[None]


def _behind(prefix: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.cat([prefix.expand(len(own), -1, -1, -1), own], dim=2)


def _fused(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, of: Paths, scaling: float | None
) -> torch.Tensor:
    """As ``grouped_eager``, by PyTorch's kernel, which holds no scores: faster for many queries a row.

    In bfloat16 its rounding depends on what is padded to one length, as that of answers does anyway.
    """
    import torch

    batch, heads, queries, width = query.shape
    key_heads = key.shape[1]
    mixed = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(batch, key_heads, -1, width),
        key,
        value,
        attn_mask=of.mask_for(heads // key_heads),
        scale=scaling,
    )
    return mixed.reshape(batch, heads, queries, width).transpose(1, 2)


def _columns(mask: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """A pool's mask as wide as one part's keys: behind the shared prefix all rows end together."""
    import torch

    prefix: Prefix | None = getattr(keys, "shared_prefix", None)
    shared, own = 0 if prefix is None else prefix[0].shape[1], keys.shape[2]
    return torch.cat([mask[..., :shared], mask[..., mask.shape[-1] - own :]], dim=-1)


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


# ----------------------------------------------------------------- shared beginnings
def common_prefix(prompts: Sequence[list[int]]) -> list[int]:
    """The longest run of tokens that all prompts begin with, leaving each at least one of its own."""
    first, last = min(prompts), max(prompts)  # in lexicographic order these two differ the earliest
    limit = min(len(prompt) for prompt in prompts) - 1
    shared = next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return list(first[: min(shared, limit)])


class SharedPrefix:
    """The keys and values of a prefix, and a fresh cache that starts from them for every batch."""

    def __init__(self, model: PreTrainedModel, tokens: Sequence[int]) -> None:
        import torch

        ids = torch.tensor([list(tokens)], device=model.device)
        with torch.inference_mode():
            read = model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values
        self.tokens = len(tokens)
        self.layers = [(layer.keys[0], layer.values[0]) for layer in read.layers]

    def new_cache(self) -> Cache:
        """A cache for one batch of any number of rows."""
        from transformers import Cache

        layer = _layer_class()
        return Cache(layers=[layer(keys, values) for keys, values in self.layers])


def can_share(model: PreTrainedModel, attention: str) -> bool:
    """Whether a model loaded with ``attention`` attends as ``grouped_eager`` does: no sliding windows."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    slides = kinds != {"full_attention"} or getattr(config, "sliding_window", None)
    return attention == NAME and not slides


@cache
def _layer_class() -> type:
    from transformers.cache_utils import DynamicLayer

    class SharedPrefixLayer(DynamicLayer):
        """Grows by the rows' own keys; the tensors that it hands out carry the prefix beside them."""

        def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
            super().__init__()  # type: ignore[no-untyped-call]  # transformers annotates no constructor here
            self._prefix = (keys, values)

        def update(
            self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
        ) -> tuple[torch.Tensor, torch.Tensor]:
            keys, values = super().update(key_states, value_states, *args, **kwargs)
            keys.shared_prefix = self._prefix  # type: ignore[attr-defined]  # read by grouped_eager
            return keys, values

        def get_seq_length(self) -> int:
            return int(self._prefix[0].shape[-2]) + int(super().get_seq_length())

    return SharedPrefixLayer


# ----------------------------------------------------------------------------- pools
def pooled(read: PromptsRead, parts: Sequence[int], prefix: SharedPrefix | None) -> Cache:
    """A cache of all rows of a pool, in their order, cut into ``parts`` of so many rows.

    Each part keeps its own length, its rows padded on the left, and all grow by one token at a time. What
    was read is given up.
    """
    import torch
    from transformers import Cache
    from transformers.cache_utils import DynamicLayer

    device, begin, places = read.hidden.device, 0, []
    for rows in parts:
        paths = read.paths[begin : begin + rows]
        width = max(map(len, paths))
        places.append(torch.tensor([[0] * (width - len(p)) + p for p in paths], device=device))
        begin += rows
    layers = []
    for k in range(len(read.trees[0])):
        taken = [tree[k] for tree in read.trees]
        for tree in read.trees:
            tree[k] = taken[0][:0]  # the tensors are let go of as soon as they are copied
        keys, values = (torch.cat(of, dim=2)[0] for of in zip(*taken, strict=True))
        held = []
        for at in places:
            layer = _layer_class()(*prefix.layers[k]) if prefix else DynamicLayer()
            layer.update(*(of[:, at].transpose(0, 1) for of in (keys, values)))
            held.append(layer)
        layers.append(_pooled_layer_class()(held))
    return Cache(layers=layers)


@cache
def _pooled_layer_class() -> type:
    from transformers.cache_utils import DynamicLayer

    class PooledLayer(DynamicLayer):
        """One layer of several caches, whose rows lie below each other in a batch."""

        def __init__(self, parts: Sequence[DynamicLayer]) -> None:
            super().__init__()  # type: ignore[no-untyped-call]  # transformers annotates no constructor here
            self._parts = list(parts)
            self._length = max(int(part.get_seq_length()) for part in parts)
            self.is_initialized = True

        def update(
            self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
        ) -> tuple[torch.Tensor, torch.Tensor]:
            self._length += 1
            sizes = self._sizes()
            own = zip(self._parts, key_states.split(sizes), value_states.split(sizes), strict=True)
            grown = [part.update(*states) for part, *states in own]
            key_states.parts = [(n, *states) for n, states in zip(sizes, grown, strict=True)]  # type: ignore[attr-defined]
            return key_states, value_states

        def batch_select_indices(self, indices: torch.Tensor) -> None:
            begin, left = 0, []
            for part, rows in zip(self._parts, self._sizes(), strict=True):
                own = indices[(indices >= begin) & (indices < begin + rows)] - begin
                if len(own):
                    if len(own) < rows:
                        part.batch_select_indices(own)
                    left.append(part)
                begin += rows
            self._parts = left

        def get_seq_length(self) -> int:
            return self._length  # that of the columns, also when the longest rows have left

        def _sizes(self) -> list[int]:
            return [len(cast("torch.Tensor", part.keys)) for part in self._parts]

    return PooledLayer
