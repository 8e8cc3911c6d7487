"""Bounds of several looks that spend a level: exact for normal scores, by recursive integration.

P. Armitage, C. K. McPherson and B. C. Rowe (1969), "Repeated significance tests on accumulating data",
J. R. Stat. Soc. A 132:235. The score at a fraction t of the rows, times the root of t, is a Brownian motion
at time t; of the paths that have stayed below every bound so far, the density is carried from look to look.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import sqrt

import numpy as np
from scipy.special import ndtr

from harness.decision.student import Values

_GRID = 801  # points on which the density is held; odd, for Simpson's rule
_REACH = 8.0  # standard deviations below zero that the grid covers


@dataclass(frozen=True, slots=True)
class _GoingOn:
    """Brownian paths below all bounds so far: where they stand at ``time``, with the mass of each place."""

    time: float
    places: Values
    masses: Values

    def place_above(self, chance: float, time: float) -> float:
        """The place that they are above with this chance at a later time."""
        from scipy.optimize import brentq  # slow to import

        spread, far = sqrt(time - self.time), 12.0 * sqrt(time)

        def surplus(place: float) -> float:
            return float(self.masses @ ndtr((self.places - place) / spread)) - chance

        return float(brentq(surplus, -far, far, xtol=1e-10))

    def below(self, place: float, time: float) -> _GoingOn:
        """Those that are below ``place`` at a later time; Simpson's rule."""
        places = np.linspace(min(-_REACH * sqrt(time), place - 1.0), place, _GRID)
        spread = sqrt(time - self.time)
        steps = np.exp(-0.5 * ((places[:, None] - self.places) / spread) ** 2) / (spread * sqrt(2.0 * np.pi))
        weights = np.where(np.arange(_GRID) % 2 == 1, 4.0, 2.0)
        weights[[0, -1]] = 1.0
        return _GoingOn(time, places, steps @ self.masses * weights * (places[1] - places[0]) / 3.0)


_START = _GoingOn(0.0, np.zeros(1), np.ones(1))


@lru_cache(maxsize=64)
def efficacy_bounds(fractions: tuple[float, ...], spent: tuple[float, ...]) -> tuple[float, ...]:
    """The normal score to exceed at each look, so that ``spent`` is the chance to have exceeded one by then.

    Args:
        fractions: of all rows, rising to 1.
        spent: at each look, rising to the level of the whole; both tuples have one length.
    """
    bounds: list[float] = []
    going_on, before = _START, 0.0
    for time, total in zip(fractions, spent, strict=True):
        place = going_on.place_above(total - before, time)
        going_on, before = going_on.below(place, time), total
        bounds.append(place / sqrt(time))
    return tuple(bounds)
