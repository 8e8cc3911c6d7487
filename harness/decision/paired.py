"""Paired comparison of two score vectors: what a difference on the same rows shows.

The unit is the difference of one row. The interval read is made of two one-sided ``1 - alpha``
limits, so that each side is a test at ``alpha``:

=========  =======================================  =================================
scores     against another vector                   against a plain number
=========  =======================================  =================================
binary     Tango's score interval                   Wilson's score interval
graded     paired t                                 one-sample t
in groups  cluster-robust t on the differences      cluster-robust t on the values
=========  =======================================  =================================

Rows are grouped where at least two of them share a ``group``. The cluster-robust variance of the
mean is ``G/(G-1) Σ (cluster sum of residuals)² / n²`` with ``G - 1`` degrees of freedom (CR1; Cameron
and Miller 2015, Journal of Human Resources 50:317).

What a t interval cannot see: losses so rare that the rows at hand hold few or none. A candidate exactly
at its margin is then falsely shown to be within it far more often than ``alpha``, most of all where whole
groups are lost together; docs/decision.md publishes a simulation of it and what it printed.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil, sqrt

import numpy as np
from scipy.special import ndtri, stdtrit

from harness.decision.estimates import Estimate, Rows, check_levels, estimate_difference, pair, points
from harness.errors import UsageError
from harness.records import Comparison, Kind, Outcome, ScoreVector

POWER = 0.8
_MOST_ROWS = 10_000_000  # more held-out rows than anybody will label


def compare(
    candidate: ScoreVector, baseline: ScoreVector | float, *, bound: float = 0.0, alpha: float = 0.05
) -> Comparison:
    """Judge the claim "candidate - baseline > ``bound``" on the same rows.

    Shown when the lower limit is above the bound, refuted when the upper limit is below it, else
    inconclusive. Inconclusive with a reason and without limits: fewer than 10 usable rows or 10
    clusters, or differences without any spread (but for ungrouped binary scores, where no discordant
    row is an ordinary case).

    A row that failed on either side is left out, counted and named. Since leaving rows out could hide
    a bad candidate, a claim is then shown only if it is also shown in the worst case: 0 for each value
    the candidate lacks, 1 for each the baseline lacks.

    ``rows_needed`` is the size at which the observed difference, were it the true one, would be
    decided with 80% power (normal approximation).

    Raises:
        UsageError: vectors of different rows, scores, kinds or groups; values outside [0, 1], or
            binary ones other than 0 and 1; a bound outside (-1, 1), a number outside [0, 1], or
            ``alpha`` outside (0, 0.5).
    """
    check_levels(bound, alpha)
    rows = pair(candidate, baseline)
    usable = rows.usable
    seen = rows.only(usable)
    failed = [row_id for row_id, ok in zip(candidate.row_ids, usable.tolist(), strict=True) if not ok]
    comparison = _undecided(candidate, baseline, seen, bound, alpha, failed)
    estimate = estimate_difference(seen, bound, alpha)
    if isinstance(estimate, str):
        return replace(comparison, reason=_sentence(estimate, failed))
    outcome = _outcome(estimate, bound)
    reason, needed = _because(estimate, outcome, bound, alpha, comparison.n)
    if outcome is Outcome.SHOWN and failed:
        worst = estimate_difference(rows.worst_case(), bound, alpha)
        if isinstance(worst, str) or _outcome(worst, bound) is not Outcome.SHOWN:
            outcome = Outcome.INCONCLUSIVE
            reason += ", but not if the rows that failed count against the claim; mend those and run again"
    return replace(
        comparison,
        difference=estimate.difference,
        low=estimate.low,
        high=estimate.high,
        outcome=outcome,
        method=estimate.method,
        reason=_sentence(reason, failed),
        rows_needed=needed,
        p_one_sided=estimate.p,
    )


def summary(comparison: Comparison) -> str:
    """``+12.4 points [+6.1, +18.7], n=200``, as far as it could be computed."""
    if comparison.difference is None:
        return f"no difference, n={comparison.n}"
    limits = ""
    if comparison.low is not None and comparison.high is not None:
        limits = f" [{points(comparison.low)}, {points(comparison.high)}]"
    return f"{points(comparison.difference)} points{limits}, n={comparison.n}"


def mde(sd: float, n: int, alpha: float = 0.05, power: float = POWER, df: float | None = None) -> float:
    """The smallest true difference that ``n`` rows show with ``power``, by a one-sided t test.

    Args:
        sd: standard deviation of one row's difference, in score units.
        n: rows.
        df: degrees of freedom where they are not ``n - 1`` (clusters - 1 for grouped rows).
    """
    freedom = n - 1 if df is None else df
    if n < 2 or freedom < 1:
        raise UsageError(f"a smallest detectable effect needs at least 2 rows and 2 clusters; n={n}.")
    return float(stdtrit(freedom, 1.0 - alpha) + stdtrit(freedom, power)) * sd / sqrt(n)


def smallest_effect(
    candidate: ScoreVector, baseline: ScoreVector | float, *, alpha: float = 0.05, power: float = POWER
) -> float | None:
    """The smallest true difference that these rows show with ``power``, at the spread they have.

    For ungrouped binary scores against a vector, an effect needs at least its own size in discordant
    rows. None where the spread cannot be estimated, or no difference below 1 could be shown.
    """
    rows = pair(candidate, baseline)
    seen = rows.only(rows.usable)
    estimate = estimate_difference(seen, 0.0, alpha)
    if isinstance(estimate, str):
        return None
    n = len(seen.candidate)
    if estimate.method != "Tango":
        effect = mde(sqrt(estimate.variance), n, alpha, power, df=seen.count - 1)
        return effect if effect < 1.0 else None
    from scipy.optimize import brentq  # slow to import

    discordant = estimate.variance + estimate.difference**2
    z_alpha, z_power = -float(ndtri(alpha)), float(ndtri(power))

    def surplus(effect: float) -> float:
        share = max(discordant, effect)
        return effect * sqrt(n) - z_alpha * sqrt(share) - z_power * sqrt(max(share - effect**2, 0.0))

    return float(brentq(surplus, 1e-9, 1.0)) if surplus(1.0) > 0 else None


def _undecided(
    candidate: ScoreVector,
    baseline: ScoreVector | float,
    seen: Rows,
    bound: float,
    alpha: float,
    failed: list[str],
) -> Comparison:
    n = len(seen.candidate)
    means = (float(seen.candidate.mean()), float(seen.baseline.mean())) if n else (None, seen.number)
    binary_pairs = seen.kind is Kind.BINARY and seen.number is None
    return Comparison(
        score=candidate.score,
        candidate=candidate.subject,
        baseline=baseline.subject if isinstance(baseline, ScoreVector) else f"{baseline:g}",
        kind=candidate.kind,
        n=n,
        candidate_mean=means[0],
        baseline_mean=seen.number if seen.number is not None else means[1],
        difference=float((seen.candidate - seen.baseline).mean()) if n else None,
        low=None,
        high=None,
        bound=bound,
        alpha=alpha,
        outcome=Outcome.INCONCLUSIVE,
        method="none",
        reason="",
        discordant=int(np.count_nonzero(seen.candidate != seen.baseline)) if binary_pairs else None,
        clusters=None if seen.clusters is None else seen.count,
        failures=len(failed),
    )


def _outcome(estimate: Estimate, bound: float) -> Outcome:
    if estimate.low > bound:
        return Outcome.SHOWN
    return Outcome.REFUTED if estimate.high < bound else Outcome.INCONCLUSIVE


def _because(
    estimate: Estimate, outcome: Outcome, bound: float, alpha: float, n: int
) -> tuple[str, int | None]:
    """The reason and, for an inconclusive claim, the rows that would decide it."""
    numbers = f"{points(estimate.difference)} points [{points(estimate.low)}, {points(estimate.high)}], n={n}"
    mark = f"{points(bound)} points" if bound else "0"
    if outcome is not Outcome.INCONCLUSIVE:
        side = "above" if outcome is Outcome.SHOWN else "below"
        return f"{numbers}: {side} {mark} at one-sided {100 * (1 - alpha):g}% confidence", None
    needed = _rows_needed(estimate, bound, alpha, n)
    advice = (
        f"about {needed} rows would decide it at 80% power, were the difference as observed"
        if needed is not None
        else "the difference is too close to it for more rows to decide"
    )
    return f"{numbers}: the interval holds {mark}; {advice}", needed


def _rows_needed(estimate: Estimate, bound: float, alpha: float, n: int) -> int | None:
    gap = abs(estimate.difference - bound)
    reach = -float(ndtri(alpha)) * sqrt(estimate.variance_at_bound)
    reach += float(ndtri(POWER)) * sqrt(max(estimate.variance, 0.0))
    if gap * sqrt(_MOST_ROWS) <= reach:
        return None
    return max(ceil((reach / gap) ** 2), n + 1)


def _sentence(reason: str, failed: list[str]) -> str:
    if not failed:
        return f"{reason}."
    named = ", ".join(failed[:5]) + (", ..." if len(failed) > 5 else "")
    rows = "1 row is" if len(failed) == 1 else f"{len(failed)} rows are"
    return f"{reason}. {rows} left out, since a side has no value: {named}."
