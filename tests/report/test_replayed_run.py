"""A record of an earlier run, as answers to be replayed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sample_run import BASE, sample_run

from harness import Recorded
from harness.candidates.base import Prepared, Variant
from harness.candidates.lab import Lab
from harness.data.recorded import digests_to_record
from harness.errors import DataError
from harness.models.progress import Silent
from harness.records import Message, Part, Row, RunRecord
from harness.report.runjson import dump_run
from harness.store.adapters import AdapterStore

Replayed = Callable[[RunRecord], Prepared]
RECORD = sample_run(n_rows=20)
(SUITE,) = (suite for suite in RECORD.suites if suite.name == "retention")
TURNS = (Message("user", "Help me."), Message("assistant", "With what?"))
ROWS = [
    Row(row.id, (*TURNS, Message("user", row.question), Message("assistant", row.reference)))
    for row in SUITE.rows
]


@pytest.fixture
def replayed(tmp_path: Path) -> Replayed:
    def made(record: RunRecord) -> Prepared:
        (tmp_path / "run.json").write_text(dump_run(record), encoding="utf-8")
        candidate = Recorded(run=".", candidate=BASE)
        return candidate.prepare(
            Lab(tmp_path, AdapterStore(tmp_path / "store"), Silent()), Variant("then", candidate)
        )

    return made


def test_any_turn_that_changed_is_an_error_that_names_its_row(replayed: Replayed) -> None:
    asked = digests_to_record(ROWS)
    rows = tuple(replace(row, asked=digest) for row, digest in zip(SUITE.rows, asked, strict=True))
    suites = tuple(replace(suite, rows=rows) if suite is SUITE else suite for suite in RECORD.suites)
    given = replayed(replace(RECORD, suites=suites)).given
    assert given is not None
    assert len(given("retention", ROWS).answers) == len(ROWS)
    changed = [replace(ROWS[0], messages=(Message("user", "Hurry."), *ROWS[0].messages[1:])), *ROWS[1:]]
    with pytest.raises(DataError, match=r"'r-0000' .* asks something else .* what stands around it"):
        given("retention", changed)
    old = replayed(RECORD).given  # of a version that kept no digests
    assert old is not None
    with pytest.raises(DataError, match=r"'r-0000' .* asks something else"):
        old("retention", [replace(ROWS[0], messages=ROWS[0].messages[:2])])


def test_answers_of_several_calls_keep_them(replayed: Replayed) -> None:
    parts = (Part("first.md (step 1)", "hm", 9, 7), Part("last.md (step 2)", "", 9, 2))
    trials = tuple(
        replace(trial, answers=tuple(replace(one, parts=parts, batched=True) for one in trial.answers))
        for trial in RECORD.trials
    )
    rows = [replace(row, messages=row.messages[2:]) for row in ROWS]
    given = replayed(replace(RECORD, trials=trials)).given
    assert given is not None
    for answer in given("retention", rows).answers.values():
        assert (answer.answer_tokens, answer.batched, answer.parts) == (2, True, parts)


def test_a_trial_without_answers_names_its_suite(replayed: Replayed) -> None:
    trials = tuple(
        replace(trial, answers=(), scores=dict.fromkeys(trial.scores, ())) for trial in RECORD.trials
    )
    prepared = replayed(replace(RECORD, trials=trials))
    assert prepared.priced_as is None
    assert prepared.given is not None
    with pytest.raises(DataError, match="none of its 0 answers is to a row of suite retention"):
        prepared.given("retention", ROWS)
