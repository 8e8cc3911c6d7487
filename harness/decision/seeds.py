"""Several training seeds: the difference when both rows and seeds are drawn at random.

Every held-out row has one difference (candidate - baseline) per training seed. The recipe's verdict is
on the mean over all rows and all seeds that could have been drawn, so its variance has two sources:

* rows: the part of a row's difference that the mean over endless seeds retains, ``(MSR - MSE) / (n S)``;
* seeds: the scatter of the seeds' means, ``MSS / (n S)``. The noise of seeds on single rows is in it, and
  ``MSE / 2`` is its floor: below it the variance of wins and losses may be 0.

These are the mean squares of a two-way table of ``n`` rows and ``S`` seeds without replication. Where
rows stand in clusters, residuals are summed within each cluster before they are squared, and clusters
take the rows' part in the degrees of freedom (CR2, as for one seed).

The critical value is that of Student's t with ``1 / sum(share² / (df + a)) - a`` degrees of freedom, where
a mean square's share is of the variance and ``df`` its own degrees of freedom. ``a = 0`` is
Satterthwaite's rule (1946, Biometrics Bulletin 2:110), ``a = 2`` Welch's correction of it (1947,
Biometrika 34:28). With two or three seeds neither will do; docs/evidence.md has the alternatives.

All of that takes the seeds' means for normal. Where some trainings collapse, few seeds seldom hold one, and
those that hold none overstate the mean over all trainings; nothing in the sample tells of it. The rule that
helps against rare losses of rows (a claim has to hold with one more that lost) is not used for seeds: against
trainings that lose 20 points it takes most of the power; docs/evidence.md has the figures. Instead, a seed
that lies far below the others is named (``far_below``), and where none does, the verdict says how large a
share of collapses so few seeds leave open (``most_collapses``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from statistics import fmean
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, stdtr, stdtrit

from harness.decision.estimates import (
    MIN_ROWS,
    NO_SPREAD,
    Codes,
    Estimate,
    Rows,
    estimate_difference,
    points,
    too_few_clusters,
)
from harness.decision.student import Values, cluster_freedom

COLLAPSE = 0.1  # in score units: so far below the others a training has failed
COLLAPSE_ERRORS = 4.0  # and so many standard errors of the difference of two seeds
_MOST_SEEDS = 20  # more trainings of one recipe than anybody will pay for

Values2d: TypeAlias = npt.NDArray[np.float64]  # (rows, seeds)
Values3d: TypeAlias = npt.NDArray[np.float64]  # (tables, rows, seeds)


@dataclass(frozen=True, slots=True)
class Components:
    """The parts of the variance of the mean, one entry for each of several tables of one shape."""

    seed_means: Values2d  # (tables, seeds)
    rows: Values  # MSR / (n S): with the seeds held fixed
    seeds: Values  # MSS / (n S): with the rows held fixed
    noise: Values  # MSE / (n S): of seeds on single rows, which both of them hold
    units: int  # clusters, or rows where there are none
    freedom_of_units: float  # degrees of freedom of the units' mean square

    @property
    def mean(self) -> Values:
        """The mean over all rows and seeds."""
        return np.asarray(self.seed_means.mean(axis=1))

    @property
    def variance(self) -> Values:
        """Of the mean, rows and seeds both drawn anew."""
        return self.from_rows + self.from_seeds

    @property
    def from_rows(self) -> Values:
        """The part of ``variance`` that more rows lessen, and more seeds do not."""
        return np.asarray(np.maximum(self.rows - self.noise, 0.0))

    @property
    def from_seeds(self) -> Values:
        """The part of ``variance`` that more seeds lessen."""
        return np.asarray(np.maximum(self.seeds, self.noise / 2.0))

    @property
    def freedom(self) -> Values:
        """Degrees of freedom of ``variance``; nan where that is 0."""
        n_seeds = self.seed_means.shape[1]
        of_units, of_seeds = self.freedom_of_units, n_seeds - 1
        a = freedom_correction(n_seeds)
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = (
                (self.rows / self.variance) ** 2 / (of_units + a)
                + (self.seeds / self.variance) ** 2 / (of_seeds + a)
                + (self.noise / self.variance) ** 2 / (of_units * of_seeds + a)
            )
            return np.asarray(np.maximum(1.0 / inverse - a, of_seeds))

    def reach(self, alpha: float) -> Values:
        """From the mean to each of its one-sided ``1 - alpha`` limits."""
        return np.asarray(stdtrit(self.freedom, 1.0 - alpha) * np.sqrt(self.variance))

    @property
    def seed_variance(self) -> Values:
        """Between seeds, of one seed's mean over endless rows; 0 where noise explains all scatter."""
        return np.asarray(self.seed_means.shape[1] * np.maximum(self.seeds - self.noise, 0.0))


