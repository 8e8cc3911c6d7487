"""Claims by a judge that shows only a part of true differences: at which bound they are tested."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from decision_builders import binary_pair, vector

from harness.decision.claims import Scores, shown_bound
from harness.decision.gates import decide
from harness.records import Gate, Kind, Outcome, Role

SHOWS = 0.6, 0.9


def sides(gained: int, lost: int, n: int = 400, shows: tuple[float, float] = SHOWS) -> tuple[Scores, Scores]:
    candidate, baseline = binary_pair(gained, lost, n)
    return Scores(replace(candidate, shows=shows)), Scores(replace(baseline, shows=shows))


@pytest.mark.parametrize(("bound", "tested"), [(-0.1, -0.06), (0.0, 0.0), (0.1, 0.09), (-0.25, -0.15)])
def test_a_margin_shrinks_by_the_least_share_and_a_gain_by_the_most(bound: float, tested: float) -> None:
    assert shown_bound(bound, SHOWS) == pytest.approx(tested, abs=1e-12)
    assert shown_bound(bound, (1.0, 1.0)) == bound


def test_a_guard_is_tested_nearer_to_zero_and_keeps_the_bound_that_was_written() -> None:
    better, base = sides(30, 40)
    claim = better >= base - 0.1
    assert (claim.role, claim.comparison.bound, claim.comparison.claimed) == (Role.GUARD, -0.06, -0.1)
    assert claim.comparison.reason.endswith(
        "Tested at -6.0 points, not -10.0: on its labels this judge shows 0.60 to 0.90 of a true difference."
    )
    assert ">= base - 0.1" in repr(claim)
    again = claim.at(0.01)
    assert (again.bound, again.claimed, again.alpha) == (-0.06, -0.1, 0.01)
    gate = Gate("support", "t::test_kept", "tuned", None, (), claim.role, "gated", claim.comparison)
    assert any("against base - 0.1, " in reason for reason in decide("tuned", None, [gate]).reasons)


def test_a_target_above_zero_is_unchanged_and_one_with_a_gain_asks_for_less() -> None:
    better, base = sides(60, 20)
    plain = better > base
    assert (plain.comparison.bound, plain.comparison.written) == (0.0, None)
    assert "this judge shows" not in plain.comparison.reason
    gain = better > base + 0.1
    assert (gain.role, gain.comparison.bound, gain.comparison.claimed) == (Role.TARGET, 0.09, 0.1)


def test_what_one_end_of_the_share_alone_refutes_is_not_refuted() -> None:
    better, base = sides(20, 64)  # observed: 11 points lost
    assert (better >= base - 0.1).outcome is Outcome.INCONCLUSIVE
    assert "It is not below -9.0 points" in (better >= base - 0.1).comparison.reason
    worse, base = sides(10, 90)
    assert (worse >= base - 0.1).outcome is Outcome.REFUTED
    certain = sides(20, 64, shows=(0.6, 0.6))
    assert (certain[0] >= certain[1] - 0.1).outcome is Outcome.REFUTED


def test_a_preference_is_tested_nearer_to_a_tie() -> None:
    wins = Scores(replace(vector([1.0, 0.5, 1.0, 0.0] * 50, kind=Kind.PREFERENCE), shows=SHOWS))
    for claimed, tested in ((0.5, 0.5), (0.6, 0.59), (0.4, 0.44)):
        found = (wins > claimed).comparison
        assert found.baseline == f"{claimed:g}"
        assert found.baseline_mean == pytest.approx(tested)
        assert (f"Tested at {tested:g}, not {claimed:g}" in found.reason) is (claimed != tested)


def test_a_number_is_a_claim_on_the_judges_own_scores() -> None:
    better, _ = sides(60, 20)
    assert (better > 0.3).comparison.baseline == "0.3"


def test_a_true_loss_at_the_margin_passes_no_more_often_than_the_level() -> None:
    """Of a judge that errs alike on both sides; at the margin as it is written it would pass often."""
    chance = np.random.default_rng(8)
    tpr = tnr = 0.8
    n, passed = 200, {True: 0, False: 0}
    for _ in range(200):
        true = chance.random(n) < 0.7, chance.random(n) < 0.6
        seen = [
            np.where(good, chance.random(n) < tpr, chance.random(n) >= tnr).astype(float) for good in true
        ]
        base, tuned = (vector(values.tolist()) for values in seen)
        for at_share in passed:
            share = tpr + tnr - 1.0 if at_share else 1.0
            one, other = (Scores(replace(side, shows=(share, share))) for side in (tuned, base))
            passed[at_share] += (one >= other - 0.1).outcome is Outcome.SHOWN
    assert passed[True] <= 0.05 * 200 + 3 * (0.05 * 0.95 * 200) ** 0.5
    assert passed[False] > 2 * passed[True]
