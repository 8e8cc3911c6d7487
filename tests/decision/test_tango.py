"""Tango's interval against published examples, brute force and exact enumeration."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multinomial, norm

from harness.decision.tango import null_variance, tango_interval, tango_p
from harness.errors import UsageError


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, int, int]:
    n = draw(st.integers(1, 400))
    gained = draw(st.integers(0, n))
    return gained, draw(st.integers(0, n - gained)), n


@pytest.mark.parametrize(
    ("gained", "lost", "n", "alpha", "low", "high"),
    [
        # Airway reactivity (Bentur 2009), in Fagerland, Lydersen & Laake 2014 and in R's ratesci
        pytest.param(1, 7, 21, 0.025, -0.5172, -0.0260, id="bentur-2009"),
        # Complete response (Cavo 2012), in Fagerland et al. and in R's contingencytables
        pytest.param(6, 16, 161, 0.025, -0.1240, -0.0054, id="cavo-2012"),
        # PropCIs::scoreci.mp(25, 28, 618, conf.level = 0.90), whose difference is c - b
        pytest.param(28, 25, 618, 0.05, -0.0148, 0.0247, id="propcis-90%"),
    ],
)
def test_published_intervals_are_reproduced(
    gained: int, lost: int, n: int, alpha: float, low: float, high: float
) -> None:
    assert tango_interval(gained, lost, n, alpha) == pytest.approx((low, high), abs=5.1e-5)


def test_no_discordant_row_of_400_still_has_an_interval_of_0_7_points() -> None:
    low, high = tango_interval(0, 0, 400)
    assert high == pytest.approx(0.0067, abs=5e-5)
    assert low == -high


def test_at_a_difference_of_zero_the_score_test_is_mcnemars() -> None:
    assert tango_p(15, 4, 200, 0.0) == pytest.approx(norm.sf((15 - 4) / sqrt(15 + 4)))
    assert tango_p(0, 0, 200, 0.0) == 0.5


@given(tables(), st.sampled_from([0.01, 0.025, 0.05, 0.1]))
def test_swapping_the_sides_mirrors_the_limits_exactly(table: tuple[int, int, int], alpha: float) -> None:
    gained, lost, n = table
    low, high = tango_interval(gained, lost, n, alpha)
    assert tango_interval(lost, gained, n, alpha) == (-high, -low)
    assert -1.0 <= low <= (gained - lost) / n <= high <= 1.0


@given(tables(), st.floats(-0.99, 0.99))
def test_p_mirrors_and_rises_with_the_hypothesis(table: tuple[int, int, int], difference: float) -> None:
    gained, lost, n = table
    here = tango_p(gained, lost, n, difference)
    assert here == pytest.approx(1.0 - tango_p(lost, gained, n, -difference), abs=1e-15)
    assert here <= tango_p(gained, lost, n, min(difference + 0.005, 1.0)) + 1e-9


@given(tables())
def test_the_limits_are_where_the_score_test_is_exactly_at_its_level(table: tuple[int, int, int]) -> None:
    gained, lost, n = table
    low, _ = tango_interval(gained, lost, n)
    if -1.0 < low < (gained - lost) / n:
        assert tango_p(gained, lost, n, low) == pytest.approx(0.05, abs=1e-5)


@pytest.mark.parametrize(
    ("gained", "lost", "n"), [(5, 2, 30), (0, 4, 50), (12, 0, 12), (0, 0, 25), (3, 9, 12)]
)
def test_the_interval_is_what_a_grid_of_score_tests_with_a_numeric_likelihood_leaves(
    gained: int, lost: int, n: int
) -> None:
    # The null variance comes from maximising the trinomial likelihood on a grid, not from the closed form.
    shares = np.linspace(0.0, 1.0, 20_001)
    kept = []
    for difference in np.linspace(-0.999, 0.999, 667):
        won, same = shares + difference, 1.0 - 2.0 * shares - difference
        valid = (won >= 0.0) & (same >= -1e-12)
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = [
                np.where(count == 0, 0.0, count * np.log(np.clip(share, 0.0, 1.0)))
                for count, share in ((gained, won), (lost, shares), (n - gained - lost, same))
            ]
        best = int(np.argmax(np.where(valid, terms[0] + terms[1] + terms[2], -np.inf)))
        variance = won[best] + shares[best] - difference**2
        if abs(gained - lost - n * difference) <= norm.isf(0.05) * sqrt(n * max(variance, 0.0)):
            kept.append(difference)
    assert tango_interval(gained, lost, n) == pytest.approx((min(kept), max(kept)), abs=0.0045)


@pytest.fixture(scope="module")
def limits_at_50() -> list[tuple[int, int, float, float]]:
    return [(b, c, *tango_interval(b, c, 50)) for b in range(51) for c in range(51 - b)]


@pytest.mark.parametrize("margin", [0.0, 0.02, 0.05])
def test_a_false_claim_is_shown_at_most_6_percent_of_the_time(
    margin: float, limits_at_50: list[tuple[int, int, float, float]]
) -> None:
    shown = [[b, c, 50 - b - c] for b, c, low, _ in limits_at_50 if low > -margin]
    rates = []
    for discordance in np.arange(margin, 0.3001, 0.01):
        p = [(discordance - margin) / 2, (discordance + margin) / 2, 1.0 - discordance]
        rates.append(float(multinomial.pmf(shown, 50, p).sum()))
    assert 0.02 < max(rates) <= 0.06


@pytest.mark.parametrize(("discordance", "difference"), [(0.1, 0.0), (0.2, 0.1), (0.3, -0.2), (0.5, 0.0)])
def test_the_two_sided_interval_covers_about_90_percent(
    discordance: float, difference: float, limits_at_50: list[tuple[int, int, float, float]]
) -> None:
    holds = [[b, c, 50 - b - c] for b, c, low, high in limits_at_50 if low <= difference <= high]
    p = [(discordance + difference) / 2, (discordance - difference) / 2, 1.0 - discordance]
    assert 0.88 <= float(multinomial.pmf(holds, 50, p).sum()) <= 0.95


@pytest.mark.parametrize(
    ("n", "margin", "discordance", "power"),
    [(200, 0.02, 0.05, 0.32), (400, 0.02, 0.05, 0.53), (150, 0.10, 0.20, 0.85)],
)
def test_power_at_a_true_difference_of_zero_is_what_the_documentation_promises(
    n: int, margin: float, discordance: float, power: float
) -> None:
    most = int(n * discordance + 9 * sqrt(n * discordance))  # beyond it the tables have no weight
    tables = [(b, c) for b in range(most) for c in range(most - b)]
    shown = [[b, c, n - b - c] for b, c in tables if tango_p(b, c, n, -margin) < 0.05]
    p = [discordance / 2, discordance / 2, 1.0 - discordance]
    assert float(multinomial.pmf(shown, n, p).sum()) == pytest.approx(power, abs=0.02)


def test_132_rows_cannot_show_a_margin_of_2_points_and_133_can() -> None:
    assert max(tango_interval(0, 0, n)[0] for n in range(10, 133)) < -0.02
    assert tango_interval(0, 0, 133)[0] > -0.02


def test_the_null_variance_without_discordant_rows_is_that_of_the_bound_alone() -> None:
    assert null_variance(0, 0, 100, -0.02) == pytest.approx(0.02 * 0.98)


@pytest.mark.parametrize(("gained", "lost", "n"), [(-1, 0, 10), (6, 5, 10), (0, 0, 0)])
def test_impossible_counts_are_refused(gained: int, lost: int, n: int) -> None:
    with pytest.raises(UsageError, match="counts must fit"):
        tango_interval(gained, lost, n)


def test_a_level_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError, match="alpha"):
        tango_interval(1, 1, 10, alpha=0.5)


@given(st.lists(tables(), min_size=1, max_size=20), st.floats(-0.9, 0.9))
def test_many_tables_at_once_are_judged_as_each_alone(
    several: list[tuple[int, int, int]], bound: float
) -> None:
    gained, lost, n = np.array(several).T
    together = tango_p(gained, lost, n, bound)
    assert together == pytest.approx([float(tango_p(*table, bound)) for table in several], abs=1e-12)


def test_broken_counts_shrink_the_evidence_and_keep_the_difference() -> None:
    whole, halved = tango_interval(15, 4, 200), tango_interval(15 / 2, 4 / 2, 200 / 2)
    assert halved[0] < whole[0] < 11 / 200 < whole[1] < halved[1]
    assert halved == pytest.approx(tango_interval(15 / 2, 2, 100))
