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
    """Matrix products in the plan's precision. Trainer's own autocast is off on a CPU."""
    return torch.autocast(plan.device, plan.torch_dtype, enabled=plan.dtype != "float32")


def measure_loss(
    model: torch.nn.Module, examples: Sequence[Example], plan: DevicePlan, pad: int, batch_rows: int = 8
) -> Loss:
    """Loss of a model on at least one row. The standard error is that of a ratio of means over rows."""
    sums, counts, right = [], [], 0
    ordered = sorted(examples, key=lambda e: (len(e.input_ids), e.row_id))
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    with torch.no_grad(), autocast(plan):
        plain = plan.fast.loss and has_plain_head(model)
        for start in range(0, len(ordered), batch_rows):
            batch = ordered[start : start + batch_rows]
            losses, correct, rows = token_losses(model, padded(batch, pad, device), plain=plain)
            sums += [float(losses[rows == k].sum()) for k in range(len(batch))]
            counts += [e.supervised for e in batch]
            right += int(correct.sum())
    model.train(training)
    total, n = np.array(sums), np.array(counts, dtype=float)
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
