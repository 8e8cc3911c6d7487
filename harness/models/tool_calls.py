"""How a base's chat template writes tool calls, found by rendering marked ones, and how replies are read.

No list of families is kept: a format is what two marked calls look like, and it is taken only where calls
that the template writes are read back as the same. Readers are as tolerant as servers' are (white space, the
order of keys), so that a base that was not tuned is not marked down for it.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

from harness.models.chat import TurnsError
from harness.models.protocol import Tools
from harness.records import Json, ToolCall

RULES = 3  # raised when the same reply is read as other calls: answers are kept as they were read
_ONE, _TWO, _KEY, _NEXT, _VALUE = "qz4one", "qz8two", "qz5key", "qz7key", "Qz6value"
_NAME = r"([A-Za-z0-9_.-]+)"
_MOST_REFERENCES = 8  # of a type to another: they may go in circles
_PARAMETERS = {"type": "object", "properties": {_KEY: {"type": "string"}, _NEXT: {"type": "integer"}}}
_OFFERED = [
    {"type": "function", "function": {"name": name, "description": "Qz9does", "parameters": _PARAMETERS}}
    for name in (_ONE, _TWO)
]
PROBE_TOOLS = Tools(json.dumps(_OFFERED))
_ARGUMENTS: dict[str, Json] = {_KEY: _VALUE, _NEXT: 12}
PROBES = (
    ToolCall("qz0000001", _ONE, json.dumps(_ARGUMENTS)),
    ToolCall("qz0000002", _TWO, json.dumps({_KEY: "Qz3other", _NEXT: 7})),
)

Found = tuple[str, Mapping[str, Json]]  # the name and the arguments of a call


class ToolsError(TurnsError):
    """A chat template has no place for tools, or no calls that can be read back."""

    hint = (
        "choose a base whose chat template takes tools (Qwen 2.5 and later, Llama 3.1 and later, SmolLM3), or"
        " leave the rows with tools out"
    )


class _Reader(Protocol):
    def read(self, body: str, tools: Tools) -> list[Found]:
        """The calls of a text that begins with the opener; ``ValueError`` where it holds something else."""


@dataclass(frozen=True, slots=True)
class CallFormat:
    """One template's: ``opener`` is the first mark of calls."""

    opener: str
    reader: _Reader

    def read(self, text: str, tools: Tools) -> tuple[str, tuple[ToolCall, ...]] | None:
        """What a reply says before its calls, and the calls; None where it makes none."""
        at = text.find(self.opener)
        if at < 0:
            return None
        said = text[:at]
        try:
            calls = tuple(
                ToolCall(f"call_{k}", name, json.dumps(given, ensure_ascii=False))
                for k, (name, given) in enumerate(self.reader.read(text[at:], tools))
            )
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):  # of a hostile reply
            return None
        return (said.strip(), calls) if calls else None


def call_format(write: Callable[[Sequence[ToolCall]], str]) -> CallFormat:
    """The format in which ``write`` gives a reply that makes calls.

    Raises:
        ToolsError: it is none that can be read back.
        TurnsError: ``write`` does.
    """
    one = write(PROBES[:1])
    try:
        two = write(PROBES)
    except TurnsError:  # some take a single call a turn
        two = ""
    for shaped in (_objects, _named, _tagged, _python, _quoted):
        found = shaped(one, two)
        if found is not None and _same(found, one, PROBES[:1]):
            return found
    raise ToolsError(
        "it leaves out the calls that a turn makes"
        if _ONE not in one
        else f"it writes calls in a form that is not read here: {one.strip()[:120]!r}"
    )


def _same(found: CallFormat, text: str, calls: Sequence[ToolCall]) -> bool:
    read = found.read(text, PROBE_TOOLS)
    pairs = [(call.name, json.loads(call.arguments)) for call in calls]
    return read is not None and [(c.name, json.loads(c.arguments)) for c in read[1]] == pairs


