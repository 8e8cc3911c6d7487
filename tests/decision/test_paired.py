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

from harness.decision.paired import compare, summary
from harness.decision.sparse import sparse_interval, sparse_p
from harness.decision.tango import tango_interval
from harness.errors import UsageError
from harness.records import Comparison, Kind, Outcome, ScoreVector

SHOWN, REFUTED, OPEN = Outcome.SHOWN, Outcome.REFUTED, Outcome.INCONCLUSIVE


# --------------------------------------------------------------------------- methods
def test_binary_scores_are_compared_by_tango() -> None:
    found = compare(*binary_pair(15, 4, 200))
    assert (found.method, found.n, found.discordant, found.outcome) == ("Tango", 200, 19, SHOWN)
    assert (found.low, found.high) == sparse_interval(15, 4, 200)
    assert found.difference == pytest.approx(11 / 200)


def test_graded_scores_without_skewness_get_a_paired_t_test() -> None:
    a = np.random.default_rng(7).random(40)
    a, b = np.concatenate([a, a[::-1]]), np.concatenate([a[::-1], a])
    found = compare(vector(a.tolist()), vector(b.tolist(), subject="base"), bound=-0.1)
    oracle = stats.ttest_1samp(a - b, -0.1, alternative="greater")
    interval = stats.ttest_rel(a, b).confidence_interval(0.90)
    assert found.method == "paired t and Hall"
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p_one_sided == pytest.approx(oracle.pvalue)
    assert (found.candidate_mean, found.baseline_mean) == pytest.approx((a.mean(), b.mean()))


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_skewed_differences_get_halls_limit_where_it_is_the_wider(side: float) -> None:
    differences = side * np.array([0.4, 0.3, 0.1, *[0.0] * 27])
    found = compare(*graded_pair(differences))
    n, skewness = 30, stats.skew(differences, bias=False)

    def hall(mean: float) -> float:  # equation 3 of the paper: the t statistic without its skewness
        t = (differences.mean() - mean) / (differences.std(ddof=1) / np.sqrt(n))
        a = skewness / np.sqrt(n)
        return float(t + a * t**2 / 3 + a**2 * t**3 / 27 + a / 6)

    quantile = float(stats.t.ppf(0.95, n - 1))
    student = stats.ttest_1samp(differences, 0.0).confidence_interval(0.90)
    far, near = (found.high, student.low) if side > 0 else (found.low, student.high)
    assert far is not None
    assert hall(far) == pytest.approx(-side * quantile)
    assert abs(far) > abs(float(student.high if side > 0 else student.low))
    assert (found.low if side > 0 else found.high) == pytest.approx(near)


def grouped_pair(kind: Kind) -> tuple[Comparison, tuple[float, float]]:
    """A comparison of unequal groups without skewness, and the limits that statsmodels gives it."""
    rng = np.random.default_rng(8)
    half = np.repeat(np.arange(12), rng.integers(4, 8, 12))
    a, b = rng.random((2, len(half)))
    if kind is Kind.BINARY:
        a, b = (a < 0.8) * 1.0, (b < 0.5) * 1.0
    groups = np.concatenate([half, half + 12])
    a, b = np.concatenate([a, b]), np.concatenate([b, a])
    names = [f"g{group}" for group in groups]
    found = compare(
        vector(a.tolist(), kind=kind, groups=names),
        vector(b.tolist(), kind=kind, groups=names, subject="base"),
    )
    fit = sm.OLS(a - b, np.ones(len(groups))).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    low, high = fit.conf_int(0.10)[0]
    return found, (float(low), float(high))


