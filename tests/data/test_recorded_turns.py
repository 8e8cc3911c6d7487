"""A last user turn alone does not tell conversations apart."""

import pytest

from harness.data.recorded import RecordedAnswer, match, parse_recorded
from harness.errors import DataError
from harness.records import Message, Row


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
