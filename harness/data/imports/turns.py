"""Chat messages from the forms in which tools write them down: texts, messages, parts, responses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeAlias

from harness.data.findings import Unusable, kind_of, shown
from harness.records import Json

Turn: TypeAlias = dict[str, Json]

_ROLES = {"developer": "system", "model": "assistant", "human": "user", "ai": "assistant"}
_TEXTS = ("text", "input_text", "output_text")
_UNSAID = ("reasoning", "thinking", "redacted_thinking")  # thoughts are no part of a reply
_CALL_HINT = "only texts and calls of tools can be trained on"


def chat(asked: Json, replied: Json, **metadata: Json) -> Turn:
    """A chat object of what was asked and what was replied; ``Unusable`` where one of the two is no text.

    Metadata that is None is left out.
    """
    reply = turns(replied, "assistant")
    if not any(turn.get("content") or turn.get("tool_calls") for turn in reply):
        raise Unusable("no-assistant", "no reply", "log what the model replied")
    given = {key: value for key, value in metadata.items() if value is not None}
    return {**given, "messages": [*turns(asked, "user"), *reply]}


def turns(value: Json, role: str) -> list[Turn]:
    """The messages of ``value``: those of a list, of a response, of one message, or a text of ``role``.

    Raises:
        Unusable: it is none of these, or holds an image or a sound.
    """
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if isinstance(value, list):
        return [turn for item in value for turn in turns(item, role)]
    if not isinstance(value, dict):
        raise Unusable("no-messages", f"{kind_of(value)} in place of a message", "log texts or messages")
    if "messages" in value:
        return turns(value["messages"], role)
    if isinstance(choices := value.get("choices"), list) and choices and isinstance(choices[0], dict):
        return turns(choices[0].get("message"), role)
    if value.get("object") == "response":
        return turns(value.get("output"), role)
    if not {"role", "content", "parts"} & value.keys():
        raise Unusable("no-messages", f"an object with {shown(', '.join(value))} in it", _CALL_HINT)
    said = str(value.get("role") or role)
    return _message(value, _ROLES.get(said, said))


def _message(value: Mapping[str, Json], role: str) -> list[Turn]:
    content = value.get("parts", value.get("content"))
    parts = content if isinstance(content, list) else [] if content is None else [content]
    texts: list[str] = []
    answers: list[Turn] = []
    calls: list[Json] = [_call(call) for call in listed(value.get("tool_calls"))]
    for part in parts:
        kind = str(part.get("type", "text")) if isinstance(part, dict) else "text"
        if isinstance(part, str):
            texts.append(part)
        elif not isinstance(part, dict) or kind not in (*_TEXTS, *_UNSAID, "tool_call", "tool_call_response"):
            raise Unusable("multimodal", f"a message with {kind}", _CALL_HINT)
        elif kind == "tool_call":
            calls.append(_call(part))
        elif kind == "tool_call_response":
            answer = {
                "role": "tool",
                "tool_call_id": part.get("id"),
                "content": as_text(part.get("response")),
            }
            answers.append(answer)
        elif kind in _TEXTS:
            texts.append(as_text(part.get("text", part.get("content"))))
    if answers:
        return answers
    found: Turn = {"role": role, "content": "\n".join(texts)}
    if calls:
        found["tool_calls"] = calls
    if role == "tool":
        found["tool_call_id"] = value.get("tool_call_id")
    return [found]


def _call(value: Json) -> Json:
    call = mapping(value)
    stated = mapping(call.get("function")) or call
    named: Turn = {"name": stated.get("name"), "arguments": as_text(stated.get("arguments", {}))}
    return {"id": call.get("id"), "type": "function", "function": named}


def listed(value: Json) -> list[Json]:
    """The list that a value is, else an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: Json) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def mapping(value: Json) -> Mapping[str, Json]:
    """The object that a value is, else an empty one."""
    return value if isinstance(value, dict) else {}
