"""What the rules for unkind data replaced: false claims with and without each, at the least favourable truth.

    python -m benchmarks.quality.former   # prints the table of docs/evidence.md; about a minute

"Without" is the test that stood there before: t with Hall's correction, groups weighed alike with one degree
of freedom fewer than there are groups, every candidate and every test of a grown file at the whole level.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.quality import candidates, groups, growing
from benchmarks.quality.gate_draws import STEPS, rubric_steps
from benchmarks.quality.rare_losses import ALPHA, Cell, above, claimed, falsely_shown
from harness.decision.student import Values, t_limits

DRAWS = 4_000
_SIZES = {name: groups.UNEQUAL[name] for name in list(groups.UNEQUAL)[:5]}


def main() -> None:
    """Print the table."""
    print("| at the bound | without | now |\n| --- | --: | --: |")
    for what, without, now in (*rare(), *unequal(), *lost_whole(), *tries()):
        print(f"| {what} | {100 * without:.1f}% | {now if isinstance(now, str) else f'{100 * now:.1f}%'} |")


def rare() -> Iterator[tuple[str, float, float]]:
    """Rows of which few lose much, and the others hardly move."""
    for n in (50, 100, 200, 400):
        cell = Cell(n, loss=0.5, share=0.01, bound=0.0, noise=0.02)
        plain, _ = falsely_shown(cell, np.random.default_rng(1), DRAWS, above)
        ruled, _ = falsely_shown(cell, np.random.default_rng(1), DRAWS, claimed)
        yield f"graded, 1% of {n} rows lose 50 points, the others move by 2", plain, ruled


def unequal() -> Iterator[tuple[str, float, float | str]]:
    """Rubric scores whose rows are alike within a group."""
    rng = np.random.default_rng(2)
    for name, sizes in _SIZES.items():
        chances = rubric_steps(0.0)
        sums = np.asarray(groups.group_counts(rng, DRAWS, sizes, chances, groups.ICC) @ STEPS)
        plain = float(_weighed_alike(sums, sizes).mean())
        yield f"graded, groups: {name}", plain, "no interval" if groups.reason(sizes) else _now(sums, sizes)


def lost_whole() -> Iterator[tuple[str, float, float]]:
    """Twenty equal groups of ten, some of which are lost whole."""
    for share in (0.05, 0.1):
        cell = groups.LostWhole("20 groups of 10", np.full(20, 10.0), 0.5, share, "±2 points", -0.05)
        sums = cell.drawn(np.random.default_rng(3), DRAWS)
        plain = float(_weighed_alike(sums, cell.sizes, cell.bound).mean())
        what = f"graded, {100 * share:g}% of 20 groups of 10 lose 50 points whole"
        yield what, plain, float(groups.claimed(sums, cell.sizes, cell.bound).mean())


def tries() -> Iterator[tuple[str, float, float]]:
    """Twenty equal candidates, and a file that grows as advised."""
    p = candidates.equal_candidates(np.random.default_rng(4), DRAWS, candidates.MANY)
    level = candidates.ALPHA
    yield (
        f"{candidates.MANY} candidates equal to the baseline: some GO",
        float(np.mean(p.min(axis=1) <= level)),
        float(np.mean(p.min(axis=1) <= level / candidates.MANY)),
    )
    grown = [
        float(growing.grow("binary", 100, 0.0, 0.0, 10 * DRAWS, levels).shown.mean())
        for levels in (growing.whole, growing.lowered)
    ]
    yield "a file of 100 rows that grows as advised, up to 5 times", grown[0], grown[1]


def _now(sums: Values, sizes: Values) -> float:
    return float(groups.claimed(sums, sizes, 0.0).mean())


def _weighed_alike(sums: Values, sizes: Values, bound: float = 0.0) -> Values:
    n = float(sizes.sum())
    mean = np.asarray(sums.sum(axis=-1) / n)
    low, _ = t_limits(mean, sums - mean[..., None] * sizes, n, ALPHA, len(sizes) - 1.0)
    return np.asarray(low > bound)


if __name__ == "__main__":
    main()
