"""What a judge's anchors see: ``python -m benchmarks.anchors``. Seconds; seeded.

A judge grades 40 labelled replies, half of them good, on 5 levels, and later grades them again. Each grade
differs from the judge's own by a level, in either direction, with the given chance: hosted models waver at
temperature 0, too. Then each grade falls by a level with another chance, so that the mean moves; or good ones
fall and bad ones rise, so that it does not.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from harness.records import Answer, Row
from harness.scoring.drift import LEVEL, MOST_ANCHORS, Anchor, compared

TRIALS = 1_000
SCALE = 5
WAVERS = (0.0, 0.1, 0.3)
SHIFTS = (0.0, 5.0, 10.0, 15.0)  # points
ANCHORS = [
    Anchor(f"{k:02}", Row("", ()), Answer("", "", 0, 0, 0.0), k < MOST_ANCHORS // 2)
    for k in range(MOST_ANCHORS)
]

Levels = NDArray[np.int64]


def graded(own: Levels, waver: float, chance: np.random.Generator) -> Levels:
    """The levels that the judge gives this time."""
    step = np.where(chance.random(own.shape) < waver, chance.choice((-1, 1), own.shape), 0)
    return np.asarray(np.clip(own + step, 1, SCALE), dtype=np.int64)


def measured(waver: float, points: float, *, closer: bool = False, seed: int = 0) -> float:
    """The share of judges that are found to have moved.

    Args:
        points: by which the mean falls; where they come ``closer``, good replies fall and bad ones rise so.
    """
    chance = np.random.default_rng(seed)
    half = MOST_ANCHORS // 2
    good, bad = chance.integers(3, SCALE + 1, (TRIALS, half)), chance.integers(1, 4, (TRIALS, half))
    own = np.concatenate([good, bad], axis=1)
    down = np.where(np.arange(MOST_ANCHORS) >= half, 1, -1) if closer else np.full(MOST_ANCHORS, -1)
    # a level is 100 / (scale - 1) points, and a grade of 1 cannot fall
    can = (own + down >= 1) & (own + down <= SCALE)
    moving = points / 100 * (SCALE - 1) / float(can.mean())
    later = graded(own + down * (can & (chance.random(own.shape) < moving)), waver, chance)
    first = graded(own, waver, chance)
    found = [compared(ANCHORS, scores(a), scores(b)).moved for a, b in zip(first, later, strict=True)]
    return float(np.mean(found))


def scores(levels: Levels) -> dict[str, float]:
    """By the anchors' keys."""
    return {anchor.key: (int(n) - 1) / (SCALE - 1) for anchor, n in zip(ANCHORS, levels, strict=True)}


def main() -> int:
    """Print the table."""
    heads = "".join(f"{f'{waver:.0%} waver':>14}" for waver in WAVERS)
    lines = [f"{MOST_ANCHORS} anchors on {SCALE} levels, {LEVEL:.0%}, {TRIALS:,} judges a cell:"]
    for closer in (False, True):
        lines.append(f"{'good by -, bad +' if closer else 'mean moved by':<18}{heads}")
        for points in SHIFTS:
            cells = "".join(f"{measured(waver, points, closer=closer):>14.1%}" for waver in WAVERS)
            lines.append(f"{points:>9.1f} points  {cells}")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
