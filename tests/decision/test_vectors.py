from __future__ import annotations

from dataclasses import replace

import pytest
from decision_builders import suite_of, trial_of

from harness.decision.paired import compare
from harness.decision.vectors import over_seeds, recorded_vector
from harness.errors import UnknownName, UsageError
from harness.records import Kind, Score

SUITE = suite_of(["en", "de", "en"])
SCORES = [Score(1.0, "right"), Score(None, failure="timed out"), Score(0.0, "wrong")]


def test_a_failed_score_is_none_with_its_failure_as_reason() -> None:
    found = recorded_vector(SUITE, trial_of("tuned", SCORES), "intent")
    assert found.values == (1.0, None, 0.0)
    assert found.reasons == ("right", "timed out", "wrong")
    assert (found.row_ids, found.kind) == (("r0", "r1", "r2"), Kind.BINARY)


def test_a_row_that_failed_at_one_of_several_seeds_has_no_mean_and_says_at_which() -> None:
    at_seed_1 = [Score(0.0, "wrong"), Score(1.0, "right"), Score(1.0)]
    found = over_seeds(
        [recorded_vector(SUITE, trial_of("tuned", scores), "intent") for scores in (SCORES, at_seed_1)],
        [0, 1],
    )
    assert found.values == (0.5, None, 0.5)
    assert found.by_seed == ((1.0, 0.0), (None, 1.0), (0.0, 1.0))
    assert found.reasons == (
        "seed 0: right; seed 1: wrong",
        "seed 0: timed out; seed 1: right",
        "seed 0: wrong",
    )


def test_a_row_that_failed_at_every_seed_has_no_mean() -> None:
    failed = [Score(None, failure="timed out")] * 3
    each = [recorded_vector(SUITE, trial_of("tuned", scores), "intent") for scores in (failed, failed)]
    assert over_seeds(each, [0, 1]).values == (None, None, None)


def test_a_row_that_failed_at_one_seed_is_left_out_of_the_comparison_and_counted() -> None:
    suite = suite_of(["en"] * 20)
    good = [Score(1.0)] * 20
    once = [Score(None, failure="timed out"), *[Score(0.0)] * 5, *[Score(1.0)] * 14]
    vectors = [recorded_vector(suite, trial_of("tuned", scores), "intent") for scores in (good, once)]
    base = recorded_vector(suite, trial_of("base", [Score(0.0)] * 20), "intent")
    found = compare(over_seeds(vectors, [0, 1]), base)
    assert (found.n, found.failures) == (19, 1)
    assert found.candidate_mean == pytest.approx((5 * 0.5 + 14) / 19)
    assert "r0" in found.reason


def test_rows_that_were_not_judged_are_left_out() -> None:
    scores = [Score(1.0), Score(None, "not judged: the judging had stopped"), Score(0.0)]
    assert recorded_vector(SUITE, trial_of("tuned", scores), "intent").row_ids == ("r0", "r2")


def test_answers_in_another_order_are_put_into_the_suites_order() -> None:
    trial = trial_of("tuned", SCORES, row_ids=["r2", "r0", "r1"])
    assert recorded_vector(SUITE, trial, "intent").values == (None, 0.0, 1.0)


def test_an_unknown_score_is_named_with_those_that_exist() -> None:
    with pytest.raises(UnknownName, match="There are: intent"):
        recorded_vector(SUITE, trial_of("tuned", SCORES), "intents")
    with pytest.raises(UnknownName, match="no score at all"):
        recorded_vector(SUITE, replace(trial_of("tuned", SCORES), scores={}), "intent")


def test_rows_that_are_not_the_suites_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="r9"):
        recorded_vector(SUITE, trial_of("tuned", SCORES, row_ids=["r0", "r1", "r9"]), "intent")
    with pytest.raises(UsageError, match="twice"):
        recorded_vector(SUITE, trial_of("tuned", [*SCORES, SCORES[0]], ["r0", "r1", "r2", "r2"]), "intent")


def test_a_trial_of_another_suite_or_with_scores_missing_is_refused() -> None:
    with pytest.raises(UsageError, match="'retention'"):
        recorded_vector(SUITE, replace(trial_of("tuned", SCORES), suite="retention"), "intent")
    trial = trial_of("tuned", SCORES)
    with pytest.raises(UsageError, match="2 answers but 3 scores"):
        recorded_vector(SUITE, replace(trial, answers=trial.answers[:2]), "intent")
