"""Several candidates in one run: how often some GO is false, and what a real gain pays for the others.

All share one baseline and its rows. A row has a quality; a side's score is that and noise of its own, rounded
to five levels, or 1 above a threshold. The difference of a row has a standard deviation of about 0.24, or
about a fifth of the rows differ. A candidate that is the baseline's equal is drawn as the baseline is, so its
gate has its truth exactly at the bound: the least favourable there is. The last cells have independent
candidates, as on rows that nobody shares.

Rates over many candidates come from the p-values of the tests that ``compare`` calls, many at once, and
from ``holm_levels``; those "one by one" from claims, ``decide`` and ``judged_together``.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import TypeAlias

import numpy as np

from benchmarks.quality.gate_draws import STRONG, rubric
from benchmarks.results import Options, Result
from harness.decision.claims import Claim, Scores
from harness.decision.gates import decide
from harness.decision.holm import holm_levels, judged_together
from harness.decision.sparse import sparse_p
from harness.decision.student import Values, mean_and_residuals, t_p
from harness.records import Decision, Gate, Kind, ScoreVector, Verdict

ALPHA, ROWS, BAR = 0.05, 200, 0.055
NOISE, OTHER_NOISE = (
    0.16,
    0.5,
)  # of a side on a row: differences have a SD of 0.24; a fifth of the rows differ
MANY = 20
GAIN, POWER_ROWS = 0.05, 400  # of the one candidate that is better
_HELD = 2_000_000  # values drawn at a time

#: draws (draws, candidates, rows) of candidate less baseline
Draw: TypeAlias = Callable[[np.random.Generator, tuple[int, int, int]], Values]


def measure(options: Options) -> list[Result]:
    """Some false GO among 1 to 100 candidates, the same one by one, and the power that is paid."""
    draws = 400 if options.smoke else 20_000
    return [
        some_false_go(draws),
        some_false_go_beside_real_gains(draws // 10),
        some_false_go_one_by_one(20 if options.smoke else 500),
        power_among_others(draws // 5),
        some_false_rung(20 if options.smoke else 500),
    ]


def equal_candidates(rng: np.random.Generator, draws: int, count: int) -> Values:
    """p-values (draws, candidates) of the baseline's equals, graded, on rows that they share."""
    return _p_values(rng, graded, graded_p, (draws, count, ROWS))


