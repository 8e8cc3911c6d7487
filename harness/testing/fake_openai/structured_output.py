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
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from harness.records import Json
from harness.testing.fake_openai.backend import FakeReply, Question
from harness.testing.fake_openai.refusals import HTTPRefusal

LONGEST_STRING = 200  # characters: the whole answer has to fit into what is usually requested
MOST_TOKENS = 16  # of a model that keeps to no schema: its words only become the strings of the answer


def require_valid(schema: Mapping[str, Any], name: str, strict: bool) -> None:
    """Check a requested schema; a ``strict`` one has to close every object and require all its properties.

    Raises:
        HTTPRefusal: it is no JSON Schema, or it leaves something open.
    """
    problem = ""
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        problem = error.message
    else:
        missing = sorted(schema.get("properties", {}).keys() - set(schema.get("required", ())))
        if strict and schema.get("type") == "object" and schema.get("additionalProperties") is not False:
            problem = "'additionalProperties' is required to be supplied and to be false."
        elif strict and missing:
            problem = f"'required' has to include every property. Missing '{missing[0]}'."
    if problem:
        message = f"Invalid schema for response_format '{name}': {problem}"
        raise HTTPRefusal(400, message, "response_format", "invalid_json_schema")
    for value in schema.get("properties", {}).values():
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
    return json.dumps(_value(schema, words, chance), ensure_ascii=False)


def _value(schema: Mapping[str, Any], text: str, chance: int) -> Json:
    """A value of the schema's shape; ``chance`` makes every choice."""
    if "enum" in schema:
        choices: list[Json] = schema["enum"]
        return choices[chance % len(choices)]
    if "anyOf" in schema:
        return _value(schema["anyOf"][0], text, chance)
    match schema.get("type"):
        case "object":
            return {k: _value(value, text, chance) for k, value in schema.get("properties", {}).items()}
        case "array":
            return [_value(schema.get("items", {}), text, chance)]
        case "integer" | "number":
            low, high = int(schema.get("minimum", 0)), int(schema.get("maximum", 10))
            return low + chance % max(1, high - low + 1)
        case "boolean":
            return bool(chance % 2)
    return text
