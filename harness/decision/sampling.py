"""Which rows people are to label, drawn with known probabilities.

A row whose judgment is in doubt teaches more of the judge's errors than one that is clear. Drawing it with a
higher probability, and counting it by the inverse of that, makes the corrected interval shorter and leaves it
unbiased: T. Zrnic and E. J. Candès (2024), "Active statistical inference", arXiv 2403.03208. As there, the
probabilities are mixed with equal ones, so that a judge that is sure and wrong cannot spoil the estimate.

The sample has a fixed size and holds each row with exactly its probability: rows are left out one by one,
each with the chance that makes this so (Y. Tillé 1996, Biometrika 83:238). So a larger sample holds a smaller
one that was drawn by the same seed: nothing that was labelled is lost where more is labelled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from harness.decision.student import Values
from harness.errors import UsageError

Places: TypeAlias = npt.NDArray[np.int64]

FLOOR = (
    0.25  # share of the draw that is spread evenly: no row counts over 4 times as under equal probabilities
)
CORRELATIONS = (0.5, 0.7, 0.9)  # of judged and true differences, shown before any label says what it is
SPREAD = 0.5**0.5  # of true differences, where either side is good half of the time, each for itself
PLANNED_LABELS = (25, 50, 100, 200)
_NORMAL_95 = 1.959964
_DOUBT, _DIFFERENT = 0.05, 0.25  # how often a judge that is sure errs; what a judged difference adds


def expected_errors(candidate: Values, baseline: Values, threshold: float = 0.5) -> Values:
    """How far each row's judged difference is likely to be from the true one: a positive size each.

    A score is read as the probability that a person would call the answer good, drawn a little towards one
    half, since no judge is sure. The two answers' variances add up. To them comes a part of the judged
    difference: where most answers are good, a judge that sees a difference errs more often than one that
    sees none.

    Args:
        candidate, baseline: the scores, shape ``(N,)``, nan where there is none: nothing is known of it.
        threshold: the score that says nothing, from which an answer counts as good.
    """
    middle = threshold if 0.0 < threshold < 1.0 else 0.5
    sides = []
    for scores in (candidate, baseline):
        good = np.interp(scores, (0.0, middle, 1.0), (_DOUBT, 0.5, 1.0 - _DOUBT))
        sides.append(np.where(np.isnan(scores), 0.5, good))
    first, second = sides
    variance = first * (1.0 - first) + second * (1.0 - second)
    return np.sqrt(variance + _DIFFERENT * (first - second) ** 2)


def draw(sizes: Values, n_labels: int, seed: int) -> tuple[Places, Values]:
    """The places of the rows to label, ascending, and the probability of each row of all to be drawn.

    Probabilities are proportional to the sizes and at most 1. The sizes are first mixed with their mean, so
    that no probability is below ``FLOOR * n / N``.

    Raises:
        UsageError: a size that is not a positive number, or more labels than rows.
    """
    n = len(sizes)
    if not (np.isfinite(sizes).all() and (sizes > 0.0).all()):
        raise UsageError("every row needs a positive size to be drawn by.")
    if not 0 <= n_labels <= n:
        raise UsageError(f"{n_labels} labels cannot be drawn from {n} rows.")
    mixed = FLOOR + (1.0 - FLOOR) * sizes / sizes.mean() if n else sizes
    order = np.argsort(-mixed, kind="stable")
    ladder = _Ladder(mixed[order])
    probabilities = np.empty(n)
    probabilities[order] = ladder.probabilities(n_labels)
    return np.sort(order[_left(ladder, n_labels, seed)]), probabilities


class _Ladder:
    """Inclusion probabilities of samples of every size, for sizes in descending order.

    At each sample size the first rows are certain, and the others share what is left by their sizes.
    """

    def __init__(self, sizes: Values) -> None:
        self.sizes = sizes
        self.rest = np.append(np.cumsum(sizes[::-1])[::-1], 0.0)  # the sum of the sizes from each place on

    def certain(self, n_labels: int, at_most: int) -> int:
        """How many of the first rows are certain, where it is known that no more than ``at_most`` are."""
        while at_most and (n_labels - at_most + 1) * self.sizes[at_most - 1] < self.rest[at_most - 1]:
            at_most -= 1
        return at_most

    def probabilities(self, n_labels: int) -> Values:
        """Of all rows, for samples of that size."""
        certain = self.certain(n_labels, n_labels)
        found = np.ones(len(self.sizes))
        if certain < len(self.sizes):
            found[certain:] = (n_labels - certain) * self.sizes[certain:] / self.rest[certain]
        return np.minimum(found, 1.0)


def _left(ladder: _Ladder, n_labels: int, seed: int) -> Places:
    """The places that are left when all but ``n_labels`` rows were left out, one by one.

    From one sample size to the next smaller one, each row is left out by 1 less the ratio of its
    probabilities. Those who were not certain before share one ratio, so that any of them is as likely.
    """
    chance = np.random.default_rng(seed)
    n = certain = len(ladder.sizes)
    pool: list[int] = []  # rows that are in, and no longer certain
    for size in range(n - 1, n_labels - 1, -1):
        before, certain = certain, ladder.certain(size, min(certain, size))
        new = np.arange(certain, before)
        ratio = (size - certain) / ladder.rest[certain]
        leaving = np.cumsum(np.maximum(1.0 - ratio * ladder.sizes[new], 0.0))
        at = int(np.searchsorted(leaving, chance.random(), side="right"))
        pick = chance.random()
        if at < len(new):
            pool += [place for place in new.tolist() if place != certain + at]
        elif pool:
            k = int(pick * len(pool))
            pool[k] = pool[-1]
            pool[-1:] = new.tolist()
        else:  # by rounding alone
            pool += new[:-1].tolist()
    return np.array([*range(certain), *pool], dtype=np.int64)


def labels_saved(n_labels: int, n_rows: int, correlation: float) -> float:
    """How many further labels would give the same interval without the judge.

    Of the variance of labels alone, the judge takes away the share ``ρ² (1 - m / N)``, with ``ρ`` the
    correlation of judged and true differences (A. N. Angelopoulos, J. C. Duchi and T. Zrnic 2023, arXiv
    2311.01453).
    """
    taken = correlation**2 * (1.0 - n_labels / n_rows) if n_rows else 0.0
    return n_labels * taken / (1.0 - taken) if taken < 1.0 else float(n_rows - n_labels)


@dataclass(frozen=True, slots=True)
class LabelGain:
    """What so many labelled rows would show, before they are labelled."""

    labels: int
    alone: float  # without the judge: half of the interval between the one-sided limits, in score units
    shares: tuple[float, ...]  # of the standard error that is left with a judge, for each correlation


def label_gains(
    n_rows: int, correlations: tuple[float, ...], spread: float = SPREAD, alpha: float = 0.05
) -> Iterator[LabelGain]:
    """The gain at each number of labels that these rows allow, drawn evenly; see ``labels_saved``.

    Args:
        n_rows: rows that the judge scores.
        correlations: of judged and true differences; one below 0 is no gain.
        spread: standard deviation of the true differences.
    """
    for m in sorted({min(m, n_rows) for m in PLANNED_LABELS}):
        if m > 2:
            alone = float(stdtrit(m - 2, 1.0 - alpha)) * spread / m**0.5
            left = (1.0 - max(rho, 0.0) ** 2 * (1.0 - m / n_rows) for rho in correlations)
            yield LabelGain(m, alone, tuple(share**0.5 for share in left))


def correlation_interval(value: float, n: int) -> tuple[float, float]:
    """The 95% interval of a correlation of ``n`` pairs (R. A. Fisher 1921, Metron 1:3); all of it below 4."""
    if n < 4 or abs(value) >= 1.0:
        return (-1.0, 1.0) if n < 4 else (value, value)
    middle, reach = np.arctanh(value), _NORMAL_95 / np.sqrt(n - 3)
    return float(np.tanh(middle - reach)), float(np.tanh(middle + reach))


def correlation(judged: Values, true: Values, probabilities: Values) -> float | None:
    """The correlation of judged and true differences of labelled rows, by inverse probability.

    None where all of one are equal.
    """
    if len(judged) < 2:
        return None
    weights = 1.0 / probabilities
    centred = [side - np.average(side, weights=weights) for side in (judged, true)]
    spreads = [float((weights * side**2).sum()) for side in centred]
    if min(spreads) <= 1e-12:
        return None
    return float((weights * centred[0] * centred[1]).sum()) / float(np.sqrt(spreads[0] * spreads[1]))


def spread(values: Values, probabilities: Values) -> float | None:
    """The standard deviation of labelled rows, by inverse probability; None of fewer than two."""
    n = len(values)
    if n < 2:
        return None
    weights = 1.0 / probabilities
    centred = values - np.average(values, weights=weights)
    return float(np.sqrt(np.average(centred**2, weights=weights) * n / (n - 1)))
