"""Answers under a schema: three libraries on the same schemas, the cost a token, and a thousand answers.

xgrammar and outlines-core are measured where they are installed (``pip install xgrammar outlines-core``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.generation import HELDOUT
from benchmarks.results import Options, Result
from harness.data.rows import read_rows
from harness.models.bound import grammar_of, with_options
from harness.models.chat import load_tokenizer
from harness.models.device import device_plan
from harness.models.local import LocalModel
from harness.models.progress import Silent
from harness.models.protocol import AnswerSchema, Decoding, Prompt
from harness.models.source import BUILTIN, resolve
from harness.records import Answer, Json, Row
from harness.scoring.json_schema import JsonSchema

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Schema = dict[str, Any]
SHORT: Schema = {"type": "string", "maxLength": 24}
ROWS, BATCH = 50, 32
PATIENCE_S = 30  # for a library's compiling of all schemas


def shape(optional: Sequence[str] = (), **properties: Schema) -> Schema:
    """A closed object; what is not optional is required."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def listed(item: Schema, most: int, least: int = 0) -> Schema:
    """An array of that item."""
    return {"type": "array", "items": item, "minItems": least, "maxItems": most}


SCHEMAS: dict[str, Schema] = {
    "label": {"enum": ["positive", "negative", "neutral"]},
    "label in an object": shape(label={"enum": ["spam", "ham"]}),
    "ticket": shape(intent={"enum": ["refund", "login", "other"]}, summary={**SHORT, "minLength": 8}),
    "several labels": listed({"enum": ["news", "sport", "art", "science"]}, 3, 1),
    "yes or no": shape(answer={"type": "boolean"}),
    "rating": shape(stars={"type": "integer", "minimum": 1, "maximum": 5}, reason=SHORT),
    "share": shape(share={"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.01}),
    "person": shape(["age"], name=SHORT, age={"type": "integer", "minimum": 0, "maximum": 150}),
    "address": shape(street=SHORT, city=SHORT, zip={"type": "string", "pattern": "^[0-9]{5}$"}),
    "order number": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4,6}$"},
    "date": shape(date={"type": "string", "format": "date"}),
    "nullable": shape(name={"type": ["string", "null"], "maxLength": 24}, known={"type": "boolean"}),
    "all optional": shape(["a", "b", "c"], a=SHORT, b={"type": "boolean"}, c={"enum": [1, 2, 3]}),
    "nested": shape(order=shape(id={"type": "string", "pattern": "^[0-9]{4}$"}, buyer=shape(name=SHORT))),
    "objects in an array": listed(shape(item=SHORT, n={"type": "integer", "enum": [1, 2, 3]}), 2, 1),
    "tuple": {
        "type": "array",
        "prefixItems": [{"enum": ["Point"]}, {"type": "integer", "minimum": -90, "maximum": 90}],
        "items": False,
        "minItems": 2,
    },
    "one of two shapes": {
        "anyOf": [
            shape(kind={"const": "circle"}, radius={"type": "integer", "minimum": 1, "maximum": 9}),
            shape(kind={"const": "box"}, width={"type": "integer", "minimum": 1, "maximum": 9}),
        ]
    },
    "definitions": {
        "$defs": {"money": shape(amount={"enum": [1, 10, 100]}, unit={"const": "€"})},
        **shape(price={"$ref": "#/$defs/money"}, fee={"$ref": "#/$defs/money"}),
    },
    "tool call": shape(
        name={"enum": ["search", "open"]}, arguments=shape(["page"], query=SHORT, page={"enum": [1, 2]})
    ),
    "umlauts": shape(größe={"enum": ["groß", "klein", "ü\n"]}),
}  # fmt: skip

# keywords one by one: a schema, values that are valid, values that are not
KEYWORDS: dict[str, tuple[Schema, list[Any], list[Any]]] = {
    "const": ({"const": {"a": [1, "x"]}}, [{"a": [1, "x"]}], [{"a": [1]}]),
    "enum of all types": ({"enum": ["a", 1, None, True]}, ["a", 1, None, True], ["b", False]),
    "type list": ({"type": ["integer", "null"]}, [3, None], ["a", True]),
    "minLength, maxLength": ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "äöü"], ["a"]),
    "pattern, not anchored": ({"type": "string", "pattern": "ab+"}, ["xabbz"], ["xa"]),
    "pattern with length": ({"type": "string", "pattern": "^a*$", "maxLength": 2}, ["aa"], ["aaa", "b"]),
    "pattern with classes": ({"type": "string", "pattern": "^\\w\\d$"}, ["a1"], ["a"]),
    "format date-time": ({"type": "string", "format": "date-time"}, ["2026-11-28T15:00:00Z"], ["28.11."]),
    "format email": ({"type": "string", "format": "email"}, ["a@b.org"], ["a"]),
    "format uuid": ({"type": "string", "format": "uuid"}, ["123e4567-e89b-12d3-a456-426614174000"], ["1"]),
    "minimum, maximum": ({"type": "integer", "minimum": -5, "maximum": 120}, [-5, 0, 120], [-6, 121]),
    "exclusiveMinimum of numbers": ({"type": "number", "exclusiveMinimum": 0}, [0.5, 7], [0, -1]),
    "multipleOf": ({"type": "integer", "multipleOf": 5}, [0, 15], [3]),
    "minItems, maxItems": ({"type": "array", "minItems": 1, "maxItems": 2}, [[1], [{}]], [[], [1, 2, 3]]),
    "prefixItems": ({"type": "array", "prefixItems": [{"type": "string"}], "items": False}, [["a"]], [[1]]),
    "uniqueItems": ({"type": "array", "uniqueItems": True}, [[1, 2]], [[1, 1]]),
    "contains": ({"type": "array", "contains": {"const": 1}}, [[2, 1]], [[2]]),
    "additionalProperties of a type": (
        {"type": "object", "additionalProperties": {"type": "integer"}}, [{"x": 1, "y": 2}], [{"x": "a"}]
    ),
    "patternProperties": (
        {"type": "object", "patternProperties": {"^n_": {"type": "integer"}}, "additionalProperties": False},
        [{"n_a": 1}], [{"n_a": "x"}, {"b": 1}],
    ),
    "propertyNames": ({"type": "object", "propertyNames": {"pattern": "^a"}}, [{"ab": 1}], [{"b": 1}]),
    "minProperties": ({"type": "object", "minProperties": 1}, [{"a": 1}], [{}]),
    "dependentRequired": ({"type": "object", "dependentRequired": {"a": ["b"]}}, [{"b": 1}], [{"a": 1}]),
    "allOf": ({"allOf": [shape(["b"], a={"type": "integer"}), {"required": ["a"]}]}, [{"a": 1}], [{}]),
    "oneOf, apart": ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, ["a", 1], [1.5]),
    "oneOf, overlapping": ({"oneOf": [{"type": "integer"}, {"minimum": 5, "type": "number"}]}, [3, 5.5], [7]),
    "not": ({"not": {"type": "string"}}, [1], ["a"]),
    "if, then, else": (
        {"type": "object", "if": {"required": ["a"]}, "then": {"required": ["b"]}}, [{"b": 1}], [{"a": 1}]
    ),
    "recursion": (
        {"$defs": {"n": {"anyOf": [{"const": 0}, listed({"$ref": "#/$defs/n"}, 2)]}}, "$ref": "#/$defs/n"},
        [[[0], []]], [[1]],
    ),
}  # fmt: skip


