"""How near a held-out row has to be to a training row to be its copy, read off the rows themselves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from harness.data.nearness import NARROW, Bounds, Near

Found: TypeAlias = list[tuple[int, Near]]  # places of the texts that are near, and how

FEW_SHARE = 0.01  # of the held-out rows: so few may be named on their nearness alone
EXPECTED_SHARE = 1 / 3  # of more than those, how many may be as near as training rows are to each other


@dataclass(frozen=True, slots=True)
class LeakBar:
    """From where nearness counts as a leak. Evidence is in nats."""

    bounds: Bounds
    in_order: float  # evidence of texts whose words are the same in their order
    otherwise: float  # of sentences that are moved, or within another text

    def is_met(self, one: Near) -> bool:
        """Whether texts that are so near are copies."""
        least = self.in_order if one.relation == "edited" else self.otherwise
        return one.is_copy(self.bounds) and one.evidence >= least


def calibrated_bar(
    wide: LeakBar,
    nearest: Iterable[Found],
    heldout: Sequence[Found],
    among: Sequence[tuple[int, Found]],
    rows: int,
) -> LeakBar:
    """The bar for these rows: the wide one, unless honest rows are too near to each other for that.

    Then the bounds are narrow, and the evidence is raised for either order. Training texts that held-out
    rows may have been copied to are no honest rows.

    Args:
        wide: with the least evidence for so many pairs.
        nearest: what each held-out row is near to.
        heldout: of those that are no exact copies.
        among: what training rows are near to, with their places.
        rows: number of held-out rows.
    """
    narrow = replace(wide, bounds=NARROW)
    half = FEW_SHARE / 2
    ways = (
        (wide, ("any",), half, 1.0),
        (narrow, ("any",), FEW_SHARE, 0.0),
        (narrow, ("in order", "otherwise"), half, 0.0),
    )
    raised: list[float] = []
    for bar, orders, few, errors in ways:
        suspected = {place for near in nearest for place, one in near if bar.is_met(one)}
        honest = [
            [(place, one) for place, one in near if place not in suspected]
            for at, near in among
            if at not in suspected
        ]
        raised = [
            _least_evidence(
                [_evidence(near, bar, order) for near in heldout],
                [_evidence(near, bar, order) for near in honest],
                bar.in_order,
                few=few * rows,
                errors=errors,
            )
            for order in orders
        ]
        if raised == [bar.in_order]:
            return bar
    return LeakBar(NARROW, *raised)


def _evidence(found: Found, bar: LeakBar, order: str) -> float:
    """The strongest evidence that meets the bar, among relations of that order."""
    return max(
        (
            one.evidence
            for _, one in found
            if order in ("any", "in order" if one.relation == "edited" else "otherwise") and bar.is_met(one)
        ),
        default=0.0,
    )


def _least_evidence(
    heldout: Sequence[float], among: Sequence[float], start: float, *, few: float, errors: float
) -> float:
    """The evidence from which nearness counts as a leak.

    It is raised from ``start`` until either ``few`` held-out rows are named, or of those named at most a
    third would be expected, had the held-out rows been drawn like the training rows (with so many standard
    ``errors`` on top).
    """
    levels = [start, *sorted(one for one in heldout if one > start)]
    for least in levels:
        named = sum(one >= least for one in heldout)
        as_near = sum(one >= least for one in among)
        expected = (as_near + errors * math.sqrt(as_near)) / max(len(among), 1) * len(heldout)
        if named <= few or expected <= EXPECTED_SHARE * named:
            return least
    return float("inf")
