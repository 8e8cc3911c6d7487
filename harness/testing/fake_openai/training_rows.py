"""Training files, checked as the service checks them: after the job was made; the first bad example is named.

Written apart from ``harness.data`` on purpose: what one lets through, the other may find.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.records import Json, Message, Row

MIN_EXAMPLES = 10
MAX_EXAMPLES = 50_000_000
_ROW_KEYS = frozenset({"messages", "tools", "functions", "parallel_tool_calls"})
_MESSAGE_KEYS: Mapping[str, frozenset[str]] = {
    "system": frozenset({"role", "content", "name"}),
    "developer": frozenset({"role", "content", "name"}),
    "user": frozenset({"role", "content", "name"}),
    "assistant": frozenset(
        {"role", "content", "name", "weight", "tool_calls", "function_call", "refusal", "audio"}
    ),
    "tool": frozenset({"role", "content", "name", "tool_call_id"}),
    "function": frozenset({"role", "content", "name"}),
}
_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
)


@dataclass(frozen=True)
class BadFile(Exception):  # noqa: N818 - a finding; the job fails with it
    """Why a file cannot be trained on: the job error's code, and the message after its first words."""

    code: str
    message: str
    which: str = "training"


def training_rows(
    content: bytes, completions: bool, longest: int, count: Callable[[Row], int], least: int = MIN_EXAMPLES
) -> tuple[Row, ...]:
    """The rows of a file.

    Args:
        content: JSON Lines.
        completions: whether the model takes ``prompt`` and ``completion`` rather than ``messages``.
        longest: tokens that a row may have.
        count: counts a row's tokens.
        least: how many rows there must be.

    Raises:
        BadFile: with the first thing that is wrong.
    """
    objects = [_object(line, number) for number, line in _lines(content)]
    if objects:
        _require_form(objects[0], completions)
    rows = [_row(value, number, completions) for number, value in enumerate(objects, start=1)]
    if not least <= len(rows) <= MAX_EXAMPLES:
        raise BadFile(
            "invalid_n_examples", f"has {len(rows)} example(s), but must have at least {least} examples"
        )
    for number, row in enumerate(rows, start=1):
        tokens = count(row)
        if tokens > longest:
            raise _bad(f"Example {number} has {tokens} tokens, more than the {longest} that the model takes.")
    return tuple(rows)


def _bad(problem: str) -> BadFile:
    return BadFile("invalid_file", f"Invalid file format. {problem}")


def _lines(content: bytes) -> list[tuple[int, str]]:
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _bad(f"Example {line} is not UTF-8 (line {line})") from error
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _object(line: str, number: int) -> dict[str, Json]:
    try:
        value: Json = json.loads(line)
    except (ValueError, RecursionError) as error:
        why = f"Error: line contains invalid json: {error} (line {number})"
        raise _bad(f"Example {number} cannot be parsed. {why}") from error
    if not isinstance(value, dict):
        raise _bad(f"Line {number} is not a dictionary.")
    return value


def _require_form(first: Mapping[str, Json], completions: bool) -> None:
    has_pairs = "prompt" in first or "completion" in first
    if not has_pairs and "messages" not in first:
        raise BadFile(
            "invalid_file",
            "Unexpected file format, expected either prompt/completion pairs or chat messages.",
        )
    if has_pairs != completions:
        given, wanted = ("completion", "chat") if has_pairs else ("chat", "completion")
        raise _bad(f"Input file is in the fine-tune-{given} format, but the model takes fine-tune-{wanted}.")


def _row(value: Mapping[str, Json], number: int, completions: bool) -> Row:
    keys = frozenset({"prompt", "completion"}) if completions else _ROW_KEYS
    for key in ("prompt", "completion") if completions else ("messages",):
        if key not in value:
            raise _bad(f"Example {number} is missing key '{key}'.")
    _require_no_extra(value, keys, f"Example {number}")
    if completions:
        pair = [_text(value[key], f"Example {number}, '{key}'") for key in ("prompt", "completion")]
        messages: tuple[Message, ...] = (Message("user", pair[0]), Message("assistant", pair[1]))
    else:
        messages = _messages(value["messages"], f"Example {number}")
    return Row(f"row-{number}", messages, where=f"example {number}")


def _require_no_extra(value: Mapping[str, Json], known: frozenset[str], where: str) -> None:
    for key in value:
        if key not in known:
            raise _bad(f'{where} contains an extra "{key}".')


def _messages(value: Json, where: str) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise _bad(f"{where}: 'messages' must be a non-empty array.")
    messages = [_message(item, f"{where}, message {k}") for k, item in enumerate(value, start=1)]
    if messages[-1].role != "assistant":
        raise _bad(f"{where}: the last message must be from the assistant.")
    if not any(m.role == "assistant" and m.weight for m in messages):
        raise _bad(f"{where} has no assistant message with a weight of 1.")
    return tuple(messages)


def _message(value: Json, where: str) -> Message:
    if not isinstance(value, dict):
        raise _bad(f"{where} is not a dictionary.")
    role = value.get("role")
    if role is None:
        raise _bad(f"{where} Discriminator 'role' is missing in value")
    if not isinstance(role, str) or role not in _MESSAGE_KEYS:
        tags = ", ".join(f"'{known}'" for known in _MESSAGE_KEYS)
        raise _bad(f"{where} Value error, '{role}' is not one of {tags}")
    _require_no_extra(value, _MESSAGE_KEYS[role], where)
    weight = value.get("weight", 1)
    if type(weight) is not int or weight not in (0, 1):
        raise _bad(f"{where} has a weight that is neither 0 nor 1.")
    calls = value.get("tool_calls") or value.get("function_call")
    if calls and value.get("content") is None:
        return Message(role, "", weight)
    if "content" not in value:
        raise _bad(f"{where} is missing key 'content'.")
    return Message(role, _text(value["content"], where), weight)


def _text(value: Json, where: str) -> str:
    if isinstance(value, list):
        return "".join(_part(part, where) for part in value)
    if not isinstance(value, str):
        raise _bad(f"{where} has a content that is no string.")
    special = next((token for token in _SPECIAL if token in value), None)
    if special:
        raise _bad(f"{where} contains an invalid token: {special}.")
    return value


def _part(part: Json, where: str) -> str:
    if not isinstance(part, dict) or part.get("type") != "text":
        raise _bad(f"{where} has a content part that is no text.")
    return _text(part.get("text"), where)