class Walk:
    """One grammar of one library, walked token by token."""

    def __init__(
        self, mask: Callable[[], object], take: Callable[[int], bool], ends: Callable[[], bool]
    ) -> None:
        self.mask, self.take, self.ends = mask, take, ends


Library = Callable[[Schema], Callable[[], Walk]]  # raises where it does not hold a schema


def llguidance(tokenizer: PreTrainedTokenizerFast) -> Library:
    """As it is used here."""
    from llguidance import LLMatcher
    from llguidance.hf import from_tokenizer

    tokens = from_tokenizer(tokenizer)

    def compiled(schema: Schema) -> Callable[[], Walk]:
        refused, said = LLMatcher.validate_grammar_with_warnings(
            LLMatcher.grammar_from_json_schema(with_options(schema))
        )
        if refused:
            raise ValueError(said[0])
        first = LLMatcher(tokens, LLMatcher.grammar_from_lark(grammar_of(schema)))

        def begin() -> Walk:
            matcher = first.deep_copy()
            return Walk(
                matcher.compute_bitmask, lambda t: matcher.try_consume_tokens([t]) == 1, matcher.is_accepting
            )

        return begin

    return compiled


def xgrammar(tokenizer: PreTrainedTokenizerFast) -> Library:
    """With any white space, as far as 40 characters."""
    import xgrammar as xgr

    info = xgr.TokenizerInfo.from_huggingface(tokenizer)
    compiler = xgr.GrammarCompiler(info, max_threads=2, cache_enabled=False)

    def compiled(schema: Schema) -> Callable[[], Walk]:
        grammar = compiler.compile_json_schema(json.dumps(schema), max_whitespace_cnt=40, strict_mode=False)

        def begin() -> Walk:
            matcher = xgr.GrammarMatcher(grammar)
            mask = xgr.allocate_token_bitmask(1, info.vocab_size)
            return Walk(
                lambda: matcher.fill_next_token_bitmask(mask),
                matcher.accept_token,
                lambda: bool(matcher.is_completed()),
            )

        return begin

    return compiled