@dataclass(frozen=True, slots=True)
class SeedSpread:
    """How much the training seed matters. All in score units."""

    means: tuple[float, ...]  # the difference by seed
    seed_sd: float  # net of the noise of seeds on single rows
    seed_share: float  # of the variance of the difference, in [0, 1]
    rows_variance: float  # the part of it that no further seed lessens
    one_seed_variance: float  # over the number of seeds, the part that more seeds lessen
    seed_error: float = 0.0  # of one seed's difference, from its noise on single rows


def two_way(differences: Values2d, clusters: Codes | None, bound: float, alpha: float) -> Estimate | str:
    """The mean difference with one-sided ``1 - alpha`` limits, or the reason why there are none.

    Args:
        differences: candidate - baseline, shape (rows, seeds); two seeds or more.
        clusters: each row's cluster; None where every row stands alone.
        bound, alpha: of the claim "difference > bound", in score units, and of each limit.
    """
    n, n_seeds = differences.shape
    if n < MIN_ROWS:
        return f"{n} usable rows are too few for an interval: it takes at least {MIN_ROWS}"
    if (problem := too_few_clusters(clusters)) is not None:
        return problem
    parts = components(differences[np.newaxis], clusters)
    mean, error = float(parts.mean[0]), sqrt(float(parts.variance[0]))
    if error < NO_SPREAD:
        return (
            f"neither rows nor seeds differ in their mean difference ({points(mean)} points, n={n}, "
            f"{n_seeds} seeds): without any spread there is no interval"
        )
    reach = float(parts.reach(alpha)[0])
    p_value = float(stdtr(parts.freedom[0], (bound - mean) / error))
    variance = n * error**2
    return Estimate("two-way t", mean, mean - reach, mean + reach, p_value, variance, variance)


def estimated(rows: Rows, bound: float, alpha: float) -> Estimate | str:
    """The estimate that fits the rows: over rows and seeds where there are several, over rows else."""
    if rows.seed_differences is None:
        return estimate_difference(rows, bound, alpha)
    return two_way(rows.seed_differences, rows.clusters, bound, alpha)


def seed_spread(differences: Values2d, clusters: Codes | None) -> SeedSpread:
    """The seeds' part of the variance of the difference; arguments as for :func:`two_way`."""
    parts = components(differences[np.newaxis], clusters)
    n_seeds = differences.shape[1]
    variance, between = float(parts.variance[0]), float(parts.seed_variance[0])
    return SeedSpread(
        means=tuple(parts.seed_means[0].tolist()),
        seed_sd=sqrt(between),
        seed_share=between / n_seeds / variance if variance > 0.0 else 0.0,
        rows_variance=float(parts.from_rows[0]),
        one_seed_variance=n_seeds * float(parts.from_seeds[0]),
        seed_error=sqrt(n_seeds * float(parts.noise[0])),
    )


