"""The error rates that the documentation promises, from the generators of the benchmark with fewer draws."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality import gates
from benchmarks.quality.gate_draws import LEVELS, MODERATE, STRONG, rubric, rubric_steps, whole_groups_lost
from benchmarks.results import Result

DRAWS = 3_000
NOISE = 3.5 * np.sqrt(0.05 * 0.95 / DRAWS)  # the largest of many cells, by chance


def within(result: Result, noise: float = NOISE) -> bool:
    assert result.value is not None
    assert result.bar is not None
    if result.bar_is == "value at most":
        return result.value <= result.bar + noise
    return result.value >= result.bar - noise


def test_the_generators_have_the_truth_that_they_claim() -> None:
    rng = np.random.default_rng(0)
    drawn = rubric(rng, (400, 500), -0.05)
    assert rubric_steps(-0.05).sum() == pytest.approx(1.0)
    assert (drawn.mean(), drawn.std()) == pytest.approx((-0.05, 0.24), abs=0.003)
    for pair in (*MODERATE.values(), *STRONG.values()):
        sample = pair.draw(rng, (400, 500))
        assert sample.mean() == pytest.approx(pair.mean, abs=0.003)
        assert np.isin(np.abs(sample), LEVELS).all()
    seen, truth = whole_groups_lost(rng, 4_000, 20, 10)
    assert (seen.gained - seen.lost).sum() / (4_000 * 200) == pytest.approx(truth, abs=0.003)


def test_graded_claims_keep_their_level() -> None:
    assert within(gates.false_go_graded(DRAWS))


def test_binary_claims_keep_their_level_whatever_the_discordance() -> None:
    (found,) = gates.false_go_binary((50,))
    assert within(found, noise=0.0)


def test_each_limit_of_graded_scores_misses_about_5_percent_of_the_time() -> None:
    most, least, *_ = gates.misses_graded(DRAWS)
    assert within(most)
    assert within(least)


def test_claims_on_rows_in_groups_keep_their_level_even_where_whole_groups_are_lost() -> None:
    assert within(gates.false_go_clustered(DRAWS))
    assert within(gates.false_go_clustered_rubric(DRAWS))


def test_that_costs_little_power_against_a_mixed_model_where_a_fifth_of_the_rows_differ() -> None:
    many, few = gates.power_clustered(DRAWS, 3)
    assert within(many)
    assert few.passed is False  # the price of not trusting groups that show no loss
