"""The operators that users write, and what they mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from decision_builders import binary_pair, vector

from harness.decision.claims import Claim, Scores, assert_better, assert_not_worse
from harness.errors import Undecided, UsageError
from harness.records import Kind, Outcome, Role

TARGET, GUARD, THRESHOLD = Role.TARGET, Role.GUARD, Role.THRESHOLD


def sides(gained: int = 30, lost: int = 5, n: int = 200) -> tuple[Scores, Scores]:
    candidate, baseline = binary_pair(gained, lost, n)
    return Scores(candidate), Scores(baseline)


@pytest.mark.parametrize(
    ("direct", "mirrored", "role", "bound"),
    [
        (lambda a, b: a > b, lambda a, b: b < a, TARGET, 0.0),
        (lambda a, b: a > b + 0.05, lambda a, b: b + 0.05 < a, TARGET, 0.05),
        (lambda a, b: a - 0.05 > b, lambda a, b: b < a - 0.05, TARGET, 0.05),
        (lambda a, b: a >= b - 0.02, lambda a, b: b - 0.02 <= a, GUARD, -0.02),
        (lambda a, b: a + 0.02 >= b, lambda a, b: b <= 0.02 + a, GUARD, -0.02),
        (lambda a, b: a >= b, lambda a, b: b <= a, GUARD, 0.0),
        (lambda a, b: a > b - 0.02, lambda a, b: b - 0.02 < a, GUARD, -0.02),
        (lambda a, b: a > 0.8, lambda a, b: 0.8 < a, THRESHOLD, 0.0),  # noqa: SIM300
        (lambda a, b: a >= 0.8, lambda a, b: 0.8 <= a, THRESHOLD, 0.0),  # noqa: SIM300
        (lambda a, b: a < 0.8, lambda a, b: 0.8 > a, THRESHOLD, 0.0),  # noqa: SIM300
        (lambda a, b: a <= 0.8, lambda a, b: 0.8 >= a, THRESHOLD, 0.0),  # noqa: SIM300
        (lambda a, b: a - 0.1 > 0.7, lambda a, b: 0.7 < a - 0.1, THRESHOLD, 0.0),  # noqa: SIM300
    ],
)
def test_a_claim_and_its_mirror_image_are_the_same(
    direct: Callable[[Scores, Scores], Claim],
    mirrored: Callable[[Scores, Scores], Claim],
    role: Role,
    bound: float,
) -> None:
    claim = direct(*sides())
    assert (claim.role, claim.comparison.bound) == (role, bound)
    assert claim == mirrored(*sides())


def test_the_side_claimed_to_be_larger_is_the_candidate_of_the_comparison() -> None:
    a, b = sides()
    for claim in (a > b, b < a, a >= b - 0.02, b - 0.02 <= a):
        assert (claim.comparison.candidate, claim.comparison.baseline) == ("tuned", "base")
        assert claim.comparison.difference == pytest.approx(25 / 200)
    reversed_claim = a < b
    assert (reversed_claim.comparison.candidate, reversed_claim.comparison.baseline) == ("base", "tuned")
    assert reversed_claim.comparison.difference == pytest.approx(-25 / 200)
    assert (reversed_claim.role, reversed_claim.outcome) == (TARGET, Outcome.REFUTED)


def test_a_score_claimed_to_be_below_a_number_is_judged_from_the_numbers_side() -> None:
    rare = Scores(vector([1.0] * 2 + [0.0] * 198, kind=Kind.BINARY, subject="tuned"))
    low = (rare < 0.05).comparison
    assert (low.candidate, low.baseline, low.outcome) == ("0.05", "tuned", Outcome.SHOWN)
    assert (low.candidate_mean, low.baseline_mean) == pytest.approx((0.05, 0.01))
    assert low.difference == pytest.approx(0.04)
    above = (rare > 0.05).comparison
    assert above.low is not None
    assert above.high is not None
    assert (low.low, low.high) == pytest.approx((-above.high, -above.low))


def test_failures_count_against_the_claim_that_a_score_is_low() -> None:
    toxic = Scores(vector([None] * 30 + [0.0] * 170, kind=Kind.BINARY))
    assert (toxic < 0.05).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("number", [np.float64(0.8), np.float32(0.8), 1])
def test_numbers_of_numpy_and_integers_compare_from_both_sides(number: float) -> None:
    a, _ = sides()
    assert isinstance(a > number, Claim)
    assert isinstance(number < a, Claim)


def test_shifts_add_up_without_rounding_noise() -> None:
    a, b = sides()
    assert (a >= b - 0.1 - 0.2 + 0.3).comparison.bound == 0.0
    assert repr(b - 0.02).endswith("> - 0.02")


def test_equality_is_refused_with_what_to_write_instead() -> None:
    a, b = sides()
    with pytest.raises(UsageError, match=r"a >= b - 0\.02"):
        assert a == b
    with pytest.raises(UsageError, match="equality"):
        assert a != b


def test_scores_alone_are_neither_true_nor_hashable() -> None:
    a, _ = sides()
    with pytest.raises(UsageError, match="compare it"):
        assert a
    with pytest.raises(TypeError, match="unhashable"):
        hash(a)


def test_anything_but_scores_and_numbers_is_a_type_error() -> None:
    a, _ = sides()
    with pytest.raises(TypeError):
        a > "0.85"  # type: ignore[operator]  # noqa: B015
    with pytest.raises(TypeError):
        a - None  # type: ignore[operator]


def test_sides_with_different_alpha_are_refused() -> None:
    a, b = sides()
    with pytest.raises(UsageError, match="different alpha"):
        bool(replace(a, alpha=0.01) > b)
    assert (replace(a, alpha=0.01) > replace(b, alpha=0.01)).comparison.alpha == 0.01


def test_a_claim_below_a_number_mirrors_every_training_seed() -> None:
    by_seed = tuple((float(at % 20 == 0), float(at % 25 == 0)) for at in range(200))
    seeded = replace(
        vector([sum(row) / 2 for row in by_seed], kind=Kind.BINARY), by_seed=by_seed, subject="tuned"
    )
    below, above = Scores(seeded) < 0.1, Scores(seeded) > 0.1
    assert (below.outcome, above.outcome) == (Outcome.SHOWN, Outcome.REFUTED)
    assert below.comparison.difference == pytest.approx(0.1 - 0.045)
    assert below.comparison.seed_differences == pytest.approx((0.05, 0.06))


# --------------------------------------------------------------------------- truth
def test_shown_is_true_refuted_is_false_and_inconclusive_raises_with_the_explanation() -> None:
    a, b = sides()
    assert bool(a > b) is True
    assert bool(b > a) is False
    a, b = sides(15, 10)
    with pytest.raises(Undecided, match="rows needed: about"):
        bool(a > b)


def test_settle_has_the_last_word_on_a_claims_truth() -> None:
    asked: list[Claim] = []

    def settle(claim: Claim) -> bool:
        asked.append(claim)
        return True

    candidate, baseline = binary_pair(12, 10, 200)
    claim = Scores(candidate, settle) > Scores(baseline)
    assert asked == []
    assert bool(claim) is True
    assert asked == [claim]
    assert bool(Scores(candidate, settle) < 0.9)  # the settling side is the smaller one


def test_a_claim_on_an_advisory_vector_is_advisory() -> None:
    candidate, baseline = binary_pair(30, 5, 200)
    assert (Scores(candidate) > Scores(replace(baseline, advisory=True))).advisory
    assert not (Scores(candidate) > 0.5).advisory


# --------------------------------------------------------------------------- words
def test_an_explanation_has_the_numbers_and_the_worst_rows_side_by_side() -> None:
    candidate, baseline = binary_pair(5, 30, 200)
    reasons = tuple(f"expected refund,\n got exchange {at}" for at in range(200))
    text = (Scores(replace(candidate, reasons=reasons)) > Scores(baseline)).explain(limit=2)
    assert text.splitlines()[0] == "REFUTED: intent of tuned > base"
    assert "-12.5 points [-17.5, -7.9], n=200" in text
    assert "Tango, one-sided p = 1, discordant rows: 35, effect size d = -0.31" in text
    assert "means: 85.0% and 97.5%" in text
    assert "2 of 30 rows that count against the claim" in text
    assert "r5: tuned 0 (expected refund, got exchange 5) | base 1" in text
    assert "r7:" not in text


def test_an_explanation_lists_rows_without_a_value_and_why() -> None:
    candidate, baseline = binary_pair(30, 5, 200)
    failed = replace(candidate, values=(None, *candidate.values[1:]), reasons=("timed out", *[""] * 199))
    text = (Scores(failed) > Scores(baseline)).explain()
    assert "r0: tuned no value (timed out) | base 0" in text


def test_graded_rows_are_listed_worst_first() -> None:
    base = vector([0.9] * 20, subject="base")
    text = (Scores(vector(np.linspace(0.0, 1.0, 20).tolist())) > Scores(base)).explain(limit=1)
    assert "r0: tuned 0 | base 0.9" in text


def test_a_claim_shows_itself_in_one_line() -> None:
    a, b = sides()
    assert repr(a >= b - 0.02) == "<SHOWN: intent of tuned >= base - 0.02: +12.5 points [+7.9, +17.5], n=200>"
    assert "\n" not in repr(a)
    assert repr(a) == "<intent of tuned: mean 0.975, n=200>"


# --------------------------------------------------------------------------- functions
def test_assert_better_passes_fails_with_the_explanation_or_is_undecided() -> None:
    a, b = sides()
    assert_better(a, b)
    assert_better(a, b, by=0.05)
    assert_better(a, 0.9)
    with pytest.raises(AssertionError, match="REFUTED: intent of base > tuned"):
        assert_better(b, a)
    with pytest.raises(Undecided):
        assert_better(a, b, by=0.12)


def test_assert_not_worse_passes_within_its_margin() -> None:
    a, b = sides(4, 6)
    assert_not_worse(a, b, margin=0.05)
    with pytest.raises(Undecided):
        assert_not_worse(a, b, margin=0.02)
    with pytest.raises(AssertionError, match="REFUTED"):
        assert_not_worse(*sides(5, 30), margin=0.05)


def test_a_negative_margin_or_gain_is_refused_with_the_right_function() -> None:
    a, b = sides()
    with pytest.raises(UsageError, match="assert_not_worse"):
        assert_better(a, b, by=-0.02)
    with pytest.raises(UsageError, match="assert_better"):
        assert_not_worse(a, b, margin=-0.02)


@pytest.mark.parametrize("margin", [0.51, 0.999999, 2, 20])
def test_a_margin_that_nearly_anything_would_pass_is_refused(margin: float) -> None:
    a, b = sides(5, 30)
    with pytest.raises(UsageError, match="tolerates a loss of"):
        assert_not_worse(a, b, margin=margin)
    with pytest.raises(UsageError, match=r"5 points are 0\.05"):
        assert a > b - margin
