"""Runs held to a reference: how often one in which nothing changed is blocked, and how large a loss is.

Gates are independent of each other, the least favourable case. The claims are the product's, and so is the
loss that it says is shown 4 times in 5.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from benchmarks.results import Options, Result
from harness.decision.claims import Claim, Scores
from harness.decision.regression import at_shared_level, smallest_loss
from harness.records import Kind, Outcome, ScoreVector

ALPHA, DRAWS, SEED = 0.05, 2_000, 20_261_128
ROWS, DISCORDANT = (100, 400), 0.10  # of the rows, those that differ without a change
GATES, MARGINS = (1, 5), (0.0, 0.05)
SD = 0.24  # of a row's difference of graded scores


def measure(options: Options) -> list[Result]:
    """False blocks and power; a minute and a half on one core."""
    draws = 20 if options.smoke else DRAWS
    cells = {
        f"{kind}, n={n}, {gates} gates, margin {100 * margin:.0f}": blocked(
            kind, n, gates, margin, 0.0, draws
        )
        for kind in (Kind.BINARY, Kind.GRADED)
        for n in ROWS
        for gates in GATES
        for margin in MARGINS
    }
    worst = max(cells, key=lambda cell: cells[cell])
    error = sqrt(ALPHA * (1 - ALPHA) / draws)
    listed = "; ".join(f"{cell} {share:.4f}" for cell, share in cells.items())
    name = "regression gate: blocked although nothing changed"
    detail = f"{draws:,} runs a cell (s.e. at 5% {error:.4f}); worst at {worst}; {listed}"
    results = [Result(name, cells[worst], "", detail, bar=0.06, bar_is="value at most")]
    for kind in (Kind.BINARY, Kind.GRADED):
        for n in ROWS:
            loss = said(kind, n, 5, 0.05)
            share = blocked(kind, n, 5, 0.05, loss, draws, only_one=True)
            what = f"regression gate: blocked at the loss that it says it shows, {kind}, n={n}"
            detail = (
                f"a true loss of {100 * loss:.1f} points in one of 5 gates with a margin of 5, {draws:,} runs"
            )
            results.append(Result(what, share, "", detail))
    return results


def claims(
    kind: Kind,
    n: int,
    gates: int,
    margin: float,
    loss: float,
    rng: np.random.Generator,
    *,
    only_one: bool = False,
) -> list[Claim]:
    """Those of one run: its first gate, or every one, truly loses ``loss``."""
    found = []
    for number in range(gates):
        lost = 0.0 if number and only_one else loss
        if kind is Kind.BINARY:
            half = DISCORDANT / 2
            what = rng.choice(3, size=n, p=[half, half + lost, 1.0 - DISCORDANT - lost])
            then = np.where(what == 2, 1.0, (what == 1).astype(float))
            now = np.where(what == 2, 1.0, (what == 0).astype(float))
        else:
            then = rng.uniform(
                0.5, 0.58, size=n
            )  # so far from both ends that none is cut: that would be a loss
            now = np.clip(then - lost + rng.uniform(-1.0, 1.0, size=n) * SD * sqrt(3), 0.0, 1.0)
        ids = tuple(map(str, range(n)))
        sides = (
            Scores(ScoreVector(name, "right", kind, ids, tuple(values.tolist()), (None,) * n), alpha=ALPHA)
            for name, values in (("now", now), ("then", then))
        )
        mine, theirs = sides
        found.append(mine >= theirs - margin)
    return found


def blocked(
    kind: Kind, n: int, gates: int, margin: float, loss: float, draws: int, *, only_one: bool = False
) -> float:
    """The share of runs of which some gate is refuted."""
    rng = np.random.default_rng([SEED, n, gates, round(1000 * margin), round(1e6 * loss)])
    count = 0
    for _ in range(draws):
        made = claims(kind, n, gates, margin, loss, rng, only_one=only_one)
        if any(claim.outcome is Outcome.REFUTED for claim in made):
            judged = at_shared_level(made, ALPHA)
            count += any(claim.outcome is Outcome.REFUTED for claim in judged)
    return count / draws


def said(kind: Kind, n: int, gates: int, margin: float) -> float:
    """The loss that the product says these rows show, as the mean of many runs without a change."""
    rng = np.random.default_rng(SEED)
    losses = [smallest_loss(claims(kind, n, 1, margin, 0.0, rng)[0], ALPHA, gates) for _ in range(50)]
    return float(np.mean([loss for loss in losses if loss is not None]))
