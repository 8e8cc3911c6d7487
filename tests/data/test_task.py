"""A task's kind, labels and schema, from its replies."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from harness.data.task import Task, TaskKind, schema_of
from harness.records import Json, Message, Row


def task(replies: list[str]) -> Task:
    return Task.of(
        [Row(str(k), (Message("user", "q"), Message("assistant", r))) for k, r in enumerate(replies)]
    )


@pytest.mark.parametrize(
    ("replies", "kind"),
    [
        (["yes", "no"] * 5, TaskKind.LABEL),
        (["yes"] * 10, TaskKind.TEXT),  # one reply to all is no choice
        ([f"ticket {k}" for k in range(10)], TaskKind.TEXT),
        ([f'{{"a": {k}}}' for k in range(9)] + ["sorry"], TaskKind.TEXT),
        (['{"a": 1}'] * 10, TaskKind.JSON),
        (["[1]"] * 10, TaskKind.TEXT),
        (["line\nline", "b"] * 5, TaskKind.TEXT),
    ],
)
def test_kinds(replies: list[str], kind: TaskKind) -> None:
    assert task(replies).kind is kind


def test_fields_with_few_values_come_first_and_texts_apart() -> None:
    teams = ["sales", "support", "billing"] * 4
    found = task([json.dumps({"note": f"n {k}", "n": k, "team": team}) for k, team in enumerate(teams)])
    assert found.matched == ("team", "n")
    assert found.texts == ("note",)
    assert found.class_field == "team"


def test_a_field_that_some_lack_is_not_matched() -> None:
    found = task([json.dumps({"a": True} if k else {"a": True, "b": 1}) for k in range(6)])
    assert found.matched == ("a",)
    assert found.schema["required"] == ["a"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=30)
@given(st.lists(VALUES, min_size=1, max_size=8))
def test_the_schema_holds_for_every_value_it_was_made_of(values: list[Json]) -> None:
    validator = Draft202012Validator(schema_of(values))
    assert all(validator.is_valid(value) for value in values)
