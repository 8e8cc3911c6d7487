from __future__ import annotations

import json
import re
from collections.abc import Sequence

import pytest

from harness.data.rows import collect, require_supervised, scan_lines
from harness.errors import DataError
from harness.records import Message, Row

USER = {"role": "user", "content": "where is my parcel"}
ASSISTANT = {"role": "assistant", "content": "On its way."}
GOOD = json.dumps({"messages": [USER, ASSISTANT]})


def parse_rows(lines: Sequence[str | bytes], where: str) -> tuple[Row, ...]:
    raw = (line.encode("utf-8", "surrogatepass") if isinstance(line, str) else line for line in lines)
    return collect(scan_lines(raw, where), where)


def line(*messages: object, **others: object) -> str:
    return json.dumps({"messages": list(messages), **others})


def test_a_chat_row_keeps_its_messages_weights_and_metadata() -> None:
    text = line(
        {"role": "system", "content": "Be brief."},
        {**USER, "name": "ada"},
        {**ASSISTANT, "weight": 0, "tool_calls": None},
        {"role": "user", "content": "and now?"},
        {**ASSISTANT, "weight": 1},
        id="r1",
        intent="delivery",
        source={"desk": [1, 2.5, None]},
        tools=[],
    )
    (row,) = parse_rows([text], "train.jsonl")
    assert (row.id, row.where) == ("r1", "train.jsonl:1")
    assert [m.role for m in row.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert [m.weight for m in row.messages] == [1, 1, 0, 1, 1]
    assert row.metadata == {"id": "r1", "intent": "delivery", "source": {"desk": [1, 2.5, None]}}


def test_prompt_and_completion_become_a_user_and_an_assistant_message() -> None:
    (row,) = parse_rows(['{"prompt": "2+2?", "completion": " 4", "kind": "sum"}'], "f")
    assert row.messages == (Message("user", "2+2?"), Message("assistant", " 4"))
    assert row.metadata == {"kind": "sum"}


def test_blank_lines_are_skipped_and_still_counted() -> None:
    rows = parse_rows(["\n", GOOD + "\r\n", "  \n", GOOD], "f")
    assert [(row.id, row.where) for row in rows] == [("row-2", "f:2"), ("row-4", "f:4")]


def test_an_integer_id_is_read_as_text() -> None:
    assert parse_rows([line(USER, ASSISTANT, id=7)], "f")[0].id == "7"


def test_two_rows_with_one_id_are_named_with_both_lines() -> None:
    with pytest.raises(DataError, match=r"^f:3: the id 'a' is also that of line 1") as caught:
        parse_rows([line(USER, ASSISTANT, id="a"), GOOD, line(USER, ASSISTANT, id="a")], "f")
    assert "hint: give every row an id of its own" in str(caught.value)


def test_a_given_id_that_equals_a_made_one_is_a_repeat() -> None:
    with pytest.raises(DataError, match=r"^f:2: the id 'row-1' is also that of line 1"):
        parse_rows([GOOD, line(USER, ASSISTANT, id="row-1")], "f")


BAD = {
    "cut short": ('{"messages": [', "not JSON at column 15"),
    "single quotes": ("{'messages': []}", "not JSON at column 2"),
    "a list": ("[1]", "not an object but a list"),
    "text": ('"hi"', "not an object but text"),
    "a number": ("3", "not an object but a number"),
    "null": ("null", "not an object but null"),
    "byte order mark": ("\ufeff" + GOOD, "begins with a byte order mark"),
    "NaN": ('{"messages": NaN}', "NaN is no JSON number"),
    "infinite": ('{"x": 1e999}', "the number '1e999' is too large"),
    "long integer": ('{"x": ' + "1" * 5000 + "}", "not a usable number"),
    "deep": ('{"x": ' + "[" * 200_000 + "}", "nested too deeply"),
    "key twice": ('{"a": {"b": 1, "b": 2}}', "the key 'b' appears twice"),
    "half a pair": (GOOD.replace("parcel", "\\ud83d"), r"\ud83d is half a surrogate pair"),
    "nothing": ("{}", "no 'messages'"),
    "misspelt": ('{"mesages": []}', "is 'mesages' meant?"),
    "prompt alone": ('{"prompt": "a"}', "no 'completion'"),
    "completion alone": ('{"completion": "a"}', "no 'prompt'"),
    "empty completion": ('{"prompt": "a", "completion": " "}', "completion is empty"),
    "prompt of messages": ('{"prompt": [], "completion": "b"}', "prompt is a list of parts"),
    "messages no list": ('{"messages": "hi"}', "'messages' is text"),
    "no messages": (line(), "no messages"),
    "message no object": (line("hi"), "message 1 is text"),
    "no role": (line({"content": "a"}, ASSISTANT), "message 1 has no role"),
    "unknown role": (line({**USER, "role": "bot"}), "message 1 has the unknown role 'bot'"),
    "role no text": (line({**USER, "role": ["user"]}), "message 1 has the unknown role ['user']"),
    "developer": (line({**USER, "role": "developer"}), "write 'system'"),
    "no content": (line(USER, {"role": "assistant"}), "message 2 has no content"),
    "null content": (line(USER, {"role": "assistant", "content": None}), "message 2's content is null"),
    "empty content": (line(USER, {**ASSISTANT, "content": "\n "}), "message 2's content is empty"),
    "number content": (line(USER, {**ASSISTANT, "content": 4}), "message 2's content is a number"),
    "image": (line({**USER, "content": [{"type": "image_url"}]}, ASSISTANT), "parts of the kinds image_url"),
    "text parts": (
        line({**USER, "content": [{"type": "text", "text": "a"}]}, ASSISTANT),
        "is a list of parts",
    ),
    "no assistant": (line(USER), "no assistant message"),
    "user last": (line(USER, ASSISTANT, USER), "the last message is the user's"),
    "no user": (line(ASSISTANT), "no user message"),
    "weight 2": (line(USER, {**ASSISTANT, "weight": 2}), "message 2 has weight 2"),
    "weight 0.5": (line(USER, {**ASSISTANT, "weight": 0.5}), "message 2 has weight 0.5"),
    "weight true": (line(USER, {**ASSISTANT, "weight": True}), "message 2 has weight True"),
    "weight null": (line(USER, {**ASSISTANT, "weight": None}), "message 2 has weight None"),
    "name": (line({**USER, "name": 4}, ASSISTANT), "message 1 has a name that is a number"),
    "unknown key": (
        line(USER, {**ASSISTANT, "wieght": 0}),
        "message 2 (assistant) has an unknown key 'wieght'",
    ),
    "user's weight": (line({**USER, "weight": 0}, ASSISTANT), "message 1 (user) has an unknown key 'weight'"),
    "id null": (line(USER, ASSISTANT, id=None), "the id None is no name"),
    "id empty": (line(USER, ASSISTANT, id=" "), "the id ' ' is no name"),
    "id true": (line(USER, ASSISTANT, id=True), "the id True is no name"),
}


@pytest.mark.parametrize(("text", "says"), BAD.values(), ids=BAD)
def test_a_line_that_cannot_be_used_is_named_with_its_reason_and_mend(text: str, says: str) -> None:
    with pytest.raises(DataError, match=re.escape(says)) as caught:
        parse_rows([GOOD, "", text, GOOD], "data/train.jsonl")
    shown = str(caught.value)
    assert caught.value.where == "data/train.jsonl:3"
    assert shown.startswith("data/train.jsonl:3: ")
    assert "\n  hint: " in shown
    assert len(shown) < 400


def test_ten_bad_lines_are_shown_and_the_rest_counted() -> None:
    with pytest.raises(DataError) as caught:
        parse_rows([GOOD, *["[]"] * 13, GOOD], "f.jsonl")
    shown = str(caught.value)
    assert shown.startswith("f.jsonl:2: 13 lines cannot be used:")
    assert re.findall(r"^  f\.jsonl:(\d+): not an object", shown, re.M) == [str(n) for n in range(2, 12)]
    assert "and 3 more" in shown
    assert shown.count("\n") < 20


@pytest.mark.parametrize("lines", [[], ["\n"], ["", "  ", "\t"]])
def test_a_file_without_rows_says_that_it_is_an_empty_held_out_set(lines: list[str]) -> None:
    with pytest.raises(DataError, match=r"^f:\d: the file has no rows .*held-out set"):
        parse_rows(lines, "f")


def test_a_training_row_with_nothing_to_learn_is_named() -> None:
    learned = line(USER, {**ASSISTANT, "weight": 0}, USER, ASSISTANT)
    silent = line(USER, {**ASSISTANT, "weight": 0})
    require_supervised(parse_rows([learned, GOOD], "f"))
    with pytest.raises(DataError, match=r"^f:2: every assistant message has weight 0"):
        require_supervised(parse_rows([GOOD, silent], "f"))
