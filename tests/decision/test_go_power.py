"""The chance that a whole decision is GO, against decisions that are simulated through ``compare``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from decision_builders import binary_pair, graded_pair, vector

from harness.decision.go_power import AssumedGate, assumed_of, forecast_go, gate_power
from harness.decision.paired import compare
from harness.records import Comparison, Kind, Outcome, Role

TARGET = AssumedGate("test_gain", "support", "intent", Role.TARGET, Kind.BINARY, 0.0, 200, 0.3, 0.1)
GUARD = AssumedGate("test_kept", "support", "valid", Role.GUARD, Kind.BINARY, -0.05, 200, 0.1, 0.0)


def right_rows(rng: np.random.Generator, n: int) -> Comparison:
    luck = rng.random(n)
    gained, lost = int(np.sum(luck < 0.2)), int(np.sum(luck > 0.9))
    return compare(*binary_pair(gained, lost, n))


def graded_rows(rng: np.random.Generator, n: int) -> Comparison:
    return compare(*graded_pair(rng.normal(0.0, 0.2, n)), bound=-0.03)


def few_losses(rng: np.random.Generator, n: int) -> Comparison:
    return compare(*graded_pair(rng.normal(0.0, 0.08, n)), bound=-0.03)


def rate(rng: np.random.Generator, n: int) -> Comparison:
    return compare(vector((rng.random(n) < 0.9).astype(float).tolist(), kind=Kind.BINARY), 0.85)


def preferences(rng: np.random.Generator, n: int) -> Comparison:
    votes = rng.choice([1.0, 0.0, 0.5], n, p=[0.4, 0.28, 0.32])
    return compare(vector(votes.tolist(), kind=Kind.PREFERENCE), 0.5)


def grouped_rows(rng: np.random.Generator, n: int) -> Comparison:
    groups = [f"g{at // 5}" for at in range(n)]
    return compare(*graded_pair(np.repeat(rng.normal(0.03, 0.1, n // 5), 5), groups))


GRADED = replace(GUARD, kind=Kind.GRADED, bound=-0.03, spread=0.2)
SIMULATED: dict[Callable[[np.random.Generator, int], Comparison], AssumedGate] = {
    right_rows: TARGET,
    graded_rows: GRADED,
    few_losses: replace(GRADED, spread=0.08, n=100),
    rate: replace(GUARD, role=Role.THRESHOLD, bound=0.0, spread=0.0, truth=0.05, number=0.85),
    preferences: replace(TARGET, kind=Kind.PREFERENCE, spread=0.68, truth=0.06, number=0.5),
    # all rows of a group are alike: as many independent rows as groups
    grouped_rows: replace(GRADED, role=Role.TARGET, bound=0.0, spread=0.1 * 5**0.5, truth=0.03, groups=40),
}


def test_the_chance_of_go_is_that_of_decisions_through_compare() -> None:
    rng, draws = np.random.default_rng(11), 120
    shown = np.array(
        [
            [draw(rng, gate.n).outcome is Outcome.SHOWN for draw, gate in SIMULATED.items()]
            for _ in range(draws)
        ]
    )
    powers = [gate_power(gate) for gate in SIMULATED.values()]
    assert shown.mean(axis=0) == pytest.approx(powers, abs=0.09)  # two standard errors
    gates = list(SIMULATED.values())
    assert shown[:, :3].all(axis=1).mean() == pytest.approx(forecast_go(gates[:3]).p_go, abs=0.09)


@pytest.mark.parametrize(("guards", "chance"), [(1, 0.57), (3, 0.27), (5, 0.13)])
def test_guards_cost_what_the_documentation_says(guards: int, chance: float) -> None:
    found = forecast_go([TARGET, *[replace(GUARD, name=f"test_{at}") for at in range(guards)]])
    assert found.p_go == pytest.approx(chance, abs=0.006)
    assert found.costliest is not None
    assert found.p_without == pytest.approx(found.p_go / gate_power(GUARD))


def test_the_rows_that_it_takes_are_those_at_which_it_is_80_percent() -> None:
    gates = [TARGET, GUARD, replace(GUARD, suite="retention", n=50, bound=-0.1)]
    found = forecast_go(gates)
    assert found.scale is not None
    assert found.rows is not None
    assert dict(found.rows) == {
        "support": pytest.approx(200 * found.scale, abs=1),
        "retention": pytest.approx(50 * found.scale, abs=1),
    }
    again = [replace(gate, n=round(gate.n * found.scale)) for gate in gates]
    assert forecast_go(again).p_go == pytest.approx(0.8, abs=0.02)
    assert forecast_go(again[:2]).rows == {"support": again[0].n}  # it is reached already


def test_gates_that_move_together_are_go_together() -> None:
    seen = np.random.default_rng(1).normal(size=200)
    alike = [replace(GUARD, name=f"test_{at}", seen=seen) for at in range(3)]
    found = forecast_go(alike)
    assert found.is_joint
    assert found.p_go == pytest.approx(gate_power(GUARD), abs=0.01)
    opposed = forecast_go([alike[0], replace(alike[1], seen=-seen)])
    assert opposed.p_go == pytest.approx(2 * gate_power(GUARD) - 1, abs=0.01)
    elsewhere = [replace(gate, suite=gate.name) for gate in alike]
    assert forecast_go(elsewhere).p_go == pytest.approx(gate_power(GUARD) ** 3)


def test_a_guard_without_a_margin_is_hardly_ever_shown_of_equal_sides_at_any_number_of_rows() -> None:
    equal = replace(GUARD, bound=0.0)
    found = forecast_go([TARGET, equal])
    assert found.hopeless == (equal,)
    assert found.costliest == equal
    assert found.p_go < 0.06
    assert found.rows is None
    assert gate_power(equal, 100.0) == pytest.approx(0.05, abs=0.005)


def test_seeds_keep_their_part_of_the_variance_at_any_number_of_rows() -> None:
    rows_alone = replace(GRADED, role=Role.TARGET, bound=0.0, truth=0.03, spread=0.3)
    seeds = replace(rows_alone, seeds=3, seed_share=0.5)
    assert gate_power(seeds, 100.0) < 0.9 < gate_power(rows_alone, 100.0)


def test_a_judged_gate_is_taken_with_the_spread_that_was_seen() -> None:
    gained = compare(*binary_pair(40, 20, 200))
    target = assumed_of(gained, Role.TARGET, "test_gain", "support")
    assert (target.spread, target.truth, target.n) == (0.3, 0.1, 200)
    kept = compare(*binary_pair(12, 8, 200), bound=-0.05)
    guard = assumed_of(kept, Role.GUARD, "test_kept", "support")
    assert (guard.spread, guard.truth, guard.bound) == (0.1, 0.0, -0.05)
    much = assumed_of(compare(*binary_pair(90, 0, 200), bound=-0.05), Role.GUARD, "test_much", "support")
    assert much.truth == 0.45  # nobody expects it to lose all that again
    differences = np.random.default_rng(2).normal(0.01, 0.1, 100)
    graded = assumed_of(compare(*graded_pair(differences)), Role.TARGET, "test_graded", "support")
    assert graded.spread == pytest.approx(differences.std(ddof=1))
    nothing = assumed_of(compare(*graded_pair([0.0] * 40), bound=-0.05), Role.GUARD, "test_flat", "support")
    assert nothing.spread == 0.24  # a planning value: nothing was seen


def test_too_few_rows_or_groups_show_nothing_until_there_are_more() -> None:
    few = replace(TARGET, n=8)
    assert gate_power(few) == 0.0
    assert gate_power(few, 20.0) > 0.5
    assert gate_power(replace(GRADED, groups=8)) == 0.0
