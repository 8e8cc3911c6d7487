"""Losses that were not drawn, and groups of unequal size: what the benchmark measures, with fewer draws."""

from __future__ import annotations

import numpy as np
import pytest
from decision_builders import graded_pair, vector

from benchmarks import decision_quality
from benchmarks.quality import groups, rare_losses
from benchmarks.quality.gate_draws import rubric
from benchmarks.quality.rare_losses import Cell, falsely_shown
from benchmarks.results import Options
from harness.decision.estimates import too_few_clusters, unseen_losses
from harness.decision.paired import compare
from harness.records import Kind, Outcome

SHOWN, OPEN = Outcome.SHOWN, Outcome.INCONCLUSIVE


def test_the_vector_form_on_rows_says_what_compare_says() -> None:
    rng = np.random.default_rng(0)
    cells = [Cell(150, 0.4, 0.02, -0.02, 0.12), Cell(150, 0.25, 0.03, 0.0, 0.12)]
    for cell in cells:
        samples = np.concatenate([rare_losses.drawn(cell, rng, 20, losing) for losing in range(4)])
        said = [compare(*graded_pair(sample), bound=cell.bound).outcome is SHOWN for sample in samples]
        assert rare_losses.claimed(samples, cell.bound).tolist() == said
        assert 0 < sum(said) < len(said)


def test_the_vector_form_on_groups_says_what_compare_says() -> None:
    rng = np.random.default_rng(1)
    sizes = groups.by_rank(40, 12, 0.5)
    names = [f"g{at}" for at in np.repeat(np.arange(40), sizes.astype(int))]
    starts = np.append(0, np.cumsum(sizes)[:-1]).astype(int)
    alike = np.repeat(rng.normal(0.0, 0.1, (60, 40)), sizes.astype(int), axis=1)
    samples = np.clip(alike + rng.normal(0.11, 0.2, alike.shape), -0.5, 0.5)
    sums = np.add.reduceat(samples, starts, axis=1)
    said = [compare(*graded_pair(sample, names)).outcome is SHOWN for sample in samples]
    assert groups.claimed(sums, sizes, 0.0).tolist() == said
    assert 0 < sum(said) < len(said)


def test_the_vector_form_against_a_number_says_what_compare_says() -> None:
    rng = np.random.default_rng(2)
    scores = np.clip(rng.normal(0.9, 0.1, (80, 40)), 0, 1)
    said = [compare(vector(sample), 0.88).outcome is SHOWN for sample in scores]
    assert rare_losses.exceeds(scores, 0.88).tolist() == said


@pytest.mark.parametrize(
    "cell",
    [
        Cell(50, 0.25, 0.14, -0.05, 0.12),
        Cell(100, 1.0, 0.14, -0.02, 0.02),
        Cell(100, 1.0, 0.02, -0.05, 0.08),
        Cell(200, 1.0, 0.01, -0.05, 0.08),
        Cell(200, 0.25, 0.08, 0.0, 0.12),
        Cell(400, 1.0, 0.005, 0.0, 0.05),
        Cell(400, 0.25, 0.02, 0.0, 0.08),
    ],
    ids=str,
)
def test_losses_that_a_sample_lacks_make_no_false_claim_more_than_6_percent_of_the_time(cell: Cell) -> None:
    rate, error = falsely_shown(cell, np.random.default_rng(3), 1_500)
    assert rate <= 0.06 + 2 * error


def test_that_costs_rubric_scores_of_50_rows_no_power() -> None:
    found = rare_losses.power_lost(2_000)
    assert found.passed


def test_five_level_scores_at_a_ceiling_keep_their_level_from_50_rows() -> None:
    few, many = rare_losses.ceiling(3_000)
    assert few.value is not None
    assert many.value is not None
    assert max(few.value, many.value) <= 0.06 + 2 * np.sqrt(0.06 * 0.94 / 3_000)


def test_groups_that_outweigh_the_others_have_no_interval() -> None:
    for name in (
        "20, as 1/rank",
        "40, as 1/rank",
        "half of the rows in 1 of 20",
        "half of the rows in 1 of 40",
    ):
        assert "very unequal size" in (groups.reason(groups.UNEQUAL[name]) or "")
    assert groups.reason(groups.UNEQUAL["a fifth in 1 of 61"]) == (
        "the largest of 61 groups of unequal size holds 150 of 750 rows: an interval takes groups of at most "
        "12.5% of the rows"
    )
    assert too_few_clusters(np.repeat(np.arange(10), 20)) is None  # a tenth each
    assert groups.reason(groups.UNEQUAL["40, as 1/√rank"]) is None


