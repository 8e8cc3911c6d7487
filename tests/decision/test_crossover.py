from __future__ import annotations

import pytest

from harness.decision.crossover import crossover, efficient


def test_tuning_pays_once_its_cost_is_saved_request_by_request() -> None:
    # $18 once; $0.30 against $2.10 per 1,000 requests: $0.0018 a request, so 10,000 requests
    assert crossover(18.0, 0.30, 2.10) == pytest.approx(10_000)


def test_a_large_training_bill_against_a_small_saving() -> None:
    # $540 once; $0.01 per 1,000 saved: 54 million requests, 600,000 a day in 90 days
    assert crossover(540.0, 0.09, 0.10) == pytest.approx(90 * 600_000)


@pytest.mark.parametrize("other", [0.30, 0.29, 0.0])
def test_it_never_pays_where_a_request_costs_as_much_or_more(other: float) -> None:
    assert crossover(18.0, 0.30, other) is None
    assert crossover(0.0, 0.30, other) is None


@pytest.mark.parametrize("once", [0.0, -4.0])
def test_what_costs_nothing_more_once_pays_from_the_first_request(once: float) -> None:
    assert crossover(once, 0.30, 2.10) == 0


def test_the_efficient_ones_are_those_that_nothing_beats_in_both() -> None:
    points = {"a": (1.0, 0.0), "b": (2.0, 5.0), "c": (3.0, 4.0), "d": (2.0, 3.0), "e": (9.0, 6.0)}
    assert efficient(points) == ["a", "b", "e"]


def test_equal_points_are_efficient_together_and_equal_quality_for_more_is_not() -> None:
    assert efficient({"a": (1.0, 2.0), "b": (1.0, 2.0), "c": (2.0, 2.0)}) == ["a", "b"]
    assert efficient({}) == []
