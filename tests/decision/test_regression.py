"""How often a run without a change is blocked by its reference, and whether a loss as stated is."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality.regression import blocked, claims, said
from harness.decision.regression import at_shared_level, smallest_loss
from harness.records import Kind, Outcome


def test_of_runs_without_a_change_at_most_the_level_is_blocked_however_many_gates() -> None:
    # five gates without a margin, each at 5% for itself, would block up to 23%
    rate = blocked(Kind.BINARY, 100, 5, 0.0, 0.0, draws=200)
    assert rate <= 0.05 + 2 * (0.05 * 0.95 / 200) ** 0.5
    assert blocked(Kind.BINARY, 100, 5, 0.05, 0.0, draws=50) == 0.0


def test_the_loss_that_it_states_is_blocked_about_4_times_in_5() -> None:
    loss = said(Kind.BINARY, 100, 5, 0.05)
    assert blocked(Kind.BINARY, 100, 5, 0.05, loss, draws=100, only_one=True) == pytest.approx(0.8, abs=0.12)


def test_a_loss_that_only_one_gate_for_itself_shows_is_not_refuted_among_many() -> None:
    rng = np.random.default_rng(0)
    made = claims(Kind.BINARY, 100, 40, 0.0, 0.0, rng)
    alone = [claim for claim in made if claim.outcome is Outcome.REFUTED]
    assert alone
    judged = at_shared_level(made, 0.05)
    assert not [claim for claim in judged if claim.outcome is Outcome.REFUTED]
    assert any(
        "A loss is not shown at 0.125%, the share of each of 40 gates." in c.comparison.reason for c in judged
    )
    assert at_shared_level(alone[:1], 0.05)[0].outcome is Outcome.REFUTED


def test_more_gates_and_a_wider_margin_take_a_larger_loss() -> None:
    (plain,) = claims(Kind.BINARY, 100, 1, 0.0, 0.0, np.random.default_rng(1))
    (wide,) = claims(Kind.BINARY, 100, 1, 0.1, 0.0, np.random.default_rng(1))
    losses = [
        loss
        for loss in (smallest_loss(plain, 0.05), smallest_loss(plain, 0.05, 5), smallest_loss(wide, 0.05))
        if loss is not None
    ]
    assert len(losses) == 3
    assert losses == sorted(losses)
    assert losses[-1] > 0.1 + losses[0] / 2
