"""Training files, checked as by the service: after the job was created, naming the first bad example.

Independent of ``harness.data`` on purpose, so that each may find what the other lets through. The keys that a
message may have are those of the SDK's types.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from openai.types.chat import (
    ChatCompletionAssistantMessageParam,
    ChatCompletionDeveloperMessageParam,
    ChatCompletionFunctionMessageParam,
    ChatCompletionSystemMessageParam,
    ChatCompletionToolMessageParam,
    ChatCompletionUserMessageParam,
)

from harness.records import Json, Message, Row
from harness.testing.fake_openai.catalogue import FakeModel

MIN_EXAMPLES = {"training": 10, "validation": 1}
_ROW_KEYS = {"messages", "tools", "functions", "parallel_tool_calls"}
_PAIR_KEYS = {"prompt", "completion"}
_MESSAGE_KEYS = {
    "system": {*ChatCompletionSystemMessageParam.__annotations__},
    "developer": {*ChatCompletionDeveloperMessageParam.__annotations__},
    "user": {*ChatCompletionUserMessageParam.__annotations__},
    "assistant": {*ChatCompletionAssistantMessageParam.__annotations__, "weight"},
    "tool": {*ChatCompletionToolMessageParam.__annotations__},
    "function": {*ChatCompletionFunctionMessageParam.__annotations__},
}
_SPECIAL_TOKEN = re.compile(r"<\|(?:endoftext|im_start|im_end|fim_prefix|fim_middle|fim_suffix)\|>")


@dataclass(frozen=True)
class BadFile(Exception):  # noqa: N818 - the job fails with it
    """Why a job fails: code, message and param of its error."""

    code: str
    message: str
    param: str | None = None


def training_rows(
    content: bytes, model: FakeModel, count: Callable[[Row], int], which: Literal["training", "validation"]
) -> tuple[Row, ...]:
    """The rows of a file of JSON Lines; ``count`` counts a row's tokens.

    Raises:
        BadFile: with the first problem.
    """
    rows: list[Row] = []
    try:
        for number, line in enumerate(filter(bytes.strip, content.split(b"\n")), start=1):
            rows.append(_row(line, number, model.completions))
            tokens = count(rows[-1])
            if tokens > model.context_tokens:
                limit = model.context_tokens
                raise _BadRow(f"Example {number} has {tokens} tokens, more than the {limit} of the model.")
    except _BadRow as error:
        message = f"The job failed due to an invalid {which} file. Invalid file format. {error}"
        raise BadFile(f"invalid_{which}_file", message, f"{which}_file") from error
    least = MIN_EXAMPLES[which]
    if len(rows) < least:
        message = (
            f"{which.capitalize()} file has {len(rows)} example(s), but must have at least {least} examples"
        )
        raise BadFile("invalid_n_examples", message, f"{which}_file")
    return tuple(rows)


class _BadRow(Exception):  # noqa: N818 - becomes the BadFile
    """What is wrong with a row."""


def _row(line: bytes, number: int, completions: bool) -> Row:
    where = f"Example {number}"
    try:
        value: Json = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        reason = f"Error: line contains invalid json: {error} (line {number})"
        raise _BadRow(f"{where} cannot be parsed. {reason}") from error
    if not isinstance(value, dict):
        raise _BadRow(f"Line {number} is not a dictionary.")
    if "messages" in value if completions else not _PAIR_KEYS.isdisjoint(value):
        given, wanted = ("chat", "completion") if completions else ("completion", "chat")
        raise _BadRow(f"{where} is in the fine-tune-{given} format, but the model takes fine-tune-{wanted}.")
    _require_keys(value, _PAIR_KEYS if completions else _ROW_KEYS, where)
    if completions:
        prompt, completion = (_text(value, key, where) for key in ("prompt", "completion"))
        return Row(f"row-{number}", (Message("user", prompt), Message("assistant", completion)))
    given_messages = value.get("messages")
    if "messages" not in value:
        raise _BadRow(f"{where} is missing key 'messages'.")
    if not isinstance(given_messages, list) or not given_messages:
        raise _BadRow(f"{where}: 'messages' must be a non-empty array.")
    messages = []
    for position, message in enumerate(given_messages, start=1):
        at = f"{where}, message {position}"
        if not isinstance(message, dict):
            raise _BadRow(f"{at} is not a dictionary.")
        role = message.get("role")
        if role is None:
            raise _BadRow(f"{at} Discriminator 'role' is missing in value")
        if not isinstance(role, str) or role not in _MESSAGE_KEYS:
            raise _BadRow(f"{at} Value error, '{role}' is not one of {', '.join(_MESSAGE_KEYS)}")
        _require_keys(message, _MESSAGE_KEYS[role], at)
        weight = message.get("weight", 1)
        if type(weight) is not int or weight not in (0, 1):
            raise _BadRow(f"{at} has a weight that is neither 0 nor 1.")
        calls = message.get("tool_calls") or message.get("function_call")
        has_no_text = bool(calls) and message.get("content") is None
        messages.append(Message(role, "" if has_no_text else _text(message, "content", at), weight))
    if messages[-1].role != "assistant":
        raise _BadRow(f"{where}: the last message must be from the assistant.")
    if not any(m.role == "assistant" and m.weight for m in messages):
        raise _BadRow(f"{where} has no assistant message with a weight of 1.")
    return Row(f"row-{number}", tuple(messages), where=f"example {number}")


def _require_keys(value: dict[str, Json], known: set[str], where: str) -> None:
    for key in value:
        if key not in known:
            raise _BadRow(f'{where} contains an extra "{key}".')


def _text(value: dict[str, Json], key: str, where: str) -> str:
    """The text of ``value[key]``, which may be given as a list of text parts."""
    if key not in value:
        raise _BadRow(f"{where} is missing key '{key}'.")
    content = value[key]
    parts: list[Json] = [content]
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else None for part in content]
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) != len(parts):
        raise _BadRow(f"{where} has a content that is no string or list of text parts.")
    text = "".join(texts)
    special = _SPECIAL_TOKEN.search(text)
    if special:
        raise _BadRow(f"{where} contains an invalid token: {special[0]}.")
    return text
