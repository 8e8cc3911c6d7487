"""What it is worth to look once more before deciding: closed forms against tables and against simulation."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.decision.information import (
    Option,
    ranked,
    resolved_by_more,
    unit_normal_loss,
    worth_of_gains,
    worth_of_looking,
)


@pytest.mark.parametrize(
    ("distance", "loss"), [(0.0, 0.3989), (0.5, 0.1978), (1.0, 0.08332), (2.0, 0.008491)]
)
def test_the_unit_normal_loss_is_that_of_the_published_table(distance: float, loss: float) -> None:
    """Raiffa and Schlaifer 1961, table of the unit normal loss integral."""
    assert float(unit_normal_loss(distance)) == pytest.approx(loss, rel=1e-3)


@pytest.mark.parametrize(("net", "now", "more"), [(500.0, 200, 100), (-1000.0, 100, 100), (0.0, 50, 400)])
def test_the_worth_of_more_rows_is_that_of_a_simulation(net: float, now: int, more: int) -> None:
    """Draw the truth, what more rows would show of it, and decide by both."""
    rng, sd = np.random.default_rng(3), 1500.0
    truth = net + sd * rng.standard_normal(1_000_000)
    seen = truth + sd * sqrt(now / more) * rng.standard_normal(1_000_000)
    ships = (now * net + more * seen) / (now + more) > 0
    simulated = float(np.where(ships, truth, 0.0).mean()) - max(net, 0.0)
    exact = worth_of_looking(net, sqrt(resolved_by_more(sd**2, now, more)))
    assert exact == pytest.approx(simulated, rel=0.02)


@given(net=st.floats(-1e6, 1e6), sd=st.floats(0, 1e6), more=st.floats(1, 1e4))
def test_looking_is_worth_nothing_negative_and_at_most_certainty(net: float, sd: float, more: float) -> None:
    worth = worth_of_looking(net, sqrt(resolved_by_more(sd**2, 100, more)))
    assert 0 <= worth <= worth_of_looking(net, sd) * (1 + 1e-9) + 1e-9


def test_gains_are_worth_what_they_add_to_the_better_choice() -> None:
    """A net of -$100, and +$50 or +$300 with equal chances: half of $200."""
    gains, weight = np.array([50.0, 300.0]), np.array([0.5, 0.5])
    assert worth_of_gains(-100.0, gains, weight) == 100
    assert worth_of_gains(1000.0, gains, weight) == 175


def test_options_are_ranked_by_what_remains_and_the_unknown_stands_last() -> None:
    options = [
        Option("test more", "100 held-out rows", 40.0, 90.0),
        Option("collect rows", "100 training rows", None, None, "two sizes"),
        Option("another seed", "1 training", 12.0, 2.0),
    ]
    assert [one.what for one in ranked(options)] == [
        "another seed",
        "decide now",
        "test more",
        "collect rows",
    ]
