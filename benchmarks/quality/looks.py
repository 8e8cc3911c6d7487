"""Judging in looks against a fixed number of rows: judge calls saved at equal power, and false GO.

A benchmark of seven effects: three nulls, where the candidate is the baseline's equal, and four real gains
within 5 to 10 points. Both sides are five-level rubric scores (0, 0.25, ... 1). A row has a quality
q ~ N(0.6, 0.25); a side's score is ``q + noise``, the candidate's with a shift as well, rounded to the
nearest level. Noise and shift are solved for, so that the difference of a row has the standard deviation
0.24 and exactly the mean asked for.

The reference is a fixed number of rows, judged once by the same test at one-sided 5%. Looks lose some of
its power, so a plan in looks may judge more rows at most: ``MOST_ROWS``, found with other seeds, give it the
reference's power as the mean over the four gains. Saved is 1 - (mean rows judged) / (fixed rows), the mean
over all seven effects. False GO is the share of nulls shown. A further figure tells what is saved, and how
much power it costs, where no row is added.

The bar on what is saved is for 400 fixed rows. 200 have less power to spare, so that stopping early is worth
less there; the figure is measured beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from statistics import fmean

import numpy as np

from benchmarks.results import Options, Result
from harness.decision.estimates import (
    LOSSES_FOR_EACH,
    LOSSES_SEEN,
    RARE_LOSS,
    Mask,
    large_loss,
    unseen_losses,
)
from harness.decision.group_sequential import GroupSequentialDesign, crossed, design_looks
from harness.decision.student import Values, mean_and_residuals, t_limits, t_p

SIMULATIONS, SMOKE_SIMULATIONS, SEED = 20_000, 200, 1
ALPHA, LOOKS, SD = 0.05, 5, 0.24
NULLS, GAINS = 3, (0.05, 0.065, 0.08, 0.10)
MAIN = 400  # fixed rows for which there is a bar on the calls saved
MOST_ROWS = {MAIN: 472, 200: 240}  # in looks, by the fixed number of rows of the same power
STEPS = np.arange(-4, 5) / 4  # the differences that five levels can have
RARE_LOSSES = (0.046, 0.0, 0.0, 0.0, 0.77, 0.184, 0.0, 0.0, 0.0)  # 4.6% lose 1, 18.4% gain 0.25: a null
_CHUNK = 250  # samples held at a time


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one effect: shares of the simulations, and the number of rows judged."""

    rows: float  # mean
    rows_sd: float
    shown: float
    shown_regardless: float  # if only "shown" stops the judging
    shown_fixed: float


def measure(options: Options) -> list[Result]:
    """For 400 and 200 fixed rows: calls saved, with the power, and false GO, futility obeyed and ignored."""
    simulations = SMOKE_SIMULATIONS if options.smoke else SIMULATIONS
    results = []
    for fixed, most in MOST_ROWS.items():
        found = _mix(fixed, most, simulations)
        results += [_saved(found, fixed, most, simulations), *_false_go(found, fixed, most, simulations)]
        results.append(_saved(_mix(fixed, fixed, simulations), fixed, fixed, simulations))
    return [*results, _rare_losses(200, simulations)]


def _mix(fixed: int, most: int, simulations: int) -> list[Measured]:
    """The nulls, then the gains."""
    plan = design_looks(most, LOOKS, ALPHA)
    return [
        simulate(plan, fixed, rubric_shares(gain), simulations, SEED + at, regardless=gain == 0.0)
        for at, gain in enumerate((0.0,) * NULLS + GAINS)
    ]


def _saved(found: list[Measured], fixed: int, most: int, simulations: int) -> Result:
    error = sqrt(sum(one.rows_sd**2 for one in found) / simulations) / len(found) / fixed
    nulls, real = found[:NULLS], found[NULLS:]
    power, power_fixed = fmean(one.shown for one in real), fmean(one.shown_fixed for one in real)
    each = ", ".join(f"{1 - one.rows / fixed:.3f}" for one in real)
    equal, barred = most > fixed, most > fixed and fixed == MAIN
    return Result(
        name=f"judge calls saved, {fixed} rows" + (" of equal power" if equal else ", none added"),
        value=1.0 - fmean(one.rows for one in found) / fixed,
        unit="",
        detail=f"{LOOKS} looks, at most {most} rows; {_generator(simulations)}; saved of nulls "
        f"{1 - fmean(one.rows for one in nulls) / fixed:.3f}, of gains {each}; power over the gains "
        f"{power:.4f} (fixed rows: {power_fixed:.4f}), standard error "
        f"{_error(power_fixed, len(GAINS) * simulations):.4f}; standard error of the saving {error:.4f}",
        reference=f"{fixed} rows judged at once",
        bar=0.40 if barred else None,
        bar_is="value at least" if barred else None,
    )


def _false_go(found: list[Measured], fixed: int, most: int, simulations: int) -> list[Result]:
    nulls, n = found[:NULLS], NULLS * simulations
    shares = {
        "": fmean(one.shown for one in nulls),
        ", futility ignored": fmean(one.shown_regardless for one in nulls),
    }
    return [
        Result(
            name=f"false GO in looks, {fixed} rows{how}",
            value=share,
            unit="",
            detail=f"share of {n:,} nulls shown{', if nothing else stops the judging' if how else ''}; "
            f"{LOOKS} looks, at most {most} rows; {_generator(simulations)}; standard error "
            f"{_error(share, n):.4f}",
            reference=f"{fixed} rows judged at once",
            reference_value=fmean(one.shown_fixed for one in nulls),
            bar=0.05,
            bar_is="value at most",
        )
        for how, share in shares.items()
    ]


