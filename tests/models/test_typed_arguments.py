"""Arguments that come as bare text are typed by the tool's schema."""

import json

import pytest

from harness.models.protocol import Tools
from harness.models.tool_calls import _kinds, _typed


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("10115", ["string", "null"], "10115"),
        ("true", ["null", "string"], "true"),
        ("None", ["string", "null"], None),
        ("null", "string", "null"),
        ("7", "integer", 7),
        ("7", None, 7),
    ],
)
def test_text_that_may_be_null_stays_text(text: str, kind: object, value: object) -> None:
    given = _typed(text, kind)
    assert (given, type(given)) == (value, type(value))


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"enum": ["10115", "20095"]}, "10115"),
        ({"const": "10115"}, "10115"),
        ({"enum": [10115, 7]}, 10115),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "10115"),
        ({"oneOf": [{"$ref": "#/$defs/zip"}, {"enum": [None]}]}, "10115"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, 10115),
        ({"$ref": "#/$defs/zip"}, "10115"),
        ({"$ref": "#/$defs/circle"}, 10115),
        ({"$ref": "#/nowhere"}, 10115),
        (True, 10115),
    ],
)
def test_a_type_is_found_wherever_the_schema_says_it(schema: object, value: object) -> None:
    defined = {"zip": {"type": "string"}, "circle": {"$ref": "#/$defs/circle"}}
    parameters = {"type": "object", "properties": {"at": schema}, "$defs": defined}
    tools = Tools(json.dumps([{"type": "function", "function": {"name": "f", "parameters": parameters}}]))
    assert _typed("10115", _kinds(tools, "f")["at"]) == value
