"""Arguments that come as bare text are typed by the tool's schema."""

import pytest

from harness.models.tool_calls import _typed


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
