"""Rows from JSON Lines: OpenAI chat (``messages``) or ``prompt`` and ``completion``, checked line by line.

Every problem names ``file:line`` and the mend, and all lines are read before the first is reported.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NoReturn

from harness.errors import DataError
from harness.records import Json, Message, Row

ROLES = ("system", "user", "assistant")
MESSAGE_KEYS = ("role", "content", "weight", "name")
TOOL_KEYS = ("tool_calls", "tool_call_id", "function_call")
PROBLEMS_SHOWN = 10
VALUE_CHARACTERS_SHOWN = 40

ONE_OBJECT = 'write one JSON object a line, such as {"messages": [...]}'
NO_TOOLS = "leave this row out: tool calls cannot be trained or scored here yet"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why one line cannot be used, and what to do about it."""

    where: str  # file:line
    problem: str
    mend: str


class _Unusable(Exception):  # noqa: N818 - caught in parse_rows, where it gets its line
    """What is wrong with the line being read, before it is known which line that is."""

    def __init__(self, problem: str, mend: str) -> None:
        super().__init__(problem)
        self.problem, self.mend = problem, mend


def parse_rows(text_lines: Iterable[str], where: str) -> tuple[Row, ...]:
    """The rows of a JSON Lines text, in its order. ``where`` is the file's name, for messages.

    A row's ``id`` is its top-level ``id`` (text or an integer), else ``row-<line>``; lines count from 1
    and blank ones are skipped. Every top-level key but ``messages``, ``prompt``, ``completion`` and
    ``tools`` is metadata, ``id`` included. A message's ``name`` is checked and not kept.

    Raises:
        DataError: naming ``file:line`` for each line that cannot be used (one problem a line, ten
            lines at most, the rest counted), or when there is no row at all.
    """
    rows: list[Row] = []
    problems: list[Problem] = []
    line_of_id: dict[str, int] = {}
    number = 0
    for number, line in enumerate(text_lines, start=1):
        if not line.strip(" \t\r\n"):
            continue
        try:
            row = _row(_object(line), f"{where}:{number}", f"row-{number}")
            if row.id in line_of_id:
                raise _Unusable(
                    f"the id {_shown(row.id)} is also that of line {line_of_id[row.id]}",
                    "give every row an id of its own, or none",
                )
        except _Unusable as error:
            problems.append(Problem(f"{where}:{number}", error.problem, error.mend))
            continue
        line_of_id[row.id] = number
        rows.append(row)
    if problems:
        _raise(problems)
    if not rows:
        raise DataError(
            f"{where}:{max(number, 1)}",
            "the file has no rows (an empty training or held-out set)",
            ONE_OBJECT,
        )
    return tuple(rows)


def require_supervised(rows: Sequence[Row]) -> None:
    """Check that each training row has an assistant message to learn from.

    Raises:
        DataError: naming the rows whose assistant messages all have weight 0.
    """
    problems = [
        Problem(
            row.where or row.id,
            "every assistant message has weight 0, so there is nothing to learn",
            'give the last assistant message "weight": 1, or leave the row out',
        )
        for row in rows
        if not any(m.role == "assistant" and m.weight for m in row.messages)
    ]
    if problems:
        _raise(problems)


def _raise(problems: Sequence[Problem]) -> NoReturn:
    first = problems[0]
    if len(problems) == 1:
        raise DataError(first.where, first.problem, first.mend)
    shown = [f"  {p.where}: {p.problem}; {p.mend}" for p in problems[:PROBLEMS_SHOWN]]
    more = len(problems) - len(shown)
    tail = [f"  and {more} more"] if more else []
    listing = "\n".join([f"{len(problems)} lines cannot be used:", *shown, *tail])
    raise DataError(first.where, listing, "as said for each line")


# ------------------------------------------------------------------------------------------- JSON
def _object(line: str) -> dict[str, Json]:
    if line.startswith("\ufeff"):
        raise _Unusable("begins with a byte order mark", "save the file as UTF-8 without BOM")
    try:
        value: Json = json.loads(
            line,
            object_pairs_hook=_without_repeats,
            parse_constant=_no_number,
            parse_float=_finite,
        )
    except json.JSONDecodeError as error:
        raise _Unusable(f"not JSON at column {error.pos + 1}: {error.msg}", ONE_OBJECT) from error
    except ValueError as error:  # an integer of thousands of digits
        raise _Unusable(f"not a usable number: {error}", "write long digit strings in quotes") from error
    except RecursionError as error:
        raise _Unusable("nested too deeply", ONE_OBJECT) from error
    if not isinstance(value, dict):
        raise _Unusable(f"not an object but {_kind(value)}", ONE_OBJECT)
    if "\\ud" in line.lower():
        _require_unicode(value)
    return value


