"""Token F1: SQuAD's own figures, words as people read them, and a reason that can be counted after."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.records import Answer, Json, Kind, Message, Row, Score
from harness.scoring.overlap import TokenF1

ARTICLES = ("a", "an", "the")


def scored(check: TokenF1, reference: str, reply: str, **metadata: Json) -> Score:
    row = Row("r", (Message("user", "?"), Message("assistant", reference)), metadata, "heldout.jsonl:3")
    return check.score(row, Answer("r", reply, 1, 1, 0.0))


@pytest.mark.parametrize(
    ("reference", "reply", "f1"),
    [
        ("Denver Broncos", "The Denver Broncos.", 1),
        ("Denver Broncos", "Broncos", 2 / 3),
        ("gold", "the gold, gold anniversary", 1 / 2),
        ("10th and 11th centuries", "in the 10th and 11th centuries", 8 / 9),
        ("1,000 people", "1000 people died", 4 / 5),
        ("Saint Bernadette Soubirous", "a copper statue of Christ", 0),
        ("the U.S.", "U.S.", 1),
    ],
)
def test_it_is_what_squads_evaluation_script_prints(reference: str, reply: str, f1: float) -> None:
    """The figures are those of evaluate-v1.1.py."""
    assert scored(TokenF1(ignored=ARTICLES), reference, reply).value == pytest.approx(f1)


@pytest.mark.parametrize(
    ("reference", "reply", "f1"),
    [
        ("3.5 kg", "35 kg", 1 / 2),  # to the script 3.5 is 35
        ("-5", "5", 0),
        ("1,234.50", "1.234,50", 1),
        ("a well-known café", "A WELL KNOWN CAFE\N{COMBINING ACUTE ACCENT}!", 1),
        ("東京都", "東京", 4 / 5),
        ("Straße", "STRASSE", 1),
        ("Wie heißt das?", "„Wie heißt das?“", 1),
        ("the cat", "cat", 2 / 3),  # articles count unless they are ignored
    ],
)
def test_words_and_numbers_are_read_as_people_read_them(reference: str, reply: str, f1: float) -> None:
    assert scored(TokenF1(), reference, reply).value == pytest.approx(f1)


def test_the_reason_counts_the_words() -> None:
    score = scored(TokenF1(), "valve grinds at five every morning", "the valve grinds at six")
    assert score.reason == "3 of 6 words of the reference, 2 others"
    assert (
        scored(TokenF1(), "late order", "order late again").reason == "2 of 2 words of the reference, 1 other"
    )
    assert TokenF1().kind is Kind.GRADED


def test_a_field_of_json_is_read_and_an_answer_without_it_is_worth_nothing() -> None:
    check = TokenF1("summary")
    assert check.name == "token F1 of summary"
    reference = '{"summary": "order late"}'
    assert scored(check, reference, '{"summary": "late"}').value == pytest.approx(2 / 3)
    assert scored(check, reference, "late order") == Score(
        0.0, "no field 'summary': not JSON: Expecting value at line 1 column 1"
    )
    assert scored(check, reference, '{"summary": "?!"}') == Score(0.0, "no words")
    assert scored(TokenF1(), "order", "  ") == Score(0.0, "empty")


def test_the_nearest_of_several_accepted_texts_counts() -> None:
    check = TokenF1(expected="answers")
    assert scored(check, "x", "in Santa Clara", answers=["California", "Santa Clara"]).value == 4 / 5
    assert scored(check, "x", "in 1066", answers=1066).value == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("check", "reference", "says"),
    [
        (TokenF1(), "?!", "no words in its reference"),
        (TokenF1(ignored=ARTICLES), "the", "no words in its reference"),
        (TokenF1("summary"), '{"intent": "x"}', "no words in its reference (summary)"),
        (TokenF1(expected="answers"), "x", "no words in 'answers' in its metadata"),
    ],
)
def test_a_row_with_nothing_to_compare_with_is_a_failure_found_before_the_run(
    check: TokenF1, reference: str, says: str
) -> None:
    assert says in (scored(check, reference, "x").failure or "")
    found = check.contradiction(Row("r", (Message("user", "?"), Message("assistant", reference)), {}))
    assert found is not None
    assert says in found.problem


def test_an_answer_that_never_came_is_a_failure() -> None:
    row = Row("r", (Message("user", "?"), Message("assistant", "x")), {})
    assert TokenF1().score(row, Answer("r", "", 0, 0, 0.0, "failed", "HTTP 500")).failure == "HTTP 500"


def test_ignored_words_that_are_no_words_are_refused() -> None:
    for wrong in ("the", [7]):
        with pytest.raises(UsageError, match="give a tuple of words"):
            TokenF1(ignored=wrong)  # type: ignore[arg-type]  # what the test is about
    assert hash(TokenF1(ignored=["the"]))


TEXT = st.text(st.sampled_from("ab c.1-2,'é東\n"), max_size=20)


@given(TEXT, TEXT)
def test_it_lies_between_none_and_all_and_does_not_care_which_text_is_which(one: str, other: str) -> None:
    there, back = scored(TokenF1(), one, other), scored(TokenF1(), other, one)
    assert there.value is None or 0 <= there.value <= 1
    if there.value is not None and back.value is not None:
        assert there.value == back.value
    assert scored(TokenF1(), one, one).value in (None, 1.0)
