"""Structured output, rehearsed: what a model says, made to satisfy the schema where it does not.

A real service lets the model choose within the schema. The twin's model is too small to keep to one, so here
strings are what it said and every choice follows from a hash of that: the shape is right, the judgment none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace

from harness.records import Json
from harness.testing.fake_openai.backend import Question, Reply
from harness.testing.fake_openai.parameters import Body, mapping, one_of, require_known, required_text
from harness.testing.fake_openai.refusals import Refusal, missing_parameter

KINDS = ("text", "json_object", "json_schema")
ANY_OBJECT: Mapping[str, Json] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
}
MOST_DEPTH = 10
MOST_TOKENS = 16  # of what a model says that does not keep to schemas: only a string of it will be shown


def schema_of(body: Body) -> Mapping[str, Json] | None:
    """The schema that a request's ``response_format`` asks for; None for plain text.

    Raises:
        Refusal: a format that is none, or a strict schema that leaves something open.
    """
    given = mapping(body, "response_format")
    if given is None:
        return None
    require_known(given, ("type", "json_schema"), "response_format.")
    kind = one_of(given, "type", KINDS, "")
    if kind == "text":
        return None
    if kind == "json_object":
        return ANY_OBJECT
    wrapped = mapping(given, "json_schema")
    if wrapped is None:
        raise missing_parameter("response_format.json_schema")
    require_known(wrapped, ("name", "description", "schema", "strict"), "response_format.json_schema.")
    name = required_text(wrapped, "name")
    schema = mapping(wrapped, "schema") or {}
    _require_schema(schema, name)
    if wrapped.get("strict"):
        _require_closed(schema, name, ())
    return schema


def answered_within(question: Question, ask: Callable[[Question], Reply]) -> Reply:
    """The reply of a model that does not keep to schemas by itself, kept to the question's."""
    if question.schema is None:
        return ask(question)
    reply = ask(replace(question, max_tokens=min(question.max_tokens, MOST_TOKENS)))
    return replace(reply, text=within(question.schema, reply.text), finish="stop", tokens=None)


def within(schema: Mapping[str, Json], said: str) -> str:
    """What was said, where it satisfies the schema; else JSON that does."""
    from jsonschema import Draft202012Validator

    try:
        satisfied = Draft202012Validator(schema).is_valid(json.loads(said))
    except (ValueError, RecursionError):
        satisfied = False
    return said if satisfied else filled(schema, said)


def filled(schema: Mapping[str, Json], said: str) -> str:
    """JSON of the schema's shape."""
    chance = int.from_bytes(hashlib.sha256(said.encode()).digest()[:8], "big")
    return json.dumps(_value(schema, said.strip() or "(nothing was said)", chance, 0), ensure_ascii=False)


def _require_schema(schema: Mapping[str, Json], name: str) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise _invalid(name, tuple(map(str, error.path)), error.message) from error


def _require_closed(schema: Mapping[str, Json], name: str, at: tuple[str, ...]) -> None:
    properties = schema.get("properties")
    if schema.get("type") == "object":
        wanted = sorted(properties) if isinstance(properties, dict) else []
        if schema.get("additionalProperties") is not False:
            raise _invalid(name, at, "'additionalProperties' is required to be supplied and to be false.")
        given = schema.get("required")
        missing = [key for key in wanted if not isinstance(given, list) or key not in given]
        if missing:
            raise _invalid(
                name,
                at,
                "'required' is required to be supplied and to be an array including every key in properties."
                f" Missing '{missing[0]}'.",
            )
    for key, inner in (properties if isinstance(properties, dict) else {}).items():
        if isinstance(inner, dict):
            _require_closed(inner, name, (*at, "properties", key))


def _invalid(name: str, at: tuple[str, ...], why: str) -> Refusal:
    context = ", ".join(f"'{part}'" for part in at)
    message = f"Invalid schema for response_format '{name}': In context=({context}), {why}"
    return Refusal(400, message, "response_format", "invalid_json_schema")


def _value(schema: Json, said: str, chance: int, depth: int) -> Json:
    if not isinstance(schema, dict) or depth > MOST_DEPTH:
        return said
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return choices[chance % len(choices)]
    if "const" in schema:
        return schema["const"]
    either = schema.get("anyOf")
    if isinstance(either, list) and either:
        return _value(either[0], said, chance, depth + 1)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object":
        properties = schema.get("properties")
        inner = properties if isinstance(properties, dict) else {}
        return {key: _value(value, said, chance, depth + 1) for key, value in inner.items()}
    if kind == "array":
        return [_value(schema.get("items"), said, chance, depth + 1)]
    return _plain(kind, schema, said, chance)


def _plain(kind: Json, schema: Mapping[str, Json], said: str, chance: int) -> Json:
    if kind in ("integer", "number"):
        low, high = schema.get("minimum", 0), schema.get("maximum", 10)
        if isinstance(low, int | float) and isinstance(high, int | float) and high >= low:
            return int(low) + chance % (int(high) - int(low) + 1)
        return 0
    if kind == "boolean":
        return bool(chance % 2)
    return None if kind == "null" else said