def outlines(tokenizer: PreTrainedTokenizerFast) -> Library:
    """A finite automaton over the whole vocabulary, made beforehand."""
    import outlines_core as oc
    from llguidance.hf import from_tokenizer

    tokens = from_tokenizer(tokenizer)
    words: dict[bytes, list[int]] = {}
    for token in set(range(len(tokenizer))).difference(tokenizer.all_special_ids):
        words.setdefault(tokens.decode_bytes([token]), []).append(token)
    vocabulary = oc.Vocabulary(tokenizer.eos_token_id, words)

    def compiled(schema: Schema) -> Callable[[], Walk]:
        pattern = oc.json_schema.build_regex_from_schema(json.dumps(schema), r"[\n ]{0,9}")
        index = oc.Index(pattern, vocabulary)

        def begin() -> Walk:
            guide = oc.Guide(index)

            def take(token: int) -> bool:
                allowed = token in guide.get_tokens()
                if allowed:
                    guide.advance(token)
                return allowed

            return Walk(guide.get_tokens, take, guide.is_finished)

        return begin

    return compiled


def measure(options: Options) -> list[Result]:
    """The libraries' table is printed; the bars are about the one that is used."""
    source = resolve(BUILTIN, Silent())
    tokenizer: Any = load_tokenizer(source)
    _compare(tokenizer, 2 if options.smoke else None)
    model = LocalModel.load(source, device_plan())
    rows = list(read_rows(HELDOUT))[:ROWS]
    if options.smoke:
        rows = rows[:2]
    return [_pace(model, rows[:BATCH], options), *_thousand(model, rows, options)]


def _compare(tokenizer: PreTrainedTokenizerFast, most: int | None) -> None:
    print(
        "library        compile ms: median, max   mask µs: median, 99%   schemas held"
        "  keywords right/wrong/refused"
    )
    for make, package in ((llguidance, "llguidance"), (xgrammar, "xgrammar"), (outlines, "outlines_core")):
        if find_spec(package) is None:
            print(f"{package:14} not installed")
            continue
        library = make(tokenizer)
        compile_s: list[float] = []
        mask_s: list[float] = []
        held = 0
        for schema in islice(SCHEMAS.values(), most):
            if sum(compile_s) > PATIENCE_S:
                print(f"{package}: stopped at {PATIENCE_S} s of compiling, with {held} schemas")
                break
            began = time.perf_counter()
            try:
                begin = library(schema)
            except Exception:  # noqa: BLE001 - whatever a library raises for what it does not hold
                continue
            held += 1
            compile_s.append(time.perf_counter() - began)
            mask_s += _masks(begin(), tokenizer)
        # an automaton for some of the keywords takes longer than anybody waits
        tried = {} if make is outlines else KEYWORDS
        verdicts = {name: _verdict(library, tokenizer, *case) for name, case in islice(tried.items(), most)}
        count = [sum(v == kind for v in verdicts.values()) for kind in ("right", "wrong", "refused")]
        mask_s.sort()
        print(
            f"{package:14} {median(compile_s) * 1e3:15.1f}, {max(compile_s) * 1e3:6.0f}"
            f" {median(mask_s) * 1e6:15.0f}, {mask_s[int(0.99 * len(mask_s))] * 1e6:5.0f}"
            f" {held:13} of {len(SCHEMAS)} {'/'.join(map(str, count)):>14}"
        )
        for kind in ("wrong", "refused"):
            print(f"  {kind}: {', '.join(name for name, v in verdicts.items() if v == kind) or 'none'}")


