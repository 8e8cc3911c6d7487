"""Rows in groups of unequal size, and groups that are lost whole: how often a false claim is shown.

Sizes that give no interval show nothing, and say why; they count as 0. The truth is the bound throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import sqrt

import numpy as np
import numpy.typing as npt

from benchmarks.quality.gate_draws import STEPS, rubric, rubric_steps
from benchmarks.results import Options, Result
from harness.decision.clusters import Clusters, clustered_p
from harness.decision.estimates import (
    GROUP_SKEWNESS,
    LOSSES_SEEN,
    RARE_GROUP_LOSS,
    Mask,
    large_loss,
    too_few_clusters,
)
from harness.decision.student import Values, cluster_freedom, mean_and_residuals, mean_size, t_limits

ALPHA, ICC = 0.05, 0.3
DRAWS = 10_000
_PART = 1_000  # samples held at a time
_AGAIN = 6  # cells that are measured again
_BOUNDS = (-0.05, -0.1)  # of guards


def by_rank(count: int, largest: float, power: float) -> Values:
    """Sizes that fall with the rank, at least 1."""
    return np.maximum(np.round(largest / np.arange(1, count + 1) ** power), 1.0)


EQUAL = {f"{count} groups of 10": np.full(count, 10.0) for count in (20, 30, 40)}
UNEQUAL = {
    "20, as 1/rank": by_rank(20, 100, 1.0),
    "40, as 1/rank": by_rank(40, 100, 1.0),
    "200, as 1/rank": by_rank(200, 200, 1.0),
    "half of the rows in 1 of 20": np.array([190.0, *[10.0] * 19]),
    "half of the rows in 1 of 40": np.array([390.0, *[10.0] * 39]),
    "a fifth in 1 of 61": np.array([150.0, *[10.0] * 60]),
    "40, as 1/√rank": by_rank(40, 40, 0.5),
    "100, as 1/√rank": by_rank(100, 40, 0.5),
    "20 of 15 and 20 of 5": np.array([15.0] * 20 + [5.0] * 20),
}


def measure(options: Options) -> list[Result]:
    """False claims on unequal groups and on groups lost whole, and what preventing them costs."""
    draws = 40 if options.smoke else DRAWS
    return [
        _worst("groups of unequal size: false claims, binary", binary(UNEQUAL, draws), draws),
        _worst("groups of unequal size: false claims, graded", graded(UNEQUAL, draws), draws),
        _worst("groups lost whole: false claims, graded", lost_whole(EQUAL, draws), draws),
        _worst("groups of unequal size, lost whole: false claims, graded", lost_whole(UNEQUAL, draws), draws),
        *power(draws),
    ]


def binary(sets: dict[str, Values], draws: int) -> dict[str, float]:
    """Rows that differ by groups, and groups won and lost whole."""
    rng, rates = np.random.default_rng(41), {}
    for name, sizes in _with_interval(sets).items():
        for share, margin in ((0.3, 0.0), (0.3, 0.05), (0.3, 0.1), (0.1, 0.0), (0.1, 0.05)):
            chances = np.array([(share - margin) / 2, (share + margin) / 2, 1 - share])
            counts = group_counts(rng, draws, sizes, chances, ICC)
            p = clustered_p(Clusters(counts[..., 0], counts[..., 1], sizes), -margin)
            rates[f"{name}, {100 * share:g}% differ, margin {margin:g}"] = float((p < ALPHA).mean())
        for share in (0.05, 0.15):
            draw = rng.random((draws, len(sizes)))
            won, gone = np.where(draw < share, sizes, 0.0), np.where(draw > 1 - share, sizes, 0.0)
            p = clustered_p(Clusters(won, gone, sizes), 0.0)
            rates[f"{name}, {100 * share:g}% won and {100 * share:g}% lost whole"] = float((p < ALPHA).mean())
    return rates


def graded(sets: dict[str, Values], draws: int) -> dict[str, float]:
    """Five-level scores whose rows are alike within a group."""
    rng, rates = np.random.default_rng(42), {}
    for name, sizes in _with_interval(sets).items():
        for bound in (0.0, -0.05):
            sums = np.asarray(group_counts(rng, draws, sizes, rubric_steps(bound), ICC) @ STEPS)
            rates[f"{name}, truth {100 * bound:+g}"] = float(claimed(sums, sizes, bound).mean())
    return rates


def lost_whole(sets: dict[str, Values], draws: int) -> dict[str, float]:
    """A group loses ``loss`` in every row; rows of the others move by little, or as rubric scores do.

    The worst few cells are measured again with other and more draws, and those rates are given.
    """
    rng, cells = np.random.default_rng(43), []
    for name, sizes in _with_interval(sets).items():
        for loss, share, bound in product((0.25, 0.5, 1.0), (0.01, 0.02, 0.05, 0.1, 0.15), _BOUNDS):
            for others in ("±2 points", "±10 points", "rubric"):
                cell = LostWhole(name, sizes, loss, share, others, bound)
                if others != "rubric" or abs(cell.constant) < 0.12:
                    cells.append(cell)
    cells.sort(key=lambda cell: -cell.falsely_shown(rng, draws // 5))
    return {str(cell): cell.falsely_shown(rng, 2 * draws) for cell in cells[:_AGAIN]}


@dataclass(frozen=True, slots=True)
class LostWhole:
    """Groups of these sizes, a ``share`` of which lose ``loss`` in every row."""

    name: str
    sizes: Values
    loss: float
    share: float
    others: str
    bound: float

    @property
    def constant(self) -> float:
        """The mean of the other rows, so that the truth is the bound."""
        return (self.share * self.loss + self.bound) / (1 - self.share)

    def falsely_shown(self, rng: np.random.Generator, draws: int) -> float:
        """The share of samples that show the claim."""
        parts = (min(_PART, draws - start) for start in range(0, draws, _PART))
        shown = (claimed(self.drawn(rng, part), self.sizes, self.bound) for part in parts)
        return sum(int(np.count_nonzero(one)) for one in shown) / draws

    def drawn(self, rng: np.random.Generator, draws: int) -> Values:
        """Sums of differences, (draws, groups)."""
        starts = np.append(0, np.cumsum(self.sizes)[:-1]).astype(int)
        shape = draws, int(self.sizes.sum())
        if self.others == "rubric":
            moved = rubric(rng, shape, self.constant)
        else:
            noise = 0.02 if self.others == "±2 points" else 0.1
            moved = self.constant + rng.uniform(-noise, noise, shape)
        gone = rng.random((draws, len(self.sizes))) < self.share
        return np.where(gone, -self.loss * self.sizes, np.add.reduceat(moved, starts, axis=1))

    def __str__(self) -> str:
        losing = f"{100 * self.share:g}% lose {self.loss:g}, others {self.others}"
        return f"{self.name}, {losing}, margin {-self.bound:g}"


def power(draws: int) -> list[Result]:
    """What the group more costs where no group loses a fifth: rubric scores, 10 rows a group."""
    rng, results = np.random.default_rng(44), []
    for name, sizes in EQUAL.items():
        told = []
        for truth, bound in ((0.1, 0.0), (0.0, -0.1)):
            sums = np.asarray(group_counts(rng, draws, sizes, rubric_steps(truth), 0.1) @ STEPS)
            shown, alone = float(claimed(sums, sizes, bound).mean()), float(_above(sums, sizes, bound).mean())
            told.append((f"{100 * truth:+g} > {100 * bound:+g}: {shown:.3f} of {alone:.3f}", alone - shown))
        detail = f"five-level scores, ICC 0.1, {draws:,} draws; of what t and Hall alone show: "
        detail += "; ".join(text for text, _ in told)
        lost = max(gap for _, gap in told)
        results.append(Result(f"groups lost whole: power lost, {name}", lost, "", detail))
    return results


def claimed(sums: Values, sizes: Values, bound: float) -> Mask:
    """Of each sample of sums of differences (samples, groups), whether ``compare`` shows "above ``bound``".

    The sizes must give an interval.
    """
    unit = mean_size(sizes)
    large = sums <= (large_loss(bound) + 1e-9) * sizes
    held = np.where(large, sizes, 0.0).sum(axis=1) >= (LOSSES_SEEN - 1e-9) * unit
    added = float(round(unit))
    more = np.append(sums, np.full((len(sums), 1), -RARE_GROUP_LOSS * added), axis=1)
    unlucky = _above(more, np.append(sizes, added), bound, GROUP_SKEWNESS)
    return np.asarray(_above(sums, sizes, bound) & (held | unlucky))


def reason(sizes: Values) -> str | None:
    """Why groups of these sizes have no interval."""
    return too_few_clusters(np.repeat(np.arange(len(sizes)), sizes.astype(int)))


def _above(sums: Values, sizes: Values, bound: float, skewness: float = 1.0) -> Mask:
    mean, residuals = mean_and_residuals(sums, sizes)
    low, _ = t_limits(mean, residuals, float(sizes.sum()), ALPHA, cluster_freedom(sizes), skewness)
    return np.asarray(low > bound)


def _with_interval(sets: dict[str, Values]) -> dict[str, Values]:
    return {name: sizes for name, sizes in sets.items() if reason(sizes) is None}


def group_counts(
    rng: np.random.Generator, draws: int, sizes: Values, chances: Values, icc: float
) -> npt.NDArray[np.float64]:
    """Rows of each kind in each group: Dirichlet-multinomial, (draws, groups, kinds)."""
    found = []
    for start in range(0, draws, 1_000):
        shape = min(1_000, draws - start), len(sizes), len(chances)
        weights = rng.gamma(np.maximum(chances, 1e-12) * (1 / icc - 1), size=shape)
        own = weights / np.maximum(weights.sum(axis=-1, keepdims=True), 1e-300)
        found.append(rng.multinomial(np.broadcast_to(sizes.astype(int), shape[:2]), own))
    return np.concatenate(found).astype(np.float64)


def _worst(name: str, rates: dict[str, float], draws: int) -> Result:
    listed = sorted(rates, key=lambda cell: -rates[cell])
    told = "; ".join(f"{cell} {rates[cell]:.4f}" for cell in listed[:8])
    none = "; ".join(cell for cell, sizes in UNEQUAL.items() if reason(sizes) is not None)
    refused = f"; no interval, with the reason: {none}" if "unequal" in name else ""
    error = sqrt(ALPHA * (1 - ALPHA) / draws)
    return Result(
        name=name,
        value=rates[listed[0]],
        unit="",
        detail=f"{draws:,} draws a cell and more (s.e. {error:.4f}); the worst cells: {told}{refused}",
        bar=0.07,
        bar_is="value at most",
    )
