"""A recording that was cut off goes on, wherever the cut fell."""

from pathlib import Path

from harness.data.recorded import RecordedAnswer
from harness.run.capture import read_whole


def test_a_line_cut_behind_a_brace_of_its_own_answer_is_left_out(tmp_path: Path) -> None:
    first = RecordedAnswer("a", answer='{"n": 1}').line()
    file = tmp_path / "answers.jsonl"
    for cut in range(1, len(first) - 1):
        file.write_text(first + first[:cut])
        assert [one.id for one in read_whole(file)] == ["a"]
    file.write_text(first + RecordedAnswer("b", answer="x").line().rstrip())
    assert [one.id for one in read_whole(file)] == ["a", "b"]
