"""Power and smallest detectable effects: of a suite's rows, at the spread of their differences.

Power is the chance that a claim is shown. It is exact for ungrouped wins and losses (every table is
judged by Tango's test), and that of Student's t elsewhere, which Hall's correction and Tango's test on
clusters lower by a point or a few.
"""

from __future__ import annotations

from math import ceil, sqrt

import numpy as np
from scipy.special import gammaln, nctdtr, ndtri, stdtrit, xlogy

from harness.decision.estimates import Estimate, check_levels, pair
from harness.decision.seeds import components, estimated
from harness.decision.sparse import sparse_p
from harness.errors import UsageError
from harness.records import Kind, ScoreVector
from harness.words import plural

POWER = 0.8
MOST_TIMES = 20  # more held-out rows than so many times those at hand are no advice
_REACH = 8.0  # standard deviations on either side that an enumeration covers


def mde(sd: float, n: int, alpha: float = 0.05, power: float = POWER, df: float | None = None) -> float:
    """The smallest true difference that ``n`` rows show with ``power``, by a one-sided t test.

    Args:
        sd: standard deviation of one row's difference, in score units.
        df: degrees of freedom where they are not ``n - 1`` (clusters - 1 for grouped rows).
    """
    freedom = n - 1 if df is None else df
    if n < 2 or freedom < 1:
        raise UsageError(f"a smallest detectable effect needs at least 2 rows and 2 clusters; n={n}.")
    return float(stdtrit(freedom, 1.0 - alpha) + stdtrit(freedom, power)) * sd / sqrt(n)


def smallest_effect(
    candidate: ScoreVector,
    baseline: ScoreVector | float,
    *,
    alpha: float = 0.05,
    power: float = POWER,
    margin: float = 0.0,
) -> float | None:
    """The smallest true difference that these rows show with ``power``, at the spread they have.

    With a ``margin``, in score units, that they show to be more than that: of a guard, the smallest loss that
    refutes it.

    None where the spread cannot be estimated, or no difference below 1 could be shown.
    """
    rows = pair(candidate, baseline)
    seen = rows.only(rows.usable)
    estimate = estimated(seen, 0.0, alpha)
    if isinstance(estimate, str):
        return None
    n = len(seen.candidate)
    if estimate.method != "Tango":
        table, freedom = seen.seed_differences, float(seen.n_units - 1)
        if table is not None:
            freedom = float(components(table[np.newaxis], seen.clusters).freedom[0])
        effect = margin + mde(sqrt(estimate.variance), n, alpha, power, df=freedom)
        return effect if effect < 1.0 else None
    assert seen.wins_and_losses is not None
    # the part of the spread that an effect does not explain: as many rows lost as are gained beside it
    churn = 2.0 * min(float(np.mean(side)) for side in seen.wins_and_losses)
    z_alpha, z_power = -float(ndtri(alpha)), float(ndtri(power))
    # a preference's difference is half that of its wins and losses
    scale = 0.5 if seen.kind is Kind.PREFERENCE else 1.0
    least = margin / scale

    def surplus(effect: float) -> float:
        share = min(churn + effect, 1.0)  # of the rows, discordant under this effect
        noise = z_alpha * sqrt(max(share - least**2, 0.0)) + z_power * sqrt(max(share - effect**2, 0.0))
        return (effect - least) * sqrt(n) - noise

    if surplus(1.0) <= 0.0:
        return None
    from scipy.optimize import brentq  # slow to import

    return scale * float(brentq(surplus, least + 1e-9, 1.0))


