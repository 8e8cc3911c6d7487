"""Tool definitions and tool calls of a chat row, as the OpenAI chat format has them.

Calls are matched with the definitions that the row offers, and tools' messages with the calls that they
answer: a service refuses the whole file for one that does not match.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from harness.data.lines import Unusable, kind_of, shown
from harness.records import Json, Message, ToolCall

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
TOOL_FORM = 'write {"type": "function", "function": {"name": ..., "parameters": {...}}}'
CALL_FORM = 'write {"id": ..., "type": "function", "function": {"name": ..., "arguments": "{...}"}}'


def tools_of(value: Mapping[str, Json]) -> tuple[Mapping[str, Json], ...]:
    """The row's tools; the deprecated ``functions`` in today's form.

    Raises:
        Unusable: a definition without a usable name or parameters, or two of one name.
    """
    tools = _listed(value.get("tools"), "tools")
    functions = [{"type": "function", "function": f} for f in _listed(value.get("functions"), "functions")]
    checked = tuple(_tool(tool, f"tool {k}") for k, tool in enumerate([*tools, *functions], start=1))
    names = [name_of(tool) for tool in checked]
    for k, name in enumerate(names):
        if name in names[:k]:
            hint = "give every tool a name of its own"
            raise Unusable("bad-tool", f"two tools are called {shown(name)}", hint)
    return checked


def parallel_tool_calls_of(value: Mapping[str, Json]) -> bool | None:
    """Whether the assistant may call several tools in one turn; None where the row does not say.

    Raises:
        Unusable: it is neither true nor false.
    """
    given = value.get("parallel_tool_calls")
    if given is None or isinstance(given, bool):
        return given
    hint = "write true or false, or leave it out"
    raise Unusable("bad-tool", f"parallel_tool_calls is {shown(given)}", hint)


def name_of(tool: Mapping[str, Json]) -> str:
    """The name of a checked tool."""
    function = tool["function"]
    assert isinstance(function, Mapping)
    return str(function["name"])


def _listed(value: Json, what: str) -> list[Json]:
    if value is None:
        return []
    if isinstance(value, list):
        return value
    raise Unusable("bad-tool", f"{what!r} is {kind_of(value)}", "make it a list, or leave it out")


def _tool(tool: Json, at: str) -> Mapping[str, Json]:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(tool, dict) or tool.get("type") != "function" or not isinstance(function, dict):
        raise Unusable("bad-tool", f"{at} is no function: {shown(tool)}", TOOL_FORM)
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        hint = "use 1 to 64 letters, digits, underscores and hyphens"
        raise Unusable("bad-tool", f"{at} has the name {shown(name)}", hint)
    parameters = function.get("parameters", {})
    if not isinstance(parameters, dict):
        hint = "give a JSON Schema object"
        raise Unusable("bad-tool", f"{at}'s parameters are {kind_of(parameters)}", hint)
    return tool


# ------------------------------------------------------------------------------------------- calls
def calls_of(message: Mapping[str, Json], at: str) -> tuple[ToolCall, ...]:
    """The calls of an assistant's message; the deprecated ``function_call`` has an empty id.

    Raises:
        Unusable: a call without id, name or arguments, or arguments that are no JSON object.
    """
    calls = message.get("tool_calls")
    found: list[ToolCall] = []
    if calls is not None:
        if not isinstance(calls, list) or not calls:
            raise Unusable("bad-tool-call", f"{at}'s tool_calls are {kind_of(calls)}", "give a list of calls")
        for k, call in enumerate(calls, start=1):
            at_call = f"{at}'s tool call {k}"
            if not isinstance(call, dict) or call.get("type", "function") != "function":
                raise Unusable("bad-tool-call", f"{at_call} is no function call: {shown(call)}", CALL_FORM)
            call_id = call.get("id")
            if not isinstance(call_id, str) or not call_id:
                raise Unusable("bad-tool-call", f"{at_call} has no id", CALL_FORM)
            found.append(_called(call.get("function"), call_id, at_call))
    ids = {call.id for call in found}
    if len(ids) < len(found):
        raise Unusable("bad-tool-call", f"{at} has two calls of one id", "give every call an id of its own")
    old = message.get("function_call")
    if old is not None:
        found.append(_called(old, "", f"{at}'s function_call"))
    return tuple(found)


def _called(function: Json, call_id: str, at: str) -> ToolCall:
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str):
        raise Unusable("bad-tool-call", f"{at} names no function", CALL_FORM)
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        hint = 'write the JSON object as text: "{\\"key\\": 1}"'
        raise Unusable("bad-arguments", f"{at} has arguments that are {kind_of(arguments)}", hint)
    try:
        parsed = json.loads(arguments)
    except (ValueError, RecursionError) as error:
        problem = f"{at} has arguments that are not JSON: {shown(arguments)}"
        raise Unusable("bad-arguments", problem, "write a JSON object") from error
    if not isinstance(parsed, dict):
        problem = f"{at} has arguments that are {kind_of(parsed)}"
        raise Unusable("bad-arguments", problem, "write a JSON object")
    return ToolCall(call_id, name, arguments)


def require_matching(messages: Sequence[Message], tools: Sequence[Mapping[str, Json]]) -> None:
    """Check that every call names a tool that is offered, and that tools' messages answer calls.

    Raises:
        Unusable: a call without its tool, a tool's message without its call, or a call that another turn
            follows before it is answered. The calls of the last message need no answer.
    """
    names = {name_of(tool) for tool in tools}
    unanswered: dict[str, int] = {}  # calls by id, with the number of their message
    for k, message in enumerate(messages, start=1):
        if message.role in ("tool", "function"):
            # a deprecated function_call and its answer have no id
            key = (message.tool_call_id if message.role == "tool" else "") or ""
            if key not in unanswered:
                problem = f"message {k} answers {shown(key)}, which no call before it asked"
                hint = "give it the tool_call_id of a call in the assistant's message before it"
                raise Unusable("unmatched-tool-call", problem, hint)
            del unanswered[key]
            continue
        for key, number in unanswered.items():
            problem = f"message {number}'s call {shown(key)} has no answer"
            raise Unusable("unmatched-tool-call", problem, "add the tool's message right after it")
        for call in message.tool_calls:
            if call.name not in names:
                there = f"the row offers {', '.join(sorted(names))}" if names else "the row offers no tool"
                hint = "add its definition to 'tools', or correct the name"
                raise Unusable("unknown-tool", f"message {k} calls {shown(call.name)}; {there}", hint)
            unanswered[call.id] = k
