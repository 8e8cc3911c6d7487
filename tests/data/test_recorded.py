"""Answers that were recorded: what a line may be, and how each finds its row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.data.recorded import (
    RecordedAnswer,
    digests_to_record,
    match,
    parse_recorded,
    question_digests,
    recorded_from,
    require_all,
)
from harness.errors import DataError
from harness.records import Answer, FailureKind, Message, Part, Row

SHORT, FULL = Message("system", "Answer."), Message("system", "Answer in one word, politely, …")


def row(name: str, question: str, *before: Message, reference: str = "yes") -> Row:
    turns = (*before, Message("user", question), Message("assistant", reference))
    return Row(name, turns, {"id": name}, where=f"held.jsonl:{name}")


ROWS = [row("a", "one?", SHORT), row("b", "two?", SHORT), row("c", "three?", SHORT)]


def recorded(rows: list[Row], **more: str) -> list[RecordedAnswer]:
    digests = digests_to_record(rows)
    return [
        RecordedAnswer(r.id, f"to {r.question}", asked=d, where=f"a.jsonl:{n}", **more)  # type: ignore[arg-type]
        for n, (r, d) in enumerate(zip(rows, digests, strict=True), start=1)
    ]


def texts(answers: list[RecordedAnswer], rows: list[Row], suite: str = "s") -> dict[str, str | None]:
    return {name: one.answer for name, one in match(answers, suite, rows).found.items()}


# --------------------------------------------------------------------------- lines
def test_an_answer_comes_back_as_it_was_written() -> None:
    answer = Answer(
        "a", "é\u2028\n", 7, 2, 12.5, "length", None, 3, 2, thought="hm", thought_tokens=1, served_by="m-1"
    )
    parts = (Part("first.md (step 1)", "h", 3, 1), Part("last.md (step 2)", "", 4, 1))
    for given in (answer, replace(answer, latency_ms=0.0, batched=True, parts=parts)):
        one = recorded_from(given, suite="s", asked="d", prompt="", settings={"seed": 0}, usd=0.0)
        (back,) = parse_recorded(one.line().encode(), "a.jsonl")
        assert replace(back, where="") == one
        assert back.for_row(ROWS[0]) == given


def test_a_failure_stays_one_with_its_kind() -> None:
    failed = Answer("a", "", 7, 0, 1.0, "failed", "refused: no", failure_kind=FailureKind.REFUSED)
    (back,) = parse_recorded(recorded_from(failed).line().encode(), "a.jsonl")
    assert back.for_row(ROWS[0]) == failed


def test_what_people_did_not_write_is_not_known_and_no_zero() -> None:
    (one,) = parse_recorded(b'{"id": 17, "answer": "yes", "annotator": "Ana"}\r\n', "a.jsonl")
    answer = one.for_row(row("17", "?"))
    assert (answer.prompt_tokens, answer.completion_tokens, answer.latency_ms) == (None, None, None)
    assert answer.answer_tokens is None


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        (b'\xef\xbb\xbf{"id": "a", "answer": "x"}\n', 1, "byte order mark"),
        (b'{"id": "a", "answer": "x"}\n{"id": "b", "ans', 2, "cut off"),
        (b'{"id": "a", "ans\n{"id": "b", "answer": "x"}\n', 1, "not JSON"),
        (b'{"id": "a", "answer": "x"}\n\n{"id": "a", "answer": "y"}\n', 3, "line 1 as well"),
        (b'{"id": "a", "anwser": "x"}\n', 1, "neither an answer nor a failure"),
        (b'{"id": "a", "answer": "x", "failure": "y"}\n', 1, "both an answer and a failure"),
        (b'{"answer": "x"}\n', 1, "no 'id'"),
        (b'{"id": "a", "answer": 5}\n', 1, "'answer'"),
        (b'{"id": "a", "answer": "x", "latency_ms": -1}\n', 1, "below 0"),
        (b'{"id": "a", "answer": "x", "usd": NaN}\n', 1, "NaN"),
        (b'{"id": "a", "answer": "\\ud800"}\n', 1, "surrogate"),
        (b'["a", "x"]\n', 1, "not an object"),
        (b"\xff\xfe{\x00", 1, "UTF-16"),
        (b'{"id": "a", "answer": "x", "failure_kind": "made up"}', 1, "'failure_kind'"),
    ],
)
def test_a_line_that_is_no_answer_is_named(content: bytes, line: int, says: str) -> None:
    with pytest.raises(DataError, match="hint: ") as refused:
        parse_recorded(content, "a.jsonl")
    assert says in str(refused.value)
    assert refused.value.where == f"a.jsonl:{line}"


def test_a_file_without_answers_is_refused_and_equal_lines_count_once() -> None:
    with pytest.raises(DataError, match="no answers"):
        parse_recorded(b"\n \n", "a.jsonl")
    assert len(parse_recorded(b'{"id": "a", "answer": "x"}\n' * 2, "a.jsonl")) == 1


# --------------------------------------------------------------------------- finding rows
def test_another_prompt_does_not_change_the_question() -> None:
    """Recorded under full instructions, an answer stays one to the row that a fine-tune is asked with."""
    answers = recorded([replace(one, messages=(FULL, *one.messages[1:])) for one in ROWS])
    assert texts(answers, ROWS) == {"a": "to one?", "b": "to two?", "c": "to three?"}
    assert texts(answers, [row(r.id, r.question, reference="other") for r in ROWS])["a"] == "to one?"


def test_a_changed_question_is_an_error_that_names_it() -> None:
    answers = [replace(one, question=r.question) for one, r in zip(recorded(ROWS), ROWS, strict=True)]
    with pytest.raises(
        DataError, match=r"(?s)a.jsonl:2.*'b' of held.jsonl:b asks something else.*'two\?'.*'2\?'"
    ):
        match(answers, "s", [ROWS[0], row("b", "2?"), ROWS[2]])


@pytest.mark.parametrize(
    "changed",
    [
        row("b", "two? ", SHORT),
        row("b", "two?", SHORT, Message("user", "before"), Message("assistant", "aha")),
        replace(ROWS[1], messages=(SHORT, Message("user", "two?", name="Ana"), ROWS[1].messages[-1])),
    ],
)
def test_every_turn_of_a_question_counts(changed: Row) -> None:
    with pytest.raises(DataError, match="asks something else"):
        match(recorded(ROWS), "s", [ROWS[0], changed, ROWS[2]])


def test_facts_in_a_rows_own_system_message_are_part_of_its_question() -> None:
    rows = [row(name, "how much?", Message("system", f"The price is {n}.")) for n, name in enumerate("abc")]
    answers = recorded(rows)
    assert len(set(digests_to_record(rows))) == 3
    mended = [rows[0], row("b", "how much?", Message("system", "The price is 9.")), rows[2]]
    with pytest.raises(DataError, match=r"'b' of held\.jsonl:b asks something else"):
        match(answers, "s", mended)
    # rows that were recorded when all shared one message stay found when one joins them that does not
    joined = [*ROWS, row("d", "four?", FULL)]
    assert [one.id for one in match(recorded(ROWS), "s", joined).missing] == ["d"]


def test_rows_whose_ids_changed_are_found_by_their_questions() -> None:
    moved = [row(f"row-{n}", r.question, SHORT) for n, r in enumerate(ROWS)]
    assert list(texts(recorded(ROWS), moved).values()) == ["to one?", "to two?", "to three?"]
    # one was put before the others, and all take the id of the one before
    shifted = [
        row("a", "zero?", SHORT),
        row("b", "one?", SHORT),
        row("c", "two?", SHORT),
        row("d", "three?", SHORT),
    ]
    answers = recorded(ROWS)
    with pytest.raises(DataError) as refused:
        require_all(match(answers, "s", shifted), answers, "s", "a.jsonl")
    assert "1 of 4 rows of suite s have no recorded answer: 'a'" in str(refused.value)


def test_equal_questions_keep_their_own_answers() -> None:
    rows = [row("a", "one?"), row("b", "one?")]
    answers = [replace(one, answer=str(one.id)) for one in recorded(rows)][::-1]
    assert texts(answers, rows) == {"a": "a", "b": "b"}
    assert set(texts(answers, [row("y", "one?"), row("z", "one?")]).values()) == {"a", "b"}


def test_people_s_answers_are_found_by_id_and_their_question_is_compared_where_it_is_there() -> None:
    answers = [
        RecordedAnswer("a", "x"),
        RecordedAnswer("b", "y", question=" two? "),
        RecordedAnswer("q", "z", question="three?"),
    ]
    assert texts(answers, ROWS) == {"a": "x", "b": "y", "c": "z"}
    with pytest.raises(DataError, match="asks something else"):
        match([RecordedAnswer("a", "x", question="won?", where="p:1")], "s", ROWS)


def test_the_place_of_a_row_is_no_id() -> None:
    """Every suite has a first row, and one that is put before it takes its place."""
    placed = [replace(ROWS[0], id="row-1", metadata={})]
    with pytest.raises(DataError, match="'row-1' is no id, but the place"):
        match([RecordedAnswer("row-1", "x", where="a.jsonl:1")], "s", placed)
    assert texts([RecordedAnswer("row-1", "x", suite="s")], placed) == {"row-1": "x"}
    assert texts([RecordedAnswer("row-1", "x", question="one?")], placed) == {"row-1": "x"}


def test_what_is_missing_and_what_is_too_much_is_told_together() -> None:
    answers = [*recorded(ROWS[:2]), RecordedAnswer("cc", "x")]
    with pytest.raises(DataError) as refused:
        require_all(match(answers, "s", ROWS), answers, "s", "a.jsonl")
    assert "1 of 3 rows of suite s have no recorded answer: 'c'; of no row are 'cc'" in str(refused.value)
    assert '"failure": "not recorded"' in str(refused.value)


def test_a_file_of_another_suite_is_told_as_that() -> None:
    other = recorded([row("x", "else?")], suite="other")
    with pytest.raises(DataError, match="none of its 1 answers is to a row of suite s: they are of other"):
        require_all(match(other, "s", ROWS), other, "s", "a.jsonl")
    # rows without ids of their own are called alike in every suite
    both = recorded(ROWS, suite="s") + recorded([row("a", "else?")], suite="other")
    assert texts(both, ROWS)["a"] == "to one?"
    assert texts(both, [row("a", "else?")], "other") == {"a": "to else?"}


def test_the_digest_is_what_files_of_earlier_versions_hold() -> None:
    """Recordings of models that are gone must be found for good: these may never change."""
    assert question_digests(ROWS[0]) == GOLDEN


GOLDEN = ("6ac8445d5002fce9", "085a7f76d45e643c")
