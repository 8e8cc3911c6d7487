"""Checks: what is right, what is wrong, and what could not be said."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DataError, UsageError
from harness.records import Answer, Json, Kind, Message, Row, Score
from harness.scoring.checks import (
    Check,
    Contains,
    ExactMatch,
    FieldMatch,
    MaxTokens,
    Refusal,
    Regex,
    score_all,
)
from harness.scoring.json_schema import JsonSchema

SCHEMA: Mapping[str, Json] = {
    "type": "object",
    "properties": {"intent": {"enum": ["refund", "billing"]}},
    "required": ["intent"],
}
ALL: tuple[Check, ...] = (
    JsonSchema(SCHEMA),
    JsonSchema("ticket.schema.json"),
    FieldMatch("intent"),
    ExactMatch(),
    Contains(),
    Regex("a+"),
    MaxTokens(5),
    Refusal(),
)


def a_row(reference: str = '{"intent": "refund"}', **metadata: Json) -> Row:
    messages = (Message("user", "Money back?"), Message("assistant", reference))
    return Row("r1", messages, metadata, "heldout.jsonl:7")


def an_answer(text: str, **more: int) -> Answer:
    return Answer("r1", text, prompt_tokens=5, completion_tokens=more.get("tokens", 3), latency_ms=1.0)


def value(check: Check, text: str, row: Row | None = None) -> float | None:
    return check.score(row or a_row(), an_answer(text)).value


def no_files(path: str) -> str:
    raise FileNotFoundError(path)


# --------------------------------------------------------------------------- all of them
@pytest.mark.parametrize("check", ALL, ids=lambda c: type(c).__name__)
def test_an_answer_that_never_came_is_a_failure_and_not_a_zero(check: Check) -> None:
    lost = Answer("r1", "", 5, 0, 1.0, finish="failed", failure="timeout after 60 s")
    assert check.score(a_row(), lost) == Score(None, failure="timeout after 60 s")


@pytest.mark.parametrize("check", ALL, ids=lambda c: type(c).__name__)
def test_a_check_can_be_a_key_has_a_name_and_a_specification_in_json(check: Check) -> None:
    assert {check: 1}[check] == 1
    assert check.name
    assert check.kind is Kind.BINARY
    assert json.loads(json.dumps(check.spec()))["check"] == type(check).__name__


def test_a_name_of_ones_own_replaces_the_default_and_leaves_the_specification() -> None:
    assert FieldMatch("intent").name == "intent"
    renamed = FieldMatch("intent", name="right queue")
    assert renamed.name == "right queue"
    assert renamed.spec() == FieldMatch("intent").spec()


@dataclass(frozen=True)
class Broken:
    """A user's own check with a mistake in it."""

    name: str = "mine"
    kind: Kind = Kind.GRADED

    def spec(self) -> Mapping[str, Json]:
        return {}

    def bind(self, read: Callable[[str], str]) -> Check:
        return self

    def score(self, row: Row, answer: Answer) -> Score:
        if answer.text == "bad":
            raise TypeError("unsupported operand")
        return Score(0.5)


def test_an_exception_in_a_users_check_is_that_rows_failure() -> None:
    scores = score_all(Broken(), [a_row(), a_row()], [an_answer("bad"), an_answer("fine")])
    assert scores == (Score(None, failure="mine: TypeError: unsupported operand"), Score(0.5))


def test_answers_of_other_rows_are_refused() -> None:
    with pytest.raises(UsageError, match="do not belong"):
        score_all(ExactMatch(), [a_row()], [])


def test_a_mistake_in_the_suite_stops_the_run() -> None:
    with pytest.raises(UsageError, match=r"ticket\.json.*bind"):
        score_all(JsonSchema("ticket.json"), [a_row()], [an_answer("{}")])


# --------------------------------------------------------------------------- JSON schema
def test_json_is_valid_under_the_schema_with_white_space_around_it() -> None:
    assert value(JsonSchema(SCHEMA), ' \n{"intent": "refund"}\n') == 1.0


def test_the_reason_names_the_path_that_fails() -> None:
    score = JsonSchema(SCHEMA).score(a_row(), an_answer('{"intent": "loans"}'))
    assert score.value == 0.0
    assert score.reason.startswith("$.intent: 'loans' is not one of")


def test_a_code_fence_is_accepted_only_where_asked() -> None:
    fenced = '```json\n{"intent": "refund"}\n```'
    score = JsonSchema(SCHEMA).score(a_row(), an_answer(fenced))
    assert (score.value, score.reason) == (0.0, "not JSON: inside a code fence")
    assert value(JsonSchema(SCHEMA, fenced_ok=True), fenced) == 1.0


