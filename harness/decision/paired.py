"""Paired comparison of two score vectors on the same rows.

The unit is the difference of one row. The interval read is made of two one-sided ``1 - alpha`` limits, so
that each side is a test at ``alpha``. docs/decision.md has the method for each sort of scores; where two are
named, each limit is the wider of theirs. A preference's difference is its mean less the number; Tango's, of
the share won less the share lost, is twice that.

Rows are grouped where at least two of them share a ``group``. The variance of the mean is then CR2's, with
Bell and McCaffrey's degrees of freedom (:mod:`harness.decision.student`); groups that weigh as too few equal
ones give no interval.

No interval of graded scores sees losses so rare that the rows at hand hold none. Where they hold fewer than
two losses of a fifth or more below the bound, a claim is therefore shown only if it still is with one row
more that loses 60 points, or one group more that loses 55; against a number that row always counts. Levels
below 5% take more of both.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.decision.estimates import NO_SPREAD, Codes, Estimate, Rows, check_levels, pair, points
from harness.decision.power import MOST_TIMES, POWER, rows_needed
from harness.decision.ppi import Corrected
from harness.decision.retesting import next_level
from harness.decision.seeds import SeedSpread, estimated, seed_spread, seeds_needed
from harness.records import Comparison, Outcome, ScoreVector


def compare(
    candidate: ScoreVector,
    baseline: ScoreVector | float,
    *,
    bound: float = 0.0,
    alpha: float = 0.05,
    growths: int = 0,
) -> Comparison:
    """Judge the claim "candidate - baseline > ``bound``" on the same rows.

    Shown when the lower limit is above the bound, refuted when the upper limit is below it, else
    inconclusive. Inconclusive with a reason and without limits: fewer than 10 usable rows or 10
    clusters, or differences without any spread (but for wins and losses).

    A row that failed on either side is left out, counted and named. Since leaving rows out could hide
    a bad candidate, a claim is then shown only if it is also shown in the worst case: 0 for each value
    the candidate lacks, 1 for each the baseline lacks.

    The rows that would decide it are counted at the level at which they will be judged: ``growths`` is how
    often rows have been added since the candidate was first judged (:mod:`harness.decision.retesting`).

    Raises:
        UsageError: vectors of different rows, scores, kinds or groups; a preference against a vector; a
            value that its kind cannot have; a bound outside (-1, 1), a number outside [0, 1], or ``alpha``
            outside (0, 0.5).
    """
    check_levels(bound, alpha)
    rows = pair(candidate, baseline)
    return compare_rows(rows, candidate, baseline, bound=bound, alpha=alpha, growths=growths)


def compare_rows(
    rows: Rows,
    candidate: ScoreVector,
    baseline: ScoreVector | float,
    *,
    bound: float = 0.0,
    alpha: float = 0.05,
    growths: int = 0,
    at: Codes | None = None,
) -> Comparison:
    """As :func:`compare`, of rows in pairs: those of the two sides, or the part of them at places ``at``."""
    usable = rows.usable
    seen = rows.only(usable)
    n = len(seen.candidate)
    missing = np.flatnonzero(~usable)
    failed = [candidate.row_ids[place] for place in (missing if at is None else at[missing]).tolist()]
    decided = seen.wins_and_losses
    sd = float(seen.differences.std(ddof=1)) if n > 1 else 0.0
    comparison = Comparison(
        score=candidate.score,
        candidate=candidate.subject,
        baseline=baseline.subject if isinstance(baseline, ScoreVector) else f"{baseline:g}",
        kind=candidate.kind,
        n=n,
        candidate_mean=float(seen.candidate.mean()) if n else None,
        baseline_mean=seen.number if seen.number is not None or not n else float(seen.baseline.mean()),
        difference=float(seen.differences.mean()) if n else None,
        low=None,
        high=None,
        bound=bound,
        alpha=alpha,
        outcome=Outcome.INCONCLUSIVE,
        method="none",
        reason="",
        discordant=None if decided is None else int(np.count_nonzero(decided[0] | decided[1])),
        clusters=None if seen.clusters is None else seen.n_units,
        failures=len(failed),
        rows=candidate.rows,
        # d_z: J. Cohen (1988), Statistical Power Analysis, ch. 2
        effect_size=float(seen.differences.mean()) / sd if sd > NO_SPREAD else None,
    )
    estimate = estimated(seen, bound, alpha)
    if isinstance(estimate, str):
        return replace(comparison, reason=_sentence(estimate, failed))
    comparison = replace(
        comparison,
        difference=estimate.difference,
        low=estimate.low,
        high=estimate.high,
        outcome=outcome_of(estimate, bound),
        method=estimate.method,
        p_one_sided=estimate.p_value,
    )
    spread = None
    if (table := seen.seed_differences) is not None:
        spread = seed_spread(table, seen.clusters)
        comparison = replace(
            comparison,
            seed_differences=spread.means,
            seed_sd=spread.seed_sd,
            seed_share=spread.seed_share,
            seed_error=spread.seed_error,
        )
    reason, needed = _reason(comparison, estimate, spread, next_level(alpha, growths))
    if comparison.outcome is Outcome.SHOWN and failed:
        worst = estimated(rows.worst_case(), bound, alpha)
        if isinstance(worst, str) or outcome_of(worst, bound) is not Outcome.SHOWN:
            comparison = replace(comparison, outcome=Outcome.INCONCLUSIVE)
            reason += ", but not if the rows that failed count against the claim; repair those and run again"
    if comparison.outcome is Outcome.SHOWN and (one_more := seen.with_a_rare_loss(alpha, bound)) is not None:
        unlucky = estimated(one_more, bound, alpha)
        if isinstance(unlucky, str) or outcome_of(unlucky, bound) is not Outcome.SHOWN:
            comparison = replace(comparison, outcome=Outcome.INCONCLUSIVE)
            reason += (
                f", but not with {seen.rare_losses(alpha)}, and a loss so rare need not be among"
                " these rows: it takes more rows"
            )
    return replace(comparison, reason=_sentence(reason, failed), rows_needed=needed)


def summary(comparison: Comparison) -> str:
    """``+12.4 points [+6.1, +18.7], n=200``; limits or difference are left out where there are none."""
    if comparison.difference is None:
        return f"no difference, n={comparison.n}"
    limits = ""
    if comparison.low is not None and comparison.high is not None:
        limits = f" [{points(comparison.low)}, {points(comparison.high)}]"
    return f"{points(comparison.difference)} points{limits}, n={comparison.n}"


def outcome_of(estimate: Estimate | Corrected, bound: float) -> Outcome:
    """On which side of ``bound`` the interval lies."""
    if estimate.low > bound:
        return Outcome.SHOWN
    return Outcome.REFUTED if estimate.high < bound else Outcome.INCONCLUSIVE


def _reason(
    found: Comparison, estimate: Estimate, spread: SeedSpread | None, level: float
) -> tuple[str, int | None]:
    """The reason and, for an inconclusive claim, the rows that decide it at ``level`` with 80% power."""
    numbers = summary(found)
    if spread is not None:
        each = ", ".join(points(mean) for mean in spread.means)
        numbers += (
            f" × {len(spread.means)} seeds ({each}; sd between seeds {100 * spread.seed_sd:.1f} points, "
            f"{100 * spread.seed_share:.0f}% of the variance)"
        )
    mark = f"{points(found.bound)} points" if found.bound else "0"
    if found.outcome is not Outcome.INCONCLUSIVE:
        side = "above" if found.outcome is Outcome.SHOWN else "below"
        return f"{numbers}: {side} {mark} at one-sided {100 * (1 - found.alpha):g}% confidence", None
    power = f"at {100 * POWER:g}% power, were"
    needed = None
    if spread is not None:
        # more rows do not lessen the seeds' part of the variance, so no number of rows is given
        advice = "more seeds would not decide it on these rows: it takes more rows"
        if (n_seeds := seeds_needed(spread, found.bound, found.alpha, POWER)) is not None:
            advice = f"about {n_seeds} seeds would decide it on these rows {power} it as observed"
    else:
        advice = (
            "the difference is too close to it for more rows to decide: it would take more than"
            f" {MOST_TIMES} times these"
        )
        if (needed := rows_needed(estimate, found.bound, level, found.n)) is not None:
            advice = f"about {needed} rows would decide it {power} the difference as observed"
    return f"{numbers}: the interval holds {mark}; {advice}", needed


def _sentence(reason: str, failed: list[str]) -> str:
    if not failed:
        return f"{reason}."
    named = ", ".join(failed[:5]) + (", ..." if len(failed) > 5 else "")
    rows = "1 row is" if len(failed) == 1 else f"{len(failed)} rows are"
    return f"{reason}. {rows} left out, since a side has no value: {named}."
