"""Public forms of tool-call data: ShareGPT's, as LLaMA-Factory writes it, and xLAM's (APIGen)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from harness.data.chat_rows import public_form
from harness.data.findings import Unusable, kind_of, shown
from harness.data.rows import parse_json
from harness.records import Json

_ROLES = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "dict": "object"}
_TYPES |= dict.fromkeys(("list", "tuple", "set"), "array")
_TYPES |= {kind: kind for kind in _TYPES.values()}
_OPTIONAL = re.compile(r"^optional\[(.*)\]$|,\s*optional$", re.IGNORECASE)
_HINT = 'write [{"name": ..., "arguments": {...}}] for calls, [{"name": ..., "parameters": {...}}] for tools'


class ToolForms:
    """Makes chat objects of objects in a public form, and passes others as they are.

    Tools and calls are JSON or its text. Names of functions have underscores for dots, which services refuse;
    ``renamed`` holds the new names by the old.
    """

    def __init__(self) -> None:
        self.renamed: dict[str, str] = {}

    def __call__(self, value: Mapping[str, Json]) -> Mapping[str, Json]:
        """The chat object; ``Unusable`` with the first thing that is wrong."""
        form = public_form(value)
        if form is None:
            return value
        own = [("human", value.get("query")), ("function_call", value.get("answers"))]
        turns = value.get("conversations", [{"from": source, "value": said} for source, said in own])
        if not isinstance(turns, list):
            raise Unusable("no-messages", f"'conversations' is {kind_of(turns)}", "make it a list of turns")
        found = {key: item for key, item in value.items() if key not in (*form, "system", "tools")}
        found["messages"] = self._messages([{"from": "system", "value": value.get("system")}, *turns])
        if tools := self._functions(value.get("tools") or [], "'tools'", "bad-tool"):
            tools = [{**tool, "parameters": _parameters(tool.get("parameters") or {})} for tool in tools]
            found["tools"] = [{"type": "function", "function": tool} for tool in tools]
        return found

    def _messages(self, turns: Sequence[Json]) -> list[dict[str, Json]]:
        """Observations answer the calls before them in order; calls join the assistant's turn before them."""
        messages: list[dict[str, Json]] = []
        waiting: list[str] = []  # ids of calls without an observation yet
        for k, turn in enumerate(turns):
            source, value = "", None
            if isinstance(turn, dict):
                source, value = str(turn.get("from")), turn.get("value")
            if source == "function_call":
                if not messages or messages[-1]["role"] != "assistant":
                    messages.append({"role": "assistant"})
                calls = messages[-1].setdefault("tool_calls", [])
                assert isinstance(calls, list)
                for function in self._functions(value, f"turn {k}", "bad-tool-call"):
                    waiting.append(f"call_{k}_{len(calls)}")
                    function = {"arguments": {}, **function}
                    calls.append({"id": waiting[-1], "type": "function", "function": function})
            elif source == "observation":
                text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                if not waiting:
                    problem = f"turn {k} observes what no function_call asked"
                    raise Unusable("unmatched-tool-call", problem, "put the function_call before it")
                messages.append({"role": "tool", "tool_call_id": waiting.pop(0), "content": text})
            elif source not in _ROLES:
                known = ", ".join((*_ROLES, "function_call", "observation"))
                raise Unusable("unknown-role", f"turn {k} is from {shown(source)}", f"use one of {known}")
            elif value or source != "system":
                messages.append({"role": _ROLES[source], "content": value})
        return messages

    def _functions(self, given: Json, at: str, code: str) -> list[dict[str, Json]]:
        """Tools or calls, from a list, one object or the JSON text of either; without OpenAI's frame."""
        try:
            listed = parse_json(given) if isinstance(given, str) else given
        except Unusable as error:
            raise Unusable(code, f"{at}: {error.problem}", _HINT) from error
        found = []
        for item in listed if isinstance(listed, list) else [listed]:
            function = item.get("function", item) if isinstance(item, dict) else item
            if not isinstance(function, dict) or not isinstance(name := function.get("name"), str):
                raise Unusable(code, f"{at}: {shown(item)} names no function", _HINT)
            if "." in name:
                self.renamed[name] = name.replace(".", "_")
            found.append({**function, "name": name.replace(".", "_")})
        return found


def _parameters(given: Json) -> Json:
    """Flat parameters as JSON Schema. Required are those without a default that are not called optional."""
    named = given if isinstance(given, dict) else {"": given}
    flat = {name: dict(value) for name, value in named.items() if isinstance(value, dict)}
    is_flat = all(isinstance(v.get("type", v.get("description")), str) for v in flat.values())
    if len(flat) < len(named) or not is_flat:  # JSON Schema
        return given
    required: list[str] = []
    for name, value in flat.items():
        kind, flag = str(value.pop("type", "")), value.get("required")
        is_optional = "default" in value or "optional" in kind.lower()
        if flag is True or (flag is not False and not is_optional):
            required.append(name)
        if isinstance(flag, bool):
            del value["required"]
        flat[name] = {**_typed(kind), **value}
    return {"type": "object", "properties": flat, "required": required}


def _typed(kind: str) -> dict[str, Json]:
    """One of Python's types in JSON Schema; the wider where there is no equal (``Union``, ``Callable``)."""
    name, _, inner = _OPTIONAL.sub(r"\1", kind.strip()).partition("[")
    found = _TYPES.get(name.lower())
    if found == "array":
        return {"type": found, "items": _typed(inner[:-1])}
    return {"type": found} if found else {}
