"""What it is worth to know more before deciding: the expected value of sample information, less its cost.

To ship earns a net that is not known exactly; not to ship earns nothing. Who decides now takes the better of
the two by what is expected. Who looks once more decides after what is seen, and so loses less in the cases in
which today's choice is wrong. Where the net is normal and so is what is seen, the value has a closed form
(Raiffa and Schlaifer 1961, Applied Statistical Decision Theory, chapter 5): ``s L(|net| / s)``, with ``s``
the standard deviation of what one will expect after looking and ``L`` the unit normal loss.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from typing import Literal, TypeAlias

import numpy as np
from scipy.special import ndtr

from harness.decision.student import Values

What: TypeAlias = Literal["collect rows", "test more", "label more", "another seed", "decide now"]

#: Standard deviation between trainings of one recipe, in score units, where one seed shows none.
PLANNED_SEED_SD = 0.012


@dataclass(frozen=True, slots=True)
class Option:
    """One way to know more, or to stop. None: not known, and ``why_not`` says why."""

    what: What
    more: str  # such as "100 held-out rows"
    worth_usd: float | None
    cost_usd: float | None
    why_not: str = ""

    @property
    def net_usd(self) -> float | None:
        """Its worth less its cost."""
        known = self.worth_usd is not None and self.cost_usd is not None
        return (self.worth_usd or 0.0) - (self.cost_usd or 0.0) if known else None


def unit_normal_loss(distance: Values | float) -> Values:
    """The expected excess of a standard normal over ``distance``."""
    u = np.clip(np.asarray(distance, dtype=np.float64), -40.0, 40.0)  # beyond it nothing is left
    loss: Values = np.exp(-u * u / 2) / sqrt(2 * np.pi) - u * ndtr(-u)
    return loss


def worth_of_looking(net_usd: float, resolved_sd: float) -> float:
    """Expected dollars more by deciding after looking.

    Args:
        net_usd: that shipping is expected to earn; not shipping earns 0.
        resolved_sd: standard deviation of the net that one will expect after looking, which is the square
            root of the variance that looking takes away.
    """
    if resolved_sd <= 0.0:
        return 0.0
    return resolved_sd * float(unit_normal_loss(abs(net_usd) / resolved_sd))


def resolved_by_more(variance_of_mean: float, now: float, more: float) -> float:
    """The variance of a mean over ``now`` that ``more`` of the same take away."""
    return variance_of_mean * more / (now + more)


def worth_of_gains(net_usd: float, gained_usd: Values, weight: Values) -> float:
    """Expected dollars more where the net rises by one of several gains, seen before deciding.

    Args:
        net_usd: as it is now.
        gained_usd: what may be added to it.
        weight: how likely each is; sums to 1.
    """
    return max(float(np.maximum(net_usd + gained_usd, 0.0) @ weight) - max(net_usd, 0.0), 0.0)


def ranked(options: Iterable[Option]) -> list[Option]:
    """The best first, "decide now" among them at 0; what is not known last."""
    every = [*options, Option("decide now", "", 0.0, 0.0)]
    return sorted(every, key=lambda one: (one.net_usd is None, -(one.net_usd or 0.0)))
