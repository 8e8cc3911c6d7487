"""A last user turn alone does not tell conversations apart."""

from dataclasses import replace

import pytest

from harness.data.recorded import RecordedAnswer, digests_to_record, match, parse_recorded
from harness.errors import DataError
from harness.records import Message, Row, ToolCall


def test_an_answer_under_another_id_is_not_taken_for_another_conversation() -> None:
    turns = ("user", "Cancel it?"), ("assistant", "Sure?"), ("user", "Yes."), ("assistant", "Done.")
    long = Row("a", tuple(Message(*turn) for turn in turns))
    short = Row("a", tuple(Message(*turn) for turn in turns[2:]))
    line = [RecordedAnswer("other", answer="Booked.", question="Yes.")]
    assert match(line, "s", [long]).missing == (long,)
    assert match(line, "s", [short]).found


@pytest.mark.parametrize("text", ["Paris", "{}", "[1]", '[{"name": "f"}]'])
def test_an_answer_said_to_call_tools_that_calls_none_is_named(text: str) -> None:
    with pytest.raises(DataError, match="ends with none"):
        parse_recorded(RecordedAnswer("a", answer=text, finish="tool_calls").line().encode(), "f.jsonl")
    good = RecordedAnswer("a", answer='Well.\n[{"name": "f", "arguments": {}}]', finish="tool_calls")
    assert parse_recorded(good.line().encode(), "f.jsonl")


def test_what_changed_around_a_question_is_not_said_to_be_the_question() -> None:
    turns = ("user", "Cancel it?"), ("assistant", "Sure?"), ("user", "Yes."), ("assistant", "Done.")
    row = Row("a", tuple(Message(*turn) for turn in turns))
    asked = digests_to_record([row])
    line = [RecordedAnswer("a", answer="Done.", question="Yes.", asked=asked[0], where="a.jsonl:1")]
    for changed in (
        replace(row, tools=({"type": "function", "function": {"name": "f"}},)),
        replace(row, messages=(Message("user", "Book it?"), *row.messages[1:])),
    ):
        with pytest.raises(DataError, match="not in its last user turn, but in what stands around it"):
            match(line, "s", [changed])


def test_people_s_calls_are_calls_where_tools_are_offered() -> None:
    said = '[{"name": "f", "arguments": {"city": "Paris"}}]'
    plain = Row("a", (Message("user", "?"), Message("assistant", "", tool_calls=(ToolCall("c", "f", "{}"),))))
    offered = replace(plain, tools=({"type": "function", "function": {"name": "f"}},))

    def finish(one: RecordedAnswer, row: Row) -> str:
        (read,) = parse_recorded(one.line().encode(), "f.jsonl")
        return read.for_row(row).finish

    assert finish(RecordedAnswer("a", answer=f"Let me see.\n{said}"), offered) == "tool_calls"
    assert finish(RecordedAnswer("a", answer=said), plain) == "stop"
    assert finish(RecordedAnswer("a", answer="[]"), offered) == "stop"
    # a model that was offered tools and wrote so has called none
    assert finish(RecordedAnswer("a", answer=said, asked="0123456789abcdef"), offered) == "stop"
    assert finish(RecordedAnswer("a", failure="nobody knew"), offered) == "failed"
