"""For each side: asked with what, answered when, by which version, how many failed, how many were cut."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sample_run import sample_run

from harness.records import Answer, FailureKind, Provenance, RunRecord, Trial
from harness.report.sides import sides


def only(trial: Trial, record: RunRecord, **of_suite: object) -> dict[str, str]:
    suites = tuple(replace(suite, **of_suite) for suite in record.suites)  # type: ignore[arg-type]
    table = sides(replace(record, trials=(trial,), suites=suites))
    (row,) = table.rows
    return dict(zip((head.rstrip("#") for head in table.heads), row, strict=True))


@pytest.fixture
def record() -> RunRecord:
    return sample_run(n_rows=12)


def test_a_side_that_failed_and_was_cut_says_how_often_and_why(record: RunRecord) -> None:
    answers = (
        Answer("a", "", 1, 0, 0.0, "failed", "no answer", failure_kind=FailureKind.CUT),
        Answer("b", "half of i", 1, 8, 0.0, "length"),
        Answer("c", "done", 1, 8, 0.0, thought="hm", served_by="model-2026-11"),
    )
    given = Provenance(1, 2, 0, "2026-11-01T10:00:00+00:00", "2026-11-03T10:00:00+00:00", ("run-1",))
    trial = replace(
        record.trials[0],
        answers=answers,
        scores={},
        provenance=given,
        asked_with="the suite's prompt and 5 examples",
        decoding={"max_new_tokens": 64, "temperature": 0.0, "thinking": True, "max_thinking_tokens": 2048},
    )
    assert only(trial, record, prompt_digest="d", own_system="beside") == {
        "suite": trial.suite,
        "side": trial.label,
        "asked with": "the suite's prompt and 5 examples, then each row's own system message",
        "drawn": "greedy, at most 64 tokens and 2048 of thought, thinking on",
        "version": "served as model-2026-11",
        "answers": "1 now, 2 kept of 2026-11-01 to 2026-11-03",
        "never came": "1 cut off before the answer",
        "cut off": "1",
        "thought": "1",
    }


def test_a_side_says_what_its_answers_were_bound_to(record: RunRecord) -> None:
    decoding = {"max_new_tokens": 80, "temperature": 0.0, "schema": {"name": "ticket.json", "digest": "d"}}
    found = only(replace(record.trials[0], decoding=decoding), record)
    assert found["drawn"] == "greedy, at most 80 tokens, bound to ticket.json"


def test_a_suite_without_a_prompt_puts_the_rows_as_they_are(record: RunRecord) -> None:
    trial = replace(record.trials[0], asked_with="the suite's prompt")
    assert only(trial, record, prompt_digest=None)["asked with"] == "each row's own turns"


def test_a_record_of_an_earlier_version_says_what_it_knows(record: RunRecord) -> None:
    found = only(replace(record.trials[0], provenance=None), record)
    assert found["asked with"] == found["drawn"] == "–"
    assert found["answers"] == "12"
