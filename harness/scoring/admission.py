"""A judge has to earn its vote: its agreement with people, on labels it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from harness.errors import UsageError
from harness.records import Admission, Rate

MIN_KAPPA, MIN_TPR, MIN_TNR = 0.6, 0.8, 0.8
_Z95 = 1.959963984540054


def admit(
    judge: str, truth: Sequence[bool], predicted: Sequence[bool], *, threshold: float, n_calibration: int
) -> Admission:
    """Admitted when kappa, TPR and TNR (point estimates) reach their bars: .6, .8 and .8.

    Args:
        judge: its name.
        truth: the label that people gave to each reply; True is good.
        predicted: the judge's label of the same replies.
        threshold: the score from which it calls a reply good.
        n_calibration: number of other labels that it was calibrated on.

    Raises:
        UsageError: the labels are not one each, or all alike.
    """
    if len(truth) != len(predicted):
        raise UsageError(f"{judge}: {len(truth)} labels but {len(predicted)} judgments")
    if len(set(truth)) < 2:
        raise UsageError(f"{judge}: admission needs labels of both kinds, good and bad")
    hits, rejections = (
        [guess == kind for label, guess in zip(truth, predicted, strict=True) if label == kind]
        for kind in (True, False)
    )
    kappa = cohen_kappa(truth, predicted)
    tpr, tnr = wilson(sum(hits), len(hits)), wilson(sum(rejections), len(rejections))
    bars = (("kappa", kappa, MIN_KAPPA), ("TPR", tpr, MIN_TPR), ("TNR", tnr, MIN_TNR))
    missed = tuple(
        f"{name} {rate.value:.2f} ({rate.low:.2f} to {rate.high:.2f}, n={rate.n}) is below {bar:g}"
        for name, rate, bar in bars
        if rate.value < bar
    )
    return Admission(judge, not missed, kappa, tpr, tnr, threshold, n_calibration, len(truth), missed)


def wilson(hits: int, n: int) -> Rate:
    """A share with Wilson's (1927) two-sided 95% interval; ``n`` is at least 1."""
    from scipy.stats import binomtest  # scipy.stats takes a second to import

    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return Rate(hits / n, float(interval.low), float(interval.high), n)


def cohen_kappa(first: Sequence[bool], second: Sequence[bool]) -> Rate:
    """Cohen's kappa (1960) of two binary ratings, with its large-sample two-sided 95% interval.

    The standard error is that of Fleiss, Cohen and Everitt (1969) for a non-zero kappa. Two constant and
    equal ratings have kappa 0: there was nothing to agree on.
    """
    n, labels = len(first), (True, False)
    pairs = list(zip(first, second, strict=True))
    cell = {(i, j): pairs.count((i, j)) / n for i in labels for j in labels}
    row = {i: cell[i, True] + cell[i, False] for i in labels}
    column = {j: cell[True, j] + cell[False, j] for j in labels}
    observed = cell[True, True] + cell[False, False]
    expected = sum(row[i] * column[i] for i in labels)
    if expected == 1:
        return Rate(0.0, 0.0, 0.0, n)
    kappa = (observed - expected) / (1 - expected)
    on_diagonal = sum(cell[i, i] * (1 - (row[i] + column[i]) * (1 - kappa)) ** 2 for i in labels)
    off_diagonal = (1 - kappa) ** 2 * sum(cell[i, not i] * (column[i] + row[not i]) ** 2 for i in labels)
    chance = (kappa - expected * (1 - kappa)) ** 2
    variance = max(0.0, on_diagonal + off_diagonal - chance) / ((1 - expected) ** 2 * n)
    half = _Z95 * sqrt(variance)
    return Rate(kappa, max(-1.0, kappa - half), min(1.0, kappa + half), n)
