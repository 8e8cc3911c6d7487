"""Admission of a judge: how often one that is worth it is turned away, and one that is not gets in."""

from __future__ import annotations

import numpy as np
from scipy.stats import binom

from benchmarks.results import Options, Result
from harness.records import Rate
from harness.scoring.admission import MIN_LABELS_OF_A_KIND, missed_bars

BAD, GOOD = (0.70, 0.75), (0.88, 0.88)  # true-positive and true-negative rates
MOST_BAD_ADMITTED = 0.07
LABELS = (MIN_LABELS_OF_A_KIND, 50, 100)  # of each kind in the test half
UNBALANCED = 450, 50  # good and bad


def measure(options: Options) -> list[Result]:
    """Both rates at the fewest labels that admit, and at more; exact, by binomial enumeration."""
    few = MIN_LABELS_OF_A_KIND
    found = [
        Result(
            name="admission: a bad judge gets in",
            value=admitted(BAD, few, few),
            unit="",
            detail=_detail(BAD, "admitted"),
            bar=MOST_BAD_ADMITTED,
            bar_is="value at most",
        ),
        Result(
            name="admission: a good judge is turned away",
            value=1.0 - admitted(GOOD, few, few),
            unit="",
            detail=_detail(GOOD, "turned away"),
        ),
        Result(
            name=f"admission: a good judge is turned away, {UNBALANCED[0]} good, {UNBALANCED[1]} bad labels",
            value=1.0 - admitted(GOOD, UNBALANCED[0] // 2, UNBALANCED[1] // 2),
            unit="",
            detail="half of them test it; kappa, which falls with the share of the rarer kind, has no bar",
        ),
    ]
    return found


def admitted(judge: tuple[float, float], n_good: int, n_bad: int) -> float:
    """The probability that a judge with these true rates is admitted on a test half of so many labels."""
    hits, rejections = range(n_good + 1), range(n_bad + 1)
    chance = np.outer(binom.pmf(hits, n_good, judge[0]), binom.pmf(rejections, n_bad, judge[1]))
    gets_in = [[not missed_bars(_rate(h, n_good), _rate(r, n_bad)) for r in rejections] for h in hits]
    return float(chance[np.array(gets_in)].sum())


def _rate(hits: int, n: int) -> Rate:
    return Rate(hits / n, 0.0, 1.0, n)  # bars are on point estimates


def _detail(judge: tuple[float, float], what: str) -> str:
    shares = [admitted(judge, n, n) for n in LABELS]
    if what != "admitted":
        shares = [1.0 - share for share in shares]
    at = ", ".join(f"{share:.4f} at {n}" for share, n in zip(shares, LABELS, strict=True))
    return f"TPR {judge[0]}, TNR {judge[1]}; {what}, by labels of each kind in the test half: {at}; exact"