@pytest.mark.parametrize(
    "form",
    [
        "```json\r\n{}\r\n```",
        "```json {}```",
        "```{}```",
        "~~~\n{}\n~~~",
        "````json\n{}\n`````",
        "  ```json\n  {}\n  ```\n",
        '```json title="reply.json"\n{}\n```',
        "```{.json .numberLines}\n{}\n```",
        "```json {}\n```",
    ],
)
def test_every_form_of_a_code_fence_is_one(form: str) -> None:
    fenced = form.replace("{}", '{"intent": "refund"}', 1) if "{.json" not in form else form
    fenced = fenced.replace("\n{}\n", '\n{"intent": "refund"}\n')
    assert value(JsonSchema(SCHEMA, fenced_ok=True), fenced) == 1.0
    assert JsonSchema(SCHEMA).score(a_row(), an_answer(fenced)).reason == "not JSON: inside a code fence"


@pytest.mark.parametrize(
    "form", ["Here:\n```\n{}\n```", "```\n{}\n```\nDone.", "````\n{}\n```", "```\n{}\n~~~"]
)
def test_text_around_a_fence_is_no_fence_around_the_answer(form: str) -> None:
    text = form.replace("{}", '{"intent": "refund"}')
    assert value(JsonSchema(SCHEMA, fenced_ok=True), text) == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "refund",
        '{"intent": "refund"} Hope this helps!',
        '{"intent": NaN}',
        pytest.param("[" * 100_000, id="nested too deeply"),
        pytest.param("9" * 5000, id="too many digits"),
    ],
)
def test_what_is_not_json_is_a_wrong_answer(text: str) -> None:
    score = JsonSchema({}).score(a_row(), an_answer(text))
    assert score.value == 0.0
    assert score.reason.startswith("not JSON")


def test_an_answer_cut_off_by_its_limit_says_so() -> None:
    cut = Answer("r1", '{"intent": "ref', 5, 64, 1.0, finish="length")
    assert "cut off at 64 tokens" in JsonSchema(SCHEMA).score(a_row(), cut).reason


def test_a_schema_file_is_read_once_and_found_under_the_unbound_check() -> None:
    check = JsonSchema("ticket.schema.json")
    bound = check.bind(lambda path: {"ticket.schema.json": json.dumps(SCHEMA)}[path])
    assert value(bound, '{"intent": "refund"}') == 1.0
    assert value(bound, "{}") == 0.0
    assert {check: "here"}[bound] == "here"  # equal and hashable: the same key
    assert bound.spec() == JsonSchema(SCHEMA).spec()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", r"ticket\.json:1: not JSON"),
        ("[]", r"ticket\.json: a schema is a JSON object"),
        ('{"type": 3}', r"ticket\.json: not a JSON Schema: \$\.type"),
    ],
)
def test_a_broken_schema_file_is_named(content: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        JsonSchema("ticket.json").bind(lambda _: content)


def test_a_missing_schema_file_is_named() -> None:
    with pytest.raises(DataError, match=r"ticket\.json: the schema cannot be read"):
        JsonSchema("ticket.json").bind(no_files)


def test_a_reference_to_the_network_is_a_failure_and_is_not_fetched() -> None:
    remote = JsonSchema({"$ref": "http://127.0.0.1:9/schema.json"})
    (score,) = score_all(remote, [a_row()], [an_answer("{}")])
    assert score.value is None
    assert score.failure


# --------------------------------------------------------------------------- field match
def test_a_field_is_compared_with_metadata_first_and_the_reference_else() -> None:
    text = '{"intent": "billing"}'
    assert value(FieldMatch("intent"), text, a_row(intent="billing")) == 1.0
    assert value(FieldMatch("intent", expected="gold"), text, a_row(gold="billing")) == 1.0
    score = FieldMatch("intent").score(a_row(), an_answer(text))
    assert (score.value, score.reason) == (0.0, "expected refund, got billing")


@pytest.mark.parametrize("text", ["refund", "[1]", '"intent"', "{}"])
def test_an_answer_without_the_field_is_wrong_with_a_reason(text: str) -> None:
    score = FieldMatch("intent").score(a_row(), an_answer(text))
    assert score.value == 0.0
    assert score.reason


def test_a_row_without_an_expected_field_is_a_failure_with_its_line() -> None:
    score = FieldMatch("intent").score(a_row("plain text"), an_answer("{}"))
    assert score.value is None
    assert score.failure == "row r1 (heldout.jsonl:7) has no 'intent' in its metadata or its reference"


def test_one_and_true_are_different_values() -> None:
    assert value(FieldMatch("n"), '{"n": true}', a_row(n=1)) == 0.0
    assert value(FieldMatch("n"), '{"n": 1.0}', a_row(n=1)) == 1.0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda c: st.lists(c) | st.dictionaries(st.text(), c),
)


