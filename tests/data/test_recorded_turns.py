"""A last user turn alone does not tell conversations apart."""

from harness.data.recorded import RecordedAnswer, match
from harness.records import Message, Row


def test_an_answer_under_another_id_is_not_taken_for_another_conversation() -> None:
    turns = ("user", "Cancel it?"), ("assistant", "Sure?"), ("user", "Yes."), ("assistant", "Done.")
    long = Row("a", tuple(Message(*turn) for turn in turns))
    short = Row("a", tuple(Message(*turn) for turn in turns[2:]))
    line = [RecordedAnswer("other", answer="Booked.", question="Yes.")]
    assert match(line, "s", [long]).missing == (long,)
    assert match(line, "s", [short]).found
