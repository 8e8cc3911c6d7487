"""From a JSON object to a row: OpenAI's chat format, or ``prompt`` and ``completion``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches

from harness.data.findings import Unusable, kind_of, shown
from harness.data.tools import calls_of, require_matching, tools_of
from harness.records import Json, Message, Row

ROLES = ("system", "user", "assistant", "tool")
FORMAT_KEYS = ("messages", "tools", "functions", "parallel_tool_calls")
_KEYS_OF = dict.fromkeys((*ROLES, "function"), frozenset({"role", "content", "name"}))
_KEYS_OF["assistant"] |= {"weight", "tool_calls", "function_call"}
_KEYS_OF["tool"] |= {"tool_call_id"}
_LABELS = ({"message", "label"}, {"row", "side", "answer", "label"})  # of judges; of a run's answers
_PUBLIC = (frozenset({"conversations"}), frozenset({"query", "tools", "answers"}))  # ShareGPT, xLAM
_PREFERENCE = ({"preferred_output", "non_preferred_output"}, {"chosen", "rejected"})


def row_of(value: Mapping[str, Json], where: str, default_id: str) -> Row:
    """The row of an object; ``Unusable`` with the first thing that is wrong. Unknown keys are metadata."""
    for pair in _PREFERENCE:
        if pair <= value.keys():
            keys = " and ".join(sorted(pair))
            problem = f"a preference row ({keys}): made for DPO, not for supervised tuning"
            hint = "keep the preferred reply alone, as the assistant's message"
            raise Unusable("preference-row", problem, hint)
    row_id = value.get("id", default_id)
    if isinstance(row_id, int) and not isinstance(row_id, bool):
        row_id = str(row_id)
    if not (isinstance(row_id, str) and row_id.strip()):
        hint = "use text or an integer, or leave it out"
        raise Unusable("bad-id", f"the id {shown(row_id)} is no name", hint)
    if "messages" not in value:
        messages = _prompt_and_completion(value)
        metadata = {key: item for key, item in value.items() if key not in ("prompt", "completion")}
        return Row(row_id, messages, metadata, where)
    tools = tools_of(value) if "tools" in value or "functions" in value else ()
    turns = value["messages"]
    if not isinstance(turns, list):
        raise Unusable("no-messages", f"'messages' is {kind_of(turns)}", "make it a list of messages")
    if not turns:
        raise Unusable("no-messages", "no messages", "give at least a user and an assistant message")
    messages = tuple(_message(turn, f"message {number}") for number, turn in enumerate(turns, start=1))
    metadata = {key: item for key, item in value.items() if key not in FORMAT_KEYS}
    parallel = value.get("parallel_tool_calls")
    row = Row(row_id, messages, metadata, where, tools, parallel if isinstance(parallel, bool) else None)
    if row.uses_tools:
        require_matching(messages, tools)
    roles = [message.role for message in messages]
    if "assistant" not in roles:
        hint = "end the row with the reply a good assistant would give"
        raise Unusable("no-assistant", "no assistant message", hint)
    if "user" not in roles:
        raise Unusable("no-user", "no user message", "give the message that the assistant replies to")
    if roles[-1] != "assistant":
        problem = f"the last message is the {roles[-1]}'s, not the assistant's"
        raise Unusable("role-order", problem, "end the row with the reply")
    if parallel is not row.parallel_tool_calls:
        hint = "write true or false, or leave it out"
        raise Unusable("bad-tool", f"parallel_tool_calls is {shown(parallel)}", hint)
    return row


def public_form(keys: Collection[str]) -> frozenset[str] | None:
    """The keys of ShareGPT's or xLAM's form where an object, or a table, has them in place of messages."""
    return None if "messages" in keys else next((form for form in _PUBLIC if form <= set(keys)), None)


def uses_deprecated_functions(value: Mapping[str, Json]) -> bool:
    """Whether the object has the form that ``tools`` and ``tool_calls`` replaced."""
    messages = value.get("messages")
    turns = messages if isinstance(messages, list) else []
    return bool(value.get("functions")) or any(
        isinstance(m, dict) and (m.get("function_call") is not None or m.get("role") == "function")
        for m in turns
    )


def _prompt_and_completion(value: Mapping[str, Json]) -> tuple[Message, ...]:
    missing = [key for key in ("prompt", "completion") if key not in value]
    if len(missing) == 1:
        raise Unusable("missing-key", f"no {missing[0]!r}", "give both 'prompt' and 'completion'")
    if missing and any(keys <= value.keys() for keys in _LABELS):
        problem = "a label, which says what people think of a reply, and no conversation to learn from"
        hint = "a judge (labels=...) and `harness decide` read labels: name the file with the rows here"
        raise Unusable("labels-file", problem, hint, ends_file=True)
    if missing and public_form(value):
        problem = "no 'messages'; it has the form of ShareGPT or xLAM"
        raise Unusable("missing-key", problem, "write the file as rows with `harness convert FILE --to ...`")
    if missing:
        close = [key for key in value if get_close_matches(key, ("messages", "prompt", "completion"), n=1)]
        hint = f"; is {shown(close[0])} meant?" if close else ""
        raise Unusable("missing-key", f"no 'messages'{hint}", "give 'messages', or 'prompt' and 'completion'")
    prompt, completion = (_text(value[key], key) for key in ("prompt", "completion"))
    return Message("user", prompt), Message("assistant", completion)


def _message(value: Json, at: str) -> Message:
    if not isinstance(value, dict):
        raise Unusable("no-messages", f"{at} is {kind_of(value)}", 'write {"role": ..., "content": ...}')
    role = value.get("role")
    if role is None:
        raise Unusable("unknown-role", f"{at} has no role", f"use one of {', '.join(ROLES)}")
    if not isinstance(role, str) or role not in _KEYS_OF:
        hint = "write 'system'" if role == "developer" else f"use one of {', '.join(ROLES)}"
        raise Unusable("unknown-role", f"{at} has the unknown role {shown(role)}", hint)
    known = _KEYS_OF[role]
    for key in value:
        if key not in known and value[key] is not None:
            problem = f"{at} ({role}) has an unknown key {shown(key)}"
            raise Unusable("unknown-key", problem, f"use only {', '.join(sorted(known))}")
    name = value.get("name")
    if name is not None and not (isinstance(name, str) and name.strip()):
        what = "empty" if isinstance(name, str) else kind_of(name)
        raise Unusable("bad-name", f"{at} has a name that is {what}", "make it text, or leave it out")
    weight = value.get("weight", 1)
    if type(weight) is not int or weight not in (0, 1):  # True and 1.0 equal 1, too
        hint = "use 0 (not learned) or 1, or leave it out"
        raise Unusable("bad-weight", f"{at} has weight {shown(weight)}", hint)
    call_id = value.get("tool_call_id") if role == "tool" else None
    if role == "tool" and not (isinstance(call_id, str) and call_id):
        hint = "give it the id of the call that it answers"
        raise Unusable("unmatched-tool-call", f"{at} has no tool_call_id", hint)
    has_calls = value.get("tool_calls") is not None or value.get("function_call") is not None
    calls = calls_of(value, at) if has_calls else ()
    if value.get("content") in (None, "") and (calls or role in ("tool", "function")):
        content = ""  # a turn may only call tools, and a tool may find nothing
    elif "content" not in value:
        raise Unusable("empty-content", f"{at} has no content", "give its text")
    else:
        content = _text(value["content"], f"{at}'s content")
    return Message(role, content, weight, name, calls, call_id)


def _text(value: Json, at: str) -> str:
    if isinstance(value, list):
        kinds = sorted({str(part.get("type")) for part in value if isinstance(part, dict)})
        is_text = kinds in ([], ["text"])
        what = "is a list of parts" if is_text else f"has parts of the kinds {', '.join(kinds)}"
        problem = f"{at} {what}; only plain text can be tuned and judged here"
        raise Unusable("multimodal", problem, "write it as one text")
    if not isinstance(value, str):
        raise Unusable("bad-content", f"{at} is {kind_of(value)}, not text", "write it as one text")
    if not value.strip():
        raise Unusable("empty-content", f"{at} is empty", "give its text, or leave the row out")
    return value
