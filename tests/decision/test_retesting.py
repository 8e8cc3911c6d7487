"""What trying often does to a GO, and at which level a candidate is judged again on a file that grew."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from decision_builders import binary_pair

from harness.decision.claims import Scores
from harness.decision.retesting import count_tries, level_after, next_level, tries_note
from harness.records import HeldoutUse, Verdict


def use(number: int, run: str = "", identity: str = "") -> HeldoutUse:
    return HeldoutUse(f"decision {number}", f"c{number}", identity, "rows", Verdict.NO_GO, run=run)


def test_levels_after_growth_take_a_fifth_more_at_most_however_often_a_file_grows() -> None:
    levels = [level_after(0.05, growths) for growths in range(50)]
    assert levels[:4] == pytest.approx([0.05, 0.005, 0.0025, 0.00125])
    assert sum(levels) < 0.0601
    for growths, (level, after) in enumerate(pairwise(levels)):
        assert next_level(level, growths) == pytest.approx(after)


def test_twelve_decisions_have_46_percent_between_them() -> None:
    assert tries_note(count_tries(use(at, run=f"run {at}") for at in range(12)), 0.05) == (
        "12 decisions on these rows: up to 46% that at least one GO among them is false (1 - 0.95^12);"
        " judge the winner on rows that have judged none (Suite(final=...) and --final)."
    )
    assert count_tries(use(at) for at in range(12)).runs == 12  # of which no run is known
    assert tries_note(count_tries([use(1)]), 0.05) == ""


def test_the_candidates_of_one_run_share_its_level() -> None:
    uses = [use(at, run=f"run {at % 4}") for at in range(23)]
    note = tries_note(count_tries(uses), 0.05)
    assert note.startswith("23 candidates in 4 runs on these rows: up to 19% that")
    assert "(1 - 0.95^4)" in note
    one = tries_note(count_tries(use(at, run="run") for at in range(20)), 0.05)
    assert one == "20 candidates in 1 run on these rows: up to 5% that at least one GO among them is false."


def test_a_candidate_that_two_suites_of_a_run_judge_on_the_same_rows_is_one_decision() -> None:
    uses = [use(1, run="run", identity="recipe"), use(2, run="run", identity="recipe")]
    assert count_tries(uses).candidates == 1
    assert count_tries([*uses, replace(uses[0], decision="later", run="another")]).candidates == 2


def test_a_gate_on_rows_that_grew_is_judged_at_the_smaller_level_and_says_so() -> None:
    candidate, baseline = binary_pair(14, 4, 100)  # one-sided p = 0.009
    assert bool(Scores(candidate) > Scores(baseline))
    alpha = level_after(0.05, 2)
    sides = [Scores(side, alpha=alpha, grown_from=(50, 80)) for side in (candidate, baseline)]
    found = (sides[0] > sides[1]).comparison
    assert (found.outcome, found.alpha) == ("inconclusive", alpha)
    assert found.reason.endswith("Judged at 0.25%, as these rows grew from 50, then 80 that gave no GO.")
    assert found.rows_needed is not None
    known = [value for value in candidate.values if value is not None]
    bar = sides[0] > sum(known) / len(known) - 0.01
    assert bar.comparison.reason.endswith("gave no GO.")


def test_rows_that_are_added_hide_no_loss() -> None:
    candidate, baseline = binary_pair(4, 14, 100)  # one-sided p of a loss = 0.009
    alpha = level_after(0.05, 2)
    sides = [Scores(side, alpha=alpha, grown_from=(50, 80)) for side in (candidate, baseline)]
    found = (sides[0] > sides[1]).comparison
    assert (found.outcome, found.alpha) == ("refuted", 0.05)
    assert "grew" not in found.reason
