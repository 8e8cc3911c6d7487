"""A training as the steps that a service is asked for: the local trainer's, token for token.

Rows, masks, batches and their order are those of ``training/local``; so are the schedule and the optimizer's
settings, which are transformers' defaults there. The wire's loss is a sum, the local one a mean over the
labelled tokens of a step: each of them has the weight 1 / their number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.records import TrainingPoint
from harness.training.local.recipe import Recipe
from harness.training.local.tokens import IGNORED, Example

BETAS, EPSILON, CLIP_NORM = (0.9, 0.999), 1e-8, 1.0


@dataclass(frozen=True, slots=True)
class Shifted:
    """One sequence as the wire has it: three lists of one length, one shorter than the row."""

    tokens: list[int]  # what the model reads
    targets: list[int]  # what comes next
    weights: list[float]  # of each target in the loss; 0 where nothing is learnt


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the optimizer."""

    number: int  # from 1
    rows: tuple[int, ...]  # places in the training's examples
    learning_rate: float


@dataclass(frozen=True, slots=True)
class DevLoss:
    """Loss on the development rows, in nats a supervised token."""

    mean: float
    standard_error: float | None  # over rows; None for one row


def shifted(example: Example, weight: float = 1.0) -> Shifted:
    """A row with ``weight`` at what is learnt of it."""
    ids, labels = example.input_ids, example.labels
    return Shifted(ids[:-1], ids[1:], [0.0 if label == IGNORED else weight for label in labels[1:]])


def rate_share(step: int, warmup: float, total: int) -> float:
    """The share of the peak learning rate at a step counted from 0: a line up, then half a cosine to 0."""
    rising = int(warmup) if warmup >= 1 else math.ceil(total * warmup)
    if step < rising:
        return step / max(1, rising)
    progress = (step - rising) / max(1, total - rising)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))


def plan_steps(lengths: Sequence[int], recipe: Recipe, seed: int) -> tuple[Step, ...]:
    """The batches of all epochs in the local trainer's order, for rows of so many tokens."""
    from harness.training.local.batches import LengthSampler

    sampler = LengthSampler(lengths, recipe.batch_rows, seed)
    total = math.ceil(recipe.epochs * math.ceil(len(lengths) / recipe.batch_rows))
    steps: list[Step] = []
    while len(steps) < total:
        order = list(sampler)
        for k in range(0, len(order), recipe.batch_rows):
            rate = recipe.learning_rate * rate_share(len(steps), recipe.warmup, total)
            steps.append(Step(len(steps) + 1, tuple(order[k : k + recipe.batch_rows]), rate))
    return tuple(steps[:total])


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """All that a training sends, and so what it costs."""

    examples: Sequence[Example]
    dev: Sequence[Example]  # only measured
    recipe: Recipe
    steps: tuple[Step, ...]

    @classmethod
    def make(
        cls, examples: Sequence[Example], dev: Sequence[Example], recipe: Recipe, seed: int
    ) -> TrainingPlan:
        """The plan of a training on these rows."""
        steps = plan_steps([len(e.input_ids) for e in examples], recipe, seed)
        return cls(examples, sorted(dev, key=lambda e: (len(e.input_ids), e.row_id)), recipe, steps)

    @property
    def measured(self) -> frozenset[int]:
        """The steps after which losses are measured, evenly spaced, the last among them."""
        count, total = max(1, self.recipe.dev_evaluations), len(self.steps)
        return frozenset(round(total * (k + 1) / count) for k in range(count)) - {0}

    def data(self, step: Step) -> list[Shifted]:
        """What a step learns from; its loss is the mean over the labelled tokens of the step."""
        labelled = sum(self.examples[k].supervised for k in step.rows)
        return [shifted(self.examples[k], 1.0 / labelled) for k in step.rows]

    @property
    def dev_tokens(self) -> int:
        """Tokens of one measurement."""
        return sum(len(e.input_ids) - 1 for e in self.dev)

    def step_tokens(self, step: Step) -> int:
        """Tokens of one step."""
        return sum(len(self.examples[k].input_ids) - 1 for k in step.rows)

    def tokens(self, done: int = 0) -> int:
        """Tokens that are sent, and billed, after so many steps: training and measurements."""
        trained = sum(map(self.step_tokens, self.steps[done:]))
        return trained + self.dev_tokens * sum(step > done for step in self.measured)

    def dev_loss(self, logprobs: Sequence[Sequence[float]]) -> DevLoss:
        """The loss of the development rows, by each target's log-probability; as locally measured."""
        weights = [shifted(e).weights for e in self.dev]
        total = np.array(
            [-float(np.dot(w, row)) for w, row in zip(weights, logprobs, strict=True)], dtype=float
        )
        n = np.array([e.supervised for e in self.dev], dtype=float)
        mean = total.sum() / n.sum()
        residual = total - mean * n
        if len(n) < 2:
            return DevLoss(float(mean), None)
        error = np.sqrt(len(n) / (len(n) - 1) * (residual**2).sum()) / n.sum()
        return DevLoss(float(mean), float(error))

    def points(self, losses: Mapping[int, float], dev: Mapping[int, DevLoss]) -> tuple[TrainingPoint, ...]:
        """What was measured, by the losses of steps and of the development rows after steps.

        A step whose loss never came (the process ended before) is left out of its mean.
        """
        found: list[TrainingPoint] = []
        before, an_epoch = 0, math.ceil(len(self.examples) / self.recipe.batch_rows)
        for step in sorted(self.measured):
            known = [losses[k] for k in range(before + 1, step + 1) if k in losses]
            before, measured = step, dev.get(step)
            if not known and measured is None:
                continue
            found.append(
                TrainingPoint(
                    step=step,
                    epoch=step / an_epoch,
                    train_loss=sum(known) / len(known) if known else None,
                    train_token_accuracy=None,
                    dev_loss=None if measured is None else measured.mean,
                    dev_loss_se=None if measured is None else measured.standard_error,
                    dev_token_accuracy=None,
                )
            )
        return tuple(found)
