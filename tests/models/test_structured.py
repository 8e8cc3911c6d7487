"""Hosted models under a schema: what is sent, what strict mode holds, which key answers have."""

from __future__ import annotations

import json
from typing import Literal, get_type_hints

import pytest
from openai.lib._pydantic import to_strict_json_schema
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.shared_params import ResponseFormatJSONSchema
from pydantic import BaseModel, Field, TypeAdapter

from harness.errors import UsageError
from harness.models.protocol import AnswerSchema, Decoding, Prompt
from harness.models.remote import RemoteModel
from harness.models.remote_wire import ModelWire
from harness.models.structured import beyond_strict, require_bindable, schema_notes
from harness.records import Json, Message

PROMPT = Prompt("row-1", (Message("user", "Where is it?"),))
MODEL = RemoteModel("gpt-4o-mini-2024-07-18", base_url="https://api.openai.com/v1")
TUNED = RemoteModel("ft:gpt-4o-mini-2024-07-18:us::1", base_url="https://api.openai.com/v1")
CLOSED: dict[str, Json] = {
    "type": "object",
    "properties": {"a": {"enum": ["x", "y"]}},
    "required": ["a"],
    "additionalProperties": False,
}


def bound(schema: Json) -> Decoding:
    return Decoding(schema=AnswerSchema(json.dumps(schema), "shape.json"))


class Part(BaseModel):
    kind: Literal["text", "image"]
    size: int | None


class Reply(BaseModel):
    """As the SDK's own users write it."""

    title: str
    parts: list[Part]
    share: float = Field(ge=0, le=1)


def test_a_request_has_the_field_as_the_sdk_types_it() -> None:
    sent = ModelWire(MODEL).request(PROMPT, bound(CLOSED)).body["response_format"]
    TypeAdapter(ResponseFormatJSONSchema).validate_python(sent, strict=True)
    assert "response_format" in get_type_hints(CompletionCreateParamsNonStreaming)
    assert sent == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": CLOSED},
    }


def test_a_schema_of_the_sdks_own_making_is_strict() -> None:
    assert beyond_strict(MODEL, to_strict_json_schema(Reply)) == ""
    assert beyond_strict(TUNED, to_strict_json_schema(Reply)) == "/properties/share/maximum"


@pytest.mark.parametrize(
    ("change", "beyond"),
    [
        ({"additionalProperties": True}, "/additionalProperties other than false"),
        ({"required": []}, "/properties/a, which is not required,"),
        ({"properties": {"a": {"type": "string", "minLength": 2}}}, "/properties/a/minLength"),
        (
            {"properties": {"a": {"items": {"type": "object"}}}},
            "/properties/a/items/additionalProperties",
        ),
        ({"properties": {"a": {"anyOf": [{"not": {}}]}}}, "/properties/a/anyOf/0/not"),
        ({"type": "array"}, "/type other than object"),
        ({"anyOf": [CLOSED]}, "/anyOf"),
        ({"required": ["a", "b"]}, "/required/b, which is no property,"),
        ({"properties": {"a": {"description": "any"}}}, "/properties/a without a type"),
        ({"properties": {"a": {"$ref": "#", "title": "A"}}}, "/properties/a/title beside a $ref"),
        ({"properties": {"a": {"type": "string", "format": "uri"}}}, "/properties/a/format 'uri'"),
        ({"properties": {"a": {"type": "string", "pattern": "(?=x)"}}}, "/properties/a/pattern with a look"),
        ({"properties": {"a": {"type": ["object", "null"]}}}, "/properties/a/additionalProperties"),
        ({"properties": {"a": {"enum": [*range(1_001)]}}}, "a number of 1,001 enum values"),
        ({"properties": {"a": {"enum": ["x" * 60 + str(n) for n in range(300)]}}}, "an enum of 300 values"),
    ],
)
def test_what_strict_mode_does_not_hold_is_sent_without_it_and_said(
    change: dict[str, Json], beyond: str
) -> None:
    decoding = bound({**CLOSED, **change})
    sent = ModelWire(MODEL).request(PROMPT, decoding).body["response_format"]
    assert sent["json_schema"]["strict"] is False  # type: ignore[index]
    (note,) = schema_notes(MODEL, decoding.schema)
    assert beyond in note


def test_models_that_complete_prompts_are_refused() -> None:
    with pytest.raises(UsageError, match=r"shape\.json: babbage-002 .* completes prompts"):
        require_bindable(RemoteModel("babbage-002"), bound(CLOSED).schema)


def test_keys_change_with_a_schema_and_without_one_they_do_not() -> None:
    plain = Decoding()
    assert plain.settings() == {"max_new_tokens": 128, "temperature": 0.0, "top_p": 1.0, "seed": 0}
    assert MODEL.sent_beside([PROMPT], plain) == [None]
    first, renamed = bound(CLOSED), Decoding(schema=AnswerSchema(json.dumps(CLOSED), "other.json"))
    assert first.settings() == renamed.settings() != plain.settings()
    assert MODEL.sent_beside([PROMPT], first) != [None]
    # keys are written in the schema's order, so another order is another schema
    turned = bound({**CLOSED, "properties": {"b": {}, "a": {}}}).settings()
    assert turned != bound({**CLOSED, "properties": {"a": {}, "b": {}}}).settings()
