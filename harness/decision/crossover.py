"""Which candidates are worth their cost: the efficient ones, and from how many requests on tuning pays. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Crossover:
    """A tuned model against another: what it saves, and the requests after which that has paid for it."""

    saving_usd_per_1000: float  # negative where the tuned one costs more a request
    requests: float | None  # None: never

    def a_day(self, horizon_days: float) -> float | None:
        """Requests a day from which on it pays within the horizon; None: never."""
        return None if self.requests is None else self.requests / horizon_days


def crossover(once_usd: float, tuned_usd_per_1000: float, other_usd_per_1000: float) -> Crossover:
    """When what tuning costs once (training, rows) is paid by cheaper requests; points are not priced here."""
    saving = other_usd_per_1000 - tuned_usd_per_1000
    return Crossover(saving, 1000.0 * once_usd / saving if saving > 0 else None)


def efficient(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The names of (cost, quality) that no other beats: none is as good for less, or better for as much.

    Ascending by cost. Points that are equal in both are efficient together.
    """
    found: list[str] = []
    best = float("-inf")
    for name, (cost, quality) in sorted(points.items(), key=lambda item: (item[1][0], -item[1][1])):
        if quality > best or (found and points[found[-1]] == (cost, quality)):
            found.append(name)
            best = quality
    return found
