"""A group-sequential design: an expensive judge scores the rows in parts, and stops once a claim is clear.

Rows are judged in a seeded random order (:func:`row_order`), both sides of each, up to the first interim look
of :func:`design_looks`; :func:`judge_look` decides whether to go on to the next.

- Each look compares the rows so far as all rows are, at a one-sided level of its own. So that the chance of
  ever showing a false claim stays at ``alpha``, the levels spend it over the looks (K. K. G. Lan and D. L.
  DeMets 1983, Biometrika 70:659), in proportion to the rows (K. Kim and D. L. DeMets 1987, Biometrika 74:149,
  ρ = 1). "Refuted" has the same levels on the other side. They are exact for normal scores, and are read as
  p-values of the small sample's own test (C. Jennison and B. W. Turnbull 2000, Group Sequential Methods).
- A claim on graded scores is shown, at any look, only if it still is with a loss that the rows may lack (see
  :mod:`harness.decision.paired`).
- The interval of a look is the repeated confidence interval (C. Jennison and B. W. Turnbull 1989, J. R.
  Stat. Soc. B 51:305): all looks' limits hold together, whatever the reason for stopping.
- A look is futile when, given the rows so far, all rows would show the claim with a predictive power (D. J.
  Spiegelhalter, L. S. Freedman and P. R. Blackburn 1986, Controlled Clinical Trials 7:8; flat prior) below
  5%, and refute it with one below 30%. The levels do not count on it: one may go on regardless.

docs/evidence.md has the alternatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from math import ceil, sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from harness.decision.estimates import MIN_ROWS, Estimate, Mask, Rows, check_levels
from harness.decision.seeds import estimated
from harness.decision.student import Values
from harness.errors import UsageError
from harness.records import Outcome

SHOWING, REFUTING = 0.05, 0.3  # predictive power below which it is futile to go on for that
MAX_LOOKS = 20
_GRID = 801  # points on which the density of paths is held; odd, for Simpson's rule
_REACH = 8.0  # standard deviations below zero that the grid covers


class LookState(StrEnum):
    """The result of a look; all but ``continue`` stop the judging."""

    CONTINUE = "continue"
    SHOWN = "shown"
    REFUTED = "refuted"
    FUTILE = "futile"  # inconclusive before the last look
    INCONCLUSIVE = "inconclusive"  # at the last look


@dataclass(frozen=True, slots=True)
class Look:
    """When ``rows`` are judged: each side is tested at one-sided ``level``.

    It is futile to go on where no side is decided and the test's p, as a normal score, lies above
    ``futile_above`` and below ``futile_below``; that may be nowhere.
    """

    rows: int
    level: float
    futile_above: float
    futile_below: float


@dataclass(frozen=True, slots=True)
class GroupSequentialDesign:
    """The looks, first to last; ``alpha`` is the level of each side over all of them."""

    looks: tuple[Look, ...]
    alpha: float

    @property
    def rows(self) -> int:
        """Rows judged if no look stops before."""
        return self.looks[-1].rows


@dataclass(frozen=True, slots=True)
class LookResult:
    """A claim judged on the rows so far.

    ``estimate`` holds the repeated confidence limits of this look, and the p-value of this look alone, to be
    read against the look's ``level``; None where the rows give no interval.
    """

    state: LookState
    saved: float  # share of the planned judge calls that need not be made
    estimate: Estimate | None
    failures: int  # rows left out because a side has no value
    reason: str

    @property
    def outcome(self) -> Outcome:
        """As of a claim; inconclusive while the judging goes on."""
        known = {LookState.SHOWN: Outcome.SHOWN, LookState.REFUTED: Outcome.REFUTED}
        return known.get(self.state, Outcome.INCONCLUSIVE)


def row_order(
    row_ids: Sequence[str], seed: int, groups: Sequence[str | None] | None = None
) -> tuple[int, ...]:
    """Places of the rows in the order in which they are judged: random, and the same on every machine.

    It depends on the ids of the file's rows and on ``seed`` alone. The rows of a group stay together.
    """
    names = groups or [None] * len(row_ids)
    file = sha256("\0".join(row_ids).encode()).hexdigest()

    def key(at: int) -> tuple[bytes, int]:
        unit = f"row {row_ids[at]}" if names[at] is None else f"group {names[at]}"
        return sha256(f"{seed}\0{file}\0{unit}".encode()).digest(), at

    return tuple(sorted(range(len(row_ids)), key=key))


def design_looks(
    n: int, looks: int = 5, alpha: float = 0.05, groups: Sequence[str | None] | None = None
) -> GroupSequentialDesign:
    """Up to ``looks`` looks at equal distances, the last at all ``n`` rows.

    A look that would come before 10 rows, or less than 10 rows or 1% of them after another, is left out.

    Args:
        looks: 1 to 20; one is the ordinary test.
        alpha: the chance to show (or to refute) a claim at its bound, over all looks.
        groups: of the rows in the order of judging; a look then waits for the end of a group.

    Raises:
        UsageError: numbers that cannot be, or rows of a group apart from each other.
    """
    check_levels(0.0, alpha)
    if n < 1 or not 1 <= looks <= MAX_LOOKS:
        raise UsageError(f"judging takes 1 row or more and 1 to {MAX_LOOKS} looks; {n=}, looks={looks}.")
    ends = _group_ends(groups or [None] * n)
    least = max(MIN_ROWS, ceil(n / 100))
    sizes: list[int] = []
    for k in range(1, looks):
        size = int(ends[np.searchsorted(ends, ceil(n * k / looks))])
        before = sizes[-1] if sizes else 0
        if size - before >= least and n - size >= least:
            sizes.append(size)
    sizes.append(n)
    return _spending(tuple(sizes), alpha)


def at_level(design: GroupSequentialDesign, alpha: float) -> GroupSequentialDesign:
    """The same looks, the same spending function, and another level over all of them.

    Raises:
        UsageError: ``alpha`` outside (0, 0.5).
    """
    check_levels(0.0, alpha)
    return design if alpha == design.alpha else _spending(tuple(look.rows for look in design.looks), alpha)


def _spending(sizes: tuple[int, ...], alpha: float) -> GroupSequentialDesign:
    n = sizes[-1]
    fractions = tuple(size / n for size in sizes)
    bounds = efficacy_bounds(fractions, tuple(alpha * fraction for fraction in fractions))

    def score_that_predicts(power: float, fraction: float) -> float:
        """The score, at this fraction of the rows, that predicts the last bound crossed with this power."""
        return bounds[-1] * sqrt(fraction) + sqrt(1.0 - fraction) * float(ndtri(power))

    return GroupSequentialDesign(
        tuple(
            Look(
                rows=size,
                level=float(ndtr(-bound)),
                futile_above=-score_that_predicts(REFUTING, fraction),
                futile_below=score_that_predicts(SHOWING, fraction),
            )
            for size, fraction, bound in zip(sizes, fractions, bounds, strict=True)
        ),
        alpha,
    )


@lru_cache(maxsize=64)
def efficacy_bounds(fractions: tuple[float, ...], spent: tuple[float, ...]) -> tuple[float, ...]:
    """The normal score to exceed at each look, so that ``spent`` is the chance to have exceeded one by then.

    P. Armitage, C. K. McPherson and B. C. Rowe (1969), J. R. Stat. Soc. A 132:235: the score at a fraction t
    of the rows, times the root of t, is a Brownian motion at time t; of the paths below every bound so far,
    the density is carried from look to look by recursive integration. ``fractions`` are of all rows.
    """
    from scipy.optimize import brentq  # slow to import

    simpson = np.where(np.arange(_GRID) % 2 == 1, 4.0, 2.0)
    simpson[[0, -1]] = 1.0
    # the paths below all bounds so far: where they are at time ``before``, and the mass at each place
    places, masses = np.zeros(1), np.ones(1)
    before, spent_before = 0.0, 0.0
    bounds: list[float] = []
    for time, total in zip(fractions, spent, strict=True):
        sd, chance = sqrt(time - before), total - spent_before

        def surplus(place: float) -> float:
            return float(masses @ ndtr((places - place) / sd)) - chance  # noqa: B023 - called in this turn only

        far = 12.0 * sqrt(time)
        place = float(brentq(surplus, -far, far, xtol=1e-10))
        grid = np.linspace(min(-_REACH * sqrt(time), place - 1.0), place, _GRID)
        density = np.exp(-0.5 * ((grid[:, None] - places) / sd) ** 2) / (sd * sqrt(2.0 * np.pi)) @ masses
        places, masses = grid, density * simpson * (grid[1] - grid[0]) / 3.0
        before, spent_before = time, total
        bounds.append(place / sqrt(time))
    return tuple(bounds)


def _group_ends(groups: Sequence[str | None]) -> npt.NDArray[np.int64]:
    """Row counts after which no group is cut."""
    n = len(groups)
    ends = [at + 1 for at in range(n) if at + 1 == n or groups[at] is None or groups[at] != groups[at + 1]]
    named = [groups[end - 1] for end in ends if groups[end - 1] is not None]
    if len(set(named)) < len(named):
        raise UsageError("the rows of a group must be judged together: order them by row_order(..., groups).")
    return np.array(ends, dtype=np.int64)


def judge_look(design: GroupSequentialDesign, rows: Rows, bound: float = 0.0) -> LookResult:
    """Judge the claim "candidate - baseline > ``bound``" on the rows so far, in the order of judging.

    Rows that failed are left out; a claim is shown only if it is also shown when they count against it, and
    with a loss that the rows may lack (graded scores; see the module).

    Raises:
        UsageError: a number of rows at which there is no look, a bound outside (-1, 1), or several
            training seeds in more than one look.
    """
    check_levels(bound, design.alpha)
    if rows.by_seed is not None and len(design.looks) > 1:
        # rows tell nothing of the scatter of seeds, and few seeds do not keep levels as low as those of looks
        raise UsageError("several training seeds are judged on all rows at once: ask for one look.")
    n = len(rows.candidate)
    at = next((k for k, look in enumerate(design.looks) if look.rows == n), None)
    if at is None:
        sizes = ", ".join(str(look.rows) for look in design.looks)
        raise UsageError(f"{n} rows are judged, but the looks are at {sizes}: judge up to one of these.")
    look, is_last = design.looks[at], at + 1 == len(design.looks)
    usable = rows.usable
    seen = rows.only(usable)
    estimate = estimated(seen, bound, look.level)
    state, why = LookState.INCONCLUSIVE if is_last else LookState.CONTINUE, ""
    if isinstance(estimate, str):
        why = estimate
    else:
        shown, refuted, futile = crossed(look, estimate.low, estimate.high, estimate.p_value, bound)
        if shown and not usable.all() and not _is_shown(rows.worst_case(), bound, look.level):
            why = "it is shown only if the rows that failed do not count against it"
        elif (
            shown
            and (one_more := seen.with_a_rare_loss(look.level, bound)) is not None
            and not _is_shown(one_more, bound, look.level)
        ):
            why = f"{seen.rare_losses(look.level)} would undo it"
        elif shown or refuted:
            state = LookState.SHOWN if shown else LookState.REFUTED
        elif futile and not is_last:
            state = LookState.FUTILE
            chances = f"less than {100 * SHOWING:g}% (to show it) and {100 * REFUTING:g}% (to refute it)"
            why = f"the chances of going on are {chances}"
    saved = 0.0 if state is LookState.CONTINUE else 1.0 - n / design.rows
    cause = f", since {why}" if why else ""
    where = f"look {at + 1} of {len(design.looks)} ({n} of {design.rows} rows)"
    found = "inconclusive" if state is LookState.FUTILE else str(state)
    if state is LookState.CONTINUE:
        reason = f"{where}: not decided yet{cause}"
    elif is_last:
        reason = f"went on to {where}: {found}{cause}"
    else:
        reason = f"stopped after {where}: {found}{cause}; {100 * saved:.0f}% of the judge calls were saved"
    return LookResult(
        state, saved, None if isinstance(estimate, str) else estimate, n - len(seen.candidate), reason
    )


def crossed(
    look: Look, low: Values | float, high: Values | float, p_value: Values | float, bound: float
) -> tuple[Mask, Mask, Mask]:
    """Shown, refuted, futile: of one sample or of many, by the limits and p-value at the look's level."""
    shown, refuted = np.asarray(low) > bound, np.asarray(high) < bound
    score = -ndtri(np.asarray(p_value, dtype=np.float64))
    futile = ~(shown | refuted) & (score > look.futile_above) & (score < look.futile_below)
    return shown, refuted, futile


def _is_shown(rows: Rows, bound: float, level: float) -> bool:
    estimate = estimated(rows, bound, level)
    return not isinstance(estimate, str) and estimate.low > bound
