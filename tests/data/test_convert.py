from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.data.convert import to_json, to_prompt_completion
from harness.data.rows import read_rows
from harness.errors import DataError
from harness.records import Json, Message, Row, ToolCall

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(lambda text: bool(text.strip()))
VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
METADATA = st.dictionaries(st.sampled_from(["intent", "day", "source"]), VALUES, max_size=3)
WEATHER: dict[str, Json] = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


@st.composite
def plain_rows(draw: st.DrawFn) -> Row:
    turns = (Message("user", draw(TEXT)), Message("assistant", draw(TEXT)))
    return Row("row-1", turns, draw(METADATA), "t.jsonl:1")


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """Chats with or without system message, names, weights and tools."""
    turns = [Message("system", draw(TEXT))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 2))):
        turns.append(Message("user", draw(TEXT), name=draw(st.none() | st.just("ann"))))
        turns.append(Message("assistant", draw(TEXT), weight=draw(st.sampled_from([0, 1]))))
    turns[-1] = replace(turns[-1], weight=1)
    tools: tuple[dict[str, Json], ...] = ()
    if draw(st.booleans()):
        tools = (WEATHER,)
        calls = (ToolCall("call-1", "weather", "{}"),)
        said = draw(st.sampled_from(["", "let me see"]))
        turns[-1:-1] = [
            Message("assistant", said, tool_calls=calls),
            Message("tool", draw(TEXT), tool_call_id="call-1"),
        ]
    parallel = draw(st.sampled_from([None, True, False])) if tools else None
    return Row("row-1", tuple(turns), draw(METADATA), "t.jsonl:1", tools, parallel)


def read_again(tmp_path: Path, value: dict[str, object]) -> Row:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(value), encoding="utf-8")
    (row,) = read_rows(path)
    return replace(row, where="t.jsonl:1")


IN_TMP = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@IN_TMP
@given(rows())
def test_a_row_written_and_read_is_the_same_row(tmp_path: Path, row: Row) -> None:
    assert read_again(tmp_path, to_json(row)) == row
    assert read_again(tmp_path, to_json(row, metadata=False)) == replace(row, metadata={})


@IN_TMP
@given(plain_rows())
def test_prompt_and_completion_and_back_is_the_same_chat(tmp_path: Path, row: Row) -> None:
    pair = to_prompt_completion(row)
    assert read_again(tmp_path, pair) == row
    assert to_prompt_completion(read_again(tmp_path, to_json(row))) == pair


@IN_TMP
@given(rows())
def test_prompt_and_completion_lose_nothing_or_are_refused(tmp_path: Path, row: Row) -> None:
    try:
        pair = to_prompt_completion(row)
    except DataError as error:
        assert error.where == "t.jsonl:1"  # noqa: PT017 - some draws are plain
        return
    assert read_again(tmp_path, pair) == row


def test_only_what_is_not_the_default_is_written() -> None:
    turns = (
        Message("user", "Rain?", name="ann"),
        Message("assistant", "", tool_calls=(ToolCall("c1", "weather", '{"at": "Bristol"}'),)),
        Message("tool", "", tool_call_id="c1"),
        Message("assistant", "Perhaps.", weight=0),
        Message("assistant", "Yes."),
    )
    row = Row("7", turns, {"id": 7, "intent": "x"}, "t.jsonl:1", (WEATHER,), False)
    assert to_json(row) == {
        "id": 7,
        "intent": "x",
        "messages": [
            {"role": "user", "content": "Rain?", "name": "ann"},
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"at": "Bristol"}'},
                    }
                ],
            },
            {"role": "tool", "content": "", "tool_call_id": "c1"},
            {"role": "assistant", "content": "Perhaps.", "weight": 0},
            {"role": "assistant", "content": "Yes."},
        ],
        "tools": [WEATHER],
        "parallel_tool_calls": False,
    }


def test_the_deprecated_form_of_calls_is_written_as_it_came() -> None:
    turns = (
        Message("user", "Rain?"),
        Message("assistant", "", tool_calls=(ToolCall("", "weather", "{}"),)),
        Message("function", "wet", name="weather"),
        Message("assistant", "Yes."),
    )
    assert to_json(Row("1", turns, {}, "t.jsonl:1", (WEATHER,))) == {
        "messages": [
            {"role": "user", "content": "Rain?"},
            {"role": "assistant", "function_call": {"name": "weather", "arguments": "{}"}},
            {"role": "function", "content": "wet", "name": "weather"},
            {"role": "assistant", "content": "Yes."},
        ],
        "functions": [WEATHER["function"]],
    }


PLAIN = Row("1", (Message("user", "Why?"), Message("assistant", "So.")), {}, "t.jsonl:4")
USER, REPLY = PLAIN.messages


@pytest.mark.parametrize(
    ("row", "lost"),
    [
        (replace(PLAIN, messages=(Message("system", "Be brief."), USER, REPLY)), "the system message"),
        (replace(PLAIN, messages=(USER, REPLY, USER, REPLY)), "all but two of its 4 turns"),
        (replace(PLAIN, messages=(REPLY, REPLY)), "its order of roles"),
        (replace(PLAIN, messages=(REPLY,)), "its order of roles"),
        (replace(PLAIN, messages=(USER, replace(REPLY, weight=0))), "a weight of 0"),
        (replace(PLAIN, messages=(replace(USER, name="ann"), REPLY)), "names"),
        (replace(PLAIN, tools=(WEATHER,)), "tools"),
        (replace(PLAIN, parallel_tool_calls=True), "'parallel_tool_calls'"),
        (replace(PLAIN, metadata={"prompt": "p-12"}), "the metadata 'prompt'"),
        (
            replace(PLAIN, messages=(Message("system", "s"), replace(USER, name="ann"), REPLY)),
            "the system message, names",
        ),
    ],
)
def test_what_prompt_and_completion_cannot_hold_is_named_with_its_line(row: Row, lost: str) -> None:
    with pytest.raises(DataError) as caught:
        to_prompt_completion(row)
    assert (caught.value.where, caught.value.problem) == (
        "t.jsonl:4",
        f"as prompt and completion this row would lose {lost}",
    )


def test_metadata_that_would_read_as_part_of_the_chat_format_is_refused() -> None:
    row = replace(PLAIN, metadata={"tools": "hammer"})
    for convert in (to_json, to_prompt_completion):
        with pytest.raises(DataError, match=r"t\.jsonl:4: .*'tools'"):
            convert(row)
    assert "tools" not in to_json(row, metadata=False)
