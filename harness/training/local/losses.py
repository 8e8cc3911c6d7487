"""Losses of labelled tokens, for training and for the development rows. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from harness.models.fast.heads import has_plain_head, logits_at
from harness.training.local.tokens import IGNORED, Example

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
    model: torch.nn.Module, inputs: dict[str, torch.Tensor], *, plain: bool = True
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cross-entropy (nats) of every labelled token, whether it was the likeliest, and its row's index.

    ``inputs`` are input_ids, attention_mask and labels of shape (rows, tokens); ``plain``: whether logits are
    ``head(hidden)`` and nothing more (see ``has_plain_head``).
    """
    targets = inputs["labels"].roll(-1, dims=1)
    targets[:, -1] = IGNORED
    keep = targets != IGNORED
    logits = logits_at(model, inputs["input_ids"], inputs["attention_mask"], keep, plain=plain)
    wanted = targets[keep]
    losses = torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="none")
    rows = keep.nonzero()[:, 0]
    return losses, logits.detach().argmax(dim=-1) == wanted, rows


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

    def measured(batch: Sequence[Example]) -> tuple[list[float], int]:
        with torch.no_grad(), autocast(plan):
            losses, correct, rows = token_losses(model, padded(batch, pad, device), plain=plain)
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
