"""Gates on a judge that favours the candidate, decided by the judge alone or with labels of some rows.

Both sides are equally good: each claim of an improvement is false. The judge errs independently on each
answer, and calls the candidate's better than they are by 5 points on average. People label both answers of
the rows that were drawn.

* Good or bad: 70% of the answers are good, and one row in five differs; the judge finds 90% of either kind
  (kappa .76).
* Five levels: the judge is a level off on 30% of the answers, and lifts a part of the candidate's by one.
* Few losses: a guard at its margin, all of which a few rows lose; the judge is as above, without its bias.
* Unseen losses: what is gained elsewhere, 5% of the rows lose, and the judge, right about all others, sees
  them as ties.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import sqrt
from typing import TypeAlias

import numpy as np
from scipy.special import stdtrit

from benchmarks.results import Options, Result
from harness.decision.judged import JudgedClaim, JudgedSide
from harness.decision.ppi import Corrected
from harness.decision.student import Values, mean_and_residuals, t_p
from harness.records import Comparison, Kind, Outcome

ALPHA, BIAS = 0.05, 0.05
N, LABELS = 400, 100
FOUND = 0.895  # of either kind by the judge: kappa .76 where 70% are good
BOTH_GOOD, ONE_GOOD = 0.6, 0.1  # of the rows; the latter for each side
LEVELS = (0.05, 0.10, 0.20, 0.35, 0.30)  # of a level from 1 to 5, on each side
KEPT, OFF, LIFTED = 0.5, 0.15, 0.29  # rows with the same level on both sides; judged a level off, each way
SAME_TEXT = 0.6  # of the rows that a candidate with few losses does not spoil
MORE_OFTEN = 2.5  # rows that the judge sees a difference in are drawn so much more often

UNSEEN = 0.05  # of the rows
GAINS = (0.1, 0.2)  # of the rows
FEWEST = (25, 50, LABELS)
SELDOM = 0.05, 0.9  # probabilities of rows that the judge sees no difference in, and of the others

Sides: TypeAlias = tuple[Values, Values]  # candidate and baseline, (draws, rows)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What people and the judge say of both sides' answers."""

    people: Sides
    judge: Sides


