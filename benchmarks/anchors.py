"""What a judge's anchors see: ``python -m benchmarks.anchors``. Seconds; seeded.

A judge grades 40 labelled replies, half of them good, on 5 levels, and later grades them again. Each grade
differs from the judge's own by a level, in either direction, with the given chance: hosted models waver at
temperature 0, too. Then each grade falls by a level with another chance, so that the mean moves.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from harness.scoring.drift import LEVEL, MOST_ANCHORS, sign_flip_p

TRIALS = 2_000
SCALE = 5
WAVERS = (0.0, 0.1, 0.3)
SHIFTS = (0.0, 5.0, 7.5, 10.0, 12.5, 15.0)  # points of the mean that are aimed at

Levels = NDArray[np.int64]


def graded(own: Levels, waver: float, chance: np.random.Generator) -> Levels:
    """The levels that the judge gives this time."""
    step = np.where(chance.random(own.shape) < waver, chance.choice((-1, 1), own.shape), 0)
    return np.asarray(np.clip(own + step, 1, SCALE), dtype=np.int64)


def measured(waver: float, points: float, seed: int = 0) -> tuple[float, float]:
    """The share of runs in which the judge is found to have moved, and the mean shift in points."""
    chance = np.random.default_rng(seed)
    half = MOST_ANCHORS // 2
    good, bad = chance.integers(3, SCALE + 1, (TRIALS, half)), chance.integers(1, 4, (TRIALS, half))
    own = np.concatenate([good, bad], axis=1)
    # a level is 100 / (scale - 1) points, and a grade of 1 cannot fall
    falls = points / 100 * (SCALE - 1) / float((own > 1).mean())
    lower = own - ((chance.random(own.shape) < falls) & (own > 1))
    differences = graded(lower, waver, chance) - graded(own, waver, chance)
    found = [sign_flip_p([int(one) for one in row]) <= LEVEL for row in differences]
    return float(np.mean(found)), 100 * float(differences.mean()) / (SCALE - 1)


def main() -> int:
    """Print the table."""
    heads = "".join(f"{f'{waver:.0%} waver':>14}" for waver in WAVERS)
    lines = [
        f"{MOST_ANCHORS} anchors on {SCALE} levels, two-sided {LEVEL:.0%}, {TRIALS:,} judges a cell:",
        f"{'mean moved by':<16}{heads}",
    ]
    for points in SHIFTS:
        cells = "".join(f"{measured(waver, points)[0]:>14.1%}" for waver in WAVERS)
        lines.append(f"{-points:>7.1f} points  {cells}")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
