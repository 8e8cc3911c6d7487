"""A difference broken down by row metadata: exploratory, never a gate.

P-values are two-sided, since a slice may gain or lose, and adjusted over the slices that have one by
Y. Benjamini and Y. Hochberg (1995), "Controlling the false discovery rate", J. R. Stat. Soc. B 57:289.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from harness.decision.paired import compare
from harness.decision.vectors import SuiteUnits, at_places
from harness.errors import UnknownName
from harness.records import Comparison, ScoreVector


class Slice(NamedTuple):
    """One value of the slicing key."""

    value: str
    comparison: Comparison
    bh_adjusted_p: float | None  # None where the slice has too few rows, or no spread, for an interval


def by_slice(
    units: SuiteUnits, candidate: ScoreVector, baseline: ScoreVector, key: str, alpha: float = 0.05
) -> tuple[Slice, ...]:
    """The paired difference in each slice of ``key``, in the order in which the suite shows the values.

    The interval and outcome of each comparison are its own, without adjustment: read ``bh_adjusted_p``
    before believing one slice among many. Rows without the key are in no slice.

    Raises:
        UnknownName: no row has ``key``.
        UsageError: vectors of different rows.
    """
    from scipy.stats import false_discovery_control  # scipy.stats takes a second to import

    slices_of = dict(zip(units.row_ids, units.slices, strict=True))
    places: defaultdict[str, list[int]] = defaultdict(list)
    for at, row_id in enumerate(candidate.row_ids):
        if key in slices_of[row_id]:
            places[slices_of[row_id][key]].append(at)
    if not places:
        known = {name for slices in units.slices for name in slices}
        raise UnknownName("slice", key, known, f"Suite: {units.suite}.")
    found = [
        compare(at_places(candidate, rows), at_places(baseline, rows), alpha=alpha)
        for rows in places.values()
    ]
    two_sided = [None if p is None else 2 * min(p, 1 - p) for p in (one.p_one_sided for one in found)]
    tested = [p for p in two_sided if p is not None]
    adjusted = iter(false_discovery_control(tested).tolist() if tested else [])
    return tuple(
        Slice(value, comparison, None if p is None else float(next(adjusted)))
        for value, comparison, p in zip(places, found, two_sided, strict=True)
    )
