"""From rows back to JSON objects. A conversion that would lose something is refused."""

from __future__ import annotations

from harness.data.chat_rows import FORMAT_KEYS
from harness.errors import DataError
from harness.records import Message, Row


def to_json(row: Row, *, metadata: bool = True) -> dict[str, object]:
    """The chat object of a row, which reads as the same row again.

    What is the default is not written. Calls without an id, and their answers, are written in the
    deprecated form in which they came. Without ``metadata`` the ``id`` is left out too.

    Raises:
        DataError: metadata (of a prompt and completion row) under a name that the chat format has.
    """
    clash = [key for key in FORMAT_KEYS if key in row.metadata]
    if metadata and clash:
        problem = f"the metadata {clash[0]!r} would read as a part of the chat format"
        hint = f"rename {clash[0]!r} in the row, or leave metadata out"
        raise DataError(row.where or row.id, problem, hint)
    found: dict[str, object] = dict(row.metadata) if metadata else {}
    found["messages"] = [message_json(message) for message in row.messages]
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
        losses |= {f"the metadata {k!r}": k in row.metadata for k in ("prompt", "completion", *FORMAT_KEYS)}
    lost = [part for part, is_lost in losses.items() if is_lost]
    if lost:
        problem = f"as prompt and completion this row would lose {', '.join(lost)}"
        hint = "keep it in the chat format, or take that out of the row"
        raise DataError(row.where or row.id, problem, hint)
    user, assistant = row.messages
    rest = dict(row.metadata) if metadata else {}
    return {**rest, "prompt": user.content, "completion": assistant.content}


def message_json(message: Message) -> dict[str, object]:
    """One turn of the chat object."""
    found: dict[str, object] = {"role": message.role}
    if message.content or not message.tool_calls:
        found["content"] = message.content
    if message.name is not None:
        found["name"] = message.name
    if message.weight != 1:
        found["weight"] = message.weight
    functions = [(call.id, {"name": call.name, "arguments": call.arguments}) for call in message.tool_calls]
    calls = [{"id": id, "type": "function", "function": function} for id, function in functions if id]
    if len(calls) < len(functions):
        found["function_call"] = functions[-1][1]  # read after the calls with an id
    if calls:
        found["tool_calls"] = calls
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    return found
