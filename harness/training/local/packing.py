"""Rows of a batch as one sequence: no padding, and what all rows begin with once. Imports torch.

A system prompt and the template's first words stand in every row, and adapters make the same of them in each:
read once a batch, they receive the sum of the rows' gradients. Linear layers see the distinct tokens alone;
attention lays each row out for itself. Tokens behind the last supervised one are left out, since nothing is
learnt from what they predict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

from harness.models.fast.attention import common_prefix, grouped_eager
from harness.models.fast.heads import parts_of
from harness.training.local.tokens import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "packed_eager"
# two rows that begin alike, and their labels: enough to see whether an architecture takes positions and masks
PROBE = ([1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 9, 8, 7, 5])
# share by which hidden states may differ: rounding, and nothing like another position
SAME = {torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.05}


@dataclass(frozen=True)
class Packed:
    """The tokens of ``rows``: first the ``shared`` ones that all begin with, then each row's own."""

    rows: tuple[tuple[int, ...], ...]
    shared: int
    ids: torch.Tensor  # (1, tokens)
    places: torch.Tensor  # likewise; where a token stands in its row
    spread: torch.Tensor  # (rows * longest,): the token at each place of the padded rows, any for padding
    is_own: torch.Tensor  # (rows * longest, 1, 1): no padding
    back: torch.Tensor  # (own tokens,): the place of each there
    mask: torch.Tensor  # additive, (1, 1, longest, shared + longest)
    predict: torch.Tensor  # (labelled tokens,): what predicts each
    targets: torch.Tensor  # likewise
    row_of: torch.Tensor  # likewise

    @property
    def read(self) -> int:
        """Tokens that the rows have, each row counted whole."""
        return sum(map(len, self.rows))

    def joined(self, states: Sequence[torch.Tensor]) -> torch.Tensor:
        """(1, tokens, width) of what each row has at its tokens: (tokens of the row, width) each."""
        own = [state[self.shared : len(row)] for state, row in zip(states, self.rows, strict=True)]
        return torch.cat([states[0][: self.shared], *own])[None]


def pack(inputs: Mapping[str, torch.Tensor], dtype: torch.dtype, *, shares: bool = True) -> Packed:
    """Pack rows with at least one label each; ``shares``: whether they may share their beginning.

    ``inputs`` are input_ids and labels of shape (rows, tokens).
    """
    labels = inputs["labels"].tolist()
    labelled = [[t for t in range(1, len(row)) if row[t] != IGNORED] for row in labels]
    rows = [ids[: at[-1]] for ids, at in zip(inputs["input_ids"].tolist(), labelled, strict=True)]
    shared = 0
    if shares and len(rows) > 1:  # what predicts a label is a row's own
        shared = min(len(common_prefix(rows)), *(at[0] - 1 for at in labelled))
    own = [len(row) - shared for row in rows]
    longest, starts = max(own), [shared]
    for n in own[:-1]:
        starts.append(starts[-1] + n)
    step = torch.arange(longest)
    is_own = step < torch.tensor(own)[:, None]
    spread = torch.where(is_own, torch.tensor(starts)[:, None] + step, shared).flatten()
    mask = torch.zeros(longest, shared + longest, dtype=dtype)
    mask[:, shared:].masked_fill_(step > step[:, None], torch.finfo(dtype).min)
    predict = [start - shared + t - 1 for start, at in zip(starts, labelled, strict=True) for t in at]
    device = inputs["input_ids"].device
    made = (
        torch.tensor([rows[0][:shared] + [token for row in rows for token in row[shared:]]]),
        torch.tensor([[*range(shared), *(t for row in rows for t in range(shared, len(row)))]]),
        spread,
        is_own.view(-1, 1, 1),
        is_own.flatten().nonzero()[:, 0],
        mask[None, None],
        torch.tensor(predict),
        torch.tensor([row[t] for row, at in zip(labels, labelled, strict=True) for t in at]),
        torch.tensor([k for k, at in enumerate(labelled) for _ in at]),
    )
    return Packed(tuple(map(tuple, rows)), shared, *(part.to(device) for part in made))


def read_lengths(labels: torch.Tensor) -> torch.Tensor:
    """How many tokens of each row ``pack`` takes where rows share nothing: those before the last label."""
    return ((labels != IGNORED) * torch.arange(labels.shape[1], device=labels.device)).amax(dim=1)