def power_of_guard(
    kind: Kind,
    n: int,
    margin: float,
    discordant_or_sd: float,
    clusters: int | None = None,
    *,
    icc: float = 1.0,
    difference: float = 0.0,
    alpha: float = 0.05,
) -> float:
    """The chance that ``n`` rows show "not worse by more than ``margin``".

    With ``margin=0`` and a positive ``difference`` it is the power of a target.

    Args:
        kind: of the score; binary and graded ones are compared with another vector.
        margin: in score units; so is ``difference``, the true one.
        discordant_or_sd: the share of rows that one side alone has right, or that are no ties; for graded
            scores the standard deviation of one row's difference.
        clusters: of equal size; how many.
        icc: correlation of the differences within a cluster; at 1 its rows are as one.

    Raises:
        UsageError: shares or sizes that cannot be.
    """
    check_levels(-margin, alpha)
    if n < 2 or (clusters is not None and not 2 <= clusters <= n):
        raise UsageError(f"power needs at least 2 rows, and 2 clusters of one row each; n={n}, {clusters}.")
    if not 0.0 <= discordant_or_sd <= 1.0:
        quantity = "standard deviation" if kind is Kind.GRADED else "share of discordant rows"
        raise UsageError(f"a {quantity} lies in [0, 1] (20% is 0.2); it is {discordant_or_sd:g}.")
    # a preference's difference is half that of its wins and losses
    scale = 2.0 if kind is Kind.PREFERENCE else 1.0
    if clusters is None and kind is not Kind.GRADED:
        return _sparse_power(n, -scale * margin, scale * difference, discordant_or_sd, alpha)
    sd = (discordant_or_sd if kind is Kind.GRADED else sqrt(discordant_or_sd)) / scale
    if sd == 0.0:
        raise UsageError("without any spread of the differences there is no t test and no power.")
    freedom = n - 1
    if clusters is not None:
        freedom = clusters - 1
        sd *= sqrt(1.0 + (n / clusters - 1.0) * icc)  # the design effect
    centre = (difference + margin) * sqrt(n) / sd
    return float(1.0 - nctdtr(freedom, centre, stdtrit(freedom, 1.0 - alpha)))


def can_show(n: int, effect: float | None, power: float = POWER) -> str:
    """The sentence: ``with 200 rows this suite can show a 4.0-point change (80% power)``."""
    change = "no change" if effect is None else f"a {100 * effect:.1f}-point change ({100 * power:g}% power)"
    return f"with {plural(n, 'row')} this suite can show {change}"


def can_show_of(candidate: ScoreVector, baseline: ScoreVector | float, *, alpha: float = 0.05) -> str:
    """:func:`can_show` for the rows that both sides have, at the spread they have."""
    n = int(np.count_nonzero(pair(candidate, baseline).usable))
    return can_show(n, smallest_effect(candidate, baseline, alpha=alpha))


def rows_needed(estimate: Estimate, bound: float, alpha: float, n: int) -> int | None:
    """Rows that decide the observed difference, were it the true one, with 80% power.

    None where the difference is so close to the bound that it takes more than ``MOST_TIMES`` those ``n``.
    """
    gap = abs(estimate.difference - bound)
    reach = -float(ndtri(alpha)) * sqrt(estimate.variance_at_bound)
    reach += float(ndtri(POWER)) * sqrt(max(estimate.variance, 0.0))
    if gap == 0.0 or gap * sqrt(MOST_TIMES * n) < reach:
        return None
    return max(ceil((reach / gap) ** 2), n + 1)


def _sparse_power(n: int, bound: float, difference: float, discordant: float, alpha: float) -> float:
    """For ungrouped wins and losses: the weight of the tables that :func:`sparse_p` takes for shown."""
    gain, loss = (discordant + difference) / 2, (discordant - difference) / 2
    if gain < 0.0 or loss < 0.0:
        raise UsageError(f"{discordant:g} discordant rows cannot differ by {difference:g}: say more of them.")
    gained, lost = np.meshgrid(_counts(n, gain), _counts(n, loss), indexing="ij")
    fits = gained + lost <= n
    gained, lost = gained[fits], lost[fits]
    same = n - gained - lost
    weight = gammaln(n + 1) - gammaln(gained + 1) - gammaln(lost + 1) - gammaln(same + 1)
    weight += xlogy(gained, gain) + xlogy(lost, loss) + xlogy(same, 1.0 - discordant)
    shown = sparse_p(gained, lost, n, bound) < alpha
    return float(np.exp(weight[shown]).sum())


def _counts(n: int, share: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Counts of a binomial that have any weight."""
    reach = _REACH * sqrt(n * share * (1.0 - share)) + _REACH
    return np.arange(max(0, int(n * share - reach)), min(n, int(n * share + reach) + 1) + 1, dtype=np.float64)
