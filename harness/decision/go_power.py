"""The chance that a whole decision is GO: that every one of its gates is shown, under an assumed truth.

Each gate's own chance comes from :mod:`harness.decision.power`: exact for wins and losses of single rows,
Student's t elsewhere. Gates on the same rows are not independent: whoever draws easy rows draws them for all.
Where the differences row by row are known, the chances are joined by a Gaussian copula with the correlation
of those differences, which is the one that the means of many rows have. Elsewhere they are multiplied; that
is right for independent gates, and too low for gates that move together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import combinations
from math import ceil, floor, sqrt

import numpy as np
from scipy.special import bdtr, nctdtr, ndtr, ndtri, stdtrit

from harness.decision.estimates import (
    GROUP_SKEWNESS,
    LOSSES_FOR_EACH,
    LOSSES_SEEN,
    MIN_CLUSTERS,
    MIN_ROWS,
    RARE_GROUP_LOSS,
    RARE_LOSS,
    large_loss,
    unseen_losses,
)
from harness.decision.power import POWER, power_of_guard
from harness.decision.student import Values, skewed_quantile
from harness.decision.tango import null_variance
from harness.records import Comparison, Kind, Role

MOST_ROWS = 20_000  # of one suite: where more are needed, how many makes no difference to anybody
# planning values, where no run has seen how the differences spread; docs and messages name them
PLANNED_GAIN = 0.10
PLANNED_DISCORDANT: Mapping[Role, float] = {Role.TARGET: 0.30, Role.GUARD: 0.10, Role.THRESHOLD: 0.10}
PLANNED_SD = 0.24  # of one row's difference of graded scores
PLANNED_ICC = 0.3  # correlation of the differences within a group
_DRAWS, _SEED = 20_000, 20_260_302
_EXACT_ROWS = 1_000  # above, a normal approximation is as good and faster
_TINY = 1e-9
_SURE = 30.0  # standard errors; a noncentral t loses its digits beyond
_NO_COST = 0.005  # of P(GO): a guard that costs less is not worth a sentence


@dataclass(frozen=True, slots=True)
class AssumedGate:
    """A gate, and the truth under which it is asked whether it will be shown. All in score units.

    Args:
        name: of the test.
        bound: the claim is difference > bound.
        n: rows.
        spread: share of discordant rows, for binary scores and preferences; for graded ones, and wherever
            there are ``groups`` or ``seeds``, the standard deviation of one row's difference with the design
            effect in it.
        truth: the assumed difference.
        number: where the baseline is a plain number.
        groups: how many, where rows stand in groups.
        seeds: how many, of a candidate trained with several; ``seed_share`` is theirs of the variance of the
            mean, which no further row lessens.
        alpha_of_more: level once rows have been added to those that did not decide; None: the same.
        seen: differences by row, or sums by group, in the suite's order; nan where there is none.
    """

    name: str
    suite: str
    score: str
    role: Role
    kind: Kind
    bound: float
    n: int
    spread: float
    truth: float
    alpha: float = 0.05
    number: float | None = None
    groups: int | None = None
    seeds: int = 1
    seed_share: float = 0.0
    alpha_of_more: float | None = None
    seen: Values | None = field(default=None, compare=False, repr=False)

    @property
    def is_hopeless(self) -> bool:
        """Whether no number of rows shows it: its truth does not lie beyond its bound."""
        return self.truth <= self.bound


@dataclass(frozen=True, slots=True)
class GoForecast:
    """The chance of GO, what lowers it most, and how many rows would bring it to 80%."""

    gates: tuple[AssumedGate, ...]
    p_go: float
    costliest: AssumedGate | None  # the guard without which P(GO) is highest; None: none costs anything
    p_without: float  # P(GO) without it
    scale: float | None  # of the rows of every suite, to bring P(GO) to 80%; None: out of reach
    is_joint: bool  # whether the dependence of gates on the same rows was known

    @property
    def hopeless(self) -> tuple[AssumedGate, ...]:
        """The gates that no number of rows shows."""
        return tuple(gate for gate in self.gates if gate.is_hopeless)

    @property
    def rows(self) -> Mapping[str, int] | None:
        """Rows of each suite at which P(GO) is 80%; None where out of reach."""
        if self.scale is None:
            return None
        most: dict[str, int] = {}
        for gate in self.gates:
            most[gate.suite] = max(most.get(gate.suite, 0), gate.n)
        return {suite: ceil(self.scale * n) for suite, n in most.items()}


def forecast_go(gates: Sequence[AssumedGate]) -> GoForecast:
    """The chance that every gate is shown. Seeded: the same each time."""
    joint = _joint(gates)
    powers = [gate_power(gate) for gate in gates]
    p_go = joint(powers)
    guards = [at for at, gate in enumerate(gates) if gate.role is not Role.TARGET]
    without = {at: joint([1.0 if place == at else p for place, p in enumerate(powers)]) for at in guards}
    worst = max(without, key=lambda at: without[at], default=None)
    if worst is not None and without[worst] - p_go < _NO_COST:
        worst = None
    return GoForecast(
        gates=tuple(gates),
        p_go=p_go,
        costliest=None if worst is None else gates[worst],
        p_without=p_go if worst is None else without[worst],
        scale=_scale(gates, joint),
        is_joint=_correlations(gates) is not None,
    )


def gate_power(gate: AssumedGate, scale: float = 1.0) -> float:
    """The chance that the gate is shown with ``scale`` times its rows (and groups)."""
    if scale > 1.0 and gate.alpha_of_more is not None:
        gate = replace(gate, alpha=gate.alpha_of_more)
    n = max(round(scale * gate.n), 1)
    groups = None if gate.groups is None else round(scale * gate.groups)
    if n < MIN_ROWS or (groups is not None and groups < MIN_CLUSTERS):
        return 0.0
    if groups is not None or gate.seeds > 1 or gate.kind is Kind.GRADED:
        return _t_power(gate, n, groups)
    if gate.kind is Kind.BINARY and gate.number is not None:
        return _rate_power(gate, gate.number, n)
    # a preference's difference is half that of its wins and losses, and its number need not be a tie
    is_preference = gate.kind is Kind.PREFERENCE
    shift = 0.5 - (gate.number or 0.0) if is_preference else 0.0
    unit = 2.0 if is_preference else 1.0
    bound, truth = round(unit * (gate.bound - shift), 9), round(unit * (gate.truth - shift), 9)
    if abs(bound) >= 1.0:  # nothing lies beyond what scores can differ by
        return float(truth > bound)
    return _sparse_power(n, bound, truth, max(gate.spread, abs(truth)), gate.alpha)


def assumed_of(found: Comparison, role: Role, name: str, suite: str, n: int | None = None) -> AssumedGate:
    """A gate that was judged, with its spread as it was seen.

    Its truth is the observed difference for a target or a threshold, and for a guard that was shown to gain;
    for any other guard no difference at all. Without an interval, planning values stand for its spread.

    Args:
        n: rows, where they are not those that were compared.
    """
    number = None
    if role is Role.THRESHOLD or found.kind is Kind.PREFERENCE:
        # "number > scores" is judged as "1 - scores > 1 - number": see claims
        is_mirrored = found.candidate == f"{found.candidate_mean:g}" if found.candidate_mean else False
        number = 1.0 - (found.candidate_mean or 0.0) if is_mirrored else found.baseline_mean
    observed = found.difference if found.difference is not None else found.bound
    gains = found.low is not None and found.low > 0.0
    seeds = max(len(found.seed_differences), 1)
    spread = _seen_spread(found, seeds)
    groups = found.clusters
    if groups is not None and n is not None:
        groups = round(groups * n / max(found.n, 1))
    return AssumedGate(
        name=name,
        suite=suite,
        score=found.score,
        role=role,
        kind=found.kind,
        bound=found.bound,
        n=found.n if n is None else n,
        spread=planned_spread(found.kind, role, found.n, found.clusters) if spread is None else spread,
        truth=observed if role is not Role.GUARD or gains else 0.0,
        alpha=found.alpha,
        number=number,
        groups=groups,
        seeds=seeds,
        seed_share=min(found.seed_share or 0.0, 1.0),
    )


def planned_spread(kind: Kind, role: Role, n: int, groups: int | None) -> float:
    """The spread to plan with where none was seen, as ``AssumedGate.spread`` is."""
    share = PLANNED_DISCORDANT[role]
    if groups is None:
        return PLANNED_SD if kind is Kind.GRADED else share
    unit = 0.5 if kind is Kind.PREFERENCE else 1.0
    sd = PLANNED_SD if kind is Kind.GRADED else unit * sqrt(share)
    return sd * sqrt(1.0 + (n / max(groups, 1) - 1.0) * PLANNED_ICC)


def _seen_spread(found: Comparison, seeds: int) -> float | None:
    """None where nothing was seen that an interval could be made of."""
    if found.low is None or found.high is None or found.difference is None or found.n < MIN_ROWS:
        return None
    if found.clusters is None and seeds == 1:
        if found.kind is not Kind.GRADED and found.discordant is not None:
            return max(found.discordant, 0.5) / found.n  # none among n rows is not none at all
        if found.kind is Kind.BINARY:
            return 0.0  # a rate has its own spread
        if found.effect_size and found.difference:
            return abs(found.difference / found.effect_size)
    units = found.n if found.clusters is None else found.clusters
    freedom = _freedom(units, seeds, found.seed_share or 0.0)
    error = (found.high - found.low) / 2.0 / float(stdtrit(freedom, 1.0 - found.alpha))
    return error * sqrt(found.n) if error > 0.0 else None


def _freedom(units: int, seeds: int, seed_share: float) -> float:
    """Satterthwaite's, of a variance that is partly the seeds'."""
    if seeds == 1:
        return units - 1.0
    inverse = (1.0 - seed_share) ** 2 / (units - 1.0) + seed_share**2 / (seeds - 1.0)
    return max(1.0 / inverse, seeds - 1.0)


def _t_power(gate: AssumedGate, n: int, groups: int | None) -> float:
    """Power of a t test, and with the rows more that are lost where few large losses are to be expected."""
    of_rows = (1.0 - gate.seed_share) * gate.n / n
    variance = gate.spread**2 / gate.n * (of_rows + gate.seed_share)
    units = n if groups is None else groups
    if variance <= 0.0:
        return 0.0  # without any spread there is no interval
    share = gate.seed_share / (of_rows + gate.seed_share)
    freedom = _freedom(units, gate.seeds, share)
    quantile = float(stdtrit(freedom, 1.0 - gate.alpha))

    gap, error = gate.truth - gate.bound, sqrt(variance)

    def power(gap: float, needed: float) -> float:
        centre = gap / error
        if abs(centre) > _SURE:
            return float(centre > 0.0)
        return float(1.0 - nctdtr(freedom, centre, needed))

    usual = power(gap, quantile)
    if gate.kind is not Kind.GRADED and gate.seeds == 1:
        return usual
    loss = RARE_LOSS if groups is None else RARE_GROUP_LOSS
    loss = loss if gate.number is None else min(loss, gate.number)
    # the units more, one at a level of 5%, move the mean, widen the interval and skew it
    unseen = unseen_losses(gate.alpha, of_groups=groups is not None)
    more, far, of_unit = unseen / (units + unseen), loss + gate.truth, units * variance
    wider = (of_unit + more * far**2) * (1.0 - more) * units / (units + unseen - 1.0)
    skewness = -more * (1.0 - more) * (1.0 - 2.0 * more) * far**3 / wider**1.5
    skewness *= 1.0 if groups is None else GROUP_SKEWNESS
    needed = quantile if gate.seeds > 1 else skewed_quantile(quantile, skewness, units)
    unlucky = power((1.0 - more) * gap - more * (loss + gate.bound), needed * sqrt(wider / of_unit))
    unlucky = min(usual, unlucky)
    if gate.number is not None:
        return unlucky
    from_here = large_loss(gate.bound)
    large = float(ndtr((from_here - gate.truth) / sqrt(of_unit)))  # as if normal
    if gate.seen is not None and groups is None:
        large = float(np.nanmean(gate.seen <= from_here + _TINY))
    enough = LOSSES_SEEN + LOSSES_FOR_EACH * (unseen - 1)
    few = float(bdtr(enough - 1, units, large))
    # samples with few losses are better ones, but not always those that show the claim: halfway between
    nested = min(few, unlucky) + max(usual - few, 0.0)
    return (nested + few * unlucky + (1.0 - few) * usual) / 2.0


def _rate_power(gate: AssumedGate, number: float, n: int) -> float:
    """That Wilson's lower limit of a rate lies above the number, exactly."""
    bar = min(max(number + gate.bound, 0.0), 1.0)
    rate = min(max(number + gate.truth, 0.0), 1.0)
    needed = n * bar - float(ndtri(gate.alpha)) * sqrt(n * bar * (1.0 - bar))
    return 0.0 if needed >= n else float(1.0 - bdtr(floor(needed), n, rate))


