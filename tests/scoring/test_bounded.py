"""Patterns and long answers take bounded time; one that takes too long is a failure that names it."""

from __future__ import annotations

import time

import pytest

from harness.errors import DataError, UsageError
from harness.records import Answer, Json, Message, Row, Score
from harness.scoring import patterns
from harness.scoring.checks import Check, Contains, ExactMatch, FieldMatch, Refusal, Regex, score_all
from harness.scoring.json_schema import JsonSchema

SLOW = r"^(a|aa)+$"
LETTERS = "a" * 70 + "!"


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "PATTERN_SECONDS", 0.05)


def scored(check: Check, text: str, **metadata: Json) -> Score:
    row = Row("r1", (Message("user", "?"), Message("assistant", "x")), metadata, "heldout.jsonl:7")
    (score,) = score_all(check, [row], [Answer("r1", text, 1, 1, 1.0)])
    return score


@pytest.mark.parametrize("pattern", [SLOW, r"(.*a){25}b", r"^(?:\w+\s?)+$", r"(x+x+)+y|(a|a)*c"])
def test_a_pattern_without_an_end_is_a_failure_that_names_it(pattern: str) -> None:
    text = LETTERS if "w" not in pattern else "word " * 40 + "?"
    for score in (scored(Regex(pattern), text), scored(Regex(expected="shape"), text, shape=pattern)):
        assert score.value == 0.0 or (score.failure and pattern[:20] in score.failure)


def test_the_slow_pattern_is_a_failure_in_every_check_that_has_one() -> None:
    schemas: list[dict[str, Json]] = [
        {"properties": {"x": {"pattern": SLOW}}},
        {"patternProperties": {SLOW: {"type": "integer"}}},
        {"patternProperties": {SLOW: {}}, "additionalProperties": False},
        {"propertyNames": {"pattern": SLOW}},
    ]
    text = f'{{"x": "{LETTERS}", "{LETTERS}": 1}}'
    for check in (Regex(SLOW), *(JsonSchema(schema) for schema in schemas)):
        score = scored(check, LETTERS if isinstance(check, Regex) else text)
        assert score.value is None
        assert score.failure
        assert SLOW in score.failure


def test_a_pattern_that_is_none_is_named_before_the_run() -> None:
    with pytest.raises(DataError, match=r"'\(' is not a"):
        JsonSchema({"properties": {"x": {"pattern": "("}}}).bind(str)
    with pytest.raises(DataError, match="unevaluatedProperties"):
        JsonSchema({"patternProperties": {"a": {}}, "unevaluatedProperties": False}).bind(str)
    with pytest.raises(UsageError, match="nested too deeply"):
        Regex("(" * 100_000 + ")" * 100_000)


@pytest.mark.parametrize("content", ["[" * 200_000, '{"a":' * 200_000, '{"maximum": ' + "9" * 5000 + "}"])
def test_a_schema_file_that_cannot_be_read_is_named(content: str) -> None:
    with pytest.raises(DataError, match=r"ticket\.json"):
        JsonSchema("ticket.json").bind(lambda _: content)


@pytest.mark.parametrize("text", ["12,5 a's " * 1_100_000, "[" + "[1]," * 1_000 + "[1]]", "a" * 10_000_000])
def test_long_answers_are_scored_in_seconds(text: str) -> None:
    began = time.perf_counter()
    unique = JsonSchema({"uniqueItems": True})
    for check in (Contains(), Contains("n"), ExactMatch(), FieldMatch("n"), Refusal(), Regex("x$"), unique):
        assert scored(check, text, n="13").value is not None or isinstance(check, Regex)
    assert time.perf_counter() - began < 20
