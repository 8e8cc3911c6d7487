"""The correction of Tango's interval where few rows differ: exact error rates by enumeration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multinomial

from harness.decision.sparse import sparse_interval, sparse_p
from harness.decision.tango import tango_interval, tango_p


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, int, int]:
    n = draw(st.integers(10, 400))
    gained = draw(st.integers(0, n))
    return gained, draw(st.integers(0, n - gained)), n


@given(tables(), st.sampled_from([0.01, 0.025, 0.05, 0.1]))
def test_the_limits_are_never_inside_tangos_and_mirror_exactly(
    table: tuple[int, int, int], alpha: float
) -> None:
    gained, lost, n = table
    low, high = sparse_interval(gained, lost, n, alpha)
    inner_low, inner_high = tango_interval(gained, lost, n, alpha)
    assert -1.0 <= low <= inner_low <= inner_high <= high <= 1.0
    assert sparse_interval(lost, gained, n, alpha) == (-high, -low)


@given(tables(), st.floats(-0.9, 0.9))
def test_p_is_under_alpha_just_where_the_lower_limit_is_above_the_bound(
    table: tuple[int, int, int], bound: float
) -> None:
    low, _ = sparse_interval(*table)
    if abs(low - bound) > 1e-9:
        assert (sparse_p(*table, bound) < 0.05) == (low > bound)


def test_a_target_is_judged_by_mcnemars_score_test_as_without_it() -> None:
    assert sparse_p(9, 2, 60) == tango_p(9, 2, 60)
    assert sparse_interval(9, 2, 60)[0] < tango_interval(9, 2, 60)[0]


def test_where_many_rows_differ_the_correction_hardly_matters() -> None:
    corrected, plain = sparse_interval(60, 40, 400), tango_interval(60, 40, 400)
    assert corrected == pytest.approx(plain, abs=0.0004)


def missing_rates(n: int, share: float) -> tuple[float, float]:
    """How often the lower limit is above the truth at worst, with the correction and without."""
    counts = np.array([(b, c, n - b - c) for b in range(n + 1) for c in range(n + 1 - b)])
    worst = [0.0, 0.0]
    for difference in np.linspace(-share, share, 21):
        chances = [(share + difference) / 2, (share - difference) / 2, 1 - share]
        weights = multinomial.pmf(counts, n, chances)
        for at, p in enumerate((sparse_p, tango_p)):
            shown = p(counts[:, 0], counts[:, 1], n, round(float(difference), 9)) < 0.05
            worst[at] = max(worst[at], float(weights[shown].sum()))
    return worst[0], worst[1]


@pytest.mark.parametrize("n", [50, 100])
def test_a_limit_misses_rare_changes_at_most_6_percent_of_the_time_where_tangos_misses_8(n: int) -> None:
    corrected, plain = np.max([missing_rates(n, share) for share in (0.02, 0.04, 0.06, 0.1)], axis=0)
    assert corrected <= 0.06
    assert plain > 0.08


def test_141_rows_cannot_show_a_margin_of_2_points_and_142_can() -> None:
    assert max(sparse_interval(0, 0, n)[0] for n in range(10, 142)) < -0.02
    assert sparse_interval(0, 0, 142)[0] > -0.02