def hidden_states(model: torch.nn.Module, packed: Packed) -> torch.Tensor:
    """The decoder's last hidden states: (tokens, width)."""
    decoder, _ = parts_of(model)
    # of a shape that cannot be added by mistake to the scores of all tokens
    mask = packed.mask.new_zeros(1, 1, packed.ids.shape[1] + 1, 1)
    mask.packed = packed  # type: ignore[attr-defined]  # read by packed_eager
    found: torch.Tensor = decoder(
        input_ids=packed.ids, attention_mask=mask, position_ids=packed.places, use_cache=False
    ).last_hidden_state
    return found[0]


def use_packing(model: PreTrainedModel) -> None:
    """Let a loaded base attend to packed rows; it attends to others as before."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register(NAME, packed_eager)
    AttentionMaskInterface.register(NAME, eager_mask)
    model.set_attn_implementation(NAME)


def can_pack(model: torch.nn.Module) -> bool:
    """Whether a model makes the same of rows that are packed: found out on two, without gradients."""
    config = cast("PreTrainedModel", model).config.get_text_config()
    if config._attn_implementation != NAME:
        return False
    training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        with torch.no_grad():
            width = max(map(len, PROBE))
            ids = torch.tensor([row + [0] * (width - len(row)) for row in PROBE], device=device)
            labels = torch.where(ids == 0, IGNORED, ids).index_fill(
                1, torch.arange(4, device=device), IGNORED
            )
            packed = pack({"input_ids": ids, "labels": labels}, next(model.parameters()).dtype)
            ours = hidden_states(model, packed)[-len(packed.rows[-1]) + packed.shared :]
            alone = torch.tensor(packed.rows[-1:], device=device)
            theirs = parts_of(model)[0](input_ids=alone, use_cache=False).last_hidden_state[
                0, packed.shared :
            ]
            return bool((ours - theirs).norm() <= SAME[theirs.dtype] * theirs.norm())
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError):
        return False  # its blocks take or give something else
    finally:
        model.train(training)


# ------------------------------------------------------------------------------------------- attention
def packed_eager(
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
    """``grouped_eager``, whose mask may carry a ``packed``: its tokens are then those of the one row."""
    rest = scaling, dropout, softcap, s_aux
    packed: Packed | None = getattr(attention_mask, "packed", None)
    if packed is None:
        return grouped_eager(module, query, key, value, attention_mask, *rest)
    shared, count = packed.shared, len(packed.rows)
    laid = [
        _spread(states[0].transpose(0, 1), packed).unflatten(0, (count, -1)).transpose(1, 2)
        for states in (query, key, value)
    ]
    begin = [states[:, :, :shared] for states in (query, key, value)]
    if shared:
        laid[1].shared_prefix = begin[1][0], begin[2][0]  # read by grouped_eager
    mixed = grouped_eager(module, laid[0], laid[1], laid[2], packed.mask, *rest)[0].flatten(0, 1)
    output = _gather(mixed, packed)[None]
    if shared:
        mask = packed.mask.new_full((shared, shared), torch.finfo(packed.mask.dtype).min).triu_(1)
        first = grouped_eager(module, begin[0], begin[1], begin[2], mask[None, None], *rest)[0]
        output = torch.cat([first, output], dim=1)
    return output, query.new_empty(0)


def _spread(tokens: torch.Tensor, packed: Packed) -> torch.Tensor:
    made: torch.Tensor = _Spread.apply(tokens, packed)  # type: ignore[no-untyped-call]
    return made


def _gather(places: torch.Tensor, packed: Packed) -> torch.Tensor:
    made: torch.Tensor = _Gather.apply(places, packed)  # type: ignore[no-untyped-call]
    return made


class _Spread(torch.autograd.Function):
    """Tokens to the places of their rows; what stands for padding gets no gradient."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, tokens: torch.Tensor, packed: Packed
    ) -> torch.Tensor:
        ctx.packed = packed  # type: ignore[attr-defined]
        return tokens.index_select(0, packed.spread)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, slopes: torch.Tensor) -> tuple[torch.Tensor, None]:
        packed: Packed = ctx.packed  # type: ignore[attr-defined]
        own = slopes.index_select(0, packed.back)
        return torch.cat([own.new_zeros(packed.shared, *own.shape[1:]), own]), None


class _Gather(torch.autograd.Function):
    """Places of rows back to tokens; padding gives none."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, places: torch.Tensor, packed: Packed
    ) -> torch.Tensor:
        ctx.packed = packed  # type: ignore[attr-defined]
        return places.index_select(0, packed.back)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, slopes: torch.Tensor) -> tuple[torch.Tensor, None]:
        packed: Packed = ctx.packed  # type: ignore[attr-defined]
        # index_copy_ would be many times slower
        laid = slopes.index_select(0, packed.spread - packed.shared)
        return laid.mul_(packed.is_own.to(laid.dtype)), None
