"""What judging in looks promises: the bounds of the textbooks, error rates, and when it stops."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from decision_builders import binary_pair, graded_pair, vector
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri
from scipy.stats import multivariate_normal

from benchmarks.quality.looks import STEPS, rubric_shares, simulate
from harness.decision.estimates import Rows, pair
from harness.decision.group_sequential import (
    GroupSequentialDesign,
    Look,
    LookResult,
    LookState,
    crossed,
    design_looks,
    efficacy_bounds,
    judge_look,
    row_order,
)
from harness.decision.paired import compare
from harness.errors import UsageError
from harness.records import Kind, Outcome

FIFTHS = (0.2, 0.4, 0.6, 0.8, 1.0)


def rows_of(differences: np.ndarray, groups: list[str] | None = None) -> Rows:
    return pair(*graded_pair(differences, groups))


def judged(plan: GroupSequentialDesign, differences: np.ndarray, bound: float = 0.0) -> LookResult:
    """Look after look until one stops."""
    for look in plan.looks:
        rows = Rows(differences[: look.rows], np.zeros(look.rows), None, Kind.GRADED, None)
        found = judge_look(plan, rows, bound)
        if found.state is not LookState.CONTINUE:
            return found
    raise AssertionError("the last look must stop")


# --------------------------------------------------------------------------- bounds
def spent_by(bounds: list[float]) -> tuple[float, ...]:
    """The chance of having exceeded one of the bounds by each of five equal looks, by another method."""
    spent = []
    for k in range(1, 6):
        times = np.arange(1, k + 1)
        ratio = np.minimum.outer(times, times) / np.maximum.outer(times, times)
        below = multivariate_normal(np.zeros(k), np.sqrt(ratio), seed=3)
        spent.append(1.0 - float(below.cdf(bounds[:k])))
    return tuple(spent)


@pytest.mark.parametrize(
    "bounds",
    [[2.413] * 5, [2.040 * sqrt(5 / k) for k in range(1, 6)]],
    ids=["Pocock", "O'Brien and Fleming"],
)
def test_bounds_of_the_textbooks_spend_their_level_and_are_found_from_what_they_spend(
    bounds: list[float],
) -> None:
    spent = spent_by(bounds)
    assert 2 * spent[-1] == pytest.approx(0.05, abs=1e-4)  # two-sided
    assert efficacy_bounds(FIFTHS, spent) == pytest.approx(bounds, abs=2e-3)


def test_lan_and_demets_bounds_of_the_o_brien_fleming_type() -> None:
    spent = tuple(2.0 - 2.0 * float(ndtr(ndtri(1.0 - 0.025 / 2) / sqrt(t))) for t in FIFTHS)
    assert efficacy_bounds(FIFTHS, spent) == pytest.approx((4.877, 3.357, 2.680, 2.290, 2.031), abs=6e-4)


def test_a_plan_spends_alpha_in_proportion_to_the_rows() -> None:
    plan = design_looks(200)
    assert [look.rows for look in plan.looks] == [40, 80, 120, 160, 200]
    assert plan.looks[0].level == pytest.approx(0.01)
    assert spent_by([-float(ndtri(look.level)) for look in plan.looks]) == pytest.approx(
        (0.01, 0.02, 0.03, 0.04, 0.05), abs=2e-5
    )


def test_one_look_is_the_ordinary_comparison() -> None:
    plan = design_looks(60, looks=1)
    candidate, baseline = graded_pair(np.random.default_rng(1).normal(0.03, 0.1, 60))
    found, ordinary = judge_look(plan, pair(candidate, baseline)), compare(candidate, baseline)
    assert found.estimate is not None
    assert (found.estimate.low, found.estimate.high) == pytest.approx((ordinary.low, ordinary.high))
    assert found.outcome is ordinary.outcome


# --------------------------------------------------------------------------- plans
def test_looks_that_would_add_too_few_rows_are_left_out() -> None:
    assert [look.rows for look in design_looks(24).looks] == [10, 24]
    assert [look.rows for look in design_looks(9).looks] == [9]


def test_a_look_waits_for_the_end_of_a_group() -> None:
    groups = [f"g{at // 7}" for at in range(140)]
    assert [look.rows for look in design_looks(140, groups=groups).looks] == [28, 56, 84, 112, 140]
    assert [look.rows for look in design_looks(138, groups=groups[:138]).looks] == [28, 56, 84, 112, 138]


def test_groups_that_are_scattered_are_refused_with_the_mend() -> None:
    with pytest.raises(UsageError, match="row_order"):
        design_looks(40, groups=["a", "b"] * 20)


@pytest.mark.parametrize(
    ("n", "looks", "alpha"), [(0, 5, 0.05), (100, 0, 0.05), (100, 21, 0.05), (100, 5, 0.6)]
)
def test_plans_that_cannot_be_are_refused(n: int, looks: int, alpha: float) -> None:
    with pytest.raises(UsageError):
        design_looks(n, looks, alpha)


# --------------------------------------------------------------------------- the order
def test_the_order_depends_on_ids_and_seed_alone() -> None:
    ids = [f"row-{at}" for at in range(8)]
    assert row_order(ids, 0) == (1, 4, 3, 5, 0, 6, 7, 2)
    assert row_order(ids, 1) != row_order(ids, 0)
    assert row_order([*ids, "one more"], 0)[:8] != row_order(ids, 0)


@given(st.lists(st.sampled_from([None, "a", "b", "c"]), max_size=30), st.integers(0, 5))
def test_the_order_holds_every_row_once_and_the_rows_of_a_group_together(
    groups: list[str | None], seed: int
) -> None:
    order = row_order([f"r{at}" for at in range(len(groups))], seed, groups)
    assert sorted(order) == list(range(len(groups)))
    if groups:
        design_looks(len(groups), groups=[groups[at] for at in order])  # refuses groups that are apart


def test_every_row_is_as_likely_to_come_early() -> None:
    ids = [f"r{at}" for at in range(50)]
    early = np.zeros(50)
    for seed in range(400):
        early[list(row_order(ids, seed)[:10])] += 1
    assert early.min() > 80 - 4 * 8
    assert early.max() < 80 + 4 * 8


# --------------------------------------------------------------------------- what a look says
def test_no_look_shows_what_a_few_rows_more_that_lose_half_would_undo() -> None:
    gains = np.tile([0.25, 0.0, 0.0, 0.0, 0.0], 40)  # not one loss in sight
    plan = design_looks(200)
    first = judge_look(plan, rows_of(gains[:40]))
    assert first.estimate is not None
    assert first.estimate.low > 0.0
    assert first.reason == (
        "look 1 of 5 (40 of 200 rows): not decided yet, since 3 rows more that lose 60 points would undo it"
    )
    assert judged(plan, gains).state is LookState.SHOWN
    last = judged(design_looks(40), gains[:40] / 4)
    assert last.state is LookState.INCONCLUSIVE
    assert "2 rows more that lose 60 points" in last.reason


def test_a_limit_or_a_score_that_only_touches_its_boundary_has_not_crossed_it() -> None:
    look = Look(rows=40, level=0.05, futile_above=0.0, futile_below=1.0)
    assert [bool(one) for one in crossed(look, 0.1, 0.5, 0.01, 0.1)] == [False, False, False]
    assert [bool(one) for one in crossed(look, -0.5, 0.1, 0.9, 0.1)] == [False, False, False]
    lowest, highest = 0.5, float(ndtr(-1.0))  # p-values whose scores are the two futility boundaries
    below = replace(look, futile_below=float(-ndtri(highest)))
    for p_value, futile in ((lowest, False), (0.3, True), (highest, False)):
        assert bool(crossed(below, -0.1, 0.1, p_value, 0.0)[2]) is futile


def test_a_clear_gain_stops_early_and_says_what_was_saved() -> None:
    found = judged(design_looks(400), np.random.default_rng(2).normal(0.05, 0.24, 400))
    assert (found.state, found.outcome) == (LookState.SHOWN, Outcome.SHOWN)
    assert found.saved == pytest.approx(0.6)
    assert found.reason == (
        "stopped after look 2 of 5 (160 of 400 rows): shown; 60% of the judge calls were saved"
    )


def test_a_clear_loss_is_refuted() -> None:
    found = judged(design_looks(400), np.random.default_rng(2).normal(-0.1, 0.24, 400))
    assert (found.state, found.outcome) == (LookState.REFUTED, Outcome.REFUTED)


def test_judging_that_can_show_nothing_more_stops_as_inconclusive() -> None:
    flat = np.tile([0.25, -0.25], 200) - 0.005
    found = judged(design_looks(400), flat)
    assert (found.state, found.outcome) == (LookState.FUTILE, Outcome.INCONCLUSIVE)
    assert found.reason.startswith("stopped after look 2 of 5")
    assert "less than 5% (to show it) and 30% (to refute it)" in found.reason


def test_going_on_after_a_futile_look_still_reaches_the_end() -> None:
    plan = design_looks(400)
    found = judge_look(plan, rows_of(np.tile([0.25, -0.25], 200)))
    assert (found.state, found.saved) == (LookState.INCONCLUSIVE, 0.0)
    assert found.reason == "went on to look 5 of 5 (400 of 400 rows): inconclusive"


@given(
    st.integers(0, 4),
    st.floats(-0.3, 0.3),
    st.floats(-0.2, 0.2),
    st.sampled_from(Kind),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_shown_and_refuted_are_just_what_the_repeated_interval_says(
    look: int, gain: float, bound: float, kind: Kind, in_groups: bool, seed: int
) -> None:
    groups = [f"g{at // 2}" for at in range(200)] if in_groups else None
    plan = design_looks(200, groups=groups)
    n = plan.looks[look].rows
    rng = np.random.default_rng(seed)
    drawn = rng.normal([[0.5 + gain / 2], [0.5 - gain / 2]], 0.3, (2, n))
    sides = np.clip(drawn, 0, 1) if kind is Kind.GRADED else (drawn > 0.5) * 1.0
    names = None if groups is None else groups[:n]
    here, there = (vector(side.tolist(), kind=kind, groups=names) for side in sides)
    found = judge_look(plan, pair(here, 0.5 if kind is Kind.PREFERENCE else there), bound)
    assert found.estimate is not None
    above = found.estimate.low > bound
    undone = "points would undo it" in found.reason
    assert (found.state is LookState.SHOWN) == (above and not undone)
    assert not undone or kind is Kind.GRADED
    assert (found.state is LookState.REFUTED) == (found.estimate.high < bound)
    if look < 4:
        ordinary = compare(here, 0.5 if kind is Kind.PREFERENCE else there, bound=bound)
        assert ordinary.low is not None
        assert found.estimate.low < ordinary.low


def test_a_candidate_cannot_be_shown_better_by_failing_where_it_would_lose() -> None:
    candidate, baseline = binary_pair(30, 40, 200)
    order = np.random.default_rng(3).permutation(200)
    hidden = [None if 30 <= at < 70 else candidate.values[at] for at in order]
    told = [baseline.values[at] for at in order]
    sides = replace(candidate, values=tuple(hidden)), replace(baseline, values=tuple(told))
    found = judge_look(design_looks(200), pair(*sides))
    assert found.estimate is not None
    assert found.estimate.low > 0.0
    assert (found.state, found.failures) == (LookState.INCONCLUSIVE, 40)
    assert "rows that failed" in found.reason


def test_a_look_with_too_few_groups_goes_on() -> None:
    groups = [f"g{at // 8}" for at in range(200)]
    plan = design_looks(200, groups=groups)
    found = judge_look(plan, rows_of(np.full(40, 0.3), groups[:40]))
    assert (found.state, found.estimate, found.saved) == (LookState.CONTINUE, None, 0.0)
    assert "5 groups are too few" in found.reason


def test_rows_between_two_looks_are_refused_with_the_looks() -> None:
    with pytest.raises(UsageError, match="40, 80, 120, 160, 200"):
        judge_look(design_looks(200), rows_of(np.zeros(41)))


def test_several_training_seeds_are_refused_in_looks() -> None:
    rows = rows_of(np.random.default_rng(4).normal(0, 0.1, 40))
    table = np.stack([rows.candidate, rows.candidate], axis=1)
    with pytest.raises(UsageError, match="ask for one look"):
        judge_look(design_looks(200), replace(rows, by_seed=(table, table)))


# --------------------------------------------------------------------------- measured rates
def test_the_simulated_rubric_scores_have_the_gain_and_spread_they_are_said_to_have() -> None:
    for gain in (0.0, 0.05, 0.1):
        shares = np.array(rubric_shares(gain))
        assert (shares.sum(), shares @ STEPS) == pytest.approx((1.0, gain), abs=1e-9)
        assert shares @ STEPS**2 - gain**2 == pytest.approx(0.24**2)
    assert rubric_shares(0.0) == pytest.approx(rubric_shares(0.0)[::-1])


def test_simulations_of_many_samples_say_what_single_ones_do() -> None:
    plan, shares = design_looks(100), rubric_shares(0.05)
    many = simulate(plan, 100, shares, 40, seed=5, regardless=False)
    drawn = np.random.default_rng(5).random((40, 100))
    samples = STEPS[np.searchsorted(np.cumsum(shares[:-1]), drawn, side="right")]
    found = [judged(plan, sample) for sample in samples]
    assert many.rows == pytest.approx(np.mean([100 * (1 - one.saved) for one in found]))
    assert many.shown == pytest.approx(np.mean([one.outcome is Outcome.SHOWN for one in found]))


def test_looks_show_nothing_false_more_than_5_percent_of_the_time_even_if_futility_is_ignored() -> None:
    plan = design_looks(200)  # the first look is at 40 rows
    found = simulate(plan, 200, rubric_shares(0.0), 20_000, seed=6, regardless=True)
    error = sqrt(0.05 * 0.95 / 20_000)
    assert found.shown <= found.shown_regardless <= 0.05 + 2 * error


def test_looks_save_half_of_the_calls_at_the_power_of_a_fixed_number_of_rows() -> None:
    plan = design_looks(472)
    null, small, large = (
        simulate(plan, 400, rubric_shares(gain), 4000, seed=7, regardless=False) for gain in (0.0, 0.05, 0.08)
    )
    assert small.shown >= small.shown_fixed - 0.005
    saved = [1 - one.rows / 400 for one in (null, small, large)]
    assert saved == pytest.approx([0.263, 0.530, 0.715], abs=0.015)


def test_rare_whole_losses_that_few_rows_do_not_hold_make_no_false_claim() -> None:
    shares = (
        0.046,
        0.0,
        0.0,
        0.0,
        0.77,
        0.184,
        0.0,
        0.0,
        0.0,
    )  # 4.6% lose 1, 18.4% gain 0.25: nothing gained
    found = simulate(design_looks(200), 200, shares, 10_000, seed=8, regardless=True)
    assert found.shown_regardless <= 0.05 + 2 * sqrt(0.05 * 0.95 / 10_000)


def test_binary_scores_and_groups_make_no_false_claim_more_than_5_percent_of_the_time() -> None:
    rng = np.random.default_rng(9)
    plan, clusters = design_looks(200, looks=3), np.repeat(np.arange(50), 4)
    false = np.zeros(2)
    for _ in range(500):
        drawn = rng.random(200)
        right, also_right = (drawn > 0.1).astype(np.float64), (np.abs(drawn - 0.15) > 0.05).astype(np.float64)
        binary = Rows(right, also_right, None, Kind.BINARY, None)
        together = np.repeat(rng.normal(0, 0.12, 50), 4) + rng.normal(0, 0.2, 200)
        grouped = Rows(together, np.zeros(200), clusters, Kind.GRADED, None)
        for at, rows in enumerate((binary, grouped)):
            looked = [judge_look(plan, rows.only(np.arange(200) < look.rows)) for look in plan.looks]
            false[at] += any(one.state is LookState.SHOWN for one in looked)
    assert false.max() / 500 <= 0.05 + 2 * sqrt(0.05 * 0.95 / 500)
