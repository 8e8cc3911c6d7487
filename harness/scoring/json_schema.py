"""The check that an answer is JSON of a given shape, in time that neither schema nor answer can stretch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

from harness.errors import DataError, UsageError
from harness.records import Answer, Json, Row, Score
from harness.scoring.checks import NamedCheck
from harness.scoring.json_values import composed, depth, json_key
from harness.scoring.patterns import BadPattern, PatternTimeout, matches, require_pattern
from harness.scoring.text import MOST_DEPTH, NotJson, parse_json, short

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError

MOST_ERRORS = 50  # of one answer: the reason is the best of these
_PLAIN_KEYWORDS = frozenset(("const", "enum", "default", "examples"))  # hold values, and no schemas
_Errors = Iterator["ValidationError"]


@dataclass(frozen=True)
class JsonSchema(NamedCheck):
    """The whole answer is JSON (RFC 8259) and valid under a schema (draft 2020-12).

    Texts are compared in Unicode's composed form. A ``pattern`` that takes too long on an answer is a failure
    of that row.

    Args:
        schema: the schema itself, or the path of its file. ``format`` is an annotation, as the
            draft has it; references to other documents are not fetched.
        fenced_ok: accept a Markdown code fence around the whole answer.
    """

    # a mapping has no hash; equal checks still have equal hashes without it
    schema: str | Mapping[str, Json] = dataclasses.field(hash=False)
    fenced_ok: bool = False
    # left out of equality, so that a suite's bound check is found under the user's module constant
    document: Mapping[str, Json] | bool | None = dataclasses.field(
        default=None, compare=False, repr=False, kw_only=True
    )

    def _default_name(self) -> str:
        return "valid JSON"

    def spec(self) -> Mapping[str, Json]:
        """The schema's content, once bound; not where it lies."""
        return {"check": "JsonSchema", "schema": self._content(), "fenced_ok": self.fenced_ok}

    def bind(self, read: Callable[[str], str]) -> JsonSchema:
        """Itself with its schema read; DataError if that is missing, not JSON, or not a schema."""
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import SchemaError

        content: Json = self.schema
        where = f"the schema of {self.name!r}"
        if isinstance(self.schema, str):
            where = self.schema
            content = _read(read, where)
        if not isinstance(content, Mapping | bool):
            raise DataError(where, "a schema is a JSON object", "write a JSON Schema into it")
        if depth(content) > MOST_DEPTH:
            raise DataError(
                where, f"the schema is nested more than {MOST_DEPTH} deep", "name its parts in $defs"
            )
        try:
            Draft202012Validator.check_schema(content)
            _require_bounded(content)
        except SchemaError as error:
            problem = f"not a JSON Schema: {error.json_path}: {short(error.message)}"
            raise DataError(where, problem, "correct the schema (draft 2020-12)") from error
        except BadPattern as error:
            raise DataError(where, f"not a JSON Schema: {error}", "correct the pattern") from error
        except _Unbounded as error:
            hint = "write additionalProperties instead, or list the properties"
            raise DataError(
                where, "unevaluatedProperties cannot stand beside patternProperties here", hint
            ) from error
        return dataclasses.replace(self, document=content)

    def _content(self) -> Json:
        return self.schema if self.document is None else self.document

    @cached_property
    def _validator(self) -> Draft202012Validator:
        from referencing import Registry

        content = composed(self._content())
        if not isinstance(content, Mapping | bool):
            raise UsageError(f"{self.name}: schema file {content!r} has not been read; call bind(read) first")
        # an empty registry: jsonschema's own would fetch references over the network
        return _bounded_validator()(content, registry=Registry())

    def _score(self, row: Row, answer: Answer) -> Score:
        from jsonschema.exceptions import best_match  # slow to import

        try:
            value = composed(parse_json(answer.text, fenced_ok=self.fenced_ok))
        except NotJson as error:
            cut = f"; cut off at {answer.completion_tokens} tokens" if answer.finish == "length" else ""
            return Score(0.0, f"{error}{cut}")
        try:
            worst = best_match(islice(self._validator.iter_errors(value), MOST_ERRORS))
        except PatternTimeout as error:
            return Score(None, failure=f"row {row.id}: {error}")
        return Score(1.0) if worst is None else Score(0.0, f"{worst.json_path}: {short(worst.message)}")


