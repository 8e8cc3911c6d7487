"""Tool calls of local models: what a template writes is read back as the same calls, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from test_chat_formats import ROOM, family, read_back, templated
from tiny_llama import CALLS_TOOLS

from harness.errors import DataError, ModelError
from harness.models.askable import require_askable
from harness.models.chat import TurnsError
from harness.models.chat_format import Chat
from harness.models.protocol import Decoding, Prompt, Tools
from harness.models.tool_calls import ToolsError
from harness.records import Json, Message, Row, ToolCall, called
from harness.training.local.tokens import encode_row

PROPERTIES = {"city": {"type": "string"}, "days": {"type": "integer"}, "more": {"type": "object"}}
WEATHER = {"name": "get_weather", "parameters": {"type": "object", "properties": PROPERTIES}}
TOOLS = ({"type": "function", "function": WEATHER},)
OFFERED = Tools.of(Row("r", (), tools=TOOLS))
ASKED = Message("user", "How warm is it?")
NESTED: dict[str, Json] = {"a": [1, 2.5, True, None, "<é>\n"], "b": {}}
HERMES = "qwen2_5"


def call(id: str, **arguments: Json) -> ToolCall:
    return ToolCall(id, "get_weather", json.dumps(arguments))


def calling(*calls: ToolCall, said: str = "") -> Message:
    return Message("assistant", said, tool_calls=calls)


def row(*turns: Message) -> Row:
    return Row("r", (ASKED, *turns), tools=TOOLS, where="train.jsonl:1")


FOUND = Message("tool", '{"celsius": 3}', tool_call_id="call_aBc")
ROWS = {
    "a call": row(calling(call("call_aBc", days=2, city='Zürich "HB" \\ {x}'))),
    "nested values": row(calling(call("c", city="Paris", more=NESTED))),
    "no arguments": row(calling(call("c"))),
    "words": row(Message("assistant", "In which city?")),
    "its answer": row(calling(call("call_aBc", city="Paris")), FOUND, Message("assistant", "3 degrees.")),
    "one after another": row(
        calling(call("call_aBc", city="Paris")), FOUND, calling(call("d", city="Lyon", days=1))
    ),
}
TWICE = row(calling(call("c", city="Paris"), call("d", city="Lyon")))


def read_as(chat: Chat, row: Row) -> list[str]:
    """The learnt replies of a row, each read as an answer is."""
    found = []
    for example in encode_row(chat, row, ROOM):
        ids = [label for label in example.labels if label != -100]
        while (stop := chat.stop(ids)) is not None:
            found.append(chat.answered(ids[:stop], OFFERED)[0].strip())
            ids = ids[stop + 1 :]
    return found


def references(row: Row) -> list[str]:
    return [
        called(m.content, m.tool_calls) if m.tool_calls else m.content
        for m in row.messages
        if m.role == "assistant"
    ]


# --------------------------------------------------------------------------- families
@pytest.mark.parametrize(
    "name",
    [HERMES, "qwen3", "llama3_1", "qwen3_5_nothink", "nemotron_3_nano", "glm4moe", "lfm2_v2", "gemma4_v5"],
)
def test_calls_are_learnt_as_the_template_writes_them_and_read_back(name: str) -> None:
    chat = Chat(family(name))
    for example in (*ROWS.values(), *([] if name == "llama3_1" else [TWICE])):
        assert read_as(chat, example) == references(example)


def test_a_thinking_fine_tune_learns_its_thought_and_its_call() -> None:
    chat = Chat(family("qwen3"), thinking=True)
    thoughtful = row(calling(call("c", city="Paris"), said="<think>\nParis, says <tool_call>.\n</think>\n\n"))
    assert read_back(chat, encode_row(chat, thoughtful, ROOM))
    (read,) = read_as(chat, thoughtful)
    assert read.splitlines()[-1] == '[{"name": "get_weather", "arguments": {"city": "Paris"}}]'


@pytest.mark.parametrize("name", ["gemma", "llama3", "phi3", "smolvlm", "deepseek_r1_distill", "gptoss"])
def test_a_template_without_tools_is_refused_by_name_before_training(name: str) -> None:
    chat = Chat(family(name), name="small")
    with pytest.raises(DataError, match=r"train.jsonl:1: the chat template of small .*\n.*takes tools"):
        encode_row(chat, ROWS["a call"], ROOM)
    with pytest.raises(ModelError, match=r"suite s, row r: the chat template of small .*\n.*takes tools"):
        require_askable(chat, "s", [Prompt("r", (ASKED,), tools=OFFERED)], Decoding())


def test_what_a_template_does_not_write_is_refused_by_its_row() -> None:
    with pytest.raises(DataError, match="single tool-calls at once"):
        encode_row(Chat(family("llama3_1")), TWICE, ROOM)
    beside = row(calling(call("c", city="Paris"), said="Let me look."))
    with pytest.raises(DataError, match="no text beside them"):
        encode_row(Chat(family("llama3_1")), beside, ROOM)
    assert read_as(Chat(family(HERMES)), beside) == references(beside)


def test_arguments_that_a_template_garbles_are_refused() -> None:
    template = CALLS_TOOLS.replace("call.function | tojson", "call.function.name")
    with pytest.raises(ToolsError, match="writes calls in a form that is not read here: '<call>qz4one'"):
        _ = Chat(templated(template)).calls


# --------------------------------------------------------------------------- replies of models
def said(name: str, text: str) -> Sequence[ToolCall] | None:
    read = Chat(family(name)).calls.read(text, Tools(json.dumps(TOOLS)))
    return None if read is None else read[1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (HERMES, '<tool_call>{"arguments":{"city":"Paris"},"name":"get_weather"}</tool_call>'),
        (HERMES, 'Sure.\n<tool_call>\n{"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}'),
        ("llama3_1", '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Paris"}}'),
        (
            "qwen3_5_nothink",
            "<tool_call><function=get_weather><parameter=city>Paris</parameter></function>",
        ),
        ("lfm2_v2", '<|tool_call_start|>get_weather(city="Paris")<|tool_call_end|>Done.'),
    ],
)
def test_calls_in_other_words_than_the_template_s_are_read(name: str, text: str) -> None:
    (made,) = said(name, text) or ()
    assert (made.name, json.loads(made.arguments)) == ("get_weather", {"city": "Paris"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (HERMES, '{"name": "get_weather", "arguments": {}}'),
        (HERMES, '<tool_call>{"name": "get_weather", "argum'),
        (HERMES, '<tool_call>{"name": "get_weather", "arguments": [1]}</tool_call>'),
        (HERMES, "<tool_call>" + "[" * 100_000),
        ("llama3_1", 'I call {"name": "get_weather", "parameters": {}}'),
        ("llama3_1", '{"city": "Paris"}'),
        ("lfm2_v2", "<|tool_call_start|>[get_weather(city=open('/etc/passwd').read())]<|tool_call_end|>"),
        ("lfm2_v2", "<|tool_call_start|>[get_weather('Paris')]<|tool_call_end|>"),
        ("lfm2_v2", "<|tool_call_start|>[get_weather(city={1, 2})]<|tool_call_end|>"),
        ("lfm2_v2", "<|tool_call_start|>" + "(" * 10_000),
        ("gemma4_v5", '<|tool_call>call:get_weather{city:<|"|>Paris'),
    ],
)
def test_what_is_no_call_stays_text(name: str, text: str) -> None:
    assert said(name, text) is None


def test_tools_are_part_of_what_a_prompt_is_kept_under() -> None:
    chat = Chat(family(HERMES))
    other = Tools(json.dumps([{"type": "function", "function": {"name": "f"}}]))
    asked = [Prompt("r", (ASKED,), tools=tools) for tools in (None, OFFERED, other)]
    assert len({found.digest for found in chat.read(asked)}) == 3


def test_a_prompt_without_tools_is_what_it_was() -> None:
    with pytest.raises(TurnsError, match="leaves out the tools"):
        Chat(family("gemma")).prompt((ASKED,), OFFERED)
    assert Chat(family("gemma")).prompt((ASKED,))