def _without_repeats(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for key, value in pairs:
        if key in found:
            raise _Unusable(f"the key {_shown(key)} stands twice in one object", "keep one of the two")
        found[key] = value
    return found


def _no_number(constant: str) -> NoReturn:
    raise _Unusable(f"{constant} is no JSON number", "write null, or leave the key out")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _Unusable(f"the number {_shown(digits)} is too large", "write it in quotes")
    return number


def _require_unicode(value: Json) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise _Unusable(
            f"{half} is half a surrogate pair, not a character",
            "write the character itself, or both halves",
        ) from error


# ------------------------------------------------------------------------------------------- rows
def _row(value: Mapping[str, Json], where: str, default_id: str) -> Row:
    if value.get("tools"):
        raise _Unusable("the row has tools", NO_TOOLS)
    if "messages" in value:
        used = {"messages", "tools"}
        messages = _messages(value["messages"])
    else:
        used = {"prompt", "completion", "tools"}
        messages = _prompt_and_completion(value)
    metadata = {key: item for key, item in value.items() if key not in used}
    return Row(_id(value, default_id), messages, metadata, where)


def _id(value: Mapping[str, Json], default: str) -> str:
    if "id" not in value:
        return default
    found = value["id"]
    if isinstance(found, str) and found.strip():
        return found
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    raise _Unusable(f"the id {_shown(found)} is no name", "use text or an integer, or leave it out")


def _prompt_and_completion(value: Mapping[str, Json]) -> tuple[Message, ...]:
    missing = [key for key in ("prompt", "completion") if key not in value]
    if len(missing) == 1:
        raise _Unusable(f"no {missing[0]!r}", "give both 'prompt' and 'completion'")
    if missing:
        close = [key for key in value if get_close_matches(key, ("messages", "prompt", "completion"), n=1)]
        hint = f"; is {_shown(close[0])} meant?" if close else ""
        raise _Unusable(f"no 'messages'{hint}", "give 'messages', or 'prompt' and 'completion'")
    return (
        Message("user", _text(value["prompt"], "prompt")),
        Message("assistant", _text(value["completion"], "completion")),
    )


def _messages(value: Json) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise _Unusable(f"'messages' is {_kind(value)}", "make it a list of messages")
    if not value:
        raise _Unusable("no messages", "give at least a user and an assistant message")
    messages = tuple(_message(item, f"message {number}") for number, item in enumerate(value, start=1))
    roles = [message.role for message in messages]
    if "assistant" not in roles:
        raise _Unusable("no assistant message", "end the row with the reply a good assistant would give")
    if roles[-1] != "assistant":
        raise _Unusable(
            f"the last message is the {roles[-1]}'s, not the assistant's", "end the row with the reply"
        )
    if "user" not in roles:
        raise _Unusable("no user message", "give the message that the assistant replies to")
    return messages


def _message(value: Json, at: str) -> Message:
    if not isinstance(value, dict):
        raise _Unusable(f"{at} is {_kind(value)}", 'write {"role": ..., "content": ...}')
    role = _role(value, at)
    for key in (key for key in value if key not in MESSAGE_KEYS and value[key] is not None):
        if key in TOOL_KEYS:
            raise _Unusable(f"{at} has {key!r}", NO_TOOLS)
        raise _Unusable(f"{at} has an unknown key {_shown(key)}", f"use only {', '.join(MESSAGE_KEYS)}")
    if not isinstance(value.get("name", ""), str):
        raise _Unusable(f"{at} has a name that is {_kind(value['name'])}", "make it text, or leave it out")
    if "content" not in value:
        raise _Unusable(f"{at} has no content", "give its text")
    return Message(role, _text(value["content"], f"{at}'s content"), _weight(value.get("weight", 1), at))


def _role(message: Mapping[str, Json], at: str) -> str:
    role = message.get("role")
    if role is None:
        raise _Unusable(f"{at} has no role", f"use one of {', '.join(ROLES)}")
    if role in ("tool", "function"):
        raise _Unusable(f"{at} is a tool's ({role!r})", NO_TOOLS)
    if not isinstance(role, str) or role not in ROLES:
        hint = "write 'system'" if role == "developer" else f"use one of {', '.join(ROLES)}"
        raise _Unusable(f"{at} has the unknown role {_shown(role)}", hint)
    return role


def _text(value: Json, at: str) -> str:
    if isinstance(value, list):
        raise _Unusable(
            f"{at} is a list of parts (images, audio, chat), which cannot be used here yet",
            "write it as one text",
        )
    if not isinstance(value, str):
        raise _Unusable(f"{at} is {_kind(value)}, not text", "write it as one text")
    if not value.strip():
        raise _Unusable(f"{at} is empty", "give its text, or leave the row out")
    return value


def _weight(value: Json, at: str) -> int:
    if type(value) is int and value in (0, 1):
        return value
    raise _Unusable(f"{at} has weight {_shown(value)}", "use 0 (not learned) or 1, or leave it out")


def _shown(value: Json) -> str:
    text = repr(value)
    return text if len(text) <= VALUE_CHARACTERS_SHOWN else f"{text[:VALUE_CHARACTERS_SHOWN]}…"


def _kind(value: Json) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
