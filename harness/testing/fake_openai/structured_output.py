"""Structured output: requested schemas, and answers made to satisfy them.

A real service lets the model choose within the schema. Neither a script nor the small built-in model keeps to
one, so strings become the model's words and every choice follows from a hash of them: the shape is right, the
judgment is arbitrary.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from harness.records import Json
from harness.testing.fake_openai.backend import FakeReply, Question
from harness.testing.fake_openai.refusals import HTTPRefusal

ANY_OBJECT: Mapping[str, Json] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
}
MOST_DEPTH = 10
LONGEST_STRING = 200  # characters: the whole answer has to fit into what is usually requested
MOST_TOKENS = 16  # of a model that keeps to no schema: its words only become the strings of the answer


def require_valid(schema: Mapping[str, Json], name: str, strict: bool) -> None:
    """Check a requested schema; a ``strict`` one has to close every object and require all its properties.

    Raises:
        HTTPRefusal: it is no JSON Schema, or it leaves something open.
    """
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise _invalid(name, error.message) from error
    if not strict:
        return
    properties = schema.get("properties")
    inner = properties if isinstance(properties, dict) else {}
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            raise _invalid(name, "'additionalProperties' is required to be supplied and to be false.")
        required = schema.get("required")
        missing = sorted(set(inner) - set(map(str, required if isinstance(required, list) else ())))
        if missing:
            raise _invalid(name, f"'required' has to include every property. Missing '{missing[0]}'.")
    for value in inner.values():
        if isinstance(value, dict):
            require_valid(value, name, strict)


def answered_within(question: Question, answer: Callable[[Question], FakeReply]) -> FakeReply:
    """The reply of a model that keeps to no schema, made to satisfy the question's."""
    if question.schema is None:
        return answer(question)
    reply = answer(replace(question, max_tokens=min(question.max_tokens, MOST_TOKENS)))
    return replace(reply, text=within(question.schema, reply.text), finish="stop", tokens=None)


def within(schema: Mapping[str, Json], text: str) -> str:
    """The text, if it satisfies the schema; else JSON that does."""
    try:
        if Draft202012Validator(schema).is_valid(json.loads(text)):
            return text
    except (ValueError, RecursionError):
        pass
    chance = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    words = text.strip()[:LONGEST_STRING] or "(no text)"
    return json.dumps(_value(schema, words, chance, 0), ensure_ascii=False)


def _invalid(name: str, problem: str) -> HTTPRefusal:
    message = f"Invalid schema for response_format '{name}': {problem}"
    return HTTPRefusal(400, message, "response_format", "invalid_json_schema")


def _value(schema: Json, text: str, chance: int, depth: int) -> Json:
    """A value of the schema's shape; ``chance`` makes every choice."""
    if not isinstance(schema, dict) or depth > MOST_DEPTH:
        return text
    choices, alternatives = schema.get("enum"), schema.get("anyOf")
    if isinstance(choices, list) and choices:
        return choices[chance % len(choices)]
    if "const" in schema:
        return schema["const"]
    if isinstance(alternatives, list) and alternatives:
        return _value(alternatives[0], text, chance, depth + 1)
    kind = schema.get("type")
    match kind[0] if isinstance(kind, list) and kind else kind:
        case "object":
            properties = schema.get("properties")
            inner = properties if isinstance(properties, dict) else {}
            return {key: _value(value, text, chance, depth + 1) for key, value in inner.items()}
        case "array":
            return [_value(schema.get("items"), text, chance, depth + 1)]
        case "integer" | "number":
            low, high = schema.get("minimum", 0), schema.get("maximum", 10)
            if isinstance(low, int | float) and isinstance(high, int | float) and high >= low:
                return int(low) + chance % (int(high) - int(low) + 1)
            return 0
        case "boolean":
            return bool(chance % 2)
        case "null":
            return None
    return text
