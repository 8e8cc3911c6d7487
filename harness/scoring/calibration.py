"""From a statistic to the probability that people call a reply good: fitted on one half of the labels.

Platt's logistic regression (1999). The other half of the labels tests the judge for admission.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.errors import DataError, UsageError
from harness.records import Admission
from harness.scoring.admission import admit_on
from harness.scoring.labels import Label, enough_labels


@dataclass(frozen=True, slots=True)
class Platt:
    """P(good) = 1 / (1 + exp(-(intercept + slope · statistic))); the slope is never negative."""

    intercept: float
    slope: float

    def probability(self, statistic: float) -> float:
        """Of a reply with that statistic."""
        u = self.intercept + self.slope * statistic
        return 1 / (1 + math.exp(-u)) if u >= 0 else math.exp(u) / (1 + math.exp(u))


class LabelledJudge(Protocol):
    """A judge of labelled replies that are good from a threshold on."""

    @property
    def name(self) -> str:
        """The label in a report."""

    @property
    def labels(self) -> str:
        """Where its labels stand."""

    @property
    def known(self) -> tuple[Label, ...] | None:
        """Its labels, once they were read."""

    @property
    def threshold(self) -> float:
        """The probability from which a reply counts as good."""

    @property
    def seed(self) -> int:
        """Of the split into halves."""


def calibrated_on_labels(
    judge: LabelledJudge, statistics: Callable[[Sequence[tuple[str, str]]], Sequence[float]]
) -> tuple[Platt, Admission]:
    """Fit the calibration on one half of the labels and test for admission on the other.

    Args:
        judge: whose labels they are.
        statistics: the judge's statistic of each (reference, reply), higher is better.

    Raises:
        UsageError: the judge is not bound.
        DataError: a half without good or without bad labels, or a statistic that is no number.
    """
    if judge.known is None:
        raise UsageError(f"{judge.name}: its labels have not been read; bind it first.")
    calibration, test = enough_labels(judge.known, judge.labels, judge.seed)
    found = statistics([(label.reference, label.reply) for label in (*calibration, *test)])
    if not all(map(math.isfinite, found)):
        problem = f"{judge.name}: its model gave no number for some label"
        raise DataError(judge.labels, problem, "look at the scoring model")
    fitted, tested = found[: len(calibration)], found[len(calibration) :]
    platt = fit_platt(fitted, [label.good for label in calibration])
    admission = admit_on(
        judge.name,
        test,
        [platt.probability(statistic) for statistic in tested],
        threshold=judge.threshold,
        n_calibration=len(calibration),
        known=judge.known,
    )
    return platt, admission


def fit_platt(statistics: Sequence[float], good: Sequence[bool]) -> Platt:
    """Platt's (1999) logistic regression, with his smoothed targets.

    The slope is held at 0 or above: a statistic that runs backwards is no evidence, and its judge
    then says the same of every reply and is not admitted.
    """
    import numpy as np
    from scipy.optimize import minimize

    x, y = np.asarray(statistics, dtype=float), np.asarray(good, dtype=bool)
    order = np.lexsort((y, x))  # sums, and with them the fit, are the same in any order of the labels
    x, y = x[order], y[order]
    centre, scale = float(x.mean()), float(x.std()) or 1.0
    z = (x - centre) / scale
    n_good = int(y.sum())
    targets = np.where(y, (n_good + 1) / (n_good + 2), 1 / (len(y) - n_good + 2))

    def loss(parameters: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
        u = parameters[0] + parameters[1] * z
        return float(np.sum(np.logaddexp(0, u) - targets * u))

    start = np.array([0.0, 1.0])
    a, b = minimize(loss, start, method="L-BFGS-B", bounds=[(None, None), (0, None)]).x
    return Platt(float(a - b * centre / scale), float(b / scale))
