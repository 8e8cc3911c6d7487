"""Graded claims where a few rows lose much: how often a loss that was not drawn makes a false claim.

A row loses ``loss`` with chance ``share``; all others move by a constant and a little uniform noise, the
constant such that the true difference is exactly the bound. That is the least favourable case: a sample
without such a row has a small spread and a mean above the truth.

A rate is the sum over the number of losing rows of its binomial chance times the share of samples with that
number that show the claim: next to no Monte Carlo error where few losses decide. The worst of many cells
is measured again with other draws, and that is what is reported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from scipy.stats import binom

from benchmarks.quality.gate_draws import SD, STRONG, rubric
from benchmarks.quality.looks import holds_with_a_rare_loss
from benchmarks.results import Options, Result
from harness.decision.estimates import RARE_LOSS, Mask
from harness.decision.student import Values, mean_and_residuals, t_limits

ALPHA = 0.05
SIZES = (30, 50, 100, 200, 400)
SHARES = np.arange(0.005, 0.1501, 0.005)
LOSSES, BOUNDS = (0.25, 0.5, 1.0), (0.0, -0.02, -0.05)
LITTLE, MORE = (0.02,), (0.05, 0.08, 0.12)  # how far the other rows move, either way
DRAWS, AGAIN, WORST = 400, 20_000, 4  # of a cell; of the worst few; how many those are
NUMBER, ZEROS = 0.88, 0.02  # a threshold, and rows that score 0


@dataclass(frozen=True, slots=True)
class Cell:
    """``n`` rows, of which a ``share`` lose ``loss``; the others move by a constant and up to ``noise``."""

    n: int
    loss: float
    share: float
    bound: float
    noise: float

    @property
    def constant(self) -> float:
        """What the other rows gain, so that the truth is the bound."""
        return (self.bound + self.share * self.loss) / (1.0 - self.share)

    def __str__(self) -> str:
        losing = f"{100 * self.share:.1f}% lose {self.loss:g}, others ±{100 * self.noise:g} points"
        return f"n={self.n}: {losing}, bound {self.bound:g}"


def measure(options: Options) -> list[Result]:
    """False claims on rows, the power that their prevention costs, thresholds, and a ceiling of 95%."""
    draws, again = (20, 40) if options.smoke else (DRAWS, AGAIN)
    sizes = SIZES[:2] if options.smoke else SIZES
    return [
        false_claims("2 points", LITTLE, sizes, draws, again),
        false_claims("5 to 12 points", MORE, sizes[1:], draws // 2, again),
        power_lost(again),
        threshold(again),
        *ceiling(again),
    ]


def false_claims(
    name: str, noises: tuple[float, ...], sizes: tuple[int, ...], draws: int, again: int
) -> Result:
    """The worst cell of each number of rows, measured again."""
    rng, told = np.random.default_rng(31), {}
    for n in sizes:
        cells = [
            Cell(n, loss, float(share), bound, noise)
            for noise in noises
            for loss in LOSSES
            for share in SHARES
            for bound in BOUNDS
        ]
        worst = sorted(cells, key=lambda cell: falsely_shown(cell, rng, draws)[0])[-WORST:]
        rates = {cell: falsely_shown(cell, rng, again) for cell in worst}
        cell = max(rates, key=lambda one: rates[one][0])
        told[f"{cell}: {rates[cell][0]:.4f}, s.e. {rates[cell][1]:.4f}"] = rates[cell][0]
    return Result(
        name=f"rare losses: false claims, other rows move ±{name}",
        value=max(told.values()),
        unit="",
        detail=f"shares 0.5-15% by 0.5, losses {', '.join(f'{loss:g}' for loss in LOSSES)}, bounds "
        f"{', '.join(f'{bound:g}' for bound in BOUNDS)}; {draws:,} draws a cell, the worst {WORST} of each n "
        f"again with {again:,}; the worst of those: {'; '.join(told)}",
        bar=0.06,
        bar_is="value at most",
    )


def claimed(differences: Values, bound: float) -> Mask:
    """Of each sample (samples, rows), whether ``compare`` shows "more than ``bound``"."""
    shown = above(differences, bound)
    shown[shown] = holds_with_a_rare_loss(differences[shown], ALPHA, bound)
    return shown


def falsely_shown(
    cell: Cell,
    rng: np.random.Generator,
    draws: int,
    rule: Callable[[Values, float], Mask] = claimed,
) -> tuple[float, float]:
    """The rate and its Monte Carlo standard error; each number of losses has draws as it is likely."""
    counts = np.arange(int(binom.ppf(0.9999, cell.n, cell.share)) + 1)
    rate = variance = 0.0
    for count, chance in zip(counts.tolist(), binom.pmf(counts, cell.n, cell.share).tolist(), strict=True):
        size = max(8, ceil(draws * chance))
        shown = float(rule(drawn(cell, rng, size, count), cell.bound).mean())
        rate += chance * shown
        variance += chance**2 * shown * (1.0 - shown) / size
    return rate, sqrt(variance)


def drawn(cell: Cell, rng: np.random.Generator, size: int, losing: int) -> Values:
    """Differences (size, rows) with this number of losing rows."""
    differences = cell.constant + rng.uniform(-cell.noise, cell.noise, (size, cell.n))
    differences[:, :losing] = -cell.loss
    return differences


def power_lost(draws: int) -> Result:
    """By the loss that was not drawn, on five-level rubric scores: targets and guards."""
    rng = np.random.default_rng(32)
    told: dict[str, float] = {}
    for n in (50, 100, 200):
        for truth, bound in ((0.05, 0.0), (0.08, 0.0), (0.1, 0.0), (0.0, -0.05), (0.0, -0.1)):
            differences = rubric(rng, (draws // 4, n), truth)
            t_alone = float(above(differences, bound).mean())
            shown = float(claimed(differences, bound).mean())
            told[f"n={n}, {100 * truth:+g} > {100 * bound:+g}: {shown:.3f} of {t_alone:.3f}"] = (
                t_alone - shown
            )
    return Result(
        name="rare losses: power lost, rubric scores",
        value=max(told.values()),
        unit="",
        detail=f"five-level scores, sd {SD}, {draws // 4:,} draws a cell; shown, of what t and Hall alone "
        f"show: {'; '.join(told)}",
        bar=0.01,
        bar_is="value at most",
    )


def threshold(draws: int) -> Result:
    """A mean score at exactly the number that it shall exceed; a few rows score 0."""
    rng, told = np.random.default_rng(33), {}
    for n in (50, 100, 200, 400):
        shown = 0
        for _ in range(10):  # in parts, for memory
            others = NUMBER / (1.0 - ZEROS) + rng.uniform(-0.02, 0.02, (draws // 10, n))
            scores = np.where(rng.random(others.shape) < ZEROS, 0.0, others)
            shown += int(np.count_nonzero(exceeds(scores, NUMBER)))
        told[f"n={n}: {shown / draws:.4f}"] = shown / draws
    return Result(
        name=f"rare losses: false claims, above {NUMBER:g}",
        value=max(told.values()),
        unit="",
        detail=f"{100 * ZEROS:g}% of the rows score 0, the others alike within 2 points, mean {NUMBER:g}; "
        f"{draws:,} draws a cell: {'; '.join(told)}",
        bar=0.06,
        bar_is="value at most",
    )


def exceeds(scores: Values, number: float) -> Mask:
    """Of each sample of graded scores (samples, rows), whether ``compare`` shows "above ``number``"."""
    more = np.append(scores, np.full((len(scores), 1), max(number - RARE_LOSS, 0.0)), axis=1)
    return above(scores - number, 0.0) & above(more - number, 0.0)


def ceiling(draws: int) -> list[Result]:
    """False claims of a candidate perfect on 80% of the rows where the baseline is on 95%, at the truth."""
    rng, pair = np.random.default_rng(34), STRONG["candidate perfect on 80%, baseline on 95%"]
    rates = {n: float(claimed(pair.draw(rng, (draws, n)), pair.mean).mean()) for n in (20, 50, 100, 200)}
    told = "; ".join(f"n={n}: {rate:.4f}" for n, rate in rates.items())
    detail = (
        f"five levels, skewness {pair.skewness:+.1f}, bound {pair.mean:.4f}; {draws:,} draws a cell: {told}"
    )
    few, name = rates.pop(20), "gates: false GO, graded, at a ceiling of 95%"
    return [
        Result(f"{name}, 20 rows", few, "", detail),
        Result(
            f"{name}, 50 rows and more", max(rates.values()), "", detail, bar=0.06, bar_is="value at most"
        ),
    ]


def above(differences: Values, bound: float) -> Mask:
    """By the limit of t and Hall alone."""
    low, _ = t_limits(*mean_and_residuals(differences), differences.shape[1], ALPHA)
    return np.asarray(low > bound)
