"""What the frozen blocks below the lowest adapter make of a row, computed once and kept. Imports torch.

Where adapters sit in the upper blocks only (``top_layers``), the lower ones make the same of a row in every
epoch and at every measurement. Each row goes through them alone and unpadded, so that what they make of it
does not depend on the rows that it meets in a batch; in float32 the losses are the plain ones to 1e-5.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias

import torch

from harness.models.device import DevicePlan
from harness.models.fast.heads import parts_of
from harness.training.local.losses import autocast

MOST_BYTES = 2**32  # of kept states; a training that needs more goes the plain way
PROBE = (1, 2, 3, 4)

Forward: TypeAlias = "Callable[..., torch.Tensor]"


@contextmanager
def lower_blocks_read_once(model: torch.nn.Module, tokens: int | None, plan: DevicePlan) -> Iterator[bool]:
    """Within it, rows that the model has read before start above its frozen blocks; gives whether they do.

    The model is given token ids, padded on the right. The plain way is taken where ``tokens`` is None, where
    no block is frozen, where the states of so many tokens would not fit into ``MOST_BYTES``, and where the
    architecture passes more from block to block than hidden states: that is found out on four tokens.
    """
    decoder, blocks, below = _frozen_below(model)
    weight = next(model.parameters())
    is_kept = tokens is not None and tokens * weight.shape[-1] * weight.element_size() <= MOST_BYTES
    if not below or not is_kept:
        yield False
        return
    reader, hook = LowerBlocks(decoder, blocks, below), None
    try:
        with autocast(plan):  # as it trains: the base is in bfloat16, adapters are in float32
            is_exact = _gives_the_same(decoder, reader, weight.device)
        if is_exact:
            hook = decoder.register_forward_pre_hook(reader.begin, with_kwargs=True)
        yield is_exact
    finally:
        if hook is not None:
            hook.remove()
        reader.restore()


def _frozen_below(model: torch.nn.Module) -> tuple[torch.nn.Module, list[torch.nn.Module], int]:
    """The decoder, its blocks, and how many of them lie below everything that is trained."""
    decoder, _ = parts_of(model)
    stacks = [list(part) for part in decoder.children() if isinstance(part, torch.nn.ModuleList)]
    blocks = max(stacks, key=len, default=[])
    trained = {parameter for parameter in model.parameters() if parameter.requires_grad}
    lowest = next((k for k, block in enumerate(blocks) if trained.intersection(block.parameters())), 0)
    within = {parameter for block in blocks[lowest:] for parameter in block.parameters()}
    return decoder, blocks, lowest if trained <= within else 0


class _Pass(threading.local):
    """One forward of the decoder; several threads train at once."""

    reads = False  # whether a row goes through the lower blocks, and no further
    found: torch.Tensor | None = None  # what they made of it
    given: torch.Tensor | None = None  # the same of each row of a batch, which goes through the upper ones


class LowerBlocks:
    """Stands in for the forward of a decoder's blocks. States are kept by the row's token ids."""

    def __init__(self, decoder: torch.nn.Module, blocks: list[torch.nn.Module], below: int) -> None:
        self._decoder, self._blocks, self._below = decoder, blocks, below
        self._kept: dict[tuple[int, ...], torch.Tensor] = {}
        self._now = _Pass()
        for k, block in enumerate(blocks):
            block.forward = partial(self._forward, k, block.forward)

    def restore(self) -> None:
        """Give the blocks their own forward back."""
        for block in self._blocks:
            del block.forward

    def forget(self) -> None:
        """Keep nothing."""
        self._kept.clear()
        self._now.found = self._now.given = None

    def begin(
        self, decoder: torch.nn.Module, args: tuple[object, ...], given: Mapping[str, torch.Tensor | None]
    ) -> None:
        """Before the decoder's forward: what the lower blocks make of each row of the batch."""
        if self._now.reads:
            return
        ids, mask = given.get("input_ids"), given.get("attention_mask")
        is_known = (given.get(name) is None for name in ("position_ids", "inputs_embeds", "past_key_values"))
        self._now.given = None
        if (packed := getattr(mask, "packed", None)) is not None:
            self._now.given = packed.joined([self.states(row) for row in packed.rows])
            return
        if ids is None or not all(is_known):
            return
        lengths = [ids.shape[1]] * len(ids) if mask is None else mask.sum(dim=1).tolist()
        rows = zip(ids.tolist(), lengths, strict=True)
        states = [self.states(tuple(row[:length])) for row, length in rows]
        batch = torch.nn.utils.rnn.pad_sequence(states, batch_first=True).to(ids.device)
        missing = ids.shape[1] - batch.shape[1]  # a batch may be wider than its longest row
        self._now.given = torch.nn.functional.pad(batch, (0, 0, 0, missing)) if missing else batch

    def states(self, row: tuple[int, ...]) -> torch.Tensor:
        """What enters the lowest adapted block: (tokens, width)."""
        if row not in self._kept:
            self._kept[row] = self.read(row)
        return self._kept[row]

    def read(self, row: tuple[int, ...]) -> torch.Tensor:
        """``states`` of a row that is not kept."""
        self._now.reads = True
        try:
            with torch.no_grad():
                ids = torch.tensor([row], device=next(self._decoder.parameters()).device)
                self._decoder(input_ids=ids, use_cache=False)
        finally:
            self._now.reads = False
        assert self._now.found is not None
        return self._now.found[0]

    def _forward(
        self, k: int, forward: Forward, hidden_states: torch.Tensor, *args: object, **kwargs: object
    ) -> torch.Tensor:
        if self._now.reads:
            if k < self._below:
                return forward(hidden_states, *args, **kwargs)
            if k == self._below:
                self._now.found = hidden_states
            return hidden_states
        if self._now.given is None or k >= self._below:
            return forward(hidden_states, *args, **kwargs)
        return self._now.given if k == self._below - 1 else hidden_states


def _gives_the_same(decoder: torch.nn.Module, reader: LowerBlocks, device: torch.device) -> bool:
    """Whether a row that starts above the lower blocks ends as one that goes through all of them."""
    ids = torch.tensor([PROBE], device=device)
    training = decoder.training
    try:
        with torch.no_grad(), torch.random.fork_rng():
            decoder.train()  # dropout in the lower blocks gives other states each time
            states = reader.states(PROBE)
            reader.forget()
            again = reader.states(PROBE)
            decoder.eval()
            whole = decoder(input_ids=ids, use_cache=False).last_hidden_state
            reader.forget()
            reader.begin(decoder, (), {"input_ids": ids})
            upper = decoder(input_ids=ids, use_cache=False).last_hidden_state
    except (TypeError, ValueError, AttributeError, IndexError, AssertionError, RuntimeError):
        return False  # its blocks take or give something else
    finally:
        reader.forget()
        decoder.train(training)
    return torch.equal(states, again) and torch.equal(whole, upper)
