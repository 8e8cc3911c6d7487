"""A held-out file that grows until its candidate is GO: how often a GO is then false, and what a gain costs.

Who is told "about N rows would decide it" adds rows up to that number and runs again, up to five times. The
generator does so: it judges n0 rows, stops where the claim is shown or refuted, or where no number of rows is
advised (or more than anybody labels), and else adds as many as advised. Levels, advice and tests are the
product's. The truth lies exactly at the bound, the least favourable place.

The price is told beside it: the share of real gains that become GO by then, and the rows that they take,
against the same advice and tests with every one at the whole level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import TypeAlias

import numpy as np

from benchmarks.quality.gate_draws import SD, STEPS, rubric_steps
from benchmarks.results import Options, Result
from harness.decision.estimates import Estimate
from harness.decision.power import rows_needed
from harness.decision.retesting import level_after
from harness.decision.sparse import sparse_p
from harness.decision.student import Values, mean_and_residuals, t_p
from harness.decision.tango import null_variance

ALPHA, GROWTHS, DISCORDANT = 0.05, 5, 0.3
SIZES, BOUNDS = (50, 100, 200), (0.0, -0.05)
GAINS = {"binary": 0.10, "graded": 0.06}  # judged from 100 rows on
MOST_ROWS = 20_000  # whoever is told to label more gives up
BINARY_DRAWS, GRADED_DRAWS = 100_000, 20_000
SEED = 20_260_401

Levels: TypeAlias = Callable[[int], float]  # by how often the file has grown


@dataclass(frozen=True, slots=True)
class Grown:
    """Of many files: whether the claim was shown in the end, and on how many rows the judging ended."""

    shown: Values
    rows: Values


def measure(options: Options) -> list[Result]:
    """False GO under the levels of a file that grew, and power; under a minute on one core."""
    few = 200 if options.smoke else None
    cells, naive = {}, {}
    for kind, draws in (("binary", few or BINARY_DRAWS), ("graded", few or GRADED_DRAWS)):
        for n in SIZES:
            for bound in BOUNDS:
                cell = f"{kind}, n0={n}, truth {100 * bound:+.0f}"
                found = grow(kind, n, bound, bound, draws, lowered)
                cells[cell] = float(found.shown.mean())
                if bound == 0.0 and kind == "binary":
                    naive[cell] = float(grow(kind, n, bound, bound, draws, whole).shown.mean())
    worst = max(cells, key=lambda cell: cells[cell])
    detail = (
        f"rows added as advised, up to {GROWTHS} times and {MOST_ROWS:,}; binary, {100 * DISCORDANT:.0f}%"
        f" discordant, {few or BINARY_DRAWS:,} draws a cell; graded, sd {SD}, {few or GRADED_DRAWS:,};"
        f" worst at {worst}; {_listed(cells)}; at the whole level each time {_listed(naive)}"
    )
    name = "growing file: false GO, rows added as advised"
    results = [Result(name, cells[worst], "", detail, bar=0.055, bar_is="value at most")]
    return [*results, *(_gain(kind, gain, few or GRADED_DRAWS // 2) for kind, gain in GAINS.items())]


def lowered(growths: int) -> float:
    """The product's levels."""
    return level_after(ALPHA, growths)


def whole(growths: int) -> float:
    """Every test at the level of a first one."""
    return ALPHA


def grow(kind: str, n0: int, truth: float, bound: float, draws: int, levels: Levels) -> Grown:
    """Judge files of ``n0`` rows, and add rows as advised where that does not decide."""
    rng = np.random.default_rng([SEED, n0, round(-100 * bound)])
    chances = rubric_steps(truth)
    if kind == "binary":
        chances = np.array([(DISCORDANT + truth) / 2, (DISCORDANT - truth) / 2, 1.0 - DISCORDANT])
    judge = _binary if kind == "binary" else _graded
    counts = rng.multinomial(n0, chances, size=draws).astype(np.float64)
    shown, open_ = np.zeros(draws), np.arange(draws)
    for growths in range(GROWTHS + 1):
        p, p_below, estimates = judge(counts[open_], bound)
        level = levels(growths)
        shown[open_] = p < level
        undecided = np.flatnonzero((p >= level) & (p_below >= level))
        if growths == GROWTHS or not len(undecided):
            break
        added = [
            (place, needed - n)
            for at in undecided.tolist()
            if (n := int(counts[place := open_[at]].sum()))
            and (needed := rows_needed(estimates(at), bound, levels(growths + 1), n)) is not None
            and needed <= MOST_ROWS
        ]
        if not added:
            break
        open_ = np.array([place for place, _ in added])
        counts[open_] += rng.multinomial([more for _, more in added], chances)
    return Grown(shown, counts.sum(axis=1))


def _binary(counts: Values, bound: float) -> tuple[Values, Values, Callable[[int], Estimate]]:
    gained, lost, n = counts[:, 0], counts[:, 1], counts.sum(axis=1)
    difference = (gained - lost) / n
    variance, at_bound = (gained + lost) / n - difference**2, null_variance(gained, lost, n, bound)

    def estimate(at: int) -> Estimate:
        return _estimate(difference[at], variance[at], at_bound[at])

    return sparse_p(gained, lost, n, bound), sparse_p(lost, gained, n, -bound), estimate


def _graded(counts: Values, bound: float) -> tuple[Values, Values, Callable[[int], Estimate]]:
    sizes = counts.sum(axis=1).astype(int)
    means, errors = np.zeros(len(counts)), np.zeros(len(counts))
    p, p_below = np.zeros(len(counts)), np.zeros(len(counts))
    for at, n in enumerate(sizes.tolist()):
        mean, residuals = mean_and_residuals(np.repeat(STEPS, counts[at].astype(int)))
        p[at] = t_p(mean, residuals, n, bound)
        p_below[at] = t_p(-mean, -residuals, n, -bound)
        means[at], errors[at] = mean, (residuals**2).sum() / (n - 1)

    def estimate(at: int) -> Estimate:
        return _estimate(means[at], errors[at], errors[at])

    return p, p_below, estimate


def _estimate(difference: float, variance: float, at_bound: float) -> Estimate:
    return Estimate("", float(difference), 0.0, 0.0, 0.5, float(variance), float(at_bound))


def _gain(kind: str, gain: float, draws: int) -> Result:
    ours, others = (grow(kind, 100, gain, 0.0, draws, levels) for levels in (lowered, whole))
    first = grow(kind, 100, gain, 0.0, draws, lambda growths: ALPHA if growths == 0 else 1e-9)
    go, go_whole = float(ours.shown.mean()), float(others.shown.mean())
    return Result(
        f"growing file: GO of a real gain, {kind}",
        go,
        "",
        f"true gain {100 * gain:.0f} points from 100 rows on, {draws:,} draws (s.e."
        f" {sqrt(go * (1 - go) / draws):.4f}), rows in the end {ours.rows.mean():,.0f}; at the whole level"
        f" each time {go_whole:.4f} with {others.rows.mean():,.0f} rows; without growing"
        f" {first.shown.mean():.4f}",
    )


def _listed(cells: dict[str, float]) -> str:
    return "; ".join(f"{cell} {rate:.4f}" for cell, rate in cells.items())
