"""Answers under a schema: every one that comes to its end is valid, and no valid one is changed."""

from __future__ import annotations

import json

import pytest
from tiny_llama import EXACT, rows

from harness.models.local import LocalModel
from harness.models.protocol import AnswerSchema, Decoding, Prompt
from harness.models.source import ModelSource
from harness.records import Answer, Json
from harness.scoring.json_schema import JsonSchema

PROMPTS = [Prompt(row.id, row.prompt) for row in rows(12)]
SHORT = {"type": "string", "maxLength": 6}
SCHEMAS: dict[str, dict[str, Json]] = {
    "enum": {"enum": ["refund", "delivery", None, 3, True]},
    "const": {"const": {"a": [1, "x"]}},
    "nested": {
        "type": "object",
        "properties": {"a": {"type": "object", "properties": {"b": SHORT}, "required": ["b"]}},
        "required": ["a"],
    },
    "array": {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 1, "maxItems": 3},
    "tuple": {"type": "array", "prefixItems": [{"type": "boolean"}, SHORT], "items": False, "minItems": 2},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3,5}$"},
    "numbers": {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": -3, "maximum": 250}, "of": {"enum": [5, 10]}},
        "required": ["n", "of"],
    },
    "optional": {"type": "object", "properties": {"a": SHORT, "b": {"type": "boolean"}, "c": {}}},
    "alternatives": {"anyOf": [{"type": "boolean"}, {"type": "null"}, SHORT]},
    "format": {"type": "string", "format": "date"},
    "recursive": {
        "$defs": {"n": {"anyOf": [{"type": "null"}, {"items": {"$ref": "#/$defs/n"}, "type": "array"}]}},
        "$ref": "#/$defs/n",
    },
}  # fmt: skip
for _schema in SCHEMAS.values():
    for _part in (_schema, *_schema.get("properties", {}).values(), *_schema.get("$defs", {}).values()):
        if "properties" in _part:
            _part["additionalProperties"] = False


def named(schema: Json) -> AnswerSchema:
    return AnswerSchema(json.dumps(schema), "shape.json")


@pytest.fixture(scope="module")
def model(tiny: ModelSource) -> LocalModel:
    return LocalModel.load(tiny, EXACT)


def answers(model: LocalModel, schema: Json, tokens: int = 120) -> list[Answer]:
    decoding = Decoding(max_new_tokens=tokens, schema=named(schema))
    return list(model.answer(PROMPTS, decoding, frozenset()))


@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_answer_that_ends_is_valid(model: LocalModel, kind: str) -> None:
    check = JsonSchema(SCHEMAS[kind])
    for answer, row in zip(
        sorted(answers(model, SCHEMAS[kind]), key=lambda a: a.row_id), rows(12), strict=False
    ):
        if answer.finish == "stop":
            assert check.score(row, answer).value == 1.0, answer.text
    assert any(answer.finish == "stop" for answer in answers(model, SCHEMAS[kind]))
