"""A prompt that many rows begin with is read once, and its keys and values are held once.

transformers can start from a cache, but only from one copy a row; at 500 shared tokens those copies are most
of the memory traffic of decoding. Here the rows' own keys grow as usual and the prefix stays one tensor,
which ``grouped_eager`` multiplies with all rows at once (Juravsky et al. 2024, Hydragen).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from harness.models.fast.attention import NAME

if TYPE_CHECKING:
    import torch
    from transformers import Cache, PreTrainedModel

MIN_PREFIX_TOKENS = 32  # below this, reading the prefix with every row is as fast


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
        self._layers = [(layer.keys[0], layer.values[0]) for layer in read.layers]

    def new_cache(self) -> Cache:
        """A cache for one batch of any number of rows."""
        from transformers import Cache

        layer = _layer_class()
        return Cache(layers=[layer(keys, values) for keys, values in self._layers])


def can_share(model: PreTrainedModel, attention: str) -> bool:
    """Whether the model attends as ``grouped_eager`` does, to everything before: no sliding windows.

    ``attention`` is the name that it was loaded with.
    """
    config = model.config
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