def measure(options: Options) -> list[Result]:
    """False GO, standard error, and coverage under unequal sampling; some 45 s."""
    draws = 20 if options.smoke else 4_000
    rng = np.random.default_rng(41)
    results = []
    for name, generator in (("kappa .76", good_or_bad), ("five levels", five_levels)):
        seen = generator(rng, draws)
        claims = [_claim(seen, at, _equal(rng)) for at in range(draws)]
        false_go = sum(claim.comparison.outcome is Outcome.SHOWN for claim in claims) / draws
        judged = seen.judge[0] - seen.judge[1]
        mean, residuals = mean_and_residuals(judged)
        naive = float(np.mean(t_p(mean, residuals, N, 0.0) < ALPHA))
        detail = (
            f"bias {100 * float(judged.mean()):+.1f} points, truth {100 * _truth(seen):+.1f}, n={N}, {LABELS}"
            f" labelled, {draws:,} draws (s.e. {sqrt(0.05 * 0.95 / draws):.4f}); the judge alone: {naive:.3f}"
        )
        results.append(
            Result(f"judged: false GO, {name}", false_go, "rate", detail, bar=0.06, bar_is="value at most")
        )
        if generator is good_or_bad:
            results.append(_standard_error(claims))
    results += [_few_losses(rng, draws // 2), _unseen_losses(np.random.default_rng(42), draws // 4)]
    results += [_coverage(rng, draws, "equal", _equal), _coverage(rng, draws, "unequal", _by_difference)]
    return results


def good_or_bad(rng: np.random.Generator, draws: int) -> Drawn:
    """Answers that are good (1) or bad (0), and a judge that says either."""
    shape = draws, N
    cell = rng.random(shape)
    candidate = (cell < BOTH_GOOD + ONE_GOOD).astype(np.float64)
    other = (cell >= BOTH_GOOD + ONE_GOOD) & (cell < BOTH_GOOD + 2 * ONE_GOOD)
    baseline = ((cell < BOTH_GOOD) | other).astype(np.float64)

    def judged(truth: Values, bias: float) -> Values:
        chance = np.where(truth > 0.5, FOUND, 1.0 - FOUND) + bias
        return (rng.random(shape) < chance).astype(np.float64)

    return Drawn((candidate, baseline), (judged(candidate, BIAS), judged(baseline, 0.0)))


def few_losses(rng: np.random.Generator, draws: int, loss: float, found: float) -> Drawn:
    """A candidate that spoils a share of the answers that are good, and changes no other."""
    shape = draws, N
    lost = rng.random(shape) < loss
    baseline = (lost | (rng.random(shape) < 0.7)).astype(np.float64)
    candidate = np.where(lost, 0.0, baseline)
    judged = [
        (rng.random(shape) < np.where(truth > 0.5, found, 1.0 - found)).astype(np.float64)
        for truth in (candidate, baseline)
    ]
    # most answers that are alike are the same text
    same = ~lost & (rng.random(shape) < SAME_TEXT)
    return Drawn((candidate, baseline), (np.where(same, judged[1], judged[0]), judged[1]))


def unseen_losses(rng: np.random.Generator, draws: int, gain: float) -> Drawn:
    """No difference, and a judge that errs on the losses that it does not see alone."""
    cell, same = rng.random((draws, N)), (rng.random((draws, N)) < 0.7).astype(np.float64)
    gained, lost = cell < gain, (cell >= gain) & (cell < 2 * gain)
    candidate = np.where(gained, 1.0, np.where(lost, 0.0, same))
    baseline = np.where(gained, 0.0, np.where(lost, 1.0, same))
    unseen = lost & (cell >= 2 * gain - UNSEEN)
    return Drawn((candidate, baseline), (np.where(unseen, 1.0, candidate), baseline))


def five_levels(rng: np.random.Generator, draws: int) -> Drawn:
    """Answers of level 1 to 5, as values from 0 to 1."""
    shape = draws, N
    candidate, other = (rng.choice(5, size=shape, p=LEVELS).astype(np.float64) for _ in range(2))
    baseline = np.where(rng.random(shape) < KEPT, candidate, other)

    def judged(truth: Values, lifted: float) -> Values:
        off = rng.choice([-1, 0, 1], size=shape, p=[OFF, 1.0 - 2.0 * OFF, OFF])
        return np.asarray(np.clip(truth + off + (rng.random(shape) < lifted), 0, 4) / 4.0)

    people = candidate / 4.0, baseline / 4.0
    return Drawn(people, (judged(candidate, LIFTED), judged(baseline, 0.0)))


def _truth(seen: Drawn) -> float:
    return float((seen.people[0] - seen.people[1]).mean())


Sampling: TypeAlias = Callable[[Values], Values]


def _equal(rng: np.random.Generator, labels: int = LABELS) -> Sampling:
    """A fixed number of rows, each with the same probability."""

    def probabilities(judged: Values) -> Values:
        found = np.full(N, np.nan)
        found[rng.choice(N, labels, replace=False)] = labels / N
        return found

    return probabilities


def _by_difference(rng: np.random.Generator) -> Sampling:
    """Rows that the judge sees a difference in more often; each drawn by itself."""

    def probabilities(judged: Values) -> Values:
        weights = np.where(judged != 0.0, MORE_OFTEN, 1.0)
        chances = np.minimum(LABELS * weights / weights.sum(), 1.0)
        return np.where(rng.random(N) < chances, chances, np.nan)

    return probabilities


def _seldom(rng: np.random.Generator) -> Sampling:
    """Hardly any row that the judge sees no difference in."""

    def probabilities(judged: Values) -> Values:
        chances = np.where(judged == 0.0, *SELDOM)
        return np.where(rng.random(N) < chances, chances, np.nan)

    return probabilities


def _claim(seen: Drawn, at: int, sampling: Sampling, bound: float = 0.0) -> JudgedClaim:
    """One draw's claim that the candidate is better."""
    judged = [side[at][:, np.newaxis] for side in seen.judge]
    probabilities = sampling((judged[0] - judged[1])[:, 0])
    is_drawn = ~np.isnan(probabilities)[:, np.newaxis]
    came = np.ones((N, 1), dtype=np.bool_)
    mine, theirs = (
        JudgedSide(said, np.where(is_drawn, people[at][:, np.newaxis], np.nan), came)
        for said, people in zip(judged, seen.people, strict=True)
    )
    return JudgedClaim(replace(_NAIVE, bound=bound), mine, theirs, probabilities)


def _standard_error(claims: list[JudgedClaim]) -> Result:
    """The spread of the corrected difference over draws, against that of labels alone."""
    found = [claim.estimate for claim in claims]
    by_both = np.array([each.difference for each in found if isinstance(each, Corrected)])
    alone = np.array([each.labels_alone[0] for each in found if isinstance(each, Corrected)])
    stated = float(np.mean([each.error for each in found if isinstance(each, Corrected)]))
    saved = float(np.mean([each.labels_saved for each in found if isinstance(each, Corrected)]))
    detail = (
        f"spread of {len(by_both):,} estimates {100 * by_both.std():.2f} points (stated {100 * stated:.2f}),"
        f" labels alone {100 * alone.std():.2f}; {saved:.0f} labels saved on average"
    )
    ratio = float(by_both.std() / alone.std())
    name = "judged: standard error over that of labels alone, kappa .76"
    return Result(name, ratio, "", detail, bar=0.87, bar_is="value at most")


def _few_losses(rng: np.random.Generator, draws: int) -> Result:
    """False claims of a guard whose margin is just what the candidate loses, by few labelled losses."""
    cells, by_t = {}, {}
    for loss in (0.05, 0.10):
        for found, name in ((0.55, "no use"), (FOUND, "kappa .76"), (0.97, "kappa .93")):
            seen = few_losses(rng, draws, loss, found)
            claims = [_claim(seen, at, _equal(rng), bound=-loss) for at in range(draws)]
            cell = f"margin {100 * loss:.0f}, a judge of {name}"
            cells[cell] = sum(claim.comparison.outcome is Outcome.SHOWN for claim in claims) / draws
            estimates = [claim.estimate for claim in claims]
            by_t[cell] = (
                sum(
                    each.difference + float(stdtrit(each.freedom, ALPHA)) * each.error > -loss
                    for each in estimates
                    if isinstance(each, Corrected)
                )
                / draws
            )
    worst = max(cells, key=lambda cell: cells[cell])
    told = "; ".join(f"{cell} {rate:.3f} ({by_t[cell]:.3f})" for cell, rate in cells.items())
    detail = f"n={N}, {LABELS} labelled, {draws:,} draws a cell; in brackets by Student's t alone: {told}"
    name = "judged: false claims of a guard with few losses, worst"
    return Result(name, cells[worst], "rate", detail, bar=0.065, bar_is="value at most")


def _unseen_losses(rng: np.random.Generator, draws: int) -> Result:
    """False claims of an improvement where the judge is right about all rows but the losses that undo it."""
    cells, by_limit = {}, {}
    drawn = {f"{labels} labelled": _equal(rng, labels) for labels in FEWEST}
    drawn[f"probabilities of {SELDOM[0]:g} and {SELDOM[1]:g}"] = _seldom(rng)
    for gain in GAINS:
        for name, sampling in drawn.items():
            seen = unseen_losses(rng, draws, gain)
            claims = [_claim(seen, at, sampling) for at in range(draws)]
            cell = f"gains {100 * gain:.0f}%, {name}"
            cells[cell] = sum(claim.comparison.outcome is Outcome.SHOWN for claim in claims) / draws
            estimates = [claim.estimate for claim in claims]
            by_limit[cell] = sum(isinstance(each, Corrected) and each.low > 0.0 for each in estimates) / draws
    worst = max(cells, key=lambda cell: cells[cell])
    told = "; ".join(f"{cell} {rate:.3f} ({by_limit[cell]:.3f})" for cell, rate in cells.items())
    detail = f"n={N}, {draws:,} draws a cell; in brackets by the interval alone: {told}"
    name = "judged: false GO, losses that only the judge does not see, worst"
    return Result(name, cells[worst], "rate", detail, bar=0.065, bar_is="value at most")


def _coverage(
    rng: np.random.Generator, draws: int, name: str, sampling: Callable[[np.random.Generator], Sampling]
) -> Result:
    """How far the coverage of the 90% interval lies from 90%."""
    seen = good_or_bad(rng, draws)
    found = [_claim(seen, at, sampling(rng)).estimate for at in range(draws)]
    limits = [each for each in found if isinstance(each, Corrected)]
    below = sum(each.high < 0.0 for each in limits) / draws
    above = sum(each.low > 0.0 for each in limits) / draws
    width = float(np.mean([each.high - each.low for each in limits]))
    labels = float(np.mean([each.n_labels for each in limits]))
    detail = (
        f"coverage {1.0 - below - above:.3f} (misses below {below:.3f}, above {above:.3f}), on average"
        f" {labels:.0f} labels and {100 * width:.1f} points wide, {draws:,} draws"
    )
    off = abs(0.9 - (1.0 - below - above))
    title = f"judged: coverage of the 90% interval, {name} sampling: off by"
    return Result(title, off, "", detail, bar=0.03, bar_is="value at most")


_NAIVE = Comparison(
    score="judge",
    candidate="candidate",
    baseline="baseline",
    kind=Kind.GRADED,
    n=N,
    candidate_mean=None,
    baseline_mean=None,
    difference=None,
    low=None,
    high=None,
    bound=0.0,
    alpha=ALPHA,
    outcome=Outcome.INCONCLUSIVE,
    method="none",
    reason="",
)
