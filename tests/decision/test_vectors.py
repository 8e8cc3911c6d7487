from __future__ import annotations

from dataclasses import replace

import pytest
from decision_builders import suite_of, trial_of

from harness.decision.vectors import recorded_vector
from harness.errors import UnknownName, UsageError
from harness.records import Kind, Score

SUITE = suite_of(["en", "de", "en"])
SCORES = [Score(1.0, "right"), Score(None, failure="timed out"), Score(0.0, "wrong")]


def test_a_failed_score_is_none_with_its_failure_as_reason() -> None:
    found = recorded_vector(SUITE, trial_of("tuned", SCORES), "intent")
    assert found.values == (1.0, None, 0.0)
    assert found.reasons == ("right", "timed out", "wrong")
    assert (found.row_ids, found.kind) == (("r0", "r1", "r2"), Kind.BINARY)


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