def _read(read: Callable[[str], str], where: str) -> Json:
    """The JSON of a schema's file; DataError where there is none."""
    try:
        content: Json = json.loads(read(where))
    except (OSError, UnicodeDecodeError) as error:
        hint = "write the schema there; its path is relative to the suite's file"
        raise DataError(where, f"the schema cannot be read: {error}", hint) from error
    except json.JSONDecodeError as error:
        problem = f"not JSON: {error.msg}"
        raise DataError(f"{where}:{error.lineno}", problem, "correct the schema file") from error
    except RecursionError as error:
        raise DataError(where, "the schema is nested too deeply", "name its parts in $defs") from error
    except ValueError as error:  # an integer of thousands of digits
        raise DataError(where, f"not JSON: {short(str(error), 80)}", "correct the schema file") from error
    return content


class _Unbounded(Exception):  # noqa: N818 - caught where the file's name is known
    """The schema has keywords whose patterns would be matched without a limit of time."""


def _require_bounded(content: Json) -> None:
    """See that every pattern is one, and that none is matched by jsonschema itself.

    Raises:
        BadPattern: naming a pattern that is none.
        _Unbounded: ``unevaluatedProperties`` and ``patternProperties`` in one schema.
    """
    seen: set[str] = set()
    waiting = [content]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
        elif isinstance(item, Mapping):
            for pattern in _patterns(item):
                try:
                    require_pattern(pattern)
                except BadPattern as error:
                    raise BadPattern(f"{short(pattern, 60)!r} is not a pattern: {error}") from error
            seen |= {key for key, value in item.items() if isinstance(value, Mapping | bool)}
            waiting += [value for key, value in item.items() if key not in _PLAIN_KEYWORDS]
    if {"unevaluatedProperties", "patternProperties"} <= seen:
        raise _Unbounded


def _patterns(schema: Mapping[str, Json]) -> Iterator[str]:
    pattern, by_name = schema.get("pattern"), schema.get("patternProperties")
    if isinstance(pattern, str):
        yield pattern
    if isinstance(by_name, Mapping):
        yield from by_name


# --------------------------------------------------------------------------- keywords with a limit of time
def _bounded_validator() -> type[Draft202012Validator]:
    """Draft 2020-12 with its patterns bounded, and unique items found in linear time."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    own = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    }
    bounded: type[Draft202012Validator] = extend(Draft202012Validator, own)  # type: ignore[no-untyped-call]
    return bounded


def _pattern(validator: Draft202012Validator, pattern: str, value: Json, schema: Json) -> _Errors:
    from jsonschema.exceptions import ValidationError

    if isinstance(value, str) and not matches(pattern, value):
        yield ValidationError(f"{short(value, 60)!r} does not match {short(pattern, 60)!r}")


def _pattern_properties(
    validator: Draft202012Validator, patterns: Mapping[str, Mapping[str, Json]], value: Json, schema: Json
) -> _Errors:
    for pattern, part in patterns.items():
        for key, held in value.items() if isinstance(value, dict) else ():
            if matches(pattern, key):
                yield from validator.descend(held, part, path=key, schema_path=pattern)


def _additional_properties(
    validator: Draft202012Validator,
    part: Mapping[str, Json] | bool,
    value: Json,
    schema: Mapping[str, Mapping[str, Json]],
) -> _Errors:
    from jsonschema.exceptions import ValidationError

    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for key, held in value.items() if isinstance(value, dict) else ():
        if key in known or any(matches(pattern, key) for pattern in patterns):
            continue
        if part is False:
            yield ValidationError(
                f"Additional properties are not allowed ({short(key, 60)!r} was unexpected)"
            )
        else:
            yield from validator.descend(held, part, path=key)


def _unique_items(validator: Draft202012Validator, wanted: bool, value: Json, schema: Json) -> _Errors:
    from jsonschema.exceptions import ValidationError

    if wanted and isinstance(value, list) and len(set(map(json_key, value))) < len(value):
        yield ValidationError(f"{short(json.dumps(value, ensure_ascii=False), 60)} has non-unique elements")
