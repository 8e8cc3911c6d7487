"""How often several training seeds falsely show a claim, and what power the test loses, by simulation.

The truth always lies exactly at the bound, so that every claim shown is a false GO of a single gate.
The simulated runs of one cell share their standard normal draws with those of all others.

The power of ``two_way`` is set against that of its own statistic, (difference - bound) / standard error,
with the critical value that this very truth wants: the 95% quantile of the statistic over the simulated
runs at the bound, hence a test of exactly 5% there. No test can know that value, since it depends on how
the variance is split between rows and seeds; it is the best that the statistic could do. Power is
that against a true difference above the bound; the loss is told where it is largest.

Trainings that collapse are measured too, and have no bar: few seeds seldom hold one, and those that hold none
show a claim on the mean over all trainings too often. Beside it stands what a rule that was not taken would
do, and cost: the claim has to hold with one training more that lost ``ONE_MORE``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import TypeAlias

import numpy as np
from scipy.special import ndtri

from benchmarks.results import Options, Result
from harness.decision.estimates import Codes, Mask
from harness.decision.seeds import Values3d, components
from harness.decision.student import Values

SIMULATIONS, SMOKE_SIMULATIONS = 20_000, 200
SEED, ALPHA = 20_260_302, 0.05
FALSE_GO_BAR, POWER_BAR = 0.07, 0.05
COLLAPSES = ((0.3, 0.1), (0.2, 0.05))  # what a training loses, in score units, and how often
COLLAPSE_SEEDS, COLLAPSE_SIMULATIONS = (2, 3, 5, 8, 10, 20, 40), 4_000
ONE_MORE, SHOWN_ALONE = 0.2, 0.8
ROWS, SEEDS, CLUSTER_ROWS = 400, 5, 10  # the largest of any cell without collapses
BATCHES = 20  # for the Monte Carlo error of a loss of power
_CHUNK = 100  # simulations at a time, to stay within the processor's cache


@dataclass(frozen=True, slots=True)
class Draws:
    """Standard normal draws for some simulations: by row, by row and seed, by seed, by cluster."""

    rows: Values3d  # (simulations, ROWS, 1)
    noise: Values3d  # (simulations, ROWS, SEEDS)
    seeds: Values3d  # (simulations, 1, SEEDS)
    clusters: Values3d  # (simulations, ROWS / CLUSTER_ROWS, 1 + SEEDS)
    luck: Values3d  # (simulations, 1, SEEDS), uniform: which trainings collapse


@dataclass(frozen=True, slots=True)
class Graded:
    """Differences row + seed + noise, all normal around 0, cut to [-1, 1]; the bound is 0.

    ``in_clusters`` is the share of the variance of rows, and of noise, that the rows of a cluster have in
    common.
    """

    row_sd: float = 0.24
    noise_sd: float = 0.12
    seed_sd: float = 0.02
    in_clusters: float = 0.0
    bound: float = 0.0
    collapse: float = 0.0
    collapse_rate: float = 0.0

    def __call__(self, draws: Draws, n: int, n_seeds: int) -> Values3d:
        """Shape (simulations, n, n_seeds)."""
        found = self.noise_sd * sqrt(1.0 - self.in_clusters) * draws.noise[:, :n, :n_seeds]
        found += self.row_sd * sqrt(1.0 - self.in_clusters) * draws.rows[:, :n]
        found += self.seed_sd * draws.seeds[:, :, :n_seeds]
        if self.collapse:
            found += _collapsed(draws, n_seeds, self.collapse, self.collapse_rate)
        if self.in_clusters:
            common = np.repeat(draws.clusters[:, : n // CLUSTER_ROWS], CLUSTER_ROWS, axis=1)
            found += sqrt(self.in_clusters) * self.row_sd * common[:, :, :1]
            found += sqrt(self.in_clusters) * self.noise_sd * common[:, :, 1 : n_seeds + 1]
        return np.clip(found, -1.0, 1.0, out=found)

    def __str__(self) -> str:
        clusters = f", {self.in_clusters:.0%} of it common to {CLUSTER_ROWS} rows" if self.in_clusters else ""
        return (
            f"normal differences, SD of rows {self.row_sd:g}, of seeds on single rows {self.noise_sd:g}"
            f"{clusters}, between seeds {self.seed_sd:g}, bound 0{_told(self.collapse, self.collapse_rate)}"
        )


@dataclass(frozen=True, slots=True)
class Binary:
    """Differences of right and wrong answers: -1, 0 or 1.

    A row's differences under several seeds come from normal draws that correlate by ``correlation``
    (a Gaussian copula). Seeds move the share of gains up and that of losses down, or the other way
    round, normal and cut where either would be used up.
    """

    discordance: float
    bound: float = -0.02
    seed_sd: float = 0.02
    correlation: float = 0.5
    collapse: float = 0.0
    collapse_rate: float = 0.0

    def __call__(self, draws: Draws, n: int, n_seeds: int) -> Values3d:
        """Shape (simulations, n, n_seeds)."""
        room = self.discordance - abs(self.bound)
        mean = self.bound + np.clip(self.seed_sd * draws.seeds[:, :, :n_seeds], -room, room)
        differ: Values3d | float = self.discordance
        if self.collapse:
            mean += _collapsed(draws, n_seeds, self.collapse, self.collapse_rate)
            differ = np.maximum(differ, np.abs(mean) + 0.05)  # a collapse loses more rows than differ else
        latent = sqrt(1.0 - self.correlation) * draws.noise[:, :n, :n_seeds]
        latent += sqrt(self.correlation) * draws.rows[:, :n]
        gained: Mask = latent > ndtri(1.0 - (differ + mean) / 2.0)
        lost: Mask = latent < ndtri((differ - mean) / 2.0)
        return np.subtract(gained, lost, dtype=np.float64)

    def __str__(self) -> str:
        return (
            f"differences of -1, 0 or 1, {self.discordance:.0%} discordant, correlation {self.correlation:g} "
            f"within a row, SD between seeds {self.seed_sd:g}, bound {self.bound:g}"
            f"{_told(self.collapse, self.collapse_rate)}"
        )


def _collapsed(draws: Draws, n_seeds: int, size: float, rate: float) -> Values3d:
    """What each training gains or loses by its luck: 0 on average."""
    return np.asarray(size * (rate - (draws.luck[:, :, :n_seeds] < rate)))


def _told(size: float, rate: float) -> str:
    return f", {rate:.0%} of trainings lose {100 * size:.0f} points" if size else ""


Truth: TypeAlias = Graded | Binary


@dataclass(frozen=True, slots=True)
class Cell:
    """One truth, looked at with so many rows and seeds."""

    name: str
    truth: Truth
    seeds: int
    n: int = ROWS
    power: bool = False
    barred: bool = True

    @property
    def clusters(self) -> Codes | None:
        """Each row's cluster, where the truth has any."""
        clustered = isinstance(self.truth, Graded) and self.truth.in_clusters
        return np.arange(self.n) // CLUSTER_ROWS if clustered else None