def _flexible(text: str) -> str:
    """A pattern of a text whose white space may differ."""
    return r"\s*".join(["", *map(re.escape, text.split()), ""])


def _shared(one: str, other: str) -> str:
    """What both texts begin with."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(character for character, _ in pairs)


# --------------------------------------------------------------------------- a JSON object a call
@dataclass(frozen=True, slots=True)
class _Objects:
    """Hermes, Qwen 2.5 and 3, Llama 3, Mistral 7B, Granite: ``{"name": ..., "arguments": {...}}``."""

    name: str
    arguments: str
    opener: str  # stands before them; where there is none, nothing but calls may

    def read(self, body: str, tools: Tools) -> list[Found]:
        """See ``_Reader``."""
        found: list[Found] = []
        at, decoder = 0, json.JSONDecoder()
        body = body.removeprefix(self.opener or "<|python_tag|>").strip()
        while (begun := re.compile(r"[{\[]").search(body, at)) is not None:
            if not self.opener and body[at : begun.start()].strip(" ,;\n"):
                break
            value, at = decoder.raw_decode(body, begun.start())
            found += self._calls(value)
        if not self.opener and body[at:].strip(" ,;\n"):
            raise ValueError("text beside the calls")
        return found

    def _calls(self, value: Json) -> Iterator[Found]:
        if isinstance(value, list):
            for item in value:
                yield from self._calls(item)
        elif isinstance(value, dict) and self.name in value:
            given = value.get(self.arguments)
            given = json.loads(given) if isinstance(given, str) else given
            if not isinstance(given, dict):
                raise ValueError("arguments that are no object")
            yield str(value[self.name]), given
        elif isinstance(value, dict) and len(value) <= _WRAPPED:
            for item in value.values():
                yield from self._calls(item)


_WRAPPED = 3  # keys of {"type": "function", "function": {...}}, and an id


def _objects(one: str, two: str) -> CallFormat | None:
    decoder = json.JSONDecoder()
    for begun in re.finditer(r"[{\[]", one):
        try:
            value, _ = decoder.raw_decode(one, begun.start())
        except ValueError:
            continue
        keys = _keys(value)
        if keys is not None:
            opener = one[: begun.start()].strip()
            return CallFormat(opener, _Objects(*keys, opener))
    return None


def _keys(value: Json) -> tuple[str, str] | None:
    """The keys of a call's name and arguments, however deep."""
    items = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    if isinstance(value, dict):
        name = next((key for key, item in value.items() if item == _ONE), None)
        given = next((k for k, v in value.items() if v in (_ARGUMENTS, PROBES[0].arguments)), None)
        if name is not None and given is not None:
            return name, given
    return next((keys for item in items if (keys := _keys(item)) is not None), None)


# --------------------------------------------------------------------------- a name, then a JSON object
@dataclass(frozen=True, slots=True)
class _Named:
    """Mistral Small 3, DeepSeek V3: a name and, after a mark, a JSON object."""

    before: str  # patterns: before a name, and between it and its arguments
    between: str

    def read(self, body: str, tools: Tools) -> list[Found]:
        """See ``_Reader``."""
        found: list[Found] = []
        at = 0
        while (begun := re.compile(self.before + _NAME + self.between).search(body, at)) is not None:
            value, at = json.JSONDecoder().raw_decode(body, begun.end())
            if not isinstance(value, dict):
                raise ValueError("arguments that are no object")
            found.append((begun[1], value))
        return found


def _named(one: str, two: str) -> CallFormat | None:
    name, given = one.find(_ONE), one.find(PROBES[0].arguments)
    if name < 0 or given < name:
        return None
    between = one[name + len(_ONE) : given]
    opener, before = _border(one[:name], two, PROBES[0].arguments)
    between = _flexible(between).replace(PROBES[0].id, r"\w+")
    return CallFormat(opener, _Named(_flexible(before), between))


