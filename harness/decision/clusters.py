"""Wins and losses in clusters: how many independent rows they are worth. Works on many samples at once.

A t interval sees nothing of a loss that no cluster at hand holds, so a claim has to be shown twice: by the
cluster-robust t, and by Tango's interval on counts over the design effect (J. N. K. Rao and A. J. Scott 1992,
"A simple method for the analysis of clustered binary data", Biometrics 48:577).

The design effect is the CR2 variance over the variance of independent rows, never below 1. It cannot be
read off losses that are not there: where fewer than ``SEEN`` clusters hold one, the estimate is made as
though half a cluster had been lost whole for each that is missing. Clusters are counted by the mean size of
a row's cluster (L. Kish 1965, Survey Sampling), so that small ones do not stand for large ones. Without any
discordant row that size is the effect, as if all rows of a cluster were one.
docs/evidence.md has the alternatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.decision.student import Values, cluster_freedom, mean_and_residuals, mean_size, t_limits, t_p
from harness.decision.tango import tango_interval, tango_p

SEEN = 3  # clusters with a loss, from which on the design effect is taken as observed
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Clusters:
    """Rows won and lost in each cluster: both (..., clusters), and the clusters' sizes (clusters,)."""

    gained: Values
    lost: Values
    sizes: Values

    @property
    def n(self) -> float:
        """Rows."""
        return float(self.sizes.sum())


def design_effect(seen: Clusters) -> Values:
    """(...,), at least 1: the variance in clusters over that of as many independent rows."""
    difference, residuals = mean_and_residuals(seen.gained - seen.lost, seen.sizes)
    clusters = len(seen.sizes)
    # the mean size of a row's cluster (Kish): the design effect if all rows of a cluster were one
    size = mean_size(seen.sizes)
    clustered = clusters / (clusters - 1) * (residuals**2).sum(axis=-1)
    independent = (seen.gained + seen.lost).sum(axis=-1) - seen.n * difference**2
    held = np.where(seen.lost > 0, seen.sizes, 0.0).sum(axis=-1) / size
    unseen = np.maximum(SEEN - held, 0.0) * size / 2
    filled = _ratio(clustered + unseen * size, independent + unseen, size)
    return np.clip(np.maximum(filled, _ratio(clustered, independent, 1.0)), 1.0, seen.n)


def clustered_p(seen: Clusters, bound: float) -> Values:
    """One-sided p (...,) of "the share won less the share lost is at most ``bound``"."""
    mean, residuals = mean_and_residuals(seen.gained - seen.lost, seen.sizes)
    effect = design_effect(seen)
    gained, lost = seen.gained.sum(axis=-1) / effect, seen.lost.sum(axis=-1) / effect
    score_p = tango_p(gained, lost, seen.n / effect, bound)
    return np.maximum(t_p(mean, residuals, seen.n, bound, cluster_freedom(seen.sizes)), score_p)


def clustered_limits(seen: Clusters, alpha: float) -> tuple[float, float]:
    """Both one-sided ``1 - alpha`` limits of one sample: the wider of the two methods on each side."""
    mean, residuals = mean_and_residuals(seen.gained - seen.lost, seen.sizes)
    low, high = _tango_low(seen, alpha), -_tango_low(Clusters(seen.lost, seen.gained, seen.sizes), alpha)
    if np.abs(residuals).max() < _TINY:  # the t interval has no width
        return low, high
    t_low, t_high = t_limits(mean, residuals, seen.n, alpha, cluster_freedom(seen.sizes))
    return max(min(low, float(t_low)), -1.0), min(max(high, float(t_high)), 1.0)


def _tango_low(seen: Clusters, alpha: float) -> float:
    effect = float(design_effect(seen))
    gained, lost = float(seen.gained.sum()) / effect, float(seen.lost.sum()) / effect
    return tango_interval(gained, lost, seen.n / effect, alpha)[0]


def _ratio(above: Values, below: Values, otherwise: float) -> Values:
    some = below > _TINY
    return np.where(some, above / np.where(some, below, 1.0), otherwise)
