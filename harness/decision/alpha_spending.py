"""Boundaries of a group-sequential design that spends a level: exact for normal scores.

P. Armitage, C. K. McPherson and B. C. Rowe (1969), "Repeated significance tests on accumulating data",
J. R. Stat. Soc. A 132:235. The score at a fraction t of the rows, times the root of t, is a Brownian motion
at time t; of the paths that have stayed below every bound so far, the density is carried from look to look
by recursive integration.
"""

from __future__ import annotations

from functools import lru_cache
from math import sqrt

import numpy as np
from scipy.special import ndtr

_GRID = 801  # points on which the density is held; odd, for Simpson's rule
_REACH = 8.0  # standard deviations below zero that the grid covers


@lru_cache(maxsize=64)
def efficacy_bounds(fractions: tuple[float, ...], spent: tuple[float, ...]) -> tuple[float, ...]:
    """The normal score to exceed at each look, so that ``spent`` is the chance to have exceeded one by then.

    Args:
        fractions: of all rows, rising to 1.
        spent: at each look, rising to the level of the whole; both tuples have one length.
    """
    from scipy.optimize import brentq  # slow to import

    simpson = np.where(np.arange(_GRID) % 2 == 1, 4.0, 2.0)
    simpson[[0, -1]] = 1.0
    # the paths below all bounds so far: where they are at time ``before``, and the mass at each place
    places, masses = np.zeros(1), np.ones(1)
    before, spent_before = 0.0, 0.0
    bounds: list[float] = []
    for time, total in zip(fractions, spent, strict=True):
        sd, chance = sqrt(time - before), total - spent_before

        def surplus(place: float) -> float:
            return float(masses @ ndtr((places - place) / sd)) - chance  # noqa: B023 - called in this turn only

        far = 12.0 * sqrt(time)
        place = float(brentq(surplus, -far, far, xtol=1e-10))
        grid = np.linspace(min(-_REACH * sqrt(time), place - 1.0), place, _GRID)
        density = np.exp(-0.5 * ((grid[:, None] - places) / sd) ** 2) / (sd * sqrt(2.0 * np.pi)) @ masses
        places, masses = grid, density * simpson * (grid[1] - grid[0]) / 3.0
        before, spent_before = time, total
        bounds.append(place / sqrt(time))
    return tuple(bounds)
