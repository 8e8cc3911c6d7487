"""Answers under a schema: every one that comes to its end is valid, and no valid one is changed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
import regex
import torch
from tiny_llama import EXACT, ids_of, row, rows

from harness.errors import UsageError
from harness.models.bound import BoundRows, Grammars, grammar_of, require_held, untaught_notes
from harness.models.chat_format import Chat
from harness.models.local import LocalModel
from harness.models.protocol import AnswerSchema, Decoding, Prompt
from harness.models.source import ModelSource
from harness.records import Answer, Json
from harness.scoring.json_schema import JsonSchema

PROMPTS = [Prompt(row.id, row.prompt) for row in rows(12)]
SHORT = {"type": "string", "maxLength": 6}
CLOSED = {"additionalProperties": False}
SCHEMAS: dict[str, dict[str, Json]] = {
    "enum": {"enum": ["refund", "delivery", None, 3, True]},
    "const": {"const": {"a": [1, "x"]}},
    "nested": {
        "type": "object",
        "properties": {"a": {"type": "object", "properties": {"b": SHORT}, "required": ["b"], **CLOSED}},
        "required": ["a"],
        **CLOSED,
    },
    "array": {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 1, "maxItems": 3},
    "tuple": {"type": "array", "prefixItems": [{"type": "boolean"}, SHORT], "items": False, "minItems": 2},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3,5}$"},
    "numbers": {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": -3, "maximum": 250}, "of": {"enum": [5, 10]}},
        "required": ["n", "of"],
        **CLOSED,
    },
    "optional": {"type": "object", "properties": {"a": SHORT, "b": {"enum": [2]}}, **CLOSED},
    "alternatives": {"anyOf": [{"type": "boolean"}, {"type": "null"}, SHORT]},
    "format": {"type": "string", "format": "date"},
    "recursive": {
        "$defs": {"n": {"anyOf": [{"type": "null"}, {"items": {"$ref": "#/$defs/n"}, "type": "array"}]}},
        "$ref": "#/$defs/n",
    },
}  # fmt: skip
TICKET = {"intent": "größe", "n": [1, 2], "note": 'it\'s "so" 😀'}
TICKET_SCHEMA: dict[str, Json] = {
    "type": "object",
    "properties": {"intent": {"type": "string"}, "n": {"type": "array"}, "note": {"type": "string"}},
    "required": ["intent", "n", "note"],
    "additionalProperties": False,
}


def named(schema: Json) -> AnswerSchema:
    return AnswerSchema(json.dumps(schema), "shape.json")


@pytest.fixture(scope="module")
def model(tiny: ModelSource) -> LocalModel:
    return LocalModel.load(tiny, EXACT)


def answers(model: LocalModel, schema: Json, tokens: int = 60) -> dict[str, Answer]:
    decoding = Decoding(max_new_tokens=tokens, schema=named(schema))
    return {answer.row_id: answer for answer in model.answer(PROMPTS, decoding, frozenset())}


@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_answer_that_ends_is_valid(
    model: LocalModel, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, asked = JsonSchema(SCHEMAS[kind]), {one.id: one for one in rows(12)}
    found = answers(model, SCHEMAS[kind])
    ended = [answer for answer in found.values() if answer.finish == "stop"]
    assert ended
    for answer in ended:
        assert check.score(asked[answer.row_id], answer).value == 1.0, answer.text
    monkeypatch.setattr(model, "_plan", replace(EXACT, fast=replace(EXACT.fast, decoding=False)))
    plain = answers(model, SCHEMAS[kind])
    assert {key: answer.text for key, answer in plain.items()} == {k: a.text for k, a in found.items()}


def test_rows_end_at_different_times_and_leave_the_batch(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: list[int] = []
    keep = BoundRows.keep

    def noting(held: BoundRows, kept: Sequence[int]) -> None:
        widths.append(len(kept))
        keep(held, kept)

    monkeypatch.setattr(BoundRows, "keep", noting)
    found = answers(model, SCHEMAS["array"])
    assert len({answer.completion_tokens for answer in found.values()}) > 3
    assert len(widths) > 1


def test_an_answer_that_meets_the_limit_is_cut_off_and_a_beginning_of_a_valid_one(model: LocalModel) -> None:
    for answer in answers(model, SCHEMAS["pattern"], tokens=9).values():
        assert answer.finish == "length"
        assert regex.fullmatch(r'\s*"[A-Z]{2}-[0-9]{3,5}"', answer.text, partial=True)


@pytest.mark.parametrize(
    "written",
    [
        json.dumps(TICKET),
        json.dumps(TICKET, separators=(",", ":")),
        json.dumps(TICKET, indent=2),
        json.dumps(TICKET, indent="\t"),
        json.dumps(TICKET, ensure_ascii=False),
        json.dumps(TICKET, indent=4).replace("\n", "\r\n"),
        "\n\n" + json.dumps(TICKET),
    ],
)
def test_json_as_it_is_commonly_written_is_held(model: LocalModel, written: str) -> None:
    from llguidance import LLMatcher

    grammars = Grammars(Chat(model._tokenizer), len(model._tokenizer))
    matcher = LLMatcher(grammars.tokens, LLMatcher.grammar_from_lark(grammar_of(TICKET_SCHEMA)))
    ids = ids_of(model._tokenizer, written)
    assert matcher.try_consume_tokens(ids) == len(ids)
    assert matcher.is_accepting()


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"properties": {"a/b": {"uniqueItems": True}}}, "/properties/a~1b/uniqueItems: "),
        ({"properties": {"not": {"not": {"type": "string"}}}}, "/properties/not/not: "),
        ({"items": [{"contains": {}}, {"propertyNames": {}}]}, "/items/0/contains, /items/1/propertyNames: "),
        ({"anyOf": [{}, {"if": {}, "format": "phone"}]}, "/anyOf/1/if, /anyOf/1/format: "),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "/minimum: "),
        ({"$ref": "https://example.org/shape.json"}, "/$ref: "),
        ({"type": "string", "pattern": "(?=a)b"}, "/pattern: "),
    ],
)
def test_a_schema_that_is_not_held_is_refused_by_name(schema: dict[str, Json], named: str) -> None:
    with pytest.raises(
        UsageError, match=re.escape(f"shape.json: answers cannot be bound to this schema: {named}")
    ):
        require_held(AnswerSchema(json.dumps(schema), "shape.json"))


def test_training_replies_that_could_not_be_given_are_told() -> None:
    schema = named(TICKET_SCHEMA)
    turned = dict(reversed(TICKET.items()))
    told = [
        row("?", text, where=f"train.jsonl:{k}") for k, text in enumerate(map(json.dumps, (TICKET, turned)))
    ]
    (note,) = untaught_notes(schema, told)
    assert note.startswith(
        "1 of 2 training replies could not be given under shape.json, such as train.jsonl:1:"
    )
    thought = row("?", f"<think>So.</think>\n\n{json.dumps(TICKET, indent=1)}")
    assert untaught_notes(schema, [told[0], thought]) == () == untaught_notes(None, told)


def test_a_thought_is_free_and_the_answer_behind_it_is_not(model: LocalModel) -> None:
    """Scores that always like one token best: of the thought, of its end, then a forbidden one."""
    chat = Chat(model._tokenizer)
    chat.thinks, chat.thought_end = True, "."
    size, end = len(model._tokenizer), chat.ends[0]
    (stop,), (letter,) = ids_of(model._tokenizer, "."), ids_of(model._tokenizer, "q")
    held = BoundRows(Grammars(chat, size), chat, AnswerSchema('{"enum": [7]}', "seven"), rows=1)
    written: list[int] = []
    for liked in (letter, end, stop, letter, letter):
        scores = torch.zeros(1, size)
        scores[0, [letter, liked]] = torch.tensor([1.0, 2.0])
        written.append(int(held(torch.tensor([[*written[-9:]] or [stop]]), scores).argmax()))
    assert written[:3] == [letter, letter, stop]
    assert str(model._tokenizer.decode(written[3:])).strip().startswith("7")
