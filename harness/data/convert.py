"""From rows back to JSON objects, and between the chat and the prompt and completion format.

A conversion that would lose something is refused; it never happens silently.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.errors import DataError
from harness.records import Json, Message, Row, ToolCall

_CHAT_KEYS = ("messages", "tools", "functions", "parallel_tool_calls")


def to_json(row: Row, *, metadata: bool = True) -> dict[str, object]:
    """The chat object of a row, which reads as the same row again.

    What is the default is not written: a weight of 1, no name, no tools. A turn that only calls tools
    has no ``content``. Calls without an id, and their answers, are written in the deprecated form
    (``functions``, ``function_call``) in which they came. Without ``metadata`` the ``id`` is left out too.

    Raises:
        DataError: metadata under a name that the chat format has a meaning of its own for (a prompt and
            completion row may have it).
    """
    clash = [key for key in _CHAT_KEYS if key in row.metadata]
    if metadata and clash:
        raise DataError(
            row.where or row.id,
            f"the metadata {clash[0]!r} would read as a part of the chat format",
            f"rename {clash[0]!r} in the row, or leave metadata out",
        )
    found: dict[str, object] = dict(row.metadata) if metadata else {}
    found["messages"] = [_message(message) for message in row.messages]
    deprecated = any(m.role == "function" or any(not c.id for c in m.tool_calls) for m in row.messages)
    if row.tools and deprecated:
        found["functions"] = [tool["function"] for tool in row.tools]
    elif row.tools:
        found["tools"] = [dict(tool) for tool in row.tools]
    if row.parallel_tool_calls is not None:
        found["parallel_tool_calls"] = row.parallel_tool_calls
    return found


def to_prompt_completion(row: Row, *, metadata: bool = True) -> dict[str, object]:
    """``prompt`` and ``completion`` of a row that is one user message and its reply, and nothing more.

    ``to_chat`` of it is ``to_json`` of the row.

    Raises:
        DataError: for any other row, naming the parts that would be lost.
    """
    roles = [message.role for message in row.messages]
    turns = len(roles) - roles.count("system")
    losses = {
        "the system message": "system" in roles,
        f"all but two of its {turns} turns": turns > 2,
        "its order of roles": turns <= 2 and [r for r in roles if r != "system"] != ["user", "assistant"],
        "a weight of 0": any(m.weight != 1 for m in row.messages),
        "names": any(m.name is not None for m in row.messages),
        "tools": row.uses_tools or any(m.tool_call_id is not None for m in row.messages),
        "'parallel_tool_calls'": row.parallel_tool_calls is not None,
    }
    if metadata:
        losses |= {f"the metadata {k!r}": k in row.metadata for k in ("prompt", "completion", *_CHAT_KEYS)}
    lost = [part for part, is_lost in losses.items() if is_lost]
    if lost:
        raise DataError(
            row.where or row.id,
            f"as prompt and completion this row would lose {', '.join(lost)}",
            "keep it in the chat format, or take that out of the row",
        )
    user, assistant = row.messages
    rest = dict(row.metadata) if metadata else {}
    return {**rest, "prompt": user.content, "completion": assistant.content}


def to_chat(value: Mapping[str, Json], where: str) -> dict[str, object]:
    """The chat object of one that has ``prompt`` and ``completion``; with its other keys.

    Raises:
        DataError: no text in ``prompt`` or ``completion``, or keys that would change their meaning.
    """
    for key in ("prompt", "completion"):
        if not isinstance(value.get(key), str):
            raise DataError(where, f"there is no text in {key!r}", "give both 'prompt' and 'completion'")
    clash = [key for key in _CHAT_KEYS if key in value]
    if clash:
        raise DataError(
            where,
            f"{clash[0]!r} beside 'prompt' and 'completion' has a meaning of its own in the chat format",
            f"rename {clash[0]!r}, or leave it out",
        )
    rest = {key: item for key, item in value.items() if key not in ("prompt", "completion")}
    messages = [
        {"role": "user", "content": value["prompt"]},
        {"role": "assistant", "content": value["completion"]},
    ]
    return {**rest, "messages": messages}


def _message(message: Message) -> dict[str, object]:
    found: dict[str, object] = {"role": message.role}
    if message.content or not message.tool_calls:
        found["content"] = message.content
    if message.name is not None:
        found["name"] = message.name
    if message.weight != 1:
        found["weight"] = message.weight
    for call in message.tool_calls:
        if not call.id:
            found["function_call"] = _function(call)
    calls = [{"id": c.id, "type": "function", "function": _function(c)} for c in message.tool_calls if c.id]
    if calls:
        found["tool_calls"] = calls
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    return found


def _function(call: ToolCall) -> dict[str, object]:
    return {"name": call.name, "arguments": call.arguments}
