from __future__ import annotations

from dataclasses import replace

import pytest

from harness.decision.advice import Pointer, Told, facts, pointers, unseen_facts
from harness.records import (
    Answer,
    CandidateInfo,
    Kind,
    RunRecord,
    Score,
    ScoreInfo,
    SuiteInfo,
    SuiteRow,
    Trial,
)


# --------------------------------------------------------------------------- facts
def test_numbers_and_names_are_facts_and_a_word_that_begins_a_sentence_is_none() -> None:
    told = Told(["the parcel is there"])
    assert facts("The parcel 4711 went to Lisbon. Parcel post", told.lower) == ("4711", "Lisbon")


def test_a_thousands_separator_makes_no_other_number() -> None:
    assert unseen_facts("It costs 1,250.50 euros.", ["price: 1250.50"], Told(["it"])) == ()
    assert unseen_facts("It costs 1.250 euros.", ["price: 1250"], Told(["it"])) == ()


def test_facts_of_the_question_the_prompt_and_training_rows_are_seen() -> None:
    told = Told(["Our shop in Porto is open."])
    reference = "Ms Silva should call Porto on 15 May."
    given = ["my name is silva", "Say who should call. May and Ms are fine."]
    assert unseen_facts(reference, given, told) == ("15",)


def test_a_question_typed_in_lower_case_makes_no_name_a_common_word() -> None:
    told = Told(())
    told.add("who lives in paris", is_cased=False)
    assert facts("He is from Paris", told.lower) == ("He", "Paris")
    assert unseen_facts("Paris", [], told) == ()


@pytest.mark.parametrize("text", ["", "东京是首都", "كل شيء", "\ud800", "--- ", "a B c"])
def test_texts_without_capitals_or_digits_have_no_facts(text: str) -> None:
    assert facts(text, ()) == ()


# --------------------------------------------------------------------------- rules
FORM, CONTENT = "JsonSchema: fits", "FieldMatch: the field"


def record(
    form: list[int],
    content: list[int],
    unseen: list[tuple[str, ...] | None] | None = None,
    bound: bool = False,
) -> RunRecord:
    """A baseline with these values of a check of form and one of content, a row each."""
    facts_of = unseen or [()] * len(form)
    rows = tuple(SuiteRow(str(at), "q", "r", {}, None, facts) for at, facts in enumerate(facts_of))
    scores = (ScoreInfo("json", Kind.BINARY, FORM), ScoreInfo("intent", Kind.BINARY, CONTENT))
    suite = SuiteInfo("support", "h.jsonl", "d", rows, scores, (), "prompt")
    answers = tuple(Answer(row.id, "a", 1, 1, 1.0) for row in rows)
    values = {"json": tuple(Score(float(v)) for v in form), "intent": tuple(Score(float(v)) for v in content)}
    trial = Trial("base", None, None, "support", answers, values, 1.0, "bf16")
    if bound:
        trial = replace(trial, decoding={"schema": {"name": "ticket"}})
    infos = (CandidateInfo("tuned", "qlora", 4, {}, "m", "d", "base"),)
    return RunRecord("r", "now", "pytest", "release", 0.05, infos, (suite,), (trial,), (), (), (), {}, {})


def found(run: RunRecord) -> dict[str, Pointer]:
    return {pointer.rung: pointer for _, pointer in pointers(run)}


def test_few_failures_most_of_form_point_to_a_schema_and_to_fine_tuning() -> None:
    seen = found(record([0] * 8 + [1] * 92, [0] * 10 + [1] * 90))
    assert set(seen) == {"a schema", "fine-tuning"}
    assert seen["fine-tuning"].evidence == ("10 of 100 answers are wrong: 8 in form, 2 only in content.")


def test_bound_answers_are_not_sent_to_a_schema_again() -> None:
    assert set(found(record([0] * 8 + [1] * 92, [0] * 8 + [1] * 92, bound=True))) == {"fine-tuning"}


def test_failures_of_form_alone_do_not_say_that_content_is_wrong() -> None:
    assert set(found(record([0] * 80 + [1] * 20, [0] * 80 + [1] * 20))) == {"a schema"}


def test_content_that_is_often_wrong_points_to_the_prompt_first() -> None:
    seen = found(record([1] * 100, [0] * 40 + [1] * 60))
    assert set(seen) == {"a better prompt or retrieval"}
    assert seen["a better prompt or retrieval"].evidence.startswith("60 of 100 answers")


def test_wrong_answers_whose_facts_nobody_was_given_point_to_retrieval() -> None:
    unseen: list[tuple[str, ...] | None] = [("Lisbon",)] * 9 + [()] * 91
    seen = found(record([1] * 100, [0] * 12 + [1] * 88, unseen))
    assert set(seen) == {"retrieval"}
    assert "Of 12 answers with wrong content, 9 have" in seen["retrieval"].evidence
    assert "(such as Lisbon; in 0 only numbers); of 88 right ones, 0." in seen["retrieval"].evidence


@pytest.mark.parametrize(
    "run",
    [
        record([1] * 100, [1] * 100),
        record([1] * 100, [0] * 4 + [1] * 96, [("Lisbon",)] * 100),  # too few failures
        record([1] * 15, [0] * 15),  # too few rows
        record([1] * 100, [0] * 12 + [1] * 88, [None] * 100),  # facts were not looked for
        record([], []),
    ],
)
def test_without_evidence_nothing_is_said(run: RunRecord) -> None:
    assert found(run) == {}