@dataclass(frozen=True, slots=True)
class Observed:
    """What the product found in each simulated run: difference - bound, its error, and the limit's reach."""

    excess: Values
    error: Values
    reach: Values

    @property
    def shown(self) -> float:
        """The share of runs in which the claim was shown."""
        return float(np.mean(self.excess > self.reach))

    def loss(self) -> tuple[float, float, float]:
        """Power lost: at most; how much the calibrated test has there; where that has 80%."""
        critical = float(np.quantile(self.excess / self.error, 1.0 - ALPHA))
        # a run shows the claim as soon as the true difference exceeds these
        calibrated = np.sort(critical * self.error - self.excess)
        ours = np.sort(self.reach - self.excess)
        power = np.arange(0.05, 0.995, 0.005)
        losses = power - np.searchsorted(ours, np.quantile(calibrated, power)) / len(ours)
        most = int(np.argmax(losses))
        return float(losses[most]), float(power[most]), float(np.interp(0.8, power, losses))

    def batches(self) -> list[Observed]:
        """The runs in equal parts."""
        parts = [np.array_split(values, BATCHES) for values in (self.excess, self.error, self.reach)]
        return [Observed(*part) for part in zip(*parts, strict=True)]


def cells() -> list[Cell]:
    """What is measured; the first four are also measured for their power."""
    found = [
        Cell(f"graded, {seeds} seeds, SD {sd:g}", Graded(seed_sd=sd), seeds, power=True)
        for seeds in (3, 5)
        for sd in (0.02, 0.04)
    ]
    found += [Cell(f"graded, 2 seeds, SD {sd:g}", Graded(seed_sd=sd), 2) for sd in (0.02, 0.04)]
    found += [
        Cell("graded, 3 seeds, SD 0", Graded(seed_sd=0.0), 3),
        Cell("graded, 3 seeds, SD 0.02, noise on rows", Graded(0.12, 0.24), 3),
        Cell("graded, 3 seeds, SD 0.02, clusters of 10", Graded(in_clusters=0.5), 3),
    ]
    found += [
        Cell(f"binary, {seeds} seeds, n={n}, {share:.0%} discordant", Binary(share), seeds, n)
        for seeds in (3, 5)
        for n in (200, 400)
        for share in (0.05, 0.15, 0.30)
    ]
    # seeds that take away all gains or all losses: their means are far from normal; told without a bar
    edge = Binary(0.05, seed_sd=0.04)
    found.append(Cell("binary, 3 seeds, n=400, 5% discordant, SD 0.04", edge, 3, barred=False))
    return found


def measure(options: Options) -> list[Result]:
    """The false GO of each cell, and the loss of power where it is asked for."""
    runs = SMOKE_SIMULATIONS if options.smoke else SIMULATIONS
    wanted = cells()
    results = []
    for cell, observed in zip(wanted, simulate(wanted, runs, np.random.default_rng(SEED)), strict=True):
        results.append(_false_go(cell, observed, runs))
        if cell.power:
            results.append(_lost_power(cell, observed, runs))
    return [*results, *measure_collapses(min(runs, COLLAPSE_SIMULATIONS))]


