"""Several adapters trained at once on one frozen base, each as it would be alone. Imports torch.

A batch holds the next rows of every adapter. The base computes them together; each adapter sees its own
rows only, and has its own loss, gradients, clipping, AdamW, schedule, order and seed (as in LoRA serving with
many adapters, Chen et al. 2023, Punica). It pays where one adapter's batch does not fill the device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, cast

import torch

from harness.errors import TrainingError
from harness.models.fast.heads import has_plain_head
from harness.training.local.batches import LengthSampler
from harness.training.local.losses import autocast, padded, token_losses
from harness.training.local.recipe import Recipe, trainable_model
from harness.training.local.tokens import Example

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from harness.models.device import DevicePlan
    from harness.models.source import ModelSource

NAME = (
    "share"  # and a number; PEFT takes an adapter's name out of the names of weights, and layers have numbers
)
LARGEST_NORM = 1.0  # gradients are clipped to it, as transformers' Trainer does


@dataclass(frozen=True)
class Share:
    """What one adapter is trained on, and what its weights and the order of its rows are drawn from."""

    examples: Sequence[Example]
    seed: int


@dataclass
class _Adapter:
    name: str  # PEFT's
    weights: list[torch.nn.Parameter]
    batches: Iterator[list[Example]]
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    losses: list[float] = field(default_factory=list)  # of each step, in nats a labelled token


def train_side_by_side(
    recipe: Recipe, source: ModelSource, plan: DevicePlan, shares: Sequence[Share], pad: int
) -> tuple[PreTrainedModel, dict[str, list[float]]]:
    """One model with an adapter a share, named "share0", "share1" and so on, and the losses of its steps.

    ``pad`` is the tokenizer's pad token.

    Raises:
        TrainingError: the recipe has no adapter or drops out, or the model does something of its own after
            its head, or gives an adapter something other than rows.
    """
    if recipe.adapter is None or recipe.adapter.dropout:
        raise TrainingError("only adapters without dropout are trained side by side.")
    model = _with_adapters(recipe, source, plan, [share.seed for share in shares])
    adapters = [_adapter(model, f"{NAME}{k}", recipe, share) for k, share in enumerate(shares)]
    model.train()
    with autocast(plan):
        if not has_plain_head(model):
            raise TrainingError(f"{source.name} changes its logits after its head: train one after another.")
    groups = _Groups(model)
    device = next(model.parameters()).device
    going = [(adapter, batch) for adapter in adapters if (batch := next(adapter.batches, None))]
    while going:
        groups.sizes = {adapter.name: len(batch) for adapter, batch in going}
        owners = torch.repeat_interleave(torch.tensor(list(groups.sizes.values()))).to(device)
        with autocast(plan):
            losses, _, rows = token_losses(
                model, padded([e for _, batch in going for e in batch], pad, device)
            )
        means = [losses[owners[rows] == k].mean() for k in range(len(going))]
        torch.stack(means).sum().backward()  # no weight is shared, so no gradient is
        for (adapter, _), mean in zip(going, means, strict=True):
            torch.nn.utils.clip_grad_norm_(adapter.weights, LARGEST_NORM)
            adapter.optimiser.step()
            adapter.schedule.step()
            adapter.optimiser.zero_grad()
            adapter.losses.append(float(mean.detach()))
        going = [(adapter, batch) for adapter, _ in going if (batch := next(adapter.batches, None))]
    groups.restore()
    return model, {adapter.name: adapter.losses for adapter in adapters}


def _with_adapters(
    recipe: Recipe, source: ModelSource, plan: DevicePlan, seeds: Sequence[int]
) -> PreTrainedModel:
    from transformers import set_seed

    model = trainable_model(recipe, source, plan)
    tuned = cast("torch.nn.Module", model)
    config = next(iter(getattr(tuned, "peft_config").values()))  # noqa: B009 - untyped
    for k, seed in enumerate(seeds):
        set_seed(seed)
        getattr(tuned, "add_adapter")(f"{NAME}{k}", copy(config))  # noqa: B009
    getattr(tuned, "set_adapter")(f"{NAME}0")  # noqa: B009
    getattr(tuned, "delete_adapter")("default")  # noqa: B009
    return model


def _adapter(model: PreTrainedModel, name: str, recipe: Recipe, share: Share) -> _Adapter:
    """Its weights, and AdamW, schedule and batches as transformers' Trainer would have them."""
    from transformers import get_cosine_schedule_with_warmup

    weights = [p for path, p in model.named_parameters() if "lora_" in path and path.split(".")[-2] == name]
    for weight in weights:
        weight.requires_grad_(True)
    lengths = [len(example.input_ids) for example in share.examples]
    steps = max(1, math.ceil(recipe.epochs * math.ceil(len(lengths) / recipe.batch_rows)))
    optimiser = torch.optim.AdamW(weights, recipe.learning_rate, weight_decay=recipe.weight_decay)
    warm_up = math.ceil(recipe.warmup * steps) if recipe.warmup < 1 else int(recipe.warmup)
    sampler = LengthSampler(lengths, recipe.batch_rows, share.seed)
    epochs = chain.from_iterable(_batches(one, share.examples, recipe.batch_rows) for one in repeat(sampler))
    schedule = get_cosine_schedule_with_warmup(optimiser, warm_up, steps)
    return _Adapter(name, weights, islice(epochs, steps), optimiser, schedule)


def _batches(order: LengthSampler, examples: Sequence[Example], rows: int) -> Iterator[list[Example]]:
    drawn = list(order)
    for start in range(0, len(drawn), rows):
        yield [examples[k] for k in drawn[start : start + rows]]


class _Groups:
    """Stands in for the forward of PEFT's layers: each adapter's product with its own rows of the batch."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.sizes: dict[str, int] = {}  # rows of each adapter, in the order of the batch
        self._layers = [m for m in model.modules() if hasattr(m, "lora_A") and hasattr(m, "base_layer")]
        for layer in self._layers:
            layer.forward = partial(self._forward, layer)

    def restore(self) -> None:
        """Give the layers their own forward back."""
        for layer in self._layers:
            del layer.forward

    def _forward(
        self, layer: torch.nn.Module, hidden: torch.Tensor, *_: object, **__: object
    ) -> torch.Tensor:
        if hidden.ndim != 3 or len(hidden) != sum(self.sizes.values()):
            raise TrainingError("a layer is given other than whole rows: train one after another.")
        made = [
            layer.lora_B[name](layer.lora_A[name](rows)) * layer.scaling[name]  # type: ignore[index,operator]
            for name, rows in zip(self.sizes, hidden.split(list(self.sizes.values())), strict=True)
        ]
        whole: torch.Tensor = layer.base_layer(hidden) + torch.cat(made)  # type: ignore[operator]
        return whole