def _border(begun: str, two: str, ended: str) -> tuple[str, str]:
    """The first mark of a reply's calls, and what stands before each: the end of what is before the first.

    ``ended`` is the end of a call's arguments in ``two``, a reply of two calls.
    """
    begun, second = begun.strip(), two[: max(0, two.find(_TWO))].rstrip()
    shared = _shared(begun[::-1], second[second.rfind(ended) + len(ended) :][::-1])[::-1]
    marked = re.search(r"[<\[].*", shared, re.DOTALL)
    first = re.match(r"<[^<>]*>|\[[^\]]*\]", begun)
    return first[0] if first else begun, marked[0] if marked else begun


# --------------------------------------------------------------------------- a tag an argument
@dataclass(frozen=True, slots=True)
class _Tagged:
    """Qwen 3 Coder, Nemotron, GLM 4.5: a tag for each argument, whose text is typed by the tool's schema."""

    before: str  # a name
    key: str  # before a key
    value: str  # between a key and its value
    end: str  # after a value

    def read(self, body: str, tools: Tools) -> list[Found]:
        """See ``_Reader``."""
        found: list[Found] = []
        begun = list(re.finditer(_flexible(self.before) + _NAME, body))
        one = re.compile(
            f"{re.escape(self.key)}([^<>]+?){_line(self.value)}(.*?){_line(self.end)}", re.DOTALL
        )
        for k, call in enumerate(begun):
            inside = body[call.end() : begun[k + 1].start() if k + 1 < len(begun) else len(body)]
            kinds = _kinds(tools, call[1])
            given = {m[1].strip(): _typed(m[2], kinds.get(m[1].strip())) for m in one.finditer(inside)}
            found.append((call[1], given))
        return found


def _line(mark: str) -> str:
    """A pattern of a mark; a line end at its border may be missing."""
    first, last = (r"\n?" if mark[at] == "\n" else "" for at in (0, -1))
    return first + re.escape(mark.strip("\n")) + last


def _kinds(tools: Tools, name: str) -> Mapping[str, Json]:
    """The JSON type of each argument of a tool, as far as its schema says."""
    for tool in tools.definitions:
        function = tool.get("function")
        if isinstance(function, Mapping) and function.get("name") == name:
            parameters = function.get("parameters")
            whole: Mapping[str, Json] = parameters if isinstance(parameters, Mapping) else {}
            properties = whole.get("properties")
            if isinstance(properties, Mapping):
                return {key: _kinds_of(v, whole) for key, v in properties.items()}
    return {}


def _kinds_of(schema: Json, whole: Mapping[str, Json], depth: int = 0) -> list[Json]:
    """The JSON types that a schema allows, by its type, its values, its alternatives or what it refers to."""
    if not isinstance(schema, Mapping) or depth > _MOST_REFERENCES:
        return []
    kind, listed, target = schema.get("type"), schema.get("enum"), schema.get("$ref")
    if kind is not None:
        return kind if isinstance(kind, list) else [kind]
    values = listed if isinstance(listed, list) else [schema["const"]] if "const" in schema else []
    if values:
        return [{str: "string", type(None): "null"}.get(type(value), "other") for value in values]
    if isinstance(target, str) and target.startswith("#/"):
        found: Json = whole
        for part in target.removeprefix("#/").split("/"):
            found = found.get(part) if isinstance(found, Mapping) else None
        return _kinds_of(found, whole, depth + 1)
    either = schema.get("anyOf", schema.get("oneOf"))
    inner = either if isinstance(either, list) else []
    return [one for part in inner for one in _kinds_of(part, whole, depth + 1)]


def _typed(text: str, kind: Json) -> Json:
    kinds = kind if isinstance(kind, list) else [kind]
    if "string" in kinds and all(one in ("string", "null") for one in kinds):
        return None if "null" in kinds and text.strip() in ("null", "None") else text
    plain = {"True": True, "False": False, "None": None}  # as Jinja writes them
    if text.strip() in plain:
        return plain[text.strip()]
    try:
        value: Json = json.loads(text)
    except ValueError:
        return text
    return value


