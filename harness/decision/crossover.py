"""Which candidates are worth their cost, and from how many requests on tuning pays. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def crossover(once_usd: float, tuned_usd_per_1000: float, other_usd_per_1000: float) -> float | None:
    """The requests after which a tuned model has paid for what it costs once by what each request saves.

    ``once_usd`` is training and rows, less what the other costs once. None: never, since it saves nothing.
    A difference in quality has no price here.
    """
    saving = (other_usd_per_1000 - tuned_usd_per_1000) / 1000.0
    return max(0.0, once_usd) / saving if saving > 0 else None


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
