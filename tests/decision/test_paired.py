"""What a comparison promises: which method, which outcome, and how failures count."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

import numpy as np
import pytest
import statsmodels.api as sm
from decision_builders import binary_pair, graded_pair, vector
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from harness.decision.paired import compare, mde, smallest_effect, summary
from harness.decision.tango import tango_interval
from harness.errors import UsageError
from harness.records import Kind, Outcome

SHOWN, REFUTED, OPEN = Outcome.SHOWN, Outcome.REFUTED, Outcome.INCONCLUSIVE


# --------------------------------------------------------------------------- methods
def test_binary_scores_are_compared_by_tango() -> None:
    found = compare(*binary_pair(15, 4, 200))
    assert (found.method, found.n, found.discordant, found.outcome) == ("Tango", 200, 19, SHOWN)
    assert (found.low, found.high) == tango_interval(15, 4, 200)
    assert found.difference == pytest.approx(11 / 200)


def test_graded_scores_are_compared_by_a_paired_t_test() -> None:
    rng = np.random.default_rng(7)
    a, b = rng.random(40), rng.random(40)
    found = compare(vector(a.tolist()), vector(b.tolist(), subject="base"), bound=-0.1)
    oracle = stats.ttest_1samp(a - b, -0.1, alternative="greater")
    interval = stats.ttest_rel(a, b).confidence_interval(0.90)
    assert found.method == "paired t"
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p_one_sided == pytest.approx(oracle.pvalue)
    assert (found.candidate_mean, found.baseline_mean) == pytest.approx((a.mean(), b.mean()))


@pytest.mark.parametrize("kind", list(Kind))
def test_grouped_rows_get_the_cluster_robust_interval_of_statsmodels(kind: Kind) -> None:
    rng = np.random.default_rng(8)
    groups = np.repeat(np.arange(15), rng.integers(1, 8, 15))
    a, b = rng.random((2, len(groups)))
    if kind is Kind.BINARY:
        a, b = (a < 0.8) * 1.0, (b < 0.5) * 1.0
    names = [f"g{group}" for group in groups]
    found = compare(
        vector(a.tolist(), kind=kind, groups=names),
        vector(b.tolist(), kind=kind, groups=names, subject="base"),
    )
    fit = sm.OLS(a - b, np.ones(len(groups))).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    low, high = fit.conf_int(0.10)[0]
    assert (found.method, found.clusters) == ("cluster-robust t", 15)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_groups_of_one_row_each_are_no_groups() -> None:
    names = [f"g{at}" for at in range(60)]
    assert compare(*binary_pair(9, 3, 60, groups=names)).method == "Tango"


def test_a_row_without_a_group_stands_alone_beside_the_groups() -> None:
    differences = np.random.default_rng(1).normal(0, 0.1, 14)
    candidate, baseline = graded_pair(differences)
    groups = ("a", "a", *([None] * 12))
    found = compare(replace(candidate, groups=groups), replace(baseline, groups=groups))
    assert found.clusters == 13


def test_binary_scores_against_a_number_get_wilsons_interval() -> None:
    found = compare(vector([1.0] * 90 + [0.0] * 10, kind=Kind.BINARY), 0.85)
    low, high = proportion_confint(90, 100, alpha=0.10, method="wilson")
    assert (found.method, found.baseline, found.baseline_mean) == ("Wilson", "0.85", 0.85)
    assert (found.low, found.high) == pytest.approx((low - 0.85, high - 0.85))
    assert found.difference == pytest.approx(0.05)


def test_graded_scores_against_a_number_get_a_one_sample_t_test() -> None:
    values = np.random.default_rng(3).random(30)
    found = compare(vector(values.tolist()), 0.2)
    assert found.method == "one-sample t"
    assert found.p_one_sided == pytest.approx(stats.ttest_1samp(values, 0.2, alternative="greater").pvalue)


def test_a_perfect_record_cannot_be_shown_to_exceed_1_nor_an_empty_one_0() -> None:
    assert compare(vector([1.0] * 50, kind=Kind.BINARY), 1.0).outcome is OPEN
    assert compare(vector([0.0] * 50, kind=Kind.BINARY), 0.0).outcome is OPEN


@given(st.lists(st.floats(-0.4, 0.4), min_size=10, max_size=40))
def test_swapping_the_sides_mirrors_a_graded_comparison(differences: list[float]) -> None:
    candidate, baseline = graded_pair(differences)
    here, there = compare(candidate, baseline), compare(baseline, candidate)
    assert (here.low is None) == (there.low is None)
    if here.low is not None and there.high is not None:
        assert here.low == pytest.approx(-there.high, abs=1e-12)
    mirror = {SHOWN: REFUTED, REFUTED: SHOWN, OPEN: OPEN}
    assert there.outcome is mirror[here.outcome]


# --------------------------------------------------------------------------- outcomes
@pytest.mark.parametrize(
    ("gained", "lost", "bound", "outcome"),
    [
        (30, 5, 0.0, SHOWN),
        (5, 30, 0.0, REFUTED),
        (12, 10, 0.0, OPEN),
        (0, 0, -0.02, SHOWN),
        (0, 0, 0.0, OPEN),
        (0, 60, -0.05, REFUTED),
        (30, 5, 0.2, REFUTED),
    ],
)
def test_a_claim_is_shown_refuted_or_open_by_its_limits(
    gained: int, lost: int, bound: float, outcome: Outcome
) -> None:
    found = compare(*binary_pair(gained, lost, 200), bound=bound)
    assert found.outcome is outcome
    assert (found.p_one_sided is not None and found.p_one_sided < 0.05) == (outcome is SHOWN)
    assert (found.rows_needed is None) or outcome is OPEN


def test_nine_rows_or_nine_groups_are_inconclusive_with_their_means() -> None:
    few = compare(*binary_pair(9, 0, 9))
    assert (few.outcome, few.method, few.low, few.high) == (OPEN, "none", None, None)
    assert (few.candidate_mean, few.baseline_mean, few.difference) == (1.0, 0.0, 1.0)
    assert "9 usable rows are too few" in few.reason
    grouped = compare(*graded_pair(np.linspace(0.1, 0.3, 45), groups=[f"g{at % 9}" for at in range(45)]))
    assert (grouped.outcome, grouped.clusters) == (OPEN, 9)
    assert "9 groups are too few" in grouped.reason


@pytest.mark.parametrize("difference", [0.0, 0.1])
def test_graded_differences_without_spread_are_inconclusive(difference: float) -> None:
    found = compare(*graded_pair([difference] * 100), bound=-0.02)
    assert (found.outcome, found.low) == (OPEN, None)
    assert "all differences are equal" in found.reason


def test_groups_whose_losses_cancel_give_no_interval_rather_than_certainty() -> None:
    candidate, baseline = graded_pair([0.25, -0.25] * 20, groups=[f"g{at // 2}" for at in range(40)])
    found = compare(candidate, baseline, bound=-0.02)
    assert (found.outcome, found.low) == (OPEN, None)


def test_the_reason_gives_the_difference_the_interval_and_n() -> None:
    found = compare(*binary_pair(40, 15, 200))
    assert summary(found) == "+12.5 points [+6.6, +18.5], n=200"
    assert found.reason.startswith(summary(found))


# --------------------------------------------------------------------------- failures
def test_rows_that_failed_are_left_out_counted_and_named() -> None:
    candidate, baseline = binary_pair(40, 5, 200)
    found = compare(replace(candidate, values=(None, *candidate.values[1:])), baseline)
    assert (found.n, found.failures, found.outcome) == (199, 1, SHOWN)
    assert "1 row is left out" in found.reason
    assert "r0" in found.reason


def test_a_candidate_cannot_be_shown_better_by_failing_where_it_would_lose() -> None:
    candidate, baseline = binary_pair(12, 20, 200)
    hidden = tuple(None if 12 <= at < 32 else value for at, value in enumerate(candidate.values))
    found = compare(replace(candidate, values=hidden), baseline)
    assert found.low is not None
    assert found.low > 0.0
    assert (found.outcome, found.failures) == (OPEN, 20)
    assert "count against the claim" in found.reason


def test_a_baseline_that_failed_counts_as_right_in_the_worst_case() -> None:
    candidate, baseline = binary_pair(8, 1, 100)
    kept = compare(candidate, baseline)
    gaps = tuple(None if at >= 80 else value for at, value in enumerate(baseline.values))
    found = compare(
        replace(candidate, values=(*candidate.values[:80], *[0.0] * 20)), replace(baseline, values=gaps)
    )
    assert (kept.outcome, found.outcome, found.failures) == (SHOWN, OPEN, 20)


def test_rows_that_failed_on_both_sides_do_not_count_against_the_claim() -> None:
    candidate, baseline = binary_pair(40, 5, 200)
    gaps = (None,) * 60
    found = compare(
        replace(candidate, values=(*candidate.values[:140], *gaps)),
        replace(baseline, values=(*baseline.values[:140], *gaps)),
    )
    assert (found.n, found.failures, found.outcome) == (140, 60, SHOWN)


def test_nothing_but_failures_is_inconclusive_without_means() -> None:
    found = compare(vector([None] * 20), vector([0.5] * 20, subject="base"))
    assert (found.outcome, found.n, found.difference, found.candidate_mean) == (OPEN, 0, None, None)
    assert summary(found) == "no difference, n=0"


# --------------------------------------------------------------------------- planning
def test_rows_needed_would_decide_the_observed_difference_with_80_percent_power() -> None:
    found = compare(*binary_pair(12, 6, 100))
    assert found.rows_needed is not None
    n = found.rows_needed
    draws = np.random.default_rng(4).multinomial(n, [0.12, 0.06, 0.82], size=1500)
    shown = [tango_interval(int(b), int(c), n)[0] > 0 for b, c, _ in draws]
    assert np.mean(shown) == pytest.approx(0.80, abs=0.04)


def test_a_difference_at_the_bound_can_be_decided_by_no_number_of_rows() -> None:
    found = compare(*binary_pair(10, 10, 100))
    assert (found.outcome, found.rows_needed) == (OPEN, None)
    assert "too close" in found.reason


def test_no_discordant_row_of_100_needs_133_to_show_a_margin_of_2_points() -> None:
    assert compare(*binary_pair(0, 0, 100), bound=-0.02).rows_needed == 133


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


def test_there_is_no_smallest_effect_without_spread_or_rows() -> None:
    assert smallest_effect(*graded_pair([0.0] * 50)) is None
    assert smallest_effect(*binary_pair(3, 2, 9)) is None
    with pytest.raises(UsageError, match="at least 2 rows"):
        mde(0.1, 1)


# --------------------------------------------------------------------------- refusals
def test_vectors_of_different_rows_are_refused_with_an_example() -> None:
    with pytest.raises(UsageError, match="r10"):
        compare(vector([0.5] * 10), vector([0.5] * 11))
    shuffled = replace(vector([0.5] * 10), row_ids=tuple(f"r{at}" for at in reversed(range(10))))
    with pytest.raises(UsageError, match="in another order"):
        compare(vector([0.5] * 10), shuffled)


def test_different_scores_or_groups_are_refused() -> None:
    here = vector([0.5] * 10)
    with pytest.raises(UsageError, match="same score"):
        compare(here, vector([0.5] * 10, score="summary"))
    with pytest.raises(UsageError, match="same score"):
        compare(here, vector([1.0] * 10, kind=Kind.BINARY))
    with pytest.raises(UsageError, match="grouped differently"):
        compare(here, vector([0.5] * 10, groups=["g"] * 10))


def test_values_that_no_score_can_have_are_refused_by_row() -> None:
    with pytest.raises(UsageError, match=r"row r1: a binary score is 0 or 1; this one is 0\.5"):
        compare(vector([1.0, 0.5] * 10, kind=Kind.BINARY), 0.5)
    with pytest.raises(UsageError, match=r"row r0: a score lies in \[0, 1\]"):
        compare(vector([7.0] * 10), 0.5)


def test_points_given_as_percent_are_refused() -> None:
    with pytest.raises(UsageError, match=r"2 points are 0\.02"):
        compare(*binary_pair(1, 1, 20), bound=-2)
    with pytest.raises(UsageError, match=r"85% is 0\.85"):
        compare(vector([0.5] * 10), 85)
    with pytest.raises(UsageError, match="alpha"):
        compare(*binary_pair(1, 1, 20), alpha=0.95)


# --------------------------------------------------------------------------- measured rates
def test_a_paired_t_test_at_the_null_shows_a_difference_5_percent_of_the_time() -> None:
    draws = np.random.default_rng(11).normal(0.0, 0.1, (4000, 30))
    base = vector([0.5] * 30, subject="base")
    shown = [compare(vector(row), base).outcome is SHOWN for row in np.clip(0.5 + draws, 0, 1).tolist()]
    error = np.sqrt(0.05 * 0.95 / len(shown))
    assert np.mean(shown) <= 0.054 + 2 * error


def test_ignoring_groups_inflates_false_claims_and_the_cluster_robust_test_does_not() -> None:
    rng = np.random.default_rng(12)
    names = [f"g{at // 8}" for at in range(160)]
    naive, robust = [], []
    for _ in range(1000):
        shared = np.repeat(rng.normal(0, 0.08, 20), 8) + rng.normal(0, 0.08, 160)
        naive.append(compare(*graded_pair(shared)).outcome is SHOWN)
        robust.append(compare(*graded_pair(shared, groups=names)).outcome is SHOWN)
    assert np.mean(naive) > 0.15
    assert np.mean(robust) <= 0.054 + 2 * np.sqrt(0.05 * 0.95 / 1000)


@pytest.mark.parametrize("kind", list(Kind))
def test_ten_thousand_grouped_rows_are_compared_in_under_50_ms(kind: Kind) -> None:
    rng = np.random.default_rng(13)
    values = rng.random((2, 10_000)) if kind is Kind.GRADED else (rng.random((2, 10_000)) < 0.8) * 1.0
    names = [f"g{at // 5}" for at in range(10_000)]
    candidate, baseline = (vector(side.tolist(), kind=kind, groups=names) for side in values)
    seconds = []
    for _ in range(5):
        began = perf_counter()
        compare(candidate, baseline)
        seconds.append(perf_counter() - began)
    assert min(seconds) < 0.05