def _tagged(one: str, two: str) -> CallFormat | None:
    places = [one.find(mark) for mark in (_ONE, _KEY, _VALUE, _NEXT)]
    last = one.find("12", places[-1])
    if min(*places, last) < 0 or places != sorted(places):
        return None
    name, key, value, next_key = places
    between = one[key + len(_KEY) : value]
    after, rest = one[value + len(_VALUE) : next_key], one[last + 2 :]
    end = _shared(after, rest)
    end = end[: max(end.rfind(">"), end.rfind("]")) + 1]
    opening = after[len(end) :].strip()
    if not end or not opening or not between:
        return None
    opener, before = _border(one[:name], two, end)
    return CallFormat(opener, _Tagged(before, opening, between, end))


# --------------------------------------------------------------------------- Python
@dataclass(frozen=True, slots=True)
class _Python:
    """LFM 2, Llama 4: ``[get_weather(city='Paris')]``."""

    opener: str
    closer: str

    def read(self, body: str, tools: Tools) -> list[Found]:
        """See ``_Reader``."""
        body = body.removeprefix(self.opener)
        written = ast.parse((body.partition(self.closer)[0] if self.closer else body).strip(), mode="eval")
        listed = written.body.elts if isinstance(written.body, ast.List) else [written.body]
        found: list[Found] = []
        for call in listed:
            if not isinstance(call, ast.Call) or call.args:
                raise ValueError("no call with named arguments")
            given = {str(word.arg): _literal(word.value) for word in call.keywords}
            found.append((ast.unparse(call.func), given))
        return found


def _literal(value: ast.expr) -> Json:
    names = {"true": True, "false": False, "null": None}
    for node in ast.walk(value):
        for field, inner in ast.iter_fields(node):
            items = inner if isinstance(inner, list) else [inner]
            changed = [
                ast.Constant(names[item.id]) if isinstance(item, ast.Name) and item.id in names else item
                for item in items
            ]
            setattr(node, field, changed if isinstance(inner, list) else changed[0])
    if isinstance(value, ast.Name) and value.id in names:
        return names[value.id]
    given: Json = ast.literal_eval(value)
    return given


def _python(one: str, two: str) -> CallFormat | None:
    begun = re.search(rf"\[?{_ONE}\({_KEY}\s*=", one)
    if begun is None:
        return None
    closed = re.search(r"\)\]?\s*(<[^<>]+>|\[/[^\[\]]+\])", one[begun.end() :])
    opener = one[: begun.start()].strip()
    return CallFormat(opener, _Python(opener, closed[1] if closed else ""))


# --------------------------------------------------------------------------- keys without quotes
@dataclass(frozen=True, slots=True)
class _Quoted:
    """Gemma 4, FunctionGemma: ``call:get_weather{city:<|"|>Paris<|"|>}``, with a mark for each quote."""

    quote: str

    def read(self, body: str, tools: Tools) -> list[Found]:
        """See ``_Reader``."""
        pieces = body.split(self.quote)
        # outside of quotes, keys are given theirs
        pieces[::2] = [
            re.sub(r"(?<=[{,])\s*([^\s{}\[\]:,\"]+)\s*:", r'"\1":', piece) for piece in pieces[::2]
        ]
        pieces[::2] = [re.sub(r"(?<=[:,\[])None\b", "null", piece) for piece in pieces[::2]]
        pieces[1::2] = [json.dumps(piece) for piece in pieces[1::2]]
        return _Named("call:", "").read("".join(pieces), tools)


def _quoted(one: str, two: str) -> CallFormat | None:
    found = re.search(rf"call:{_ONE}\{{{_KEY}:(.+?){_VALUE}", one)
    return None if found is None else CallFormat(one[: found.start()].strip(), _Quoted(found[1]))
