"""Training files, checked as by the service: after the job was created, naming the first bad example.

Independent of ``harness.data`` on purpose, so that each may find what the other lets through.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, Required, cast

from openai.types.chat import ChatCompletionAssistantMessageParam, ChatCompletionMessageParam
from pydantic import Field
from typing_extensions import TypedDict

from harness.records import Json, Message, Row, ToolCall
from harness.testing.fake_openai.completions import CONTEXT_TOKENS, FakeModel
from harness.testing.fake_openai.refusals import HTTPRefusal, checked, missing, text_of

MIN_EXAMPLES = {"training": 10, "validation": 1}
_SPECIAL_TOKEN = re.compile(r"<\|(?:endoftext|im_start|im_end|fim_prefix|fim_middle|fim_suffix)\|>")


class WeightedReply(ChatCompletionAssistantMessageParam, total=False):
    """A reply that is trained on, or not; the SDK has no type for it."""

    weight: Literal[0, 1]


class ChatExample(TypedDict, total=False):
    """A row of a chat model's file."""

    messages: Required[Annotated[list[WeightedReply | ChatCompletionMessageParam], Field(min_length=1)]]
    tools: list[dict[str, Json]]
    functions: list[dict[str, Json]]
    parallel_tool_calls: bool


class PromptExample(TypedDict):
    """A row of a completion model's file."""

    prompt: str
    completion: str


def training_rows(
    content: bytes, model: FakeModel, count: Callable[[Row], int], which: Literal["training", "validation"]
) -> tuple[Row, ...]:
    """The rows of a file of JSON Lines; ``count`` counts a row's tokens.

    Raises:
        HTTPRefusal: the first problem, with which the job fails.
    """
    rows: list[Row] = []
    for number, line in enumerate(filter(bytes.strip, content.split(b"\n")), start=1):
        try:
            messages = _messages(json.loads(line.decode()), model.completions)
            rows.append(Row(f"row-{number}", messages, where=f"example {number}"))
            tokens = count(rows[-1])
            if tokens > CONTEXT_TOKENS:
                raise HTTPRefusal(
                    400, f"It has {tokens} tokens, more than the {CONTEXT_TOKENS} of the model."
                )
        except (HTTPRefusal, ValueError, RecursionError) as error:
            problem = error.message if isinstance(error, HTTPRefusal) else f"It is no JSON: {error}"
            message = f"The job failed due to an invalid {which} file. Example {number} is invalid. {problem}"
            raise HTTPRefusal(400, message, f"{which}_file", f"invalid_{which}_file") from error
    least = MIN_EXAMPLES[which]
    if len(rows) < least:
        has = f"{which.capitalize()} file has {len(rows)} example(s)"
        message = f"{has}, but must have at least {least} examples"
        raise HTTPRefusal(400, message, f"{which}_file", "invalid_n_examples")
    return tuple(rows)


def _messages(value: Json, completions: bool) -> tuple[Message, ...]:
    if completions:
        pair = checked(PromptExample, value)
        return Message("user", pair["prompt"]), Message("assistant", pair["completion"])
    messages = []
    for k, message in enumerate(checked(ChatExample, value)["messages"]):
        text = text_of(message.get("content"), f"messages[{k}].content")
        special = _SPECIAL_TOKEN.search(text)
        if special:
            raise HTTPRefusal(400, f"'messages[{k}]' contains an invalid token: {special[0]}.")
        if not (text or "content" in message or message.get("tool_calls") or message.get("function_call")):
            raise missing(f"messages[{k}].content")
        weight = cast("Literal[0, 1]", message.get("weight", 1))
        calls = cast("list[dict[str, Any]]", list(message.get("tool_calls") or ()))  # type: ignore[call-overload]
        made = [ToolCall(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in calls]
        messages.append(Message(message["role"], text, weight, tool_calls=tuple(made)))
    if messages[-1].role != "assistant":
        raise HTTPRefusal(400, "The last message must be from the assistant.")
    if not any(m.role == "assistant" and m.weight for m in messages):
        raise HTTPRefusal(400, "It has no assistant message with a weight of 1.")
    return tuple(messages)
