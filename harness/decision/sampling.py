"""Which rows people are to label, drawn with known probabilities.

A row whose judgment is in doubt teaches more of the judge's errors than one that is clear. Drawing it with a
higher probability, and counting it by the inverse of that, makes the corrected interval shorter and leaves it
unbiased: T. Zrnic and E. J. Candès (2024), "Active statistical inference", arXiv 2403.03208. As there, the
probabilities are mixed with equal ones, so that a judge that is sure and wrong cannot spoil the estimate.

The sample has a fixed size and holds each row with exactly its probability: systematic sampling (W. G. Madow
1949, Ann. Math. Stat. 20:333) along a random order of the rows (H. O. Hartley and J. N. K. Rao 1962, Ann.
Math. Stat. 33:350), which makes nearly all pairs of rows possible.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from harness.decision.student import Values
from harness.errors import UsageError

Places: TypeAlias = npt.NDArray[np.int64]

FLOOR = (
    0.25  # share of the draw that is spread evenly: no row counts over 4 times as under equal probabilities
)
CORRELATIONS = (0.5, 0.7, 0.9)  # of judged and true differences, shown before any label says what it is
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


def inclusion_probabilities(sizes: Values, n_labels: int) -> Values:
    """The probability of each row to be among ``n_labels`` drawn; they add up to ``n_labels``.

    They are proportional to the sizes, at most 1, and mixed with equal ones: at least ``FLOOR * n / N``.

    Raises:
        UsageError: a size that is not a positive number, or more labels than rows.
    """
    n = len(sizes)
    if not (np.isfinite(sizes).all() and (sizes > 0.0).all()):
        raise UsageError("every row needs a positive size to be drawn by.")
    if not 0 <= n_labels <= n:
        raise UsageError(f"{n_labels} labels cannot be drawn from {n} rows.")
    if n_labels == n:
        return np.ones(n)
    certain = np.zeros(n, dtype=np.bool_)
    proportional = np.zeros(n)
    while True:  # rows that are drawn for certain leave the others a smaller share
        left = n_labels - int(certain.sum())
        proportional = np.where(certain, 1.0, left * sizes / sizes[~certain].sum())
        above = (proportional > 1.0) & ~certain
        if not above.any():
            return np.minimum(FLOOR * n_labels / n + (1.0 - FLOOR) * proportional, 1.0)
        certain |= above


def drawn(probabilities: Values, seed: int) -> Places:
    """The places of the drawn rows, ascending: each with its probability, their number always the same.

    Args:
        probabilities: in (0, 1]; their sum is a whole number, the size of the sample.

    Raises:
        UsageError: the sum is not a whole number.
    """
    total = round(float(probabilities.sum()))
    if abs(float(probabilities.sum()) - total) > 1e-6:
        raise UsageError("the probabilities of a draw of fixed size add up to a whole number.")
    chance = np.random.default_rng(seed)
    is_certain = probabilities > 1.0 - 1e-9
    certain = np.flatnonzero(is_certain)
    order = chance.permutation(np.flatnonzero(~is_certain))
    steps = np.concatenate(([0.0], np.cumsum(probabilities[order])))
    steps[-1] = total - len(certain)  # without what rounding adds
    passed = np.floor(steps + chance.random())
    return np.sort(np.concatenate((certain, order[np.diff(passed) > 0.0]))).astype(np.int64)


def labels_saved(n_labels: int, n_rows: int, correlation: float) -> float:
    """How many further labels would give the same interval without the judge.

    Of the variance of labels alone, the judge takes away the share ``ρ² (1 - m / N)``, with ``ρ`` the
    correlation of judged and true differences (A. N. Angelopoulos, J. C. Duchi and T. Zrnic 2023, arXiv
    2311.01453).
    """
    taken = correlation**2 * (1.0 - n_labels / n_rows) if n_rows else 0.0
    return n_labels * taken / (1.0 - taken) if taken < 1.0 else float(n_rows - n_labels)


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