def far_below(means: Sequence[float], error: float) -> tuple[tuple[int, ...], float]:
    """Which seeds lie far below the others, by place, and by how much on average.

    Far is a gap of more than 10 points, and of more than noise on single rows explains. None, and 0, where
    the seeds lie together.

    Args:
        means, error: one difference a seed, and the standard error of one.
    """
    order = sorted(range(len(means)), key=means.__getitem__)
    gaps = [means[after] - means[before] for before, after in pairwise(order)]
    widest = max(gaps, default=0.0)
    if widest <= max(COLLAPSE, COLLAPSE_ERRORS * sqrt(2.0) * error):
        return (), 0.0
    at = gaps.index(widest) + 1
    below, others = order[:at], order[at:]
    return tuple(sorted(below)), fmean(means[n] for n in others) - fmean(means[n] for n in below)


def most_collapses(collapsed: int, n_seeds: int) -> float:
    """The largest share of trainings that may collapse where so many of ``n_seeds`` did: the one-sided 95%
    limit of C. J. Clopper and E. S. Pearson (1934), Biometrika 26:404.
    """
    return 1.0 if collapsed == n_seeds else float(betaincinv(collapsed + 1, n_seeds - collapsed, 0.95))


def seeds_needed(spread: SeedSpread, bound: float, alpha: float, power: float = 0.8) -> int | None:
    """How many seeds would decide the claim on these rows, were the difference as observed.

    None where more than 20 would: then it takes more rows, or another candidate.
    """
    gap = abs(sum(spread.means) / len(spread.means) - bound)
    for n_seeds in range(len(spread.means) + 1, _MOST_SEEDS + 1):
        of_seeds = spread.one_seed_variance / n_seeds
        variance = spread.rows_variance + of_seeds
        a = freedom_correction(n_seeds)
        # rows are many beside seeds: their degrees of freedom are left out
        freedom = (n_seeds - 1 + a) * (variance / of_seeds) ** 2 - a if of_seeds > 0.0 else np.inf
        if gap > float(stdtrit(freedom, 1.0 - alpha) + stdtrit(freedom, power)) * sqrt(variance):
            return n_seeds
    return None


def components(differences: Values3d, clusters: Codes | None) -> Components:
    """The parts of the variance for several tables (tables, rows, seeds) at once, in the same clusters."""
    _, n, n_seeds = differences.shape
    # products with a vector of weights: numpy is slow at means over axes as short as the seeds'
    seed_means = np.full(n, 1.0 / n) @ differences
    mean = seed_means.mean(axis=1)
    by_row = differences @ np.full(n_seeds, 1.0 / n_seeds) - mean[:, np.newaxis]
    rest = differences - seed_means[:, np.newaxis, :]
    rest -= by_row[:, :, np.newaxis]
    row_sums, noise_sums = by_row[:, :, np.newaxis], rest
    freedom = n - 1.0
    if clusters is not None:
        order = np.argsort(clusters, kind="stable")
        first = np.flatnonzero(np.diff(clusters[order], prepend=clusters[order[0]] - 1))
        row_sums, noise_sums = (
            np.add.reduceat(one[:, order], first, axis=1) for one in (row_sums, noise_sums)
        )
        # CR2, as for one seed: see mean_and_residuals
        sizes = np.diff(np.append(first, n)).astype(np.float64)
        cr2 = np.sqrt((1.0 - 1.0 / len(sizes)) / (1.0 - sizes / n))[:, np.newaxis]
        row_sums, noise_sums = row_sums * cr2, noise_sums * cr2
        freedom = cluster_freedom(sizes)
    units = row_sums.shape[1]
    scale = units / (units - 1) / n**2
    pairs = n_seeds * (n_seeds - 1)
    return Components(
        seed_means=seed_means,
        rows=scale * np.einsum("tus,tus->t", row_sums, row_sums),
        seeds=((seed_means - mean[:, np.newaxis]) ** 2).sum(axis=1) / pairs,
        noise=scale * np.einsum("tus,tus->t", noise_sums, noise_sums) / pairs,
        units=units,
        freedom_of_units=freedom,
    )


def freedom_correction(n_seeds: int) -> float:
    """``a`` of the degrees of freedom."""
    return {2: -0.7, 3: 0.75}.get(n_seeds, 0.0)
