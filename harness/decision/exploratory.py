"""What else the rows hold, beside the claims: exploratory, never a gate.

Whether anything changed at all, in either direction. Ungrouped wins and losses are judged by the exact
McNemar test (Q. McNemar 1947, Psychometrika 12:153): the discordant rows are as many heads and tails. All
others by a sign-flip permutation test of the mean difference, in which a cluster's rows are flipped together;
where the sums of all flips are as good as normal, by that limit.
Over several suites the p-values are adjusted by S. Holm (1979), Scand. J. Statistics 6:65.

A difference broken down by row metadata. P-values are two-sided, since a slice may gain or lose, and adjusted
over the slices that have one by Y. Benjamini and Y. Hochberg (1995), J. R. Stat. Soc. B 57:289.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from harness.decision.estimates import MIN_CLUSTERS, MIN_ROWS, Rows, cluster_sums, pair
from harness.decision.paired import compare_rows
from harness.decision.vectors import SuiteUnits
from harness.errors import UnknownName, UsageError
from harness.records import Comparison, Kind, ScoreVector

FLIPS = 9_999
# of the fourth cumulant of the sums, which moves no p by 0.0001: drawing flips moves one of 0.05 by 0.002
MOST_CUMULANT = 1 / 1_000


@dataclass(frozen=True, slots=True)
class Change:
    """A two-sided test of "candidate and baseline score the same on average"."""

    score: str
    candidate: str
    baseline: str
    n: int
    difference: float | None
    p: float | None  # None where fewer than 10 rows or clusters have a value on both sides
    method: str  # "exact McNemar", "sign flips", "none"


class Adjusted(NamedTuple):
    """A change and its p-value, adjusted for all that were looked at; None where it has none."""

    change: Change
    holm_p: float | None


def anything_changed(
    candidate: ScoreVector,
    baseline: ScoreVector | float,
    generator: np.random.Generator,
    flips: int = FLIPS,
) -> Change:
    """Did anything change? A number as the baseline is for preferences only, and is then 0.5.

    Sign flips are drawn from ``generator``, or enumerated where there are no more than ``flips`` of them.

    Raises:
        UsageError: vectors that do not belong together, or a number where it means nothing.
    """
    if not isinstance(baseline, ScoreVector) and (candidate.kind is not Kind.PREFERENCE or baseline != 0.5):
        raise UsageError(
            "what changed is asked of two candidates on the same rows, or of a preference against 0.5: "
            f"{candidate.score} of {candidate.subject} was set against {baseline:g}."
        )
    rows = pair(candidate, baseline)
    seen = rows.only(rows.usable)
    n = len(seen.candidate)
    p: float | None = None
    method = "none"
    if n >= MIN_ROWS and (seen.clusters is None or seen.n_units >= MIN_CLUSTERS):
        if seen.clusters is None and seen.wins_and_losses is not None:
            from scipy.stats import binomtest  # scipy.stats takes a second to import

            won, lost = (int(np.count_nonzero(side)) for side in seen.wins_and_losses)
            p = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
            method = "exact McNemar"
        else:
            p, method = _sign_flips(seen, generator, flips), "sign flips"
    name = baseline.subject if isinstance(baseline, ScoreVector) else f"{baseline:g}"
    difference = float(seen.differences.mean()) if n else None
    return Change(candidate.score, candidate.subject, name, n, difference, p, method)


def which_changed(changes: Sequence[Change]) -> tuple[Adjusted, ...]:
    """Each change with its Holm-adjusted p, in the order given; those without a p are not counted."""
    tested = sorted((change.p, at) for at, change in enumerate(changes) if change.p is not None)
    adjusted: dict[int, float] = {}
    reached = 0.0
    for rank, (p, at) in enumerate(tested):
        reached = max(reached, min(1.0, (len(tested) - rank) * p))
        adjusted[at] = reached
    return tuple(Adjusted(change, adjusted.get(at)) for at, change in enumerate(changes))


def _sign_flips(seen: Rows, generator: np.random.Generator, flips: int) -> float:
    sums = seen.differences if seen.clusters is None else cluster_sums(seen.clusters, seen.differences)[0]
    moved = sums[np.abs(sums) > 1e-12]  # a flip leaves the others as they are
    squares = float(np.sum(moved**2))
    whole = abs(float(moved.sum()))
    if 2.0 * float(np.sum(moved**4)) < MOST_CUMULANT * squares**2:
        return math.erfc(whole / math.sqrt(2.0 * squares))
    # eight signs are a byte, and what each of its 256 values makes of their sums is known before
    eights = np.pad(moved, (0, -len(moved) % 8)).reshape(-1, 8)
    signs = 1.0 - 2.0 * np.unpackbits(
        np.arange(256, dtype=np.uint8)[:, np.newaxis], axis=1, bitorder="little"
    )
    table, at = eights @ signs.T, np.arange(len(eights))
    reached = whole - 1e-9 * float(np.abs(moved).sum())  # sums of the same rows, but for their rounding
    if 2 ** len(moved) <= flips:  # all of them; the bits of what there is not are flips of zeros
        every = np.arange(2 ** len(moved), dtype="<u4").view(np.uint8).reshape(-1, 4)[:, : len(eights)]
        return float(np.mean(np.abs(table[at, every].sum(axis=1)) >= reached))
    count, batch = 1, 1 + 1_000_000 // len(eights)  # what was seen is one of the flips
    for done in range(0, flips, batch):
        drawn = generator.integers(256, size=(min(batch, flips - done), len(eights)), dtype=np.uint8)
        count += int(np.count_nonzero(np.abs(table[at, drawn].sum(axis=1)) >= reached))
    return count / (flips + 1)


class Slice(NamedTuple):
    """One value of the slicing key."""

    value: str
    comparison: Comparison
    bh_adjusted_p: float | None  # None where the slice has too few rows, or no spread, for an interval


def by_slice(
    units: SuiteUnits, candidate: ScoreVector, baseline: ScoreVector | float, key: str, alpha: float = 0.05
) -> tuple[Slice, ...]:
    """The paired difference in each slice of ``key``, in the order in which the suite shows the values.

    The interval and outcome of each comparison are its own, without adjustment: read ``bh_adjusted_p``
    before believing one slice among many. Rows without the key are in no slice.

    Raises:
        UnknownName: no row has ``key``.
        UsageError: vectors of different rows.
    """
    from scipy.stats import false_discovery_control  # scipy.stats takes a second to import

    of_rows = units.slices
    if candidate.row_ids != units.row_ids:
        slices_of = dict(zip(units.row_ids, units.slices, strict=True))
        of_rows = tuple(slices_of[row_id] for row_id in candidate.row_ids)
    places: defaultdict[str, list[int]] = defaultdict(list)
    for at, slices in enumerate(of_rows):
        if key in slices:
            places[slices[key]].append(at)
    if not places:
        known = {name for slices in units.slices for name in slices}
        raise UnknownName("slice", key, known, f"Suite: {units.suite}.")
    rows = pair(candidate, baseline)
    found = []
    for those in places.values():
        chosen = np.array(those, np.int64)
        mine = rows.only(chosen)
        if mine.clusters is not None and mine.n_units == len(chosen):  # of each group one row
            mine = replace(mine, clusters=None)
        found.append(compare_rows(mine, candidate, baseline, alpha=alpha, at=chosen))
    two_sided = [None if p is None else 2 * min(p, 1 - p) for p in (one.p_one_sided for one in found)]
    tested = [p for p in two_sided if p is not None]
    adjusted = iter(false_discovery_control(tested).tolist() if tested else [])
    return tuple(
        Slice(value, comparison, None if p is None else float(next(adjusted)))
        for value, comparison, p in zip(places, found, two_sided, strict=True)
    )
