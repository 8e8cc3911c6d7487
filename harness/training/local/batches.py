"""Batches of like length, and batches cut into parts that memory and caches can hold. Imports torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from harness.training.memory import CONTEXT_BYTES, tokens_that_fit

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from harness.models.device import DevicePlan

LIKE = 0.75  # share of the longest row's length
BLUR = 0.1  # share by which row lengths are blurred before batches are cut
# padded tokens that go through the model at once: on a CPU more is slower (gigabytes of activations)
PART_TOKENS = {"cpu": 1_024, "cuda": 16_384}
# of a part that one thread computes: more does not fit into a core's cache, fewer make products slow
WORKER_TOKENS = 512


class LengthSampler(torch.utils.data.Sampler[int]):
    """Row indices so that consecutive ``batch_rows`` have like lengths; the batches come in random order.

    Every epoch draws anew: lengths are blurred by up to ``BLUR`` before they are sorted, so that a row meets
    other rows each time. transformers' own length groups leave a third of a batch as padding at these sizes,
    because they sort only within random groups of a few batches.
    """

    def __init__(self, lengths: Sequence[int], batch_rows: int, seed: int) -> None:
        self._lengths, self._batch_rows = torch.tensor(lengths), batch_rows
        self._random = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        blur = 1 + BLUR * (2 * torch.rand(len(self), generator=self._random) - 1)
        order = torch.argsort(self._lengths * blur, descending=True).tolist()
        batches = [order[k : k + self._batch_rows] for k in range(0, len(order), self._batch_rows)]
        last = batches.pop() if len(batches[-1]) < self._batch_rows else []  # a short batch must stay last
        for k in torch.randperm(len(batches), generator=self._random).tolist():
            yield from batches[k]
        yield from last


def part_tokens(model: PreTrainedModel, plan: DevicePlan, needed: float) -> int:
    """Padded tokens that go through a model at once: at most what the card has room for.

    ``needed`` are bytes that training it will allocate beside activations: gradients and moments.
    """
    limit = PART_TOKENS[plan.device]
    if plan.device == "cuda":
        held = torch.cuda.memory_allocated() + needed
        room = torch.cuda.get_device_properties(0).total_memory - CONTEXT_BYTES - held
        config = model.config.get_text_config().to_dict()
        is_full = not hasattr(model, "peft_config") and any(p.requires_grad for p in model.parameters())
        limit = min(limit, tokens_that_fit(config, room, is_full=is_full) or limit)
    return limit


def parts(
    inputs: Mapping[str, torch.Tensor], limit: int, full: int | None = None
) -> Iterator[dict[str, torch.Tensor]]:
    """The batch in parts of like length and at most ``limit`` padded tokens, at least one row each.

    ``inputs`` holds tensors of shape (rows, tokens), padded on the right where ``attention_mask`` is 0. The
    longest rows come first; padding that a part does not need is cut off. With ``full``, a part of so many
    tokens takes no much shorter rows, unless they are few.
    """
    lengths = inputs["attention_mask"].sum(dim=1)
    order = lengths.argsort(descending=True, stable=True)
    start = 0
    while start < len(order):
        width = int(lengths[order[start]])
        count = most = max(1, limit // width)
        if full is not None and (len(order) - start) * width > full:
            like = int((lengths[order[start:]] >= LIKE * width).sum())
            count = min(most, max(like, -(-full // width)))
        rows = order[start : start + count]
        yield {name: value[rows, :width] for name, value in inputs.items()}
        start += len(rows)


def even_parts(
    inputs: Mapping[str, torch.Tensor], limit: int, multiple: int
) -> list[dict[str, torch.Tensor]]:
    """The batch in a multiple of ``multiple`` parts with like work, of about ``limit`` tokens at most.

    ``inputs`` are as in ``parts``. No part is without rows, so there are fewer where rows are.
    """
    lengths = inputs["attention_mask"].sum(dim=1)
    order = lengths.argsort(descending=True, stable=True)
    count = min(len(order), multiple * -(-int(lengths.sum()) // (multiple * limit)))
    dealt = [order[k::count] for k in range(count)]  # in turns, so that each gets long rows and short ones
    return [{name: value[rows, : int(lengths[rows[0]])] for name, value in inputs.items()} for rows in dealt]