@lru_cache(maxsize=4096)
def _sparse_power(n: int, bound: float, truth: float, share: float, alpha: float) -> float:
    """Of ungrouped wins and losses: exact; a normal approximation of Tango's test where rows are many."""
    share = min(share, 1.0)
    if n <= _EXACT_ROWS:
        return power_of_guard(Kind.BINARY, n, -bound, share, difference=truth, alpha=alpha)
    at_bound = float(null_variance((share + truth) / 2 * n, (share - truth) / 2 * n, n, bound))
    reach = (truth - bound) * sqrt(n) + float(ndtri(alpha)) * sqrt(at_bound)
    spread = sqrt(max(share - truth**2, 0.0))
    return float(ndtr(reach / spread)) if spread > 0.0 else float(reach > 0.0)


# --------------------------------------------------------------------------- all gates together
def _joint(gates: Sequence[AssumedGate]) -> Callable[[Sequence[float]], float]:
    """From the gates' own chances to the chance of all, by a copula where the dependence is known."""
    found = _correlations(gates)
    if found is None:
        return lambda powers: float(np.prod(np.clip(powers, 0.0, 1.0)))
    # a matrix of pairs need not be one of any distribution: the nearest that is, by its eigenvalues
    values, vectors = np.linalg.eigh(found)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    root /= np.sqrt((root**2).sum(axis=1, keepdims=True))
    normal = np.random.default_rng(_SEED).standard_normal((_DRAWS, len(gates))) @ root.T

    def chance(powers: Sequence[float]) -> float:
        bars = ndtri(np.clip(powers, 0.0, 1.0))  # a sum over tables may end a rounding above 1
        return float(np.mean(np.all(normal < bars, axis=1)))

    return chance


