"""Money: how often the 90% interval of a break-even holds the true one, and what knowing more is worth.

A truth is drawn (true mean tokens and true difference of a score on all rows that there are; a true figure in
each range that a user gives), a run of it is simulated, and the run is priced as a project's own would be.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt

import numpy as np

from benchmarks.results import Options, Result
from harness.decision.economics import Prices, appraise
from harness.decision.economics_file import parse_economics
from harness.decision.information import resolved_by_more, worth_of_gains, worth_of_looking
from harness.decision.money import Evidence, TrainingBill, Usage
from harness.decision.paired import compare
from harness.decision.student import Values
from harness.records import Kind, PricedScore, ScoreVector

RUNS = 800
_DRAWS = 2_000_000  # of an information value by simulation
_Z90 = 1.6448536269514722


@dataclass(frozen=True, slots=True)
class World:
    """Rows that there are, and what is known of the rest only as a range (or as a number)."""

    name: str
    rows: int
    requests: tuple[float, float]
    hours: tuple[float, float]
    point_usd: float
    spread: float = 0.8  # of the logarithm of answer lengths


WORLDS = (
    World("200 rows, tokens and a score", 200, (50_000, 50_000), (40, 40), 20.0),
    World("200 rows, requests and hours as ranges", 200, (30_000, 80_000), (20, 60), 20.0),
    World("40 rows, long-tailed answers, tokens alone", 40, (50_000, 50_000), (40, 40), 0.0, 1.0),
)


def measure(options: Options) -> list[Result]:
    """Coverage in each world, and the worst error of an information value."""
    runs = 20 if options.smoke else RUNS
    found = []
    for at, world in enumerate(WORLDS):
        shares = coverage(world, runs, seed=at)
        name = f"break-even: 90% interval holds the truth, {world.name}"
        detail = f"{runs} runs, Monte Carlo error {100 * sqrt(0.09 / runs):.1f} points; wanted is 87% to 93%"
        found.append(
            Result(name=name, value=shares, unit="", detail=detail, bar=0.87, bar_is="value at least")
        )
    error, where = information_error(10_000 if options.smoke else _DRAWS)
    found.append(
        Result(
            name="information value: worst error against simulation",
            value=error,
            unit="",
            detail=f"of {where}; a normal net and what is seen of it, and gains of more rows",
            bar=0.02,
            bar_is="value at most",
        )
    )
    return found


def coverage(world: World, runs: int, seed: int) -> float:
    """The share of simulated runs whose interval holds the true break-even."""
    rng = np.random.default_rng(seed)
    population = _rows(world, 200_000, rng)
    held = 0
    for _ in range(runs):
        requests, hours = (_in_range(rng, ends) for ends in (world.requests, world.hours))
        means = population.mean(axis=0)
        a_day = (
            requests * _saved(means) / 1e6
            + 100 * means[4] * world.point_usd * requests / sum(world.requests) * 2
        )
        truth = (hours * 30 + 100) / a_day if a_day > 0 else np.inf
        sample = population[rng.integers(len(population), size=world.rows)]
        found = _break_even(world, sample)
        held += found[0] <= truth <= found[1]
    return held / runs


def _rows(world: World, n: int, rng: np.random.Generator) -> Values:
    """Prompt and answer tokens of both sides, and the difference of a score, which falls with length."""
    question = np.exp(rng.normal(log(80), 0.6, n))
    answer = np.exp(rng.normal(log(60), world.spread, n))
    theirs = answer * np.exp(rng.normal(0.05, 0.3, n))
    hard = np.clip(0.15 + 0.001 * question, 0, 0.6)
    good, old = rng.random(n) > 0.8 * hard, rng.random(n) > hard
    return np.column_stack([question + 100, answer, question + 900, theirs, good.astype(float) - old])


def _saved(means: Values) -> float:
    """Dollars of a million requests."""
    prompt, answer, their_prompt, theirs = means[:4]
    return float((their_prompt - prompt) * 1.0 + (theirs - answer) * 4.0)


def _in_range(rng: np.random.Generator, ends: tuple[float, float]) -> float:
    low, high = ends
    return max((low + high) / 2 + float(rng.standard_normal()) * (high - low) / (2 * _Z90), 0.0)


def _break_even(world: World, sample: Values) -> tuple[float, float]:
    def written(ends: tuple[float, float]) -> str:
        return f"[{ends[0]}, {ends[1]}]" if ends[0] < ends[1] else f"{ends[0]}"

    text = f"requests_per_day = {written(world.requests)}\npreparation_hours = {written(world.hours)}\n"
    text += "hourly_usd = 30\nserved_input_usd_per_mtok = 1\nserved_output_usd_per_mtok = 4\n"
    config = parse_economics(text + "training_usd_per_hour = 100\n", "economics.toml")
    pairs = [(Usage(a, b, 1), Usage(c, d, 1)) for a, b, c, d, _ in sample.tolist()]
    means = sample.mean(axis=0).tolist()
    priced, differences = [], []
    if world.point_usd:
        base = np.where(sample[:, 4] < 0, 1.0, 0.0)
        found = compare(_vector(base + sample[:, 4]), _vector(base))
        if found.low is None:
            return 0.0, np.inf
        priced.append(
            PricedScore("s", "x", world.point_usd, found.difference, found.low, found.high, found.n)
        )
        differences.append(sample[:, 4])
    evidence = Evidence(0, pairs, differences=differences, priced=priced)
    n = len(sample)
    sides = Usage(means[0], means[1], n), Usage(means[2], means[3], n)
    money = appraise("a", "b", *sides, config, TrainingBill(seconds=3600), Prices(), evidence)
    assert money.outlook is not None
    low, high = money.outlook.break_even_days.low, money.outlook.break_even_days.high
    return np.inf if low is None else low, np.inf if high is None else high


def _vector(values: Values) -> ScoreVector:
    n = len(values)
    ids = tuple(map(str, range(n)))
    return ScoreVector("x", "a", Kind.BINARY, ids, tuple(values.tolist()), (None,) * n)


def information_error(draws: int) -> tuple[float, str]:
    """The largest relative difference between information values and their simulation, and of which."""
    rng = np.random.default_rng(7)
    worst = 0.0, ""
    for net, sd, now, more in ((500.0, 2000.0, 200, 100), (-1000.0, 1500.0, 100, 100), (0.0, 800.0, 50, 400)):
        truth = net + sd * rng.standard_normal(draws)  # what the rows so far leave open
        noise = sd * sqrt(now / more) * rng.standard_normal(draws)  # of the mean over those to come
        expected = (now * net + more * (truth + noise)) / (now + more)
        simulated = float(np.where(expected > 0, truth, 0.0).mean()) - max(net, 0.0)
        exact = worth_of_looking(net, sqrt(resolved_by_more(sd**2, now, more)))
        worst = max(
            worst, (abs(exact / simulated - 1), f"{more} rows more than {now}, net {net:g} +- {sd:g}")
        )
    gains, weight = np.linspace(-500.0, 3000.0, 50), np.full(50, 0.02)
    net = -800.0
    simulated = float(np.maximum(net + rng.choice(gains, draws, p=weight), 0.0).mean())
    return max(
        worst, (abs(worth_of_gains(net, gains, weight) / simulated - 1), "gains of more training rows")
    )
