"""Generators of paired differences with a known truth, for the error rates of gates.

Shapes: ``(draws, n)`` differences of single rows; ``(draws, clusters)`` sums or counts of clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.decision.clusters import Clusters
from harness.decision.student import Values

LEVELS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
STEPS = np.array([-0.5, -0.25, 0.0, 0.25, 0.5])
SD = 0.24
_TWO_LEVELS = 0.06  # of the rows move by two levels, on each side


def rubric_steps(mean: float, sd: float = SD) -> Values:
    """Probabilities of :data:`STEPS` with this mean and standard deviation, in score units."""
    step, square = mean / 0.25, (sd**2 + mean**2) / 0.25**2
    one_level = square - 8 * _TWO_LEVELS
    up, down = (one_level + step) / 2, (one_level - step) / 2
    return np.array([_TWO_LEVELS, down, 1 - up - down - 2 * _TWO_LEVELS, up, _TWO_LEVELS])


def rubric(rng: np.random.Generator, shape: tuple[int, int], mean: float, sd: float = SD) -> Values:
    """Differences of five-level rubric scores: none, one or two levels."""
    return _drawn(rng, STEPS, rubric_steps(mean, sd), shape)


@dataclass(frozen=True, slots=True)
class LevelPair:
    """Five-level scores of two sides, as probabilities of 0, 25, 50, 75 and 100 points.

    On a share ``kept`` of the rows both have the same score; on the others they are independent.
    """

    candidate: tuple[float, ...]
    baseline: tuple[float, ...]
    kept: float = 0.0

    @property
    def mean(self) -> float:
        """The true difference."""
        return (1 - self.kept) * float(LEVELS @ np.subtract(self.candidate, self.baseline))

    @property
    def skewness(self) -> float:
        """Of one row's difference."""
        chances = (1 - self.kept) * np.outer(self.candidate, self.baseline).ravel()
        off = np.append(np.subtract.outer(LEVELS, LEVELS).ravel(), 0.0) - self.mean
        chances = np.append(chances, self.kept)
        return float(chances @ off**3 / (chances @ off**2) ** 1.5)

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> Values:
        """Differences."""
        candidate = _drawn(rng, LEVELS, np.array(self.candidate), shape)
        baseline = _drawn(rng, LEVELS, np.array(self.baseline), shape)
        return np.where(rng.random(shape) < self.kept, 0.0, candidate - baseline)


TOP_80 = (0.02, 0.03, 0.05, 0.10, 0.80)
#: ceilings, from a little to strongly skewed differences
MODERATE = {
    "both sides perfect on 80%": LevelPair(TOP_80, TOP_80),
    "candidate perfect on 67%, baseline on 80%": LevelPair((0.03, 0.05, 0.10, 0.15, 0.67), TOP_80),
}
STRONG = {
    "candidate perfect on 80%, baseline on 95%": LevelPair(TOP_80, (0.0, 0.0, 0.01, 0.04, 0.95)),
    "a quarter of the rows mended": LevelPair(
        (0.0, 0.01, 0.04, 0.15, 0.80), (0.05, 0.1, 0.15, 0.3, 0.4), 0.75
    ),
}


def whole_groups_lost(
    rng: np.random.Generator, draws: int, count: int, rows: int, loss: float = 0.05, gain: float = 0.01
) -> tuple[Clusters, float]:
    """Groups lost whole with chance ``loss``, else rows gained with chance ``gain``; and the true mean."""
    gone = rng.random((draws, count)) < loss
    gained = np.where(gone, 0, rng.binomial(rows, gain, gone.shape)).astype(np.float64)
    seen = Clusters(gained, np.where(gone, float(rows), 0.0), np.full(count, float(rows)))
    return seen, (1 - loss) * gain - loss


def correlated_rows(
    rng: np.random.Generator, draws: int, count: int, rows: int, gain: float, loss: float, icc: float
) -> Clusters:
    """Dirichlet-multinomial: each cluster has its own chances of gain and loss; ``icc`` within clusters."""
    counts = _dirichlet_counts(rng, draws, count, rows, np.array([gain, loss, 1 - gain - loss]), icc)
    return Clusters(counts[..., 0], counts[..., 1], np.full(count, float(rows)))


def correlated_rubric(
    rng: np.random.Generator, draws: int, count: int, rows: int, mean: float, icc: float
) -> Values:
    """Sums of rubric differences of clusters with their own chances of each step."""
    return np.asarray(_dirichlet_counts(rng, draws, count, rows, rubric_steps(mean), icc) @ STEPS)


def _dirichlet_counts(
    rng: np.random.Generator, draws: int, count: int, rows: int, chances: Values, icc: float
) -> Values:
    weights = rng.gamma(np.maximum(chances, 1e-12) * (1 / icc - 1), size=(draws, count, len(chances)))
    own = weights / np.maximum(weights.sum(axis=-1, keepdims=True), 1e-300)
    counts: Values = rng.multinomial(rows, own).astype(np.float64)
    return counts


def _drawn(rng: np.random.Generator, values: Values, chances: Values, shape: tuple[int, int]) -> Values:
    edges = np.cumsum(chances)[:-1]
    return np.asarray(values[np.searchsorted(edges, rng.random(shape), side="right")])