def _correlations(gates: Sequence[AssumedGate]) -> Values | None:
    """Between gates on the rows of one suite; None where it is known of no two of them."""
    found = np.eye(len(gates))
    is_known = False
    for (i, one), (j, other) in combinations(enumerate(gates), 2):
        if one.suite != other.suite or one.seen is None or other.seen is None:
            continue
        if one.seen.shape != other.seen.shape:
            continue
        both = ~(np.isnan(one.seen) | np.isnan(other.seen))
        first, second = one.seen[both], other.seen[both]
        if len(first) < MIN_ROWS:
            continue
        is_known = True
        if np.ptp(first) > 0.0 and np.ptp(second) > 0.0:
            found[i, j] = found[j, i] = np.corrcoef(first, second)[0, 1]
    return found if is_known else None


def _scale(gates: Sequence[AssumedGate], joint: Callable[[Sequence[float]], float]) -> float | None:
    """By how much all rows have to grow for P(GO) to be 80%, to 1%; 1 where it is; None out of reach."""
    if not gates or any(gate.is_hopeless for gate in gates):
        return None

    def reached(scale: float) -> bool:
        return joint([gate_power(gate, scale) for gate in gates]) >= POWER

    if reached(1.0):
        return 1.0
    low, high = 1.0, 2.0
    most = max(MOST_ROWS / max(1, *(gate.n for gate in gates)), 1.0)
    while not reached(min(high, most)):
        if high >= most:
            return None
        low, high = high, 2.0 * high
    high = min(high, most)
    while high / low > 1.01:
        middle = sqrt(low * high)
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