def measure_collapses(runs: int) -> Iterator[Result]:
    """False GO where trainings collapse; what the rule of one training more leaves of it, and of power."""
    wanted = [
        Cell(
            f"collapse of {100 * size:.0f} points in {rate:.0%}, {name}, {seeds} seeds",
            replace(truth, collapse=size, collapse_rate=rate),
            seeds,
            barred=False,
        )
        for size, rate in COLLAPSES
        for name, truth in (("binary", Binary(0.15)), ("graded", Graded()))
        for seeds in COLLAPSE_SEEDS
    ]
    normal = [Cell(f"no collapse, graded, {n} seeds", Graded(), n) for n in COLLAPSE_SEEDS]
    found = simulate([*wanted, *normal], runs, np.random.default_rng(SEED), max(COLLAPSE_SEEDS))
    for cell, observed in zip([*wanted, *normal], found, strict=True):
        if cell in wanted:
            yield _false_go(cell, observed, runs)
        if isinstance(cell.truth, Graded) and cell.truth.collapse in (0.0, COLLAPSES[0][0]):
            yield _one_more(cell, observed, runs)


def _one_more(cell: Cell, observed: Observed, runs: int) -> Result:
    """Of the rule that was not taken: its false GO, or its power where the test in use has 80%."""
    margin = observed.excess - observed.reach
    truth = 0.0 if cell.truth.collapse else float(np.quantile(-margin, SHOWN_ALONE))
    shown = float(np.mean(margin + truth > ONE_MORE / (cell.seeds + 1)))
    what = "false GO" if cell.truth.collapse else f"power of the {SHOWN_ALONE:.0%} without the rule"
    return Result(
        name=f"seeds, one training more that loses {100 * ONE_MORE:.0f} points, {what}: {cell.name}",
        value=shown,
        unit="share",
        detail=f"{_detail(cell, runs)}; a rule that is not in use",
    )


def simulate(
    wanted: Sequence[Cell], runs: int, rng: np.random.Generator, seeds: int = SEEDS
) -> list[Observed]:
    """Let the product decide ``runs`` simulated runs of each cell, of at most so many ``seeds``."""
    parts: list[list[Observed]] = [[] for _ in wanted]
    for start in range(0, runs, _CHUNK):
        draws = _draw(rng, min(_CHUNK, runs - start), seeds)
        for found, cell in zip(parts, wanted, strict=True):
            seen = components(cell.truth(draws, cell.n, cell.seeds), cell.clusters)
            found.append(Observed(seen.mean - cell.truth.bound, np.sqrt(seen.variance), seen.reach(ALPHA)))
    join: Callable[[list[Values]], Values] = np.concatenate
    return [
        Observed(
            join([part.excess for part in found]),
            join([part.error for part in found]),
            join([part.reach for part in found]),
        )
        for found in parts
    ]


def _draw(rng: np.random.Generator, runs: int, seeds: int) -> Draws:
    return Draws(
        rows=rng.standard_normal((runs, ROWS, 1)),
        noise=rng.standard_normal((runs, ROWS, seeds)),
        seeds=rng.standard_normal((runs, 1, seeds)),
        clusters=rng.standard_normal((runs, ROWS // CLUSTER_ROWS, 1 + seeds)),
        luck=rng.spawn(1)[0].random((runs, 1, seeds)),  # of its own: it leaves the others' stream alone
    )


def _false_go(cell: Cell, observed: Observed, runs: int) -> Result:
    shown = observed.shown
    result = Result(
        name=f"seeds, false GO: {cell.name}",
        value=shown,
        unit="share",
        detail=f"{_detail(cell, runs)}; Monte Carlo standard error {sqrt(shown * (1.0 - shown) / runs):.4f}",
        bar=FALSE_GO_BAR,
        bar_is="value at most",
    )
    return result if cell.barred else replace(result, bar=None, bar_is=None)


def _lost_power(cell: Cell, observed: Observed, runs: int) -> Result:
    most, there, at_80 = observed.loss()
    error = float(np.std([part.loss()[2] for part in observed.batches()], ddof=1)) / sqrt(BATCHES)
    return Result(
        name=f"seeds, power lost: {cell.name}",
        value=most,
        unit="share",
        detail=f"{_detail(cell, runs)}; the largest loss against any true difference, where the calibrated "
        f"test has {there:.0%} power; {at_80:.4f} where it has 80%; Monte Carlo standard error {error:.4f}",
        reference="the same statistic with the critical value that is exact under this very truth",
        bar=POWER_BAR,
        bar_is="value at most",
    )


def _detail(cell: Cell, runs: int) -> str:
    return (
        f"{cell.truth}; {cell.seeds} training seeds, n={cell.n} rows, one-sided {ALPHA:.0%}; {runs:,} "
        f"simulations, random seed {SEED}"
    )
