"""Losses of labelled tokens, for training and for the development rows. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from harness.models.fast.heads import has_plain_head, logits_at, parts_of
from harness.training.local.packing import can_pack, hidden_states, pack
from harness.training.local.tokens import IGNORED, Example

HEAD_ROWS = 256  # positions whose logits over the vocabulary are held at once

if TYPE_CHECKING:
    from harness.models.device import DevicePlan
    from harness.training.local.workers import Workers


@dataclass(frozen=True, slots=True)
class Loss:
    """Loss of a model on rows."""

    mean: float  # nats a supervised token
    standard_error: float | None  # of ``mean``, over rows; None for one row
    token_accuracy: float  # share of supervised tokens that were the likeliest
    rows: int  # how many


def token_losses(
    model: torch.nn.Module,
    inputs: dict[str, torch.Tensor],
    *,
    plain: bool = True,
    packs: bool = False,
    shares: bool = True,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cross-entropy (nats) of every labelled token, whether it was the likeliest, and its row's index.

    ``inputs`` are input_ids, attention_mask and labels of shape (rows, tokens); ``plain``: whether logits are
    ``head(hidden)`` and nothing more (see ``has_plain_head``); ``packs``: whether rows may be packed, too;
    ``shares``: whether what they begin with may then be read once.
    """
    if packs:
        shares = shares and not (model.training and drops(model))
        packed = pack(inputs, next(model.parameters()).dtype, shares=shares)
        hidden, head = hidden_states(model, packed)[packed.predict], parts_of(model)[1]
        return *_head_losses(hidden, head, packed.targets), packed.row_of
    targets = inputs["labels"].roll(-1, dims=1)
    targets[:, -1] = IGNORED
    keep = targets != IGNORED
    logits = logits_at(model, inputs["input_ids"], inputs["attention_mask"], keep, plain=plain)
    wanted = targets[keep]
    losses = torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="none")
    rows = keep.nonzero()[:, 0]
    return losses, logits.detach().argmax(dim=-1) == wanted, rows


def drops(model: torch.nn.Module) -> bool:
    """Whether dropout is drawn, which rows must not share."""
    config = getattr(model, "config", None)
    return bool(getattr(config, "attention_dropout", 0.0)) or any(
        isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules()
    )


def _head_losses(
    hidden: torch.Tensor, head: torch.nn.Module, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of each target, and whether nothing was likelier."""
    is_linear = type(head) is torch.nn.Linear and getattr(head, "bias", None) is None
    if is_linear and not head.weight.requires_grad:
        found: tuple[torch.Tensor, torch.Tensor] = _FrozenHead.apply(  # type: ignore[no-untyped-call]
            hidden, head.weight, targets
        )
        return found
    logits = head(hidden)
    losses = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    return losses, logits.detach().argmax(dim=-1) == targets


class _FrozenHead(torch.autograd.Function):
    """Cross-entropy through a head that is not trained, a few positions at a time.

    Their slopes are taken while their logits are at hand: the whole matrix of logits, three times over, is
    most of what a small model's training would move through memory.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        targets: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        losses, slopes = torch.empty(len(targets), device=hidden.device), torch.empty_like(hidden)
        right = torch.empty(len(targets), dtype=torch.bool, device=hidden.device)
        for begin in range(0, len(targets), HEAD_ROWS):
            at = slice(begin, begin + HEAD_ROWS)
            logits = torch.nn.functional.linear(hidden[at], weight)
            exact, wanted = logits.float(), targets[at, None]
            most = exact.amax(dim=-1, keepdim=True)
            said = exact.gather(1, wanted)
            right[at] = (said >= most)[:, 0]
            exact = exact.sub_(most).exp_() if exact is not logits else (exact - most).exp_()
            total = exact.sum(dim=-1, keepdim=True)
            losses[at] = (total.log() + most - said)[:, 0]
            if ctx.needs_input_grad[0]:  # type: ignore[attr-defined]
                exact.div_(total).scatter_add_(1, wanted, torch.full_like(said, -1.0))
                slopes[at] = torch.nn.functional.linear(exact.to(logits.dtype), weight.t()).to(hidden.dtype)
        ctx.save_for_backward(slopes)
        ctx.mark_non_differentiable(right)
        return losses, right

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, slopes: torch.Tensor, _: torch.Tensor
    ) -> tuple[torch.Tensor, None, None]:
        (own,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return own * slopes[:, None].to(own.dtype), None, None


def autocast(plan: DevicePlan) -> torch.autocast:
    """Matrix products in the plan's precision. Trainer's own autocast is off on a CPU.

    Cast weights are not kept there: they would be kept for all threads.
    """
    is_on, keeps = plan.dtype != "float32", plan.device != "cpu"
    return torch.autocast(plan.device, plan.torch_dtype, enabled=is_on, cache_enabled=keeps)


def measure_loss(
    model: torch.nn.Module,
    examples: Sequence[Example],
    plan: DevicePlan,
    pad: int,
    batch_rows: int = 8,
    workers: Workers | None = None,
) -> Loss:
    """Loss of a model on at least one row. The standard error is that of a ratio of means over rows."""
    ordered = sorted(examples, key=lambda e: (len(e.input_ids), e.row_id))
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    with autocast(plan):
        plain = plan.fast.loss and has_plain_head(model)
        packs = plain and can_pack(model)

    def measured(batch: Sequence[Example]) -> tuple[list[float], int]:
        with torch.no_grad(), autocast(plan):
            losses, correct, rows = token_losses(model, padded(batch, pad, device), plain=plain, packs=packs)
        return [float(losses[rows == k].sum()) for k in range(len(batch))], int(correct.sum())

    batches = [ordered[start : start + batch_rows] for start in range(0, len(ordered), batch_rows)]
    found = [measured(batch) for batch in batches] if workers is None else workers.map(measured, batches)
    model.train(training)
    right = sum(correct for _, correct in found)
    total = np.array([loss for losses, _ in found for loss in losses])
    n = np.array([e.supervised for e in ordered], dtype=float)
    mean = total.sum() / n.sum()
    residual = total - mean * n
    error = np.sqrt(len(n) / (len(n) - 1) * (residual**2).sum()) / n.sum() if len(n) > 1 else None
    return Loss(float(mean), None if error is None else float(error), right / float(n.sum()), len(n))


def padded(batch: Sequence[Example], pad: int, device: torch.device) -> dict[str, torch.Tensor]:
    """input_ids, attention_mask and labels of shape (rows, tokens), filled up on the right."""
    width = max(len(e.input_ids) for e in batch)

    def stack(rows: list[list[int]], fill: int) -> torch.Tensor:
        return torch.tensor([r + [fill] * (width - len(r)) for r in rows], device=device)

    return {
        "input_ids": stack([e.input_ids for e in batch], pad),
        "attention_mask": stack([[1] * len(e.input_ids) for e in batch], 0),
        "labels": stack([e.labels for e in batch], IGNORED),
    }
