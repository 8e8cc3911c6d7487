"""How far people agree on the same answers, beyond chance: Krippendorff's alpha.

K. Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability": ``1 - D_o / D_e``, where ``D_o`` is how
far labels of one answer lie apart, and ``D_e`` how far they would if they fell on answers at random. 1 is
agreement throughout, 0 is chance. Any number of people, with gaps; an answer with one label says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from harness.records import Rate

Metric: TypeAlias = Literal["nominal", "ordinal"]
_BLOCKS = 20
Matrix: TypeAlias = npt.NDArray[np.float64]


def krippendorff_alpha(units: Sequence[Mapping[str, float]], metric: Metric = "nominal") -> float | None:
    """The agreement on several answers; None where nothing can be said of it.

    That is so where no answer has two labels, and where all labels of those that have are the same.

    Args:
        units: for each answer, each person's label.
        metric: ``nominal`` for kinds without an order; ``ordinal`` for levels, whose distance is how many
            labels lie between them.
    """
    paired = [list(labels.values()) for labels in units if len(labels) > 1]
    values = sorted({label for labels in paired for label in labels})
    if len(values) < 2:
        return None
    coincidences = np.zeros((len(values), len(values)))
    for labels in paired:
        counts = np.array([labels.count(value) for value in values], dtype=np.float64)
        coincidences += (np.outer(counts, counts) - np.diag(counts)) / (len(labels) - 1)
    totals = coincidences.sum(axis=0)
    distances = _ordinal(totals) if metric == "ordinal" else 1.0 - np.eye(len(values))
    expected = (np.outer(totals, totals) - np.diag(totals)) / (totals.sum() - 1.0)
    return 1.0 - float((coincidences * distances).sum() / (expected * distances).sum())


def _ordinal(totals: Matrix) -> Matrix:
    """Squared distances between ranks: the labels between two values, and half of those at each of them."""
    middles = np.cumsum(totals) - totals / 2.0
    return np.asarray((middles[:, np.newaxis] - middles) ** 2)


def agreement(units: Sequence[Mapping[str, float]], metric: Metric = "nominal") -> Rate | None:
    """Krippendorff's alpha with its 95% interval by the jackknife; None where nothing can be said."""
    return jackknifed(
        lambda places: krippendorff_alpha([units[at] for at in places], metric), len(units), -1.0, 1.0
    )


def jackknifed(
    statistic: Callable[[npt.NDArray[np.int64]], float | None], n: int, lowest: float, highest: float
) -> Rate | None:
    """The statistic of all ``n`` places, with the 95% interval of a jackknife that leaves out one of at most
    20 blocks at a time; the whole range where some block alone tells it.
    """
    from scipy.special import stdtrit

    places = np.arange(n)
    whole = statistic(places)
    if whole is None:
        return None
    blocks = min(_BLOCKS, n)
    parts = [statistic(places[places % blocks != block]) for block in range(blocks)]
    known = [part for part in parts if part is not None]
    if len(known) < blocks or blocks < 2:
        return Rate(whole, lowest, highest, n)
    mean = sum(known) / blocks
    error = sqrt((blocks - 1) / blocks * sum((part - mean) ** 2 for part in known))
    half = float(stdtrit(blocks - 1, 0.975)) * error
    return Rate(whole, max(lowest, whole - half), min(highest, whole + half), n)
