"""Answers of hosted models bound to a JSON schema: what is sent, and whether the service holds all of it.

OpenAI's strict mode holds a part of JSON Schema (its guide on structured outputs, as of November 2026). A
schema with more in it is sent without ``strict``: the model is shown it, and may break it. A service that is
not known here is sent the same, for vLLM, SGLang and llama.cpp's server hold a schema either way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.models.protocol import AnswerSchema
from harness.records import Json

if TYPE_CHECKING:
    from harness.models.remote import RemoteModel

SCHEMA_NAME = "answer"
_STRUCTURE = frozenset(
    (
        *("type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf"),
        *("$ref", "$defs", "$schema", "$id", "$comment", "title", "description"),
    )
)
_BOUNDS = frozenset(
    (
        *("pattern", "format", "minItems", "maxItems"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    )
)
_BY_NAME = ("properties", "$defs")  # hold schemas by names of the user's
_FORMATS = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
)  # others are refused with the whole request
_SHAPES = frozenset(("type", "enum", "const", "anyOf", "$ref"))  # every schema has one of them
_LOOKAROUND = re.compile(r"\(\?(?:[=!]|<[=!])")
MOST_DEPTH, MOST_ENUM, MOST_LISTED_LENGTH, LONG_ENUM = 10, 1_000, 15_000, 250
MOST_PROPERTIES, MOST_LENGTH = 5_000, 120_000  # of names and values, in characters


def require_bindable(spec: RemoteModel, schema: AnswerSchema | None) -> None:
    """See that a hosted model's answers can be bound.

    Raises:
        UsageError: it takes a prompt and no messages.
    """
    if schema is not None and spec.takes_prompt:
        raise UsageError(
            f"schema={schema.name}: {spec.model} at {spec.url} completes prompts; nobody binds those.\n"
            "  hint: leave schema= out, or ask a model that takes messages."
        )


def response_format(spec: RemoteModel, schema: Mapping[str, Json]) -> dict[str, Json]:
    """The field ``response_format`` of a request for a chat."""
    held = {"name": SCHEMA_NAME, "strict": not beyond_strict(spec, schema), "schema": schema}
    return {"type": "json_schema", "json_schema": held}


def schema_notes(spec: RemoteModel, schema: AnswerSchema | None) -> tuple[str, ...]:
    """A sentence for the report where the service is asked to keep to a schema, and need not."""
    beyond = "" if schema is None else beyond_strict(spec, schema.document)
    if schema is None or not beyond:
        return ()
    return (
        f"{schema.name} goes to {spec.model} without strict: {beyond} is beyond OpenAI's strict mode. There"
        " the model is shown the schema and not held to it; other services may hold it.",
    )


def beyond_strict(spec: RemoteModel, schema: Mapping[str, Json]) -> str:
    """The first thing in the schema that strict mode does not hold, by its JSON pointer; empty: none."""
    known = _STRUCTURE if spec.is_tuned else _STRUCTURE | _BOUNDS
    if schema.get("type") != "object":
        return "/type other than object"
    if "anyOf" in schema:
        return "/anyOf"
    return next(_beyond(schema, "", known), "") or _too_large(schema)


def _too_large(schema: Json) -> str:
    """The first of strict mode's limits that the whole schema is over; empty: none."""
    n_properties = n_listed = length = 0
    waiting: list[tuple[Json, int]] = [(schema, 0)]
    while waiting:
        item, depth = waiting.pop()
        if not isinstance(item, Mapping):
            continue
        listed = [*item.get("enum", ()), *([item["const"]] if "const" in item else [])]
        texts = [value for value in listed if isinstance(value, str)]
        names = [name for keyword in _BY_NAME for name in item.get(keyword, {})]
        n_listed += len(item.get("enum", ()))
        n_properties += len(item.get("properties", ()))
        length += sum(map(len, (*texts, *names)))
        depth += "properties" in item
        if depth > MOST_DEPTH:
            return f"an object {depth} deep (the most is {MOST_DEPTH})"
        if len(listed) > LONG_ENUM and sum(map(len, texts)) > MOST_LISTED_LENGTH:
            return f"an enum of {len(listed):,} values with more than {MOST_LISTED_LENGTH:,} characters"
        waiting += [(inner, depth) for key in _BY_NAME for inner in item.get(key, {}).values()]
        waiting += [(inner, depth) for inner in (item.get("items"), *item.get("anyOf", ()))]
    for n, most, what in (
        (n_listed, MOST_ENUM, "enum values"),
        (n_properties, MOST_PROPERTIES, "properties"),
        (length, MOST_LENGTH, "characters of names and values"),
    ):
        if n > most:
            return f"a number of {n:,} {what} (the most is {most:,})"
    return ""


def _beyond(schema: Json, at: str, known: frozenset[str]) -> Iterator[str]:
    if not isinstance(schema, Mapping):
        if isinstance(schema, bool):
            yield f"{at or '/'}: {str(schema).lower()}"
        return
    if "$ref" in schema:
        yield from (f"{at}/{keyword} beside a $ref" for keyword in schema if keyword != "$ref")
    if schema.get("format", "date") not in _FORMATS:
        yield f"{at}/format {schema['format']!r}"
    if _LOOKAROUND.search(str(schema.get("pattern", ""))):
        yield f"{at}/pattern with a lookaround"
    yield from (f"{at}/{keyword}" for keyword in schema if keyword not in known)
    properties = schema.get("properties", {})
    kinds = schema.get("type")
    if kinds == "object" or (isinstance(kinds, list) and "object" in kinds) or "properties" in schema:
        if schema.get("additionalProperties") is not False:
            yield f"{at}/additionalProperties other than false"
        required = schema.get("required", ())
        optional = [name for name in properties if name not in required]
        yield from (f"{at}/properties/{name}, which is not required," for name in optional)
        yield from (
            f"{at}/required/{name}, which is no property," for name in required if name not in properties
        )
    for keyword in _BY_NAME:
        for name, inner in schema.get(keyword, {}).items():
            yield from _beyond(inner, f"{at}/{keyword}/{name}", known)
    if "items" in schema:
        yield from _beyond(schema["items"], f"{at}/items", known)
    for k, inner in enumerate(schema.get("anyOf", ())):
        yield from _beyond(inner, f"{at}/anyOf/{k}", known)
    if not _SHAPES.intersection(schema):
        yield f"{at} without a type"
