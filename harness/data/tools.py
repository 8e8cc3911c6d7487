"""Tool definitions and tool calls of a chat row, as the OpenAI chat format has them.

Calls are matched with definitions and answers: a service refuses the whole file for one that does not match.
Every function raises ``Unusable`` for the first thing that is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from harness.data.findings import Unusable, kind_of, shown
from harness.records import Json, Message, ToolCall

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
TOOL_FORM = 'write {"type": "function", "function": {"name": ..., "parameters": {...}}}'
CALL_FORM = 'write {"id": ..., "type": "function", "function": {"name": ..., "arguments": "{...}"}}'


def tools_of(value: Mapping[str, Json]) -> tuple[Mapping[str, Json], ...]:
    """The row's tools, checked; the deprecated ``functions`` in today's form."""
    given: list[Json] = []
    for key in ("tools", "functions"):
        listed = value.get(key)
        if listed is not None and not isinstance(listed, list):
            raise Unusable("bad-tool", f"{key!r} is {kind_of(listed)}", "make it a list, or leave it out")
        given += [{"type": "function", "function": f} if key == "functions" else f for f in listed or ()]
    tools: list[Mapping[str, Json]] = []
    names: list[str] = []
    for k, tool in enumerate(given, start=1):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(tool, dict) or tool.get("type") != "function" or not isinstance(function, dict):
            raise Unusable("bad-tool", f"tool {k} is no function: {shown(tool)}", TOOL_FORM)
        name = function.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            hint = "use 1 to 64 letters, digits, underscores and hyphens"
            raise Unusable("bad-tool", f"tool {k} has the name {shown(name)}", hint)
        parameters = function.get("parameters", {})
        if not isinstance(parameters, dict):
            problem = f"tool {k}'s parameters are {kind_of(parameters)}"
            raise Unusable("bad-tool", problem, "give a JSON Schema object")
        tools.append(tool)
        names.append(name)
    for k, name in enumerate(names):
        if name in names[:k]:
            problem = f"two tools are called {shown(name)}"
            raise Unusable("bad-tool", problem, "give every tool a name of its own")
    return tuple(tools)


# ------------------------------------------------------------------------------------------- calls
def calls_of(message: Mapping[str, Json], at: str) -> tuple[ToolCall, ...]:
    """The calls of an assistant's message, checked; the deprecated ``function_call`` has an empty id."""
    calls, old = message.get("tool_calls"), message.get("function_call")
    if calls is not None and not (isinstance(calls, list) and calls):
        raise Unusable(
            "bad-tool-call",
            f"{at}'s tool_calls are {kind_of(calls) if calls else 'empty'}",
            "give a list of calls",
        )
    found: list[ToolCall] = []
    for k, call in enumerate(calls or (), start=1):
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
    if old is not None:
        found.append(_called(old, "", f"{at}'s function_call"))
    return tuple(found)


def _called(function: Json, call_id: str, at: str) -> ToolCall:
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str):
        raise Unusable("bad-tool-call", f"{at} names no function", CALL_FORM)
    arguments = function.get("arguments")
    if isinstance(arguments, dict):  # as many data sets have them
        arguments = json.dumps(arguments, ensure_ascii=False)
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
    """Check that each call names a tool that is offered and is answered by the next turns' tool messages.

    The calls of the last message need no answer.
    """
    functions = (tool["function"] for tool in tools)
    names = {str(function["name"]) for function in functions if isinstance(function, Mapping)}
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