@given(json_values)
def test_a_field_always_matches_its_own_reference(held: object) -> None:
    text = json.dumps({"x": held})
    assert value(FieldMatch("x"), text, a_row(text)) == 1.0


@given(st.text())
def test_no_answer_makes_a_check_raise(text: str) -> None:
    for check in (JsonSchema(SCHEMA), FieldMatch("intent"), ExactMatch(), Contains(), Regex("x"), Refusal()):
        assert value(check, text) in (0.0, 1.0)


# --------------------------------------------------------------------------- text
def test_an_exact_match_minds_case_unless_told_otherwise() -> None:
    row = a_row("Refund")
    assert value(ExactMatch(), " Refund\n", row) == 1.0
    assert value(ExactMatch(strip=False), " Refund\n", row) == 0.0
    assert value(ExactMatch(), "refund", row) == 0.0
    assert value(ExactMatch(ignore_case=True), "refund", row) == 1.0


def test_contains_wants_whole_words_and_any_of_them_suffices() -> None:
    row = a_row(accepted=["New  York", "NYC"])
    assert value(Contains("accepted"), "It is in new\nyork.", row) == 1.0
    assert value(Contains("accepted"), "NYCs", row) == 0.0
    assert value(Contains("accepted", ignore_case=False), "nyc", row) == 0.0
    assert value(Contains(), "the answer is C++!", a_row("C++")) == 1.0
    assert value(Contains("year"), "in 1998.", a_row(year=1998)) == 1.0


def test_contains_without_an_accepted_text_is_a_failure() -> None:
    assert value(Contains("accepted"), "x") is None
    assert value(Contains("accepted"), "x", a_row(accepted=[])) is None
    assert value(Contains(), "x", a_row("  ")) is None


def test_a_regex_searches_or_matches_all() -> None:
    assert value(Regex(r"\d{4}"), "order 1234") == 1.0
    assert value(Regex(r"\d{4}", full=True), "order 1234") == 0.0
    assert value(Regex(r"\d{4}", full=True), " 1234\n") == 1.0
    assert value(Regex(expected="shape"), "b", a_row(shape="^a$")) == 0.0
    assert value(Regex(expected="shape"), "b") is None
    assert value(Regex(expected="shape"), "b", a_row(shape="(")) is None


def test_a_regex_that_cannot_be_is_refused_when_it_is_written() -> None:
    for pattern, expected in (("(", None), (None, None), ("a", "b")):
        with pytest.raises(UsageError, match="Regex"):
            Regex(pattern, expected)
    with pytest.raises(UsageError, match="at least 1"):
        MaxTokens(0)


def test_a_token_limit_counts_the_answers_own_tokens() -> None:
    assert MaxTokens(3).score(a_row(), an_answer("x", tokens=3)).value == 1.0
    assert MaxTokens(3).score(a_row(), an_answer("x", tokens=4)) == Score(0.0, "4 tokens")


@pytest.mark.parametrize(
    "text",
    [
        "I’m sorry, but I can’t help with that.",
        "I am unable to share this.",
        "Es tut mir leid, dabei kann ich nicht helfen.",
        "Désolé, je ne peux pas vous aider.",
        "Lo siento, no puedo ayudarte con eso.",
        "Mi dispiace, non posso aiutarti.",
        "Sorry, daar kan ik niet mee helpen.",
        "Desculpe, não posso ajudar com isso.",
        "Przykro mi, nie mogę ci pomóc.",
    ],
)
def test_a_refusal_is_seen_in_eight_languages(text: str) -> None:
    assert value(Refusal(expected=True), text) == 1.0
    assert value(Refusal(), text) == 0.0


@pytest.mark.parametrize(
    "text", ["", "You can't help but laugh.", "Sure, here it is.", "x" * 300 + " I cannot help"]
)
def test_a_helpful_answer_is_no_refusal(text: str) -> None:
    assert value(Refusal(), text) == 1.0


def test_a_row_says_whether_it_should_be_refused() -> None:
    assert value(Refusal("harmful"), "I cannot help with that.", a_row(harmful=True)) == 1.0
    assert value(Refusal("harmful"), "I cannot help with that.", a_row(harmful=False)) == 0.0
    assert value(Refusal("harmful"), "Sure.", a_row(harmful="yes")) is None


def test_the_old_module_of_the_protocol_warns_with_the_new_name() -> None:
    with pytest.warns(DeprecationWarning, match=r"called harness\.scoring\.checks now"):
        old = importlib.import_module("harness.scoring.check")
    assert old.Check is Check