def some_false_go(draws: int) -> Result:
    """All candidates equal to the baseline: the share of runs in which some is GO."""
    cells: dict[str, float] = {}
    plain: dict[str, float] = {}
    for seed, (name, draw, p_of) in enumerate(
        (
            ("graded", graded, graded_p),
            ("binary", binary, binary_p),
            ("graded, nothing shared", independent, graded_p),
        )
    ):
        rng = np.random.default_rng(seed)
        for m in (1, 5, MANY, 100):
            p = _p_values(rng, draw, p_of, (draws if m < 100 else draws // 5, m, ROWS))
            cells[f"{name}, {m}"] = float(np.mean(p.min(axis=1) <= ALPHA / m))
            plain[f"{name}, {m}"] = float(np.mean(p.min(axis=1) <= ALPHA))
    detail = (
        f"n={ROWS}, {draws:,} runs a cell and a fifth of them with 100 (s.e. {_error(draws):.4f}"
        f" and {_error(draws // 5):.4f}): {_listed(cells)}; each candidate at {ALPHA:g}: {_listed(plain)}"
    )
    return Result(
        "candidates: some false GO", max(cells.values()), "", detail, bar=BAR, bar_is="value at most"
    )


def some_false_go_beside_real_gains(draws: int) -> Result:
    """Holm steps down: those that are better leave a larger level to the equal ones."""
    rng = np.random.default_rng(11)
    cells: dict[str, float] = {}
    for better in (1, 10, 19):
        p = _p_values(rng, _some_better(better, 0.15), graded_p, (draws, MANY, ROWS))
        some = [
            any(own <= level for own, level in list(zip(row, holm_levels(row, ALPHA), strict=True))[better:])
            for row in p.tolist()
        ]
        cells[f"{better} of {MANY} better"] = float(np.mean(some))
    detail = (
        f"graded, n={ROWS}, gains of 15 points, {draws:,} runs a cell (s.e. {_error(draws):.4f}):"
        f" {_listed(cells)}"
    )
    name = "candidates: some false GO beside real gains"
    return Result(name, max(cells.values()), "", detail, bar=BAR, bar_is="value at most")


def some_false_go_one_by_one(runs: int) -> Result:
    """Vectors to claims to decisions to Holm, as a run does it; a strongly skewed score among them."""
    pair = STRONG["candidate perfect on 80%, baseline on 95%"]

    def skewed(rng: np.random.Generator, shape: tuple[int, int, int]) -> Values:
        return pair.draw(rng, (shape[0] * shape[1], shape[2])).reshape(shape)

    cells: dict[str, float] = {}
    alone: dict[str, float] = {}
    for seed, (name, draw, kind, bound) in enumerate(
        (
            ("graded", graded, Kind.GRADED, 0.0),
            ("binary", binary, Kind.BINARY, 0.0),
            ("graded, strongly skewed, nothing shared, a guard", skewed, Kind.GRADED, pair.mean),
        )
    ):
        rng = np.random.default_rng(20 + seed)
        drawn = draw(rng, (runs, MANY, 100))
        found = [one_run(each, kind, bound) for each in drawn]
        cells[name] = float(np.mean([any(d.verdict is Verdict.GO for d in after) for _, after in found]))
        alone[name] = float(np.mean([any(d.verdict is Verdict.GO for d in before) for before, _ in found]))
    detail = (
        f"{MANY} candidates, n=100, {runs:,} runs a cell (s.e. {_error(runs):.4f}), through claims, decide"
        f" and judged_together: {_listed(cells)}; each candidate by its own gates: {_listed(alone)}"
    )
    name = "candidates: some false GO, one by one"
    return Result(name, max(cells.values()), "", detail, bar=BAR, bar_is="value at most")


def power_among_others(runs: int) -> Result:
    """One candidate is better, the others are the baseline's equals: how often it is GO."""
    cells: dict[str, float] = {}
    for gain in (0.035, GAIN, 0.07):
        for m in (1, 5, MANY):
            rng = np.random.default_rng(31)
            p = _p_values(rng, _some_better(1, gain), graded_p, (runs, m, POWER_ROWS))
            shown = [row[0] <= holm_levels(row, ALPHA)[0] for row in p.tolist()]
            cells[f"{100 * gain:g} points among {m}"] = float(np.mean(shown))
    detail = (
        f"graded, n={POWER_ROWS}, one target, {runs:,} runs a cell (s.e. up to {0.5 / sqrt(runs):.4f}):"
        f" {_listed(cells)}"
    )
    value = cells[f"{100 * GAIN:g} points among {MANY}"]
    return Result(f"candidates: GO of a gain of {100 * GAIN:g} points among {MANY}", value, "", detail)


def some_false_rung(runs: int) -> Result:
    """A ladder of the baseline's equals, and one with a better rung in its middle: some equal one holds."""
    cells: dict[str, float] = {}
    kinds: tuple[tuple[str, Draw, Kind], ...] = (
        ("graded", graded, Kind.GRADED),
        ("binary", binary, Kind.BINARY),
    )
    for seed, (name, draw, kind) in enumerate(kinds):
        for better in (None, MANY // 2):
            rng = np.random.default_rng(40 + seed)
            drawn = draw(rng, (runs, MANY, 100))
            if better is not None:
                drawn[:, better] = rng.random((runs, 100)) < 0.5
            found = [climbed(each, kind) for each in drawn]
            false = [
                any(d.verdict is Verdict.GO and d.candidate != str(better) for d in tried) for tried in found
            ]
            cells[f"{name}, {'all equal' if better is None else f'rung {better + 1} better'}"] = float(
                np.mean(false)
            )
    detail = (
        f"{MANY} rungs, n=100, {runs:,} ladders a cell (s.e. {_error(runs):.4f}), to the first that holds,"
        f" through claims, decide and judged_together: {_listed(cells)}"
    )
    name = f"candidates: some false GO on a ladder of {MANY}"
    return Result(name, max(cells.values()), "", detail, bar=BAR, bar_is="value at most")


def climbed(differences: Values, kind: Kind, alpha: float = ALPHA) -> tuple[Decision, ...]:
    """The decisions of a ladder to its first rung that holds: (rungs, rows) less one baseline, one target."""
    m, claims, each = len(differences), list[tuple[Gate, Claim]](), list[Decision]()
    for number, row in enumerate(differences):
        mine, theirs = (_scores(values, kind, alpha) for values in (np.maximum(row, 0), np.maximum(-row, 0)))
        claim = mine > theirs
        gate = Gate("suite", "test", str(number), None, (), claim.role, "gated", claim.comparison)
        claims.append((gate, claim))
        each.append(decide(str(number), None, [gate]))
        (now,) = judged_together(each[-1:], claims[-1:], alpha, untried=m - 1)
        if now.verdict is Verdict.GO:
            break
    return judged_together(each, claims, alpha, untried=m - len(each))


def one_run(
    differences: Values, kind: Kind, bound: float = 0.0, alpha: float = ALPHA
) -> tuple[list[Decision], tuple[Decision, ...]]:
    """Decisions by each candidate's own gates, and among all: of (candidates, rows) less one baseline.

    A claim has ``bound``: a target at 0 is its candidate's only gate; a guard stands beside a target that is
    surely shown.
    """
    n = differences.shape[1]
    claims: list[tuple[Gate, Claim]] = []
    for number, row in enumerate(differences):
        # values on both sides that have this difference: nothing else enters a comparison of two vectors
        sides = (np.maximum(row, 0.0), np.maximum(-row, 0.0))
        mine, theirs = (_scores(values, kind, alpha) for values in sides)
        asserted = [mine > theirs] if bound >= 0.0 else [mine >= theirs + bound, _sure(n, alpha)]
        for claim in asserted:
            gate = Gate("suite", "test", str(number), None, (), claim.role, "gated", claim.comparison)
            claims.append((gate, claim))
    gates = [gate for gate, _ in claims]
    each = [decide(str(number), None, gates) for number in range(len(differences))]
    return each, judged_together(each, claims, alpha)


def graded(rng: np.random.Generator, shape: tuple[int, int, int]) -> Values:
    """Differences of five-level scores from one baseline, truly none."""
    return _some_better(0, 0.0)(rng, shape)


def binary(rng: np.random.Generator, shape: tuple[int, int, int]) -> Values:
    """Differences of right and wrong from one baseline, truly none."""
    draws, m, n = shape
    quality = rng.normal(0.6, 0.9, (draws, 1, n))
    right = quality + rng.normal(0.0, OTHER_NOISE, (draws, m + 1, n)) > 0.0
    return right[:, 1:].astype(np.float64) - right[:, :1]


def independent(rng: np.random.Generator, shape: tuple[int, int, int]) -> Values:
    """Differences of five-level scores on rows of each candidate's own, truly none."""
    draws, m, n = shape
    return rubric(rng, (draws * m, n), 0.0).reshape(shape)


def graded_p(differences: Values, n: int) -> Values:
    """One-sided p of "more than 0", over the last axis."""
    return t_p(*mean_and_residuals(differences), n, 0.0)


def binary_p(differences: Values, n: int) -> Values:
    """The same of wins and losses."""
    return sparse_p(np.count_nonzero(differences > 0, axis=-1), np.count_nonzero(differences < 0, axis=-1), n)


def _some_better(better: int, gain: float) -> Draw:
    """The first so many candidates gain so much on average, by one level on some of the rows."""

    def draw(rng: np.random.Generator, shape: tuple[int, int, int]) -> Values:
        draws, m, n = shape
        quality = rng.normal(0.5, 0.15, (draws, 1, n))
        levels = np.round(4 * (quality + rng.normal(0.0, NOISE, (draws, m + 1, n)))).clip(0, 4) / 4
        found = levels[:, 1:] - levels[:, :1]
        found[:, :better] += 0.25 * (rng.random((draws, better, n)) < 4 * gain)
        return np.asarray(found)

    return draw


def _p_values(
    rng: np.random.Generator,
    draw: Draw,
    p_of: Callable[[Values, int], Values],
    shape: tuple[int, int, int],
) -> Values:
    runs, m, n = shape
    part = max(1, _HELD // (m * n))
    sizes = [min(part, runs - at) for at in range(0, runs, part)]
    return np.concatenate([p_of(draw(rng, (size, m, n)), n) for size in sizes])


def _scores(values: Values, kind: Kind, alpha: float) -> Scores:
    n = len(values)
    ids = tuple(map(str, range(n)))
    return Scores(ScoreVector("x", "score", kind, ids, tuple(values.tolist()), (None,) * n), alpha=alpha)


def _sure(n: int, alpha: float) -> Claim:
    right, wrong = (_scores(np.full(n, value), Kind.BINARY, alpha) for value in (1.0, 0.0))
    return right > wrong


def _listed(cells: dict[str, float]) -> str:
    return "; ".join(f"{cell} {rate:.4f}" for cell, rate in cells.items())


def _error(draws: int) -> float:
    """Monte Carlo standard error of a rate of 5%."""
    return sqrt(ALPHA * (1 - ALPHA) / draws)