def test_unequal_groups_keep_their_level() -> None:
    some = {name: groups.UNEQUAL[name] for name in ("40, as 1/√rank", "20 of 15 and 20 of 5")}
    noise = 3 * np.sqrt(0.07 * 0.93 / 800)
    for rates in (groups.binary(some, 800), groups.graded(some, 800)):
        assert max(rates.values()) <= 0.07 + noise


@pytest.mark.parametrize("others", ["±2 points", "rubric"])
def test_twenty_groups_some_of_which_are_lost_whole_show_nothing_false(others: str) -> None:
    cell = groups.LostWhole("20 of 10", np.full(20, 10.0), 1.0, 0.05, others, -0.05)
    assert cell.falsely_shown(np.random.default_rng(4), 1_000) <= 0.07


def test_groups_near_a_wide_margin_do_not_stand_for_groups_lost_whole() -> None:
    for sizes in (np.full(40, 10.0), np.array([15.0] * 20 + [5.0] * 20)):
        cell = groups.LostWhole("40", sizes, 1.0, 0.02, "rubric", -0.1)
        assert cell.falsely_shown(np.random.default_rng(5), 1_000) <= 0.07  # 15% if they did


def test_rows_near_a_wide_margin_do_not_stand_for_rows_that_lose_all() -> None:
    rng, n, share = np.random.default_rng(6), 30, 0.03
    others = (share - 0.1) / (1 - share) + rng.uniform(-0.2, 0.2, (1_000, n))
    samples = np.where(rng.random(others.shape) < share, -1.0, others)
    some = np.clip(samples[:300], -0.5, 0.5)  # as far as the builder's pairs go
    said = [compare(*graded_pair(sample), bound=-0.1).outcome is SHOWN for sample in some]
    assert rare_losses.claimed(some, -0.1).tolist() == said
    assert rare_losses.claimed(samples, -0.1).mean() <= 0.07  # 13% if they did


def test_twenty_groups_show_a_gain_of_15_points() -> None:
    rng, names = np.random.default_rng(7), [f"g{at // 10}" for at in range(200)]
    shown = 0
    for _ in range(60):
        alike = np.repeat(rng.normal(0.15, 0.08, 20), 10) + rng.normal(0.0, 0.2, 200)
        shown += compare(*graded_pair(np.clip(alike, -0.5, 0.5), names)).outcome is SHOWN
    assert shown >= 0.8 * 60


def test_a_level_below_5_percent_adds_fewer_groups_than_rows() -> None:
    assert [unseen_losses(alpha) for alpha in (0.05, 0.025, 0.01, 0.005, 0.0025)] == [1, 2, 3, 4, 4]
    groups_more = [unseen_losses(alpha, of_groups=True) for alpha in (0.05, 0.025, 0.01, 0.005, 0.0025)]
    assert groups_more == [1, 2, 2, 3, 3]


def test_small_groups_that_lose_do_not_stand_for_a_large_one() -> None:
    sizes = np.array([30.0] * 4 + [4.0] * 40)
    names = [f"g{at}" for at in np.repeat(np.arange(44), sizes.astype(int))]
    differences = np.random.default_rng(5).uniform(0.07, 0.09, len(names))
    lost = np.isin(names, ["g40", "g41"])  # two of the small ones
    found = compare(*graded_pair(np.where(lost, -0.21, differences), names))
    assert found.low is not None
    assert found.low > 0.0
    assert found.outcome is OPEN
    assert "one group more that loses 55 points" in found.reason


def test_losses_of_small_groups_leave_the_design_effect_of_wins_and_losses_wide() -> None:
    names = [f"large{at // 20}" for at in range(100)] + [f"s{at // 2}" for at in range(100)]
    drawn = rubric(np.random.default_rng(6), (1, 200), 0.0)[0]
    won = np.isin(np.arange(200), np.flatnonzero(drawn > 0)[:20])
    lost = np.isin(np.arange(200), [100, 110, 120])  # in three of the small groups
    candidate = vector(np.where(lost, 0.0, 1.0).tolist(), kind=Kind.BINARY, groups=names)
    baseline = vector(np.where(won & ~lost, 0.0, 1.0).tolist(), kind=Kind.BINARY, groups=names)
    alone = compare(
        vector(np.where(lost, 0.0, 1.0).tolist(), kind=Kind.BINARY),
        vector(np.where(won & ~lost, 0.0, 1.0).tolist(), kind=Kind.BINARY),
    )
    found = compare(candidate, baseline)
    assert found.low is not None
    assert alone.low is not None
    assert found.low < alone.low - 0.02


def test_one_part_of_the_error_rates_can_be_measured_alone() -> None:
    found = decision_quality.measure(Options(smoke=True, only=("groups",)))
    assert {result.name.split(": ")[1].split(" ")[0] for result in found} == {"groups"}