def cr2_limits(differences: list[float], groups: list[str]) -> tuple[float, float]:
    """CR2 and Bell and McCaffrey's degrees of freedom by the matrices that define them, at 90%."""
    y, n = np.array(differences), len(differences)
    names = sorted(set(groups))
    within = np.array([[group == name for group in groups] for name in names], dtype=float)
    residuals = y - y.mean()
    hat = np.full((n, n), 1.0 / n)
    columns, error = [], 0.0
    for mask in within:
        rows = np.flatnonzero(mask)
        values, vectors = np.linalg.eigh(np.eye(len(rows)) - hat[np.ix_(rows, rows)])
        adjusted = vectors @ np.diag(values**-0.5) @ vectors.T @ np.ones(len(rows)) / n
        error += float(adjusted @ residuals[rows]) ** 2
        columns.append((np.eye(n) - hat)[:, rows] @ adjusted)
    products = np.array(columns) @ np.array(columns).T
    freedom = np.trace(products) ** 2 / (products**2).sum()
    reach = stats.t.ppf(0.95, freedom) * np.sqrt(error)
    return y.mean() - reach, y.mean() + reach


def test_groups_of_one_size_get_the_cluster_robust_interval_of_statsmodels() -> None:
    rng = np.random.default_rng(5)
    differences = np.clip(rng.normal(0.05, 0.1, 96) + np.repeat(rng.normal(0, 0.1, 24), 4), -0.4, 0.4)
    groups = [f"g{at // 4}" for at in range(96)]
    candidate, baseline = graded_pair((differences - stats.skew(differences) * 0).tolist())
    found = compare(replace(candidate, groups=tuple(groups)), replace(baseline, groups=tuple(groups)))
    model = sm.OLS(differences, np.ones(96)).fit(
        cov_type="cluster", cov_kwds={"groups": np.repeat(np.arange(24), 4), "df_correction": True}
    )
    low, high = model.params[0] + np.array([-1, 1]) * stats.t.ppf(0.95, 23) * model.bse[0]
    assert found.low is not None
    assert found.high is not None
    # statsmodels divides by n - 1 as well; Hall's limit may be the wider
    assert found.low <= low + 0.001
    assert found.high >= high - 0.001
    assert found.high - found.low == pytest.approx(high - low, rel=0.1)


def test_groups_of_unequal_size_get_cr2_with_bell_and_mccaffreys_freedom() -> None:
    rng = np.random.default_rng(6)
    sizes = [12, 9, 8, 7, 7, 6, 6, 5, 5, 5, 4, 4, 4, 4, 3, 3, 3, 2, 2, 1]
    groups = [f"g{k}" for k, size in enumerate(sizes) for _ in range(size)]
    differences = rng.choice([-0.2, 0.0, 0.2], len(groups)).tolist()
    candidate, baseline = graded_pair(differences)
    found = compare(replace(candidate, groups=tuple(groups)), replace(baseline, groups=tuple(groups)))
    low, high = cr2_limits(differences, groups)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= low + 1e-9
    assert found.high >= high - 1e-9
    assert min(low - found.low, found.high - high) == pytest.approx(0.0, abs=1e-9)  # Hall widens one side


def test_one_customer_with_half_of_the_rows_gives_no_interval_and_the_reason() -> None:
    groups = ["giant"] * 100 + [f"g{k // 5}" for k in range(100)]
    candidate, baseline = binary_pair(40, 10, 200, groups=groups)
    found = compare(candidate, baseline)
    assert found.outcome is OPEN
    assert "21 groups of very unequal size weigh as 3.8 equal ones (the largest holds 100 of 200 rows)" in (
        found.reason
    )


def test_groups_without_a_discordant_row_count_as_one_row_each() -> None:
    found = compare(*binary_pair(0, 0, 400, groups=[f"g{at // 4}" for at in range(400)]), bound=-0.05)
    assert (found.low, found.high) == pytest.approx(tango_interval(0, 0, 100))
    assert found.outcome is SHOWN


def test_no_lost_group_among_20_shows_nothing_about_groups_lost_whole() -> None:
    # 2 rows of 200 gained, none lost: a t interval puts the loss at no more than 0 points
    candidate, baseline = binary_pair(2, 0, 200, groups=[f"g{at % 20}" for at in range(200)])
    found = compare(candidate, baseline, bound=-0.04)
    assert found.outcome is OPEN
    assert found.low is not None
    assert found.low < -0.07


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
    assert found.method == "one-sample t and Hall"
    student = stats.ttest_1samp(values, 0.2, alternative="greater").pvalue
    assert found.p_one_sided is not None
    assert student <= found.p_one_sided < 2 * student