def _masks(walk: Walk, tokenizer: PreTrainedTokenizerFast, most: int = 60) -> Iterator[float]:
    """Seconds of each mask along one answer, of the first of a few tokens that fits."""
    letters = [*'{["a1:,0-e}]', " "]
    vocabulary = tokenizer.get_vocab()
    tokens = [vocabulary["Ġ" if letter == " " else letter] for letter in letters]
    for _ in range(most):
        began = time.perf_counter()
        walk.mask()
        yield time.perf_counter() - began
        if walk.ends() or not any(walk.take(token) for token in tokens):
            return


def _verdict(
    library: Library, tokenizer: PreTrainedTokenizerFast, schema: Schema, valid: list[Any], invalid: list[Any]
) -> str:
    try:
        begin = library(schema)
    except Exception:  # noqa: BLE001 - as above
        return "refused"

    def fits(value: Json) -> bool:
        walk = begin()
        ids = tokenizer(json.dumps(value, ensure_ascii=False), add_special_tokens=False)["input_ids"]
        return all(walk.take(token) for token in ids) and walk.ends()

    return "right" if all(map(fits, valid)) and not any(map(fits, invalid)) else "wrong"


def _asked(model: LocalModel, rows: Sequence[Row], decoding: Decoding) -> tuple[list[Answer], float]:
    prompts = [Prompt(row.id, row.prompt) for row in rows]
    began = time.process_time()
    answers = list(model.answer(prompts, decoding, frozenset()))
    return answers, time.process_time() - began


def _pace(model: LocalModel, rows: Sequence[Row], options: Options) -> Result:
    """CPU seconds a token of one batch, bound and free in turns."""
    schema = AnswerSchema(json.dumps(SCHEMAS["ticket"]), "ticket")
    free, bound = Decoding(max_new_tokens=32), Decoding(max_new_tokens=32, schema=schema)
    _asked(model, rows[:2], bound)
    ratios, costs = [], []
    for _ in range(1 if options.smoke else options.rounds):
        cost = []
        for decoding in (free, bound):
            answers, seconds = _asked(model, rows, decoding)
            cost.append(1e3 * seconds / sum(answer.completion_tokens or 0 for answer in answers))
        costs.append(cost)
        ratios.append(cost[1] / cost[0])
    value, reference = (median(cost[side] for cost in costs) for side in (1, 0))
    spread = f"ratios {min(ratios):.2f}–{max(ratios):.2f}"
    detail = f"batch of {len(rows)}, ticket schema, prompts' time included; {spread}"
    return Result(
        "answers under a schema: time a token", value, "CPU ms", detail, "the same batch unbound", reference,
        ratio=median(ratios), bar=1.25, bar_is="ratio at most",
    )  # fmt: skip


def _thousand(model: LocalModel, rows: Sequence[Row], options: Options) -> list[Result]:
    valid, cut, answered = 0, 0, 0
    for name, schema in islice(SCHEMAS.items(), 2 if options.smoke else None):
        check = JsonSchema(schema)
        decoding = Decoding(max_new_tokens=160, schema=AnswerSchema(json.dumps(schema), name))
        answers = {answer.row_id: answer for answer in _asked(model, rows, decoding)[0]}
        scores = [check.score(row, answers[row.id]) for row in rows]
        for row, score in zip(rows, scores, strict=True):
            if score.value != 1.0:
                print(f"{name}, {row.id}: {score.reason or score.failure}: {answers[row.id].text[:200]!r}")
        valid += sum(score.value == 1.0 for score in scores)
        cut += sum(answer.finish == "length" for answer in answers.values())
        answered += len(rows)
    detail = (
        f"{valid} of {answered} answers of {BUILTIN} over {len(SCHEMAS)} schemas; {cut} cut off at 160 tokens"
    )
    share = 100 * valid / answered
    return [Result("answers under a schema: valid", share, "%", detail, bar=100.0, bar_is="value at least")]
