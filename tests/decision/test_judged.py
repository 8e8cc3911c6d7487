"""Claims on a judge, decided with labels: gaps, seeds, groups, numbers, and losses that were not drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.decision.judged import JudgedClaim, JudgedSide
from harness.decision.ppi import Corrected
from harness.decision.student import Values
from harness.records import Comparison, Kind, Outcome

N = 200
NAIVE = Comparison(
    score="summary",
    candidate="tuned@400",
    baseline="prompt",
    kind=Kind.GRADED,
    n=N,
    candidate_mean=0.7,
    baseline_mean=0.6,
    difference=0.1,
    low=0.05,
    high=0.15,
    bound=0.0,
    alpha=0.05,
    outcome=Outcome.SHOWN,
    method="paired t and Hall",
    reason="",
)
EVERY_SECOND = np.where(np.arange(N) % 2 == 0, 0.5, np.nan)


def side(
    judged: Values, people: Values, answered: Values | None = None, drawn: Values = EVERY_SECOND
) -> JudgedSide:
    """Tables of one side; vectors become one column."""
    judged, people = (one.reshape(N, -1) for one in (judged, people))
    came = (
        np.ones(judged.shape, dtype=np.bool_)
        if answered is None
        else answered.reshape(N, -1).astype(np.bool_)
    )
    return JudgedSide(judged, np.where(np.isnan(drawn)[:, np.newaxis], np.nan, people), came)


def sides(
    gain: float = 0.1, loss: float = 0.05, kindness: float = 0.1
) -> tuple[Values, Values, Values, Values]:
    """What people and the judge say of candidate and baseline; the judge is kind to the candidate."""
    noise = np.random.default_rng(5)
    at = np.arange(N)
    base = (at % 3 > 0).astype(float)
    mine = base.copy()
    mine[np.flatnonzero(base == 0)[: int(gain * N)]] = 1.0
    mine[np.flatnonzero(base == 1)[: int(loss * N)]] = 0.0
    blurred = [0.1 + 0.7 * one + 0.1 * noise.random(N) for one in (mine, base)]
    return mine, base, np.minimum(blurred[0] + kindness, 1.0), blurred[1]


def claim(bound: float = 0.0, **change: float) -> JudgedClaim:
    mine, base, judged_mine, judged_base = sides(**change)
    return JudgedClaim(
        replace(NAIVE, bound=bound), side(judged_mine, mine), side(judged_base, base), EVERY_SECOND
    )


def test_a_kind_judge_is_corrected() -> None:
    found = claim(gain=0.05, loss=0.05).comparison
    assert found.difference == pytest.approx(0.0, abs=0.03)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.method.startswith("PPI++ (lambda ")
    assert found.method.endswith("100 of 200 rows labelled")
    assert "n=200 with 100 labelled (the judge alone: +10.0 points [+5.0, +15.0], n=200)" in found.reason


def test_a_true_gain_is_shown_and_a_true_loss_is_refuted() -> None:
    assert claim(gain=0.25, loss=0.02).comparison.outcome is Outcome.SHOWN
    assert claim(gain=0.0, loss=0.2).comparison.outcome is Outcome.REFUTED
    assert claim(bound=-0.1, gain=0.0, loss=0.2, kindness=0.3).comparison.outcome is not Outcome.SHOWN


def test_the_means_of_both_sides_differ_by_the_difference() -> None:
    found = claim().comparison
    assert found.candidate_mean is not None
    assert found.baseline_mean is not None
    assert found.candidate_mean - found.baseline_mean == pytest.approx(found.difference)
    assert found.baseline_mean == pytest.approx(2 / 3, abs=0.02)


def test_too_few_labels_are_said_and_not_used() -> None:
    few = np.where(np.arange(N) < 48, EVERY_SECOND, np.nan)
    mine, base, judged_mine, judged_base = sides()
    made = JudgedClaim(NAIVE, side(judged_mine, mine, drawn=few), side(judged_base, base, drawn=few), few)
    assert made.why_not is not None
    assert "24 rows have labels" in made.why_not
    assert claim().why_not is None


def test_rows_with_labels_of_one_side_are_counted_and_left_out() -> None:
    mine, base, judged_mine, judged_base = sides()
    fewer = np.where(np.arange(N) < 20, np.nan, EVERY_SECOND)
    made = JudgedClaim(NAIVE, side(judged_mine, mine), side(judged_base, base, drawn=fewer), EVERY_SECOND)
    assert made.n_labels == 90
    assert made.unpaired.tolist() == list(range(0, 20, 2))


def test_a_person_who_passes_over_the_losses_shows_nothing() -> None:
    mine, base, judged_mine, judged_base = sides(gain=0.14, loss=0.1, kindness=0.0)
    hard = mine < base
    labels = side(judged_mine, mine)
    labels.labelled[hard] = np.nan  # nobody says of these that they are bad
    made = JudgedClaim(NAIVE, labels, side(judged_base, base), EVERY_SECOND)
    found = made.comparison
    assert found.low is not None
    assert found.low > 0.0
    assert found.outcome is Outcome.INCONCLUSIVE
    assert f"but not if the {len(made.unpaired)} rows that lack a label of some answer" in found.reason
    assert made.comparison.difference is not None
    whole = JudgedClaim(NAIVE, side(judged_mine, mine), side(judged_base, base), EVERY_SECOND)
    assert made.comparison.difference > (whole.comparison.difference or 0.0)  # the figure itself is theirs


def test_answers_that_never_came_are_nothing_on_their_side_and_need_no_label() -> None:
    mine, base, judged_mine, judged_base = sides()
    came = np.ones(N)
    came[:40] = 0.0
    judged_mine[:40] = np.nan
    drawn = np.where(came == 1.0, EVERY_SECOND, np.nan)
    labelled = side(judged_mine, mine, came, drawn)
    made = JudgedClaim(NAIVE, labelled, side(judged_base, base), EVERY_SECOND)
    assert made.n_labels == 100
    whole = claim().comparison
    assert made.comparison.difference == pytest.approx(float(whole.difference or 0.0) - 0.2 * 2 / 3, abs=0.05)


def test_a_baseline_that_never_answered_gains_nothing_for_the_claim() -> None:
    mine, base, judged_mine, judged_base = sides(gain=0.0, loss=0.0)
    came = np.ones(N)
    came[:60] = 0.0
    found = JudgedClaim(
        NAIVE, side(judged_mine, mine), side(judged_base, base, came), EVERY_SECOND
    ).comparison
    assert found.low is not None
    assert found.low > 0.0
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "answers that never came count against the claim" in found.reason


def test_rows_that_nobody_answered_are_known_without_a_label() -> None:
    mine, base, judged_mine, judged_base = sides()
    came = np.ones(N)
    came[:40] = 0.0
    drawn = np.where(came == 1.0, EVERY_SECOND, np.nan)
    made = JudgedClaim(
        NAIVE, side(judged_mine, mine, came, drawn), side(judged_base, base, came, drawn), drawn
    )
    assert made.n_labels == 80
    inside = slice(40, N, 2)
    assert made.labels_alone == pytest.approx(0.8 * float((mine[inside] - base[inside]).mean()), abs=1e-9)


def test_rows_that_the_judge_could_not_judge_are_corrected_like_others() -> None:
    mine, base, judged_mine, judged_base = sides()
    judged_mine[::5] = np.nan
    found = JudgedClaim(NAIVE, side(judged_mine, mine), side(judged_base, base), EVERY_SECOND).comparison
    assert found.n == N
    assert found.difference == pytest.approx(float(claim().comparison.difference or 0.0), abs=0.03)
    judged_mine[:] = np.nan  # a judge that broke
    alone = JudgedClaim(NAIVE, side(judged_mine, mine), side(judged_base, base), EVERY_SECOND)
    assert alone.comparison.difference == pytest.approx(alone.labels_alone)


def test_a_loss_that_was_not_drawn_may_undo_a_claim() -> None:
    # a small gain on all labelled rows without a loss: one that lost most would undo it
    mine, base = np.full(N, 0.52), np.full(N, 0.5)
    mine[::8] = 0.53
    found = JudgedClaim(NAIVE, side(mine, mine), side(base, base), EVERY_SECOND).comparison
    assert found.low is not None
    assert found.low > 0.0
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "one labelled row more that loses 60 points" in found.reason


def test_all_labels_alike_decide_nothing() -> None:
    same = np.ones(N)
    found = JudgedClaim(
        NAIVE, side(np.full(N, 0.8), same), side(np.full(N, 0.7), same), EVERY_SECOND
    ).comparison
    assert (found.outcome, found.low) == (Outcome.INCONCLUSIVE, None)
    assert "no spread" in found.reason


def test_seeds_are_one_row_where_all_are_labelled_and_add_their_scatter() -> None:
    mine, base, judged_mine, judged_base = sides(gain=0.2, loss=0.02)
    worse = mine.copy()
    worse[: N // 4] = 0.0  # another training is much worse
    several = side(np.column_stack([judged_mine, judged_mine]), np.column_stack([mine, worse]))
    made = JudgedClaim(NAIVE, several, side(judged_base, base), EVERY_SECOND)
    found = made.comparison
    assert len(found.seed_differences) == 2
    assert sum(found.seed_differences) / 2 == pytest.approx(found.difference)
    assert isinstance(made.estimate, Corrected)
    assert made.estimate.error > abs(found.seed_differences[0] - found.seed_differences[1]) / 2.1
    # a row with a label of one seed only is not used
    several.labelled[0, 1] = np.nan
    assert JudgedClaim(NAIVE, several, side(judged_base, base), EVERY_SECOND).n_labels == 99


def test_groups_widen_the_interval_and_few_of_them_give_none() -> None:
    mine, base, judged_mine, judged_base = sides()
    both = side(judged_mine, mine), side(judged_base, base)
    grouped = JudgedClaim(NAIVE, *both, EVERY_SECOND, np.arange(N) // 10).comparison
    assert grouped.clusters == 20
    few = JudgedClaim(NAIVE, *both, EVERY_SECOND, np.arange(N) // 40)
    assert few.why_not == "5 groups are too few for an interval: it takes at least 10"


@pytest.mark.parametrize(("number", "outcome"), [(0.5, Outcome.SHOWN), (0.95, Outcome.REFUTED)])
def test_against_a_number_one_side_is_labelled(number: float, outcome: Outcome) -> None:
    mine, _, judged_mine, _ = sides()
    found = JudgedClaim(NAIVE, side(judged_mine, mine), number, EVERY_SECOND).comparison
    assert (found.outcome, found.baseline_mean) == (outcome, number)
    below = JudgedClaim(NAIVE, number, side(judged_mine, mine), EVERY_SECOND).comparison
    assert below.difference == pytest.approx(-float(found.difference or 0.0))


def test_at_a_lower_level_the_limits_are_wider() -> None:
    made = claim(gain=0.25, loss=0.02)
    strict = made.at(0.001)
    assert strict.low is not None
    assert made.comparison.low is not None
    assert strict.low < made.comparison.low
    assert strict.difference == made.comparison.difference


@pytest.mark.parametrize("truth", [0.0, -0.05])
def test_a_claim_is_false_in_one_of_twenty(truth: float) -> None:
    rng, shown, draws = np.random.default_rng(11), 0, 400
    for _ in range(draws):
        cell = rng.random(N)
        mine = (cell < 0.7 + truth).astype(float)
        base = ((cell < 0.6) | (cell > 0.9)).astype(float)
        judged = [np.where(rng.random(N) < 0.85, one, 1.0 - one) for one in (mine, base)]
        judged[0] = np.where(rng.random(N) < 0.2, 1.0, judged[0])
        made = JudgedClaim(
            replace(NAIVE, bound=truth), side(judged[0], mine), side(judged[1], base), EVERY_SECOND
        )
        shown += made.comparison.outcome is Outcome.SHOWN
    assert shown / draws < 0.085  # three standard errors above 5%


def unseen(rng: np.random.Generator, n: int = N) -> tuple[Values, Values, Values, Values]:
    """No difference: 10% gained, 5% lost, and 5% lost where the judge, right elsewhere, sees no loss."""
    cell, base = rng.random(n), (rng.random(n) < 0.7).astype(float)
    mine = np.where(cell < 0.1, 1.0, np.where(cell < 0.2, 0.0, base))
    base = np.where(cell < 0.1, 0.0, np.where(cell < 0.2, 1.0, base))
    return mine, base, np.where((cell >= 0.15) & (cell < 0.2), 1.0, mine), base


@pytest.mark.parametrize("sampling", ["equal", "by the judge"])
def test_losses_that_only_the_judge_does_not_see_pass_no_claim(sampling: str) -> None:
    rng, shown, draws = np.random.default_rng(12), 0, 200
    for _ in range(draws):
        mine, base, judged_mine, judged_base = unseen(rng)
        chance = np.full(N, 0.15) if sampling == "equal" else np.where(judged_mine == judged_base, 0.1, 0.9)
        drawn = np.where(rng.random(N) < chance, chance, np.nan)
        made = JudgedClaim(
            NAIVE, side(judged_mine, mine, drawn=drawn), side(judged_base, base, drawn=drawn), drawn
        )
        shown += made.why_not is None and made.comparison.outcome is Outcome.SHOWN
    assert shown / draws < 0.08  # two standard errors above 5%


def test_a_judge_without_a_labelled_error_may_err_on_rows_that_were_not_drawn() -> None:
    mine, base, _, _ = sides(gain=0.15, loss=0.07)
    found = JudgedClaim(NAIVE, side(mine, mine), side(base, base), EVERY_SECOND).comparison
    few = np.where(np.arange(N) % 8 == 0, 0.125, np.nan)
    unsure = JudgedClaim(NAIVE, side(mine, mine, drawn=few), side(base, base, drawn=few), few).comparison
    assert found.outcome is Outcome.SHOWN
    assert unsure.low is not None
    assert unsure.low > 0.0
    assert unsure.outcome is Outcome.INCONCLUSIVE
    assert "one labelled row more that loses 60 points" in unsure.reason
