"""What a suite can show: effects and power, against simulation and exact enumeration."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from decision_builders import binary_pair, graded_pair, vector
from scipy import stats
from statsmodels.stats.power import TTestPower

from harness.decision.power import (
    can_show,
    can_show_of,
    mde,
    power_of_guard,
    smallest_effect,
)
from harness.decision.sparse import sparse_p
from harness.errors import UsageError
from harness.records import Kind


def test_the_smallest_detectable_effect_is_detected_with_80_percent_power() -> None:
    n, sd = 30, 0.2
    effect = mde(sd, n)
    draws = np.random.default_rng(5).normal(effect, sd, (4000, n))
    shown = np.asarray(stats.ttest_1samp(draws, 0.0, axis=1, alternative="greater").pvalue) < 0.05
    assert shown.mean() == pytest.approx(0.80, abs=0.025)


def test_the_smallest_effect_of_a_pair_uses_the_spread_that_the_pair_has() -> None:
    candidate, baseline = graded_pair(np.random.default_rng(6).normal(0.0, 0.1, 100))
    differences = np.array(candidate.values, dtype=float) - 0.5
    assert smallest_effect(candidate, baseline) == pytest.approx(mde(float(differences.std(ddof=1)), 100))


def test_binary_scores_without_discordant_rows_still_have_a_smallest_effect() -> None:
    effect = smallest_effect(*binary_pair(0, 0, 200))
    assert effect is not None
    assert 0.01 < effect < 0.05


def test_a_large_effect_does_not_pass_for_spread() -> None:
    much, little = smallest_effect(*binary_pair(190, 0, 200)), smallest_effect(*binary_pair(0, 0, 200))
    assert much == little  # no row was lost beside those gained
    assert much is not None
    mixed = smallest_effect(*binary_pair(100, 40, 200))
    assert mixed is not None
    assert mixed > 3 * much


def test_there_is_no_smallest_effect_without_spread_or_rows() -> None:
    assert smallest_effect(*graded_pair([0.0] * 50)) is None
    assert smallest_effect(*binary_pair(3, 2, 9)) is None
    with pytest.raises(UsageError, match="at least 2 rows"):
        mde(0.1, 1)


def test_the_smallest_effect_of_a_preference_is_half_that_of_its_wins_and_losses() -> None:
    preferred = vector([1.0] * 30 + [0.0] * 20 + [0.5] * 150, kind=Kind.PREFERENCE)
    effect = smallest_effect(*binary_pair(30, 20, 200))
    assert effect is not None
    assert smallest_effect(preferred, 0.5) == pytest.approx(effect / 2)


# --------------------------------------------------------------------------- power
@pytest.mark.parametrize(
    ("n", "margin", "discordance", "power"),
    [(200, 0.02, 0.05, 0.32), (400, 0.02, 0.05, 0.53), (150, 0.10, 0.20, 0.85)],
)
def test_the_power_of_a_binary_guard_is_what_the_documentation_promises(
    n: int, margin: float, discordance: float, power: float
) -> None:
    assert power_of_guard(Kind.BINARY, n, margin, discordance) == pytest.approx(power, abs=0.02)


def test_the_power_of_a_binary_guard_is_that_of_every_table_judged_alone() -> None:
    tables = [(b, c) for b in range(61) for c in range(61 - b)]
    shown = [[b, c, 60 - b - c] for b, c in tables if sparse_p(b, c, 60, -0.05) < 0.05]
    exact = float(stats.multinomial.pmf(shown, 60, [0.13, 0.07, 0.80]).sum())
    assert power_of_guard(Kind.BINARY, 60, 0.05, 0.20, difference=0.06) == pytest.approx(exact, abs=1e-9)


def test_the_power_of_a_graded_guard_is_that_of_a_t_test() -> None:
    oracle = TTestPower().power(0.05 / 0.2, 80, 0.05, alternative="larger")
    assert power_of_guard(Kind.GRADED, 80, 0.05, 0.2) == pytest.approx(oracle, abs=1e-6)
    assert power_of_guard(Kind.GRADED, 80, 0.0, 0.2, difference=0.05) == pytest.approx(oracle, abs=1e-6)


def test_the_power_of_a_preference_is_that_of_wins_and_losses_at_twice_the_margin() -> None:
    assert power_of_guard(Kind.PREFERENCE, 100, 0.05, 0.3) == power_of_guard(Kind.BINARY, 100, 0.1, 0.3)


def test_rows_in_clusters_count_for_less() -> None:
    alone = power_of_guard(Kind.GRADED, 200, 0.05, 0.2)
    grouped = power_of_guard(Kind.GRADED, 200, 0.05, 0.2, 20, icc=0.3)
    as_one = power_of_guard(Kind.BINARY, 200, 0.1, 0.2, 20)
    oracle = TTestPower().power(0.05 / (0.2 * sqrt(3.7 / 10)), 20, 0.05, alternative="larger")
    assert grouped == pytest.approx(oracle, abs=1e-6)
    assert as_one < grouped < alone


def test_the_smallest_effect_of_wins_and_losses_has_80_percent_power() -> None:
    preferred = vector([1.0] * 30 + [0.0] * 30 + [0.5] * 240, kind=Kind.PREFERENCE)
    for kind, effect in (
        (Kind.BINARY, smallest_effect(*binary_pair(30, 30, 300))),
        (Kind.PREFERENCE, smallest_effect(preferred, 0.5)),
    ):
        assert effect is not None
        discordant = 0.2 + effect * (2 if kind is Kind.PREFERENCE else 1)
        reached = power_of_guard(kind, 300, 0.0, discordant, difference=effect)
        assert reached == pytest.approx(0.80, abs=0.015)


@pytest.mark.parametrize(
    ("n", "discordant", "clusters"), [(1, 0.1, None), (100, 1.5, None), (100, 0.1, 101), (100, 0.1, 1)]
)
def test_impossible_plans_are_refused(n: int, discordant: float, clusters: int | None) -> None:
    with pytest.raises(UsageError):
        power_of_guard(Kind.BINARY, n, 0.05, discordant, clusters)


def test_a_difference_beyond_the_discordant_rows_is_refused() -> None:
    with pytest.raises(UsageError, match="say more of them"):
        power_of_guard(Kind.BINARY, 100, 0.05, 0.02, difference=0.05)


# --------------------------------------------------------------------------- sentences
def test_the_sentence_gives_the_rows_and_the_change_in_points() -> None:
    assert can_show(200, 0.0402) == "with 200 rows this suite can show a 4.0-point change (80% power)"
    assert can_show_of(*binary_pair(3, 2, 9)) == "with 9 rows this suite can show no change"
    assert can_show_of(*binary_pair(6, 4, 200)) == (
        "with 200 rows this suite can show a 5.3-point change (80% power)"
    )


def test_a_score_that_nobody_asserts_is_seldom_in_the_way_by_chance() -> None:
    """It is where it is shown to lose more than 2 points: as often as a gain of more than 2 is shown."""

    def in_the_way(discordant: float, loss: float = 0.0) -> float:
        return power_of_guard(Kind.BINARY, 200, -0.02, discordant, difference=loss)

    assert in_the_way(0.10) == pytest.approx(0.006, abs=0.0005)
    assert in_the_way(0.30) == pytest.approx(0.016, abs=0.0005)
    assert in_the_way(0.20, loss=0.02) == pytest.approx(0.05, abs=0.002)
