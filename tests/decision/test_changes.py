"""Did anything change: exact tests, clusters flipped together, Holm over suites."""

from __future__ import annotations

import numpy as np
import pytest
from decision_builders import binary_pair, graded_pair, vector
from scipy import stats
from statsmodels.stats.multitest import multipletests

from harness.decision import exploratory
from harness.decision.exploratory import Change, anything_changed, which_changed
from harness.errors import UsageError
from harness.records import Kind


def seeded() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.mark.parametrize(
    ("gained", "lost", "n", "p"),
    [
        # exact conditional test of two published tables, in Fagerland, Lydersen & Laake (2013),
        # BMC Medical Research Methodology 13:91
        pytest.param(1, 7, 21, 0.0703, id="bentur-2009"),
        pytest.param(6, 16, 161, 0.0525, id="cavo-2012"),
    ],
)
def test_mcnemars_exact_test_of_published_tables(gained: int, lost: int, n: int, p: float) -> None:
    found = anything_changed(*binary_pair(gained, lost, n), seeded())
    assert found.method == "exact McNemar"
    assert found.p == pytest.approx(p, abs=5.1e-5)
    assert found.difference == pytest.approx((gained - lost) / n)


def test_it_is_two_sided_and_certain_of_nothing_where_nothing_differs() -> None:
    up, down = (anything_changed(*binary_pair(*sides, 60), seeded()).p for sides in ((9, 2), (2, 9)))
    assert up == down
    assert anything_changed(*binary_pair(0, 0, 60), seeded()).p == 1.0
    assert anything_changed(*graded_pair([0.0] * 60), seeded()).p == 1.0


def test_one_row_that_changed_among_equal_ones_is_no_evidence() -> None:
    found = anything_changed(*graded_pair([0.3] + [0.0] * 59), seeded())
    assert (found.p, found.method) == (1.0, "sign flips")


def test_wins_and_losses_of_a_preference_are_tested_exactly() -> None:
    preferred = vector([1.0] * 9 + [0.0] * 2 + [0.5] * 30, kind=Kind.PREFERENCE)
    found = anything_changed(preferred, 0.5, seeded())
    assert found.p == pytest.approx(float(stats.binomtest(9, 11).pvalue))


@pytest.mark.parametrize(
    "differences",
    [
        [0.11, 0.23, -0.07, 0.31, 0.05, -0.02, 0.17, 0.29, 0.13, 0.19],
        [0.1, 0.2, -0.3, 0.1, 0.4, -0.1, 0.1, 0.3, 0.2, -0.2, 0.1, 0.1, 0.2],  # many sums are the same
    ],
)
def test_few_graded_rows_have_every_sign_flip_enumerated(differences: list[float]) -> None:
    flips = np.array(np.meshgrid(*[[-1.0, 1.0]] * len(differences))).reshape(len(differences), -1)
    oracle = np.mean(np.abs(np.array(differences) @ flips) >= abs(sum(differences)) - 1e-9)
    found = anything_changed(*graded_pair(differences), seeded())
    assert found.method == "sign flips"
    assert found.p == pytest.approx(oracle)


def test_a_seed_gives_the_same_p_again_and_the_t_test_nearly_the_same() -> None:
    differences = np.random.default_rng(1).normal(0.03, 0.1, 80)
    one, two = (anything_changed(*graded_pair(differences), seeded()).p for _ in range(2))
    assert one == two
    assert one == pytest.approx(float(stats.ttest_1samp(differences, 0.0).pvalue), abs=0.01)


def test_the_rows_of_a_cluster_are_flipped_together() -> None:
    groups = [f"g{at // 10}" for at in range(200)]
    shared = np.repeat(np.random.default_rng(2).normal(0.03, 0.1, 20), 10)
    alone = anything_changed(*graded_pair(shared), seeded()).p
    grouped = anything_changed(*graded_pair(shared, groups=groups), seeded()).p
    assert alone is not None
    assert grouped is not None
    assert alone < 0.01 < 0.05 < grouped


def test_too_few_rows_have_no_p() -> None:
    assert anything_changed(*binary_pair(5, 0, 9), seeded()).p is None
    empty = anything_changed(vector([None] * 20), vector([0.5] * 20, subject="base"), seeded())
    assert (empty.n, empty.difference, empty.p) == (0, None, None)


def test_a_number_is_refused_but_for_preferences() -> None:
    with pytest.raises(UsageError, match="two candidates on the same rows"):
        anything_changed(vector([0.5] * 20), 0.5, seeded())


def change(p: float | None) -> Change:
    return Change("intent", "tuned", "base", 100, 0.1, p, "exact McNemar")


def test_p_values_over_suites_are_adjusted_by_holm_in_the_order_given() -> None:
    raw = [0.01, 0.04, 0.03, 0.005, 0.9]
    found = which_changed([change(p) for p in raw])
    oracle = multipletests(raw, method="holm")[1]
    assert [one.holm_p for one in found] == pytest.approx(oracle.tolist())
    assert [one.change.p for one in found] == raw


def test_suites_without_a_p_stay_out_of_the_adjustment() -> None:
    found = which_changed([change(0.03), change(None), change(0.01)])
    assert [one.holm_p for one in found] == [pytest.approx(0.03), None, pytest.approx(0.02)]


@pytest.mark.parametrize("shift", [0.0, 0.006, 0.012])
def test_the_limit_of_the_flips_of_many_rows_is_what_drawn_flips_come_to(
    shift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    differences = (np.random.default_rng(3).normal(shift, 0.2, 3_000).clip(-1, 1)).tolist()
    limit = anything_changed(*graded_pair(differences), seeded()).p
    monkeypatch.setattr(exploratory, "MOST_CUMULANT", 0.0)
    drawn = anything_changed(*graded_pair(differences), seeded(), flips=2_000).p
    assert limit is not None
    assert drawn == pytest.approx(limit, abs=4 * (limit * (1 - limit) / 2_000) ** 0.5 + 0.001)
