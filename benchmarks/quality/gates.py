"""Error rates and power of gates, against a known truth; and what a decision takes.

The rates come from the functions that ``compare`` calls, on many samples at once; the rate of GO and the
times from ``compare`` and ``decide`` themselves. Level of each one-sided test: 5%.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from math import sqrt

import numpy as np
from scipy.special import gammaln, stdtr, xlogy

from benchmarks.quality import gate_decisions, gate_draws
from benchmarks.quality.gate_draws import MODERATE, SD, STRONG, LevelPair, correlated_rows, whole_groups_lost
from benchmarks.results import Options, Result
from harness.decision.clusters import Clusters, clustered_p
from harness.decision.sparse import sparse_p
from harness.decision.student import Values, error_of_mean, mean_and_residuals, t_p

ALPHA = 0.05
ICC = 0.3
MARGINS = (0.0, 0.02, 0.05)
CLUSTERED = ((20, 10), (40, 10))
WHOLE_GROUPS = ((10, 10), (20, 10), (50, 4), (100, 4), (200, 2))  # those of docs/evidence.md


def measure(options: Options) -> list[Result]:
    """All error rates, then the decisions; under 100 s on two cores."""
    draws = 200 if options.smoke else 20_000
    return [
        false_go_graded(1_000 if options.smoke else 60_000),
        *false_go_binary((50,) if options.smoke else (50, 100, 200)),
        *misses_graded(draws),
        misses_binary(),
        false_go_clustered(draws),
        false_go_clustered_rubric(draws),
        *power_clustered(draws, 2 if options.smoke else 30),
        *gate_decisions.measure(options),
    ]


def false_go_graded(draws: int) -> Result:
    """A target at 0, or a guard at its margin, all else surely shown: the least favourable truth."""
    rng = np.random.default_rng(1)
    cells: dict[str, float] = {}
    for n in (50, 100, 200, 400):
        for bound in (0.0, -0.05):
            shown = 0
            for _ in range(10):  # in parts, for memory
                seen, residuals = mean_and_residuals(gate_draws.rubric(rng, (draws // 10, n), bound))
                shown += int(np.count_nonzero(t_p(seen, residuals, n, bound) < ALPHA))
            cells[f"n={n}, truth {100 * bound:+.0f}"] = shown / draws
    detail = (
        f"five-level scores, sd {SD}, {draws:,} draws a cell (s.e. {_error(draws):.4f}): {_listed(cells)}"
    )
    return _rate("gates: false GO, graded", max(cells.values()), detail, at_most=0.054)


def false_go_binary(sizes: Iterable[int]) -> list[Result]:
    """By enumeration of every table, over discordances from the margin to 30% in steps of 0.25 points."""
    cells: dict[str, float] = {}
    for n in sizes:
        for margin in MARGINS:
            shares = np.arange(max(margin, 0.0025), 0.3001, 0.0025)
            rates = [_enumerated(n, -margin, share) for share in shares]
            worst = int(np.argmax(rates))
            cells[f"n={n}, margin {margin:g}, worst at {100 * shares[worst]:.2f}%"] = rates[worst]
    detail = f"exact; discordance from the margin to 30% by 0.25 points: {_listed(cells)}"
    return [_rate("gates: false GO, binary", max(cells.values()), detail, at_most=0.060)]


def misses_binary() -> Result:
    """How often a limit lies beyond the truth where few rows differ; the other limit is its mirror image."""
    cells = {
        f"n={n}, {100 * share:g}% differ, truth {100 * difference:+g}": _enumerated(n, difference, share)
        for n in (50, 100)
        for share in np.arange(0.005, 0.1001, 0.005)
        for difference in np.round(np.linspace(-share, share, 41), 6).tolist()
    }
    worst = max(cells, key=lambda cell: cells[cell])
    detail = f"exact; 0.5-10% of the rows differ, 41 true differences each; worst at {worst}"
    return _rate("gates: a bound misses, binary, rare changes", cells[worst], detail, at_most=0.060)


def misses_graded(draws: int) -> list[Result]:
    """How often each one-sided limit lies beyond the truth: the smallest and the largest of the cells."""
    rubric = {"rubric, sd 0.24, truth 0": 0.0, "rubric, sd 0.24, truth -5": -0.05}
    moderate = {**_misses(rubric, draws), **_misses(MODERATE, draws)}
    strong = _misses(STRONG, draws)
    results = []
    for name, cells in (("graded", moderate), ("graded, strongly skewed", strong)):
        skewed = STRONG if cells is strong else MODERATE
        skewness = ", ".join(f"{pair.skewness:+.1f}" for pair in skewed.values())
        detail = (
            f"{draws:,} draws a cell (s.e. {_error(draws):.4f}); skewness {skewness}; lower/upper limit: "
        )
        detail += "; ".join(f"{cell} {low:.3f}/{high:.3f}" for cell, (low, high) in cells.items())
        rates = [rate for pair in cells.values() for rate in pair]
        results.append(_rate(f"gates: a bound misses, {name}, most", max(rates), detail, at_most=0.065))
        results.append(_rate(f"gates: a bound misses, {name}, least", min(rates), detail, at_least=0.035))
    return results


def false_go_clustered(draws: int) -> Result:
    """Binary scores in clusters, worse by exactly the margin."""
    rng = np.random.default_rng(3)
    cells: dict[str, float] = {}
    for count, rows in WHOLE_GROUPS:
        seen, truth = whole_groups_lost(rng, draws, count, rows)
        cells[f"{count} groups of {rows} lost whole"] = _shown(seen, truth)
    for count, rows in CLUSTERED:
        for share in (0.1, 0.2, 0.3):
            for margin in (*MARGINS, 0.1):
                seen = _correlated(rng, draws, (count, rows), share, -margin)
                cells[f"{count} of {rows}, {100 * share:.0f}% differ, margin {margin:g}"] = _shown(
                    seen, -margin
                )
    detail = (
        f"ICC {ICC} but where lost whole, {draws:,} draws a cell (s.e. {_error(draws):.4f}): {_listed(cells)}"
    )
    return _rate("gates: false GO, binary in clusters", max(cells.values()), detail, at_most=0.06)


def false_go_clustered_rubric(draws: int) -> Result:
    """Five-level scores in clusters, at the bound."""
    rng = np.random.default_rng(4)
    cells: dict[str, float] = {}
    for count, rows in CLUSTERED:
        for bound in (0.0, -0.05):
            sums = gate_draws.correlated_rubric(rng, draws, count, rows, bound, ICC)
            mean, residuals = mean_and_residuals(sums, np.full(count, float(rows)))
            p = t_p(mean, residuals, count * rows, bound)
            cells[f"{count} of {rows}, truth {100 * bound:+.0f}"] = float(np.mean(p < ALPHA))
    detail = f"ICC {ICC}, sd {SD}, {draws:,} draws a cell (s.e. {_error(draws):.4f}): {_listed(cells)}"
    return _rate("gates: false GO, graded in clusters", max(cells.values()), detail, at_most=0.06)


def power_clustered(draws: int, fitted: int) -> list[Result]:
    """Power of guards and targets, against a random intercept for each cluster on the differences.

    With clusters of one size its test is the t test on the clusters' means, which is what is drawn here;
    ``fitted`` samples are fitted by statsmodels as well.
    """
    rng = np.random.default_rng(5)
    claims = [(0.0, -0.05), (0.0, -0.1), (0.05, 0.0), (0.1, 0.0), (0.15, 0.0)]
    gaps: dict[str, float] = {}
    sparse: dict[str, float] = {}
    for size in CLUSTERED:
        for share in (0.1, 0.2, 0.3):
            for truth, bound in claims[: 3 if share < 0.2 else 5]:
                seen = _correlated(rng, draws, size, share, truth)
                mixed = float(np.mean(_mixed_p(seen, bound) < ALPHA))
                cell = f"{size[0]} of {size[1]}, {100 * share:.0f}% differ, truth {100 * truth:+.0f} > "
                cell += f"{100 * bound:+.0f}, mixed {mixed:.3f}"
                (sparse if share < 0.2 else gaps)[cell] = mixed - _shown(seen, bound)
    agreeing = _agreement(_correlated(rng, fitted, (20, 10), 0.2, 0.1))
    told = f"ICC {ICC}, {draws:,} draws a cell; MixedLM agrees on {agreeing} of {fitted} samples; gaps: "
    name = "gates: power lost to a mixed model"
    few = "the mixed model shows up to 14% false claims on guards here, 5% on targets; "
    return [
        _rate(f"{name}, 20-30% differ", max(gaps.values()), told + _listed(gaps), at_most=0.05),
        _rate(f"{name}, 10% differ", max(sparse.values()), few + told + _listed(sparse), at_most=0.05),
    ]


def _enumerated(n: int, difference: float, discordance: float) -> float:
    """How often "more than ``difference``" is shown of that very difference."""
    gained, lost = (side.ravel() for side in np.indices((n + 1, n + 1)))
    fits = gained + lost <= n
    gained, lost = gained[fits], lost[fits]
    shown = sparse_p(gained, lost, n, difference) < ALPHA
    gained, lost = gained[shown], lost[shown]
    same = n - gained - lost
    weight = gammaln(n + 1) - gammaln(gained + 1) - gammaln(lost + 1) - gammaln(same + 1)
    weight += xlogy(gained, max((discordance + difference) / 2, 0.0))
    weight += xlogy(lost, max((discordance - difference) / 2, 0.0)) + xlogy(same, 1 - discordance)
    return float(np.exp(weight).sum())


def _misses(cells: dict[str, float] | dict[str, LevelPair], draws: int) -> dict[str, tuple[float, float]]:
    rng = np.random.default_rng(2)
    found = {}
    for name, source in cells.items():
        for n in (30, 50, 100):
            shape = (draws, n)
            drawn = (
                source.draw(rng, shape)
                if isinstance(source, LevelPair)
                else gate_draws.rubric(rng, shape, source)
            )
            truth = source.mean if isinstance(source, LevelPair) else source
            sides = [mean_and_residuals(side) for side in (drawn, -drawn)]
            low, high = (
                float(np.mean(t_p(*side, n, sign * truth) < ALPHA))
                for side, sign in zip(sides, (1, -1), strict=True)
            )
            found[f"{name}, n={n}"] = low, high
    return found


def _correlated(
    rng: np.random.Generator, draws: int, size: tuple[int, int], share: float, truth: float
) -> Clusters:
    return correlated_rows(rng, draws, *size, (share + truth) / 2, (share - truth) / 2, ICC)


def _shown(seen: Clusters, bound: float) -> float:
    return float(np.mean(clustered_p(seen, bound) < ALPHA))


def _mixed_p(seen: Clusters, bound: float) -> Values:
    mean, residuals = mean_and_residuals(seen.gained - seen.lost, seen.sizes)
    error = error_of_mean(residuals, seen.n)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(stdtr(len(seen.sizes) - 1, (bound - mean) / error))


def _agreement(seen: Clusters) -> int:
    """Of how many samples statsmodels says the same of "more than 0"."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    agreeing = 0
    for gained, lost, p in zip(seen.gained, seen.lost, _mixed_p(seen, 0.0), strict=True):
        rows = []
        for won, gone, size in zip(gained, lost, seen.sizes, strict=True):
            rows += [1.0] * int(won) + [-1.0] * int(gone) + [0.0] * int(size - won - gone)
        groups = np.repeat(np.arange(len(gained)), seen.sizes.astype(int))
        with warnings.catch_warnings():  # it warns where a variance component is 0
            warnings.simplefilter("ignore")
            fit = MixedLM(np.array(rows), np.ones(len(rows)), groups).fit(reml=True)
        statistic = float(fit.fe_params[0] / fit.bse_fe[0])
        agreeing += (float(stdtr(len(gained) - 1, -statistic)) < ALPHA) == (p < ALPHA)
    return agreeing


def _rate(
    name: str, value: float, detail: str, *, at_most: float | None = None, at_least: float | None = None
) -> Result:
    if at_most is not None:
        return Result(name, value, "", detail, bar=at_most, bar_is="value at most")
    return Result(name, value, "", detail, bar=at_least, bar_is="value at least")


def _listed(cells: dict[str, float]) -> str:
    return "; ".join(f"{cell} {rate:.4f}" for cell, rate in cells.items())


def _error(draws: int) -> float:
    """Monte Carlo standard error of a rate of 5%."""
    return sqrt(ALPHA * (1 - ALPHA) / draws)