# --------------------------------------------------------------------------- preferences
def preferences(wins: int, losses: int, n: int, groups: list[str] | None = None) -> ScoreVector:
    values = [1.0] * wins + [0.0] * losses + [0.5] * (n - wins - losses)
    return vector(values, kind=Kind.PREFERENCE, groups=groups)


def test_preferences_are_judged_by_tango_on_wins_and_losses_in_units_of_the_score() -> None:
    found = compare(preferences(40, 15, 200), 0.5)
    low, high = sparse_interval(40, 15, 200)
    assert (found.method, found.outcome, found.discordant) == ("Tango", SHOWN, 55)
    assert (found.low, found.high) == pytest.approx((low / 2, high / 2))
    assert (found.difference, found.candidate_mean) == pytest.approx((25 / 400, 0.5 + 25 / 400))
    assert found.p_one_sided == pytest.approx(sparse_p(40, 15, 200))


def test_a_preference_may_be_held_against_another_number_than_a_half() -> None:
    found = compare(preferences(40, 15, 200), 0.45)
    assert found.low == pytest.approx(sparse_interval(40, 15, 200)[0] / 2 + 0.05)
    assert found.p_one_sided == pytest.approx(sparse_p(40, 15, 200, -0.1))
    assert compare(preferences(200, 0, 200), 1.0).outcome is OPEN


def test_preferences_in_groups_need_the_cluster_robust_t_too() -> None:
    alone = compare(preferences(40, 15, 200), 0.5)
    grouped = compare(preferences(40, 15, 200, groups=[f"g{at // 10}" for at in range(200)]), 0.5)
    assert (grouped.method, grouped.clusters) == ("cluster-robust t and Tango", 20)
    assert grouped.low is not None
    assert alone.low is not None
    assert grouped.low < alone.low


def test_a_preference_against_a_vector_is_refused_with_what_to_write() -> None:
    with pytest.raises(UsageError, match=r"Compare it with a number: 0\.5"):
        compare(preferences(4, 1, 20), preferences(1, 4, 20))
    with pytest.raises(UsageError, match=r"row r0: a preference is 0, 0\.5 or 1"):
        compare(vector([0.7] * 20, kind=Kind.PREFERENCE), 0.5)


# --------------------------------------------------------------------------- effect size
def test_the_effect_size_is_the_mean_difference_over_the_rows_standard_deviation() -> None:
    differences = np.random.default_rng(9).normal(0.05, 0.1, 60)
    found = compare(*graded_pair(differences))
    clipped = np.clip(differences, -0.5, 0.5)
    assert found.effect_size == pytest.approx(clipped.mean() / clipped.std(ddof=1))
    rows = np.array([1.0] * 15 + [-1.0] * 4 + [0.0] * 181)
    assert compare(*binary_pair(15, 4, 200)).effect_size == pytest.approx(rows.mean() / rows.std(ddof=1))
    assert compare(*binary_pair(3, 1, 9)).effect_size is not None  # no interval, but a size


def test_differences_without_spread_have_no_effect_size() -> None:
    assert compare(*binary_pair(0, 0, 50)).effect_size is None
    assert compare(vector([None] * 20), 0.5).effect_size is None


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
    # a claim that a loss not among the rows would undo is not shown, while its mirror image is refuted
    pair = {there.outcome, mirror[here.outcome]}
    assert len(pair) == 1 or (OPEN in pair and "points, and a loss so rare" in here.reason + there.reason)


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


def test_rows_that_neither_side_answered_count_against_the_claim() -> None:
    sides = binary_pair(40, 5, 200)
    gaps, unanswered = (None,) * 60, (False,) * 140 + (True,) * 60
    cut = [replace(one, values=(*one.values[:140], *gaps), unanswered=unanswered) for one in sides]
    found = compare(*cut)
    assert (found.n, found.failures, found.outcome) == (140, 60, OPEN)
    one_side = replace(cut[0], unanswered=())
    assert compare(one_side, cut[1]).outcome is OPEN, "one side's silence is enough"
    few = [
        replace(one, values=(*one.values[:195], *gaps[:5]), unanswered=(False,) * 195 + (True,) * 5)
        for one in sides
    ]
    assert compare(*few).outcome is SHOWN