def _rare_losses(fixed: int, simulations: int) -> Result:
    found = simulate(
        design_looks(fixed, LOOKS, ALPHA), fixed, RARE_LOSSES, simulations, SEED, regardless=True
    )
    return Result(
        name=f"false GO in looks, {fixed} rows, rare losses",
        value=found.shown_regardless,
        unit="",
        detail=f"share of {simulations:,} nulls shown, if nothing else stops the judging; {LOOKS} looks, "
        f"at most {fixed} rows, of which 4.6% lose 1 and 18.4% gain 0.25; seed {SEED}; standard error "
        f"{_error(found.shown_regardless, simulations):.4f}",
        reference=f"{fixed} rows judged at once",
        reference_value=found.shown_fixed,
        bar=0.05,
        bar_is="value at most",
    )


def _generator(simulations: int) -> str:
    gains = ", ".join(f"{gain:g}" for gain in GAINS)
    return (
        f"five-level rubric scores, sd of a row's difference {SD}, {NULLS} nulls and gains {gains}, "
        f"{simulations:,} simulations each, seeds from {SEED}"
    )


def _error(share: float, n: int) -> float:
    return sqrt(share * (1.0 - share) / n)


def simulate(
    plan: GroupSequentialDesign,
    fixed: int,
    shares: tuple[float, ...],
    simulations: int,
    seed: int,
    regardless: bool,
) -> Measured:
    """Judge samples of differences with these ``shares`` of ``STEPS`` in looks and by ``fixed`` rows.

    ``shown_regardless`` is measured only if ``regardless`` asks for it.
    """
    rng, limits = np.random.default_rng(seed), np.cumsum(shares[:-1])
    found = []
    for start in range(0, simulations, _CHUNK):
        drawn = rng.random((min(_CHUNK, simulations - start), max(plan.rows, fixed)))
        differences = STEPS[np.searchsorted(limits, drawn, side="right")]
        mean, residuals = mean_and_residuals(differences[:, :fixed])
        at_once = t_limits(mean, residuals, fixed, plan.alpha)[0] > 0.0
        at_once[at_once] = holds_with_a_rare_loss(differences[at_once, :fixed], plan.alpha)
        found.append([*_in_looks(plan, differences, regardless), at_once])
    rows, *shown = np.concatenate(found, axis=1)
    return Measured(float(rows.mean()), float(rows.std()), *(float(each.mean()) for each in shown))


def _in_looks(
    plan: GroupSequentialDesign, differences: Values, regardless: bool
) -> tuple[Values, Mask, Mask]:
    """Rows judged, shown, and ever shown: of each sample, by the harness's own tests."""
    rows = np.full(len(differences), float(plan.rows))
    shown, ever_shown, stopped = np.zeros((3, len(differences)), dtype=bool)
    left = np.arange(len(differences))
    for look in plan.looks:
        mean, residuals = mean_and_residuals(differences[left, : look.rows])
        low, high = t_limits(mean, residuals, look.rows, look.level)
        yes, no, futile = crossed(look, low, high, t_p(mean, residuals, look.rows, 0.0), 0.0)
        yes[yes] = holds_with_a_rare_loss(differences[left[yes], : look.rows], look.level)
        ever_shown[left] = yes
        shown[left] |= yes & ~stopped[left]
        stops = left[(yes | no | futile) & ~stopped[left]]
        rows[stops], stopped[stops] = look.rows, True
        left = left[~yes] if regardless else left[~stopped[left]]
    return rows, shown, ever_shown


def holds_with_a_rare_loss(differences: Values, alpha: float, bound: float = 0.0) -> Mask:
    """`Rows.with_a_rare_loss` on many samples (samples, rows): which are still shown."""
    unseen = unseen_losses(alpha)
    large = differences <= large_loss(bound) + 1e-9
    seen = np.count_nonzero(large, axis=1) >= LOSSES_SEEN + LOSSES_FOR_EACH * (unseen - 1)
    more = np.append(differences, np.full((len(differences), unseen), -RARE_LOSS), axis=1)
    return np.asarray(seen | (t_limits(*mean_and_residuals(more), more.shape[1], alpha)[0] > bound))


@lru_cache(maxsize=16)
def rubric_shares(gain: float, sd: float = SD) -> tuple[float, ...]:
    """The shares of ``STEPS`` among differences with this mean and standard deviation."""
    from scipy.optimize import root

    def miss(shift_and_noise: Values) -> Values:
        shares = _shares(*shift_and_noise)
        mean = float(shares @ STEPS)
        return np.array([mean - gain, sqrt(float(shares @ STEPS**2) - mean**2) - sd])

    found = root(miss, np.array([gain, sd / 2]), tol=1e-13)
    if not found.success:
        raise ArithmeticError(f"no noise and shift give gain {gain} and sd {sd}: {found.message}")
    return tuple(_shares(*found.x).tolist())


def _shares(shift: float, noise: float) -> Values:
    from scipy.special import ndtr

    quality = np.linspace(-1.0, 2.2, 1601)
    weights = np.exp(-0.5 * ((quality - 0.6) / 0.25) ** 2)
    ends = np.array([-np.inf, 0.125, 0.375, 0.625, 0.875, np.inf])

    def levels(mean: Values) -> Values:
        return np.diff(ndtr((ends - mean[:, None]) / noise), axis=1)

    together = (levels(quality + shift) * weights[:, None]).T @ levels(quality) / weights.sum()
    return np.array([np.trace(together, offset=-step) for step in range(-4, 5)])
