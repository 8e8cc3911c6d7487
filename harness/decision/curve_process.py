"""Learning curves without a formula: the logit of the score rises by some step at each doubling of rows.

The logarithm of the steps is a stationary first-order autoregressive process, so that the curve is monotone
and a step is much like the one before. A share of the curves ends below 1, and one in ten is flat. They are
drawn once from the prior and weighted by the data (importance sampling), with the first score drawn around
the first measurement.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import sqrt

import numpy as np

from harness.decision.curve_shapes import P_FLAT, Curves, Measured
from harness.decision.student import Values

_DRAWS = 16_000
_SEED = 0
_MEDIAN_LOG_STEP, _LOG_STEP_SD = -0.7, 1.0
_OF_ITS_LEVEL, _AROUND_IT = 0.8, 0.6  # shares of that deviation: between curves, and of one curve's steps
_AUTOREGRESSION = 0.7  # from one doubling to the next
_P_BELOW_1, _LOWEST_END = 0.5, 0.3
_EDGE = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class _Prior:
    steps: Values  # (draws, doublings): rises of the logit
    end: Values  # where each curve ends
    first: Values  # standard normal: the first score about its measurement
    luck: Values  # uniform: which spread a curve has


@cache
def _prior(doublings: int) -> _Prior:
    rng = np.random.default_rng(_SEED)
    level = _MEDIAN_LOG_STEP + _LOG_STEP_SD * _OF_ITS_LEVEL * rng.standard_normal(_DRAWS)
    around = _LOG_STEP_SD * _AROUND_IT
    log_steps = np.empty((_DRAWS, doublings))
    log_steps[:, 0] = level + around * rng.standard_normal(_DRAWS)
    for at in range(1, doublings):
        kept = level + _AUTOREGRESSION * (log_steps[:, at - 1] - level)
        new = sqrt(1.0 - _AUTOREGRESSION**2) * around * rng.standard_normal(_DRAWS)
        log_steps[:, at] = kept + new
    end = np.where(rng.random(_DRAWS) < _P_BELOW_1, rng.uniform(_LOWEST_END, 1.0, _DRAWS), 1.0)
    is_flat = rng.random(_DRAWS) < P_FLAT
    steps = np.where(is_flat[:, None], 0.0, np.exp(log_steps))
    return _Prior(steps, end, rng.standard_normal(_DRAWS), rng.random(_DRAWS))


def weigh_process(data: Measured, spreads: Values, shares: Values) -> Curves:
    """Monotone curves given the data. They have no score below the largest size of the data.

    Args:
        data: the points.
        spreads: what the standard deviation of one training about its curve may be, beyond that from rows.
        shares: how likely each is before the data; they sum to 1.
    """
    gaps = np.diff(np.log2(data.sizes))
    prior = _prior(len(gaps) + 1)
    spread = spreads[np.searchsorted(np.cumsum(shares)[:-1], prior.luck)][:, None]
    variance = (data.variances + spread**2) / data.counts
    y = data.means
    start = np.maximum(y[0] + np.sqrt(variance[:, 0]) * prior.first, _EDGE)
    share = np.clip(start / prior.end, _EDGE, 1.0 - _EDGE)
    logits = np.log(share / (1.0 - share))[:, None] + np.cumsum(prior.steps[:, :-1] * gaps, axis=1)
    fitted = _score(logits, prior.end[:, None])
    # the first score is drawn from its likelihood, which therefore is not in the weight
    misfit = ((y[1:] - fitted) ** 2 / variance[:, 1:] + np.log(variance[:, 1:])).sum(axis=1)
    # the integral over that likelihood, and the mean over the draws: so that both kinds of curves compare
    log_weight = np.where(start < prior.end - _EDGE, data.log_within(spread) - 0.5 * misfit, -np.inf)
    log_weight += 0.5 * np.log(2.0 * np.pi) - np.log(_DRAWS)

    def at(size: float) -> Values:
        doublings = np.log2(size / data.sizes[-1])
        return _score(logits[:, -1] + prior.steps[:, -1] * doublings, prior.end)

    return Curves(at, log_weight)


def _score(logit: Values, end: Values) -> Values:
    score: Values = end / (1.0 + np.exp(-logit))
    return score