def test_nothing_but_failures_is_inconclusive_without_means() -> None:
    found = compare(vector([None] * 20), vector([0.5] * 20, subject="base"))
    assert (found.outcome, found.n, found.difference, found.candidate_mean) == (OPEN, 0, None, None)
    assert summary(found) == "no difference, n=0"


# --------------------------------------------------------------------------- planning
def test_rows_needed_would_decide_the_observed_difference_with_80_percent_power_once_added() -> None:
    for growths, level in ((0, 0.005), (1, 0.0025)):  # of the tests that follow
        found = compare(*binary_pair(12, 6, 100), alpha=0.05 if growths == 0 else 0.005, growths=growths)
        assert found.rows_needed is not None
        n = found.rows_needed
        draws = np.random.default_rng(4).multinomial(n, [0.12, 0.06, 0.82], size=1000)
        shown = [tango_interval(int(b), int(c), n, level)[0] > 0 for b, c, _ in draws]
        assert np.mean(shown) == pytest.approx(0.80, abs=0.04)


def test_a_difference_at_the_bound_can_be_decided_by_no_number_of_rows() -> None:
    found = compare(*binary_pair(10, 10, 100))
    assert (found.outcome, found.rows_needed) == (OPEN, None)
    assert "too close" in found.reason


def test_more_than_20_times_the_rows_are_no_advice() -> None:
    found = compare(*binary_pair(12, 10, 100))
    assert (found.outcome, found.rows_needed) == (OPEN, None)
    assert "it would take more than 20 times these" in found.reason


def test_no_discordant_row_of_100_needs_about_330_to_show_a_margin_of_2_points_once_added() -> None:
    assert compare(*binary_pair(0, 0, 100), bound=-0.02).rows_needed == pytest.approx(330, abs=10)


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


@pytest.mark.parametrize("kind", [Kind.BINARY, Kind.GRADED])
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


# --------------------------------------------------------------------------- losses that were not drawn
def moved(n: int, by: float, *losses: float) -> list[float]:
    """Differences that hardly vary, with some losses."""
    rest = np.random.default_rng(n).uniform(by - 0.02, by + 0.02, n - len(losses))
    return [*rest.tolist(), *losses]


def test_a_graded_gain_that_one_unseen_loss_would_undo_is_not_shown() -> None:
    candidate, baseline = graded_pair(moved(50, 0.005))
    found = compare(candidate, baseline)
    assert found.low is not None
    assert found.low > 0.0
    assert found.outcome is OPEN
    assert "not with one row more that loses 60 points" in found.reason


def test_where_two_rows_lose_a_fifth_the_rows_speak_for_themselves() -> None:
    candidate, baseline = graded_pair(moved(60, 0.1, -0.2, -0.25))
    assert compare(candidate, baseline).outcome is SHOWN


def test_a_gain_that_outweighs_a_loss_is_shown() -> None:
    candidate, baseline = graded_pair(moved(100, 0.1))
    assert compare(candidate, baseline).outcome is SHOWN


def test_against_a_number_one_row_more_always_falls_short() -> None:
    """2% of zeros under a bar of .88: the rows above it say nothing of those that were not drawn."""
    scores = vector([0.9] * 25 + [0.89] * 25, kind=Kind.GRADED)
    found = compare(scores, 0.88)
    assert found.low is not None
    assert found.low > 0.0
    assert found.outcome is OPEN


def test_a_whole_group_may_be_lost_that_none_here_is() -> None:
    differences = moved(200, 0.01)
    candidate, baseline = graded_pair(differences)
    groups = tuple(f"customer {at // 10}" for at in range(200))
    found = compare(replace(candidate, groups=groups), replace(baseline, groups=groups))
    assert found.clusters == 20
    assert found.outcome is OPEN
