"""Judged differences of all rows, corrected by what people said of some of them.

A judge is cheap and biased, people are neither. Prediction-powered inference takes the judge's mean over all
``N`` rows and adds the mean error that the ``m`` labelled rows show, so that no bias of the judge reaches the
claim: A. N. Angelopoulos et al. (2023), Science 382:669. Its tuned form (A. N. Angelopoulos, J. C. Duchi and
T. Zrnic 2023, arXiv 2311.01453) takes the share ``λ`` of the judgments that makes the interval shortest, so
that a poor judge costs nothing against labels alone. Labelled rows are drawn with known probabilities, and
count by their inverse (D. G. Horvitz and D. J. Thompson 1952, JASA 47:663; J. Hájek 1971).

With ``w`` the inverse probabilities, ``f`` the judged differences and ``y`` the true ones, the estimate is
``λ mean(f) + Σ w (y - λ f) / Σ w`` over all rows and over the labelled ones. Where all probabilities are
equal it is that of ``ppi-python``, whose unlabelled rows leave the labelled ones out.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from harness.decision.estimates import MIN_ROWS, NO_SPREAD, Codes, cluster_sums, points
from harness.decision.student import Values, error_of_mean, t_limits, t_p
from harness.errors import UsageError

MIN_LABELS = 25  # fewer say too little of the judge's errors for a t interval


@dataclass(frozen=True, slots=True)
class Labelled:
    """Rows that people labelled: places among the judged ones, true differences, probabilities of drawing."""

    places: Codes
    differences: Values
    probabilities: Values  # in (0, 1]


@dataclass(frozen=True, slots=True)
class Corrected:
    """A difference in score units, with one-sided ``1 - alpha`` limits."""

    difference: float
    low: float
    high: float
    p_value: float  # one-sided, of "the difference is at most the bound"
    error: float  # standard error
    freedom: float
    weight: float  # of the judgments, λ in [0, 1]
    n: int
    n_labels: int
    labels_alone: tuple[float, float]  # the mean and the standard error without the judge

    @property
    def labels_saved(self) -> float:
        """How many more labels would give the same standard error without the judge."""
        alone = self.labels_alone[1]
        return self.n_labels * ((alone / self.error) ** 2 - 1.0) if self.error > 0.0 else 0.0


def corrected(
    judged: Values,
    labelled: Labelled,
    *,
    bound: float = 0.0,
    alpha: float = 0.05,
    clusters: Codes | None = None,
) -> Corrected | str:
    """The true mean difference by judgments and labels; or why there is no interval.

    Args:
        judged: the judge's difference of each row, shape ``(N,)``, without gaps.
        labelled: what people said of some of these rows.
        bound: what the claim says is exceeded, for the p-value.
        alpha: level of each of the two limits.
        clusters: a code for each row's group, where rows are grouped; labels are then counted by group.

    Raises:
        UsageError: places, labels and probabilities that do not fit each other.
    """
    _require_fitting(judged, labelled)
    n, m = len(judged), len(labelled.places)
    if m < MIN_LABELS:
        return f"{m} labelled rows are too few for a correction: it takes at least {MIN_LABELS}"
    f, y = judged[labelled.places], labelled.differences
    weights = 1.0 / labelled.probabilities
    share = _tuned_weight(f, y, labelled.probabilities)
    difference, freedom_of = share * float(judged.mean()), weights.sum() ** 2 / (weights**2).sum()
    parts, offset = _parts(judged, labelled, share, clusters)
    alone, own = _parts(judged, labelled, 0.0, clusters)
    difference, error = difference + offset, float(error_of_mean(parts, n))
    if clusters is not None:
        groups = len(np.unique(clusters[labelled.places]))
        if groups < MIN_ROWS:
            return f"labels of {groups} groups are too few for a correction: it takes at least {MIN_ROWS}"
        freedom_of = min(freedom_of, float(groups))
    if freedom_of < MIN_ROWS:
        weight = f"{m} labelled rows with such probabilities weigh as {freedom_of:.1f}"
        return f"{weight}, and a correction takes {MIN_ROWS}"
    if error < NO_SPREAD:
        return f"all {m} labelled differences are equal ({points(difference)} points): there is no spread"
    freedom = float(freedom_of) - 2.0
    mean = np.array(difference)
    lower, upper = t_limits(mean, parts, n, alpha, freedom)
    return Corrected(
        difference=difference,
        low=max(float(lower), -1.0),
        high=min(float(upper), 1.0),
        p_value=float(t_p(mean, parts, n, bound, freedom)),
        error=error,
        freedom=freedom,
        weight=share,
        n=n,
        n_labels=m,
        labels_alone=(own, float(error_of_mean(alone, n))),
    )


def _require_fitting(judged: Values, labelled: Labelled) -> None:
    places, probabilities = labelled.places, labelled.probabilities
    if not len(places) == len(labelled.differences) == len(probabilities):
        raise UsageError("places, labels and probabilities are not one each.")
    if len(np.unique(places)) != len(places) or (
        len(places) and not 0 <= places.min() <= places.max() < len(judged)
    ):
        raise UsageError("labels of rows that were not judged, or of one row twice.")
    if ((probabilities <= 0.0) | (probabilities > 1.0)).any():
        raise UsageError("a row's probability of being labelled lies above 0 and is at most 1.")
    if np.isnan(judged).any() or np.isnan(labelled.differences).any():
        raise UsageError("a judged or labelled difference is not a number.")


def _tuned_weight(f: Values, y: Values, probabilities: Values) -> float:
    """The share of the judgments that makes the variance least: the slope of labels on judgments, in [0, 1].

    Rows count by how much they add to the variance of the drawing, ``(1 - p) / p²``; where every row is
    labelled the judge adds nothing.
    """
    counts = (1.0 - probabilities) / probabilities**2
    if counts.sum() <= 0.0:
        return 0.0
    centred = f - np.average(f, weights=counts)
    spread = float((counts * centred**2).sum())
    slope = (
        float((counts * centred * (y - np.average(y, weights=counts))).sum()) / spread
        if spread > 0.0
        else 0.0
    )
    return min(max(slope, 0.0), 1.0)


def _parts(judged: Values, labelled: Labelled, share: float, clusters: Codes | None) -> tuple[Values, float]:
    """`parts_of_rows`, in groups where there are any, and such that `error_of_mean` is the standard error.

    Labelled units are counted, less two for the mean and the weight.
    """
    parts, offset = parts_of_rows(judged, labelled, share)
    units = len(labelled.places)
    if clusters is not None:
        (parts,) = cluster_sums(clusters, parts)
        units = len(np.unique(clusters[labelled.places]))
    all_units = len(parts)
    return parts * sqrt(units / (units - 2) * (all_units - 1) / all_units), offset


def parts_of_rows(judged: Values, labelled: Labelled, share: float) -> tuple[Values, float]:
    """What each row adds to the deviation of the estimate, times the rows; and the mean error of judgments.

    It is ``λ (f - mean f) + w (y - λ f - offset) / mean w``: rows are drawn from their population, and labels
    from the rows.
    """
    weights = 1.0 / labelled.probabilities
    residuals = labelled.differences - share * judged[labelled.places]
    offset = float(np.average(residuals, weights=weights))
    parts = share * (judged - judged.mean())
    parts[labelled.places] += len(judged) * weights / weights.sum() * (residuals - offset)
    return parts, offset
