"""Deterministic checks: a value in {0, 1} with its reason, from a row and an answer.

All checks follow one protocol, ``Check``; a user's own needs only that. A wrong answer scores 0.0.
An answer that never came, or a row without an expectation, is a failure: its value is None, and it
is counted.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from harness.errors import DataError, HarnessError, UsageError
from harness.records import Answer, Json, Kind, Row, Score
from harness.scoring.text import REFUSAL_WINDOW_CHARACTERS, REFUSALS, NotJson, parse_json, refusal_in, short

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator


class Check(Protocol):
    """The protocol of every score of a suite. Must be hashable: suites use checks as keys."""

    @property
    def name(self) -> str:
        """The label in a report."""

    @property
    def kind(self) -> Kind:
        """How its values are distributed."""

    def spec(self) -> Mapping[str, Json]:
        """Everything that shapes the score, as JSON: the material of its fingerprint."""

    def bind(self, read: Callable[[str], str]) -> Check:
        """Itself with its files read; ``read`` takes a path relative to the suite's file."""

    def score(self, row: Row, answer: Answer) -> Score:
        """The worth of ``answer`` to ``row``."""


def score_all(check: Check, rows: Sequence[Row], answers: Sequence[Answer]) -> tuple[Score, ...]:
    """One score a row, in order; an exception inside a check becomes that row's failure.

    The harness's own errors pass through: they say that the suite is wrong, not the answer.
    """
    scores = []
    for row, answer in pair_up(check.name, rows, answers):
        try:
            scores.append(check.score(row, answer))
        except HarnessError:
            raise
        except Exception as error:  # noqa: BLE001 - a user's check may raise anything; it is counted
            scores.append(Score(None, failure=f"{type(error).__name__}: {short(str(error))}"))
    return tuple(scores)


def pair_up(name: str, rows: Sequence[Row], answers: Sequence[Answer]) -> Iterator[tuple[Row, Answer]]:
    """Each row with its answer; UsageError, with the score's ``name``, unless they are in one order."""
    if [row.id for row in rows] != [answer.row_id for answer in answers]:
        raise UsageError(f"{name}: the answers do not belong to the rows, one each and in their order")
    return zip(rows, answers, strict=True)


def unanswered(answer: Answer) -> Score | None:
    """The failure of an answer that never came, else None."""
    return None if answer.failure is None else Score(None, failure=answer.failure)


def no_expectation(row: Row, lacking: str) -> Score:
    """The failure of a row that lacks what the score compares the answer with."""
    place = f" ({row.where})" if row.where else ""
    return Score(None, failure=f"row {row.id}{place} has no {lacking}")


def verdict(passed: bool, reason: str) -> Score:
    """1 or 0; the reason is shown for 0."""
    return Score(1.0) if passed else Score(0.0, reason)


@dataclass(frozen=True)
class NamedCheck:
    """Base of the checks: a name with a default, and failures of answers passed on."""

    name: str = dataclasses.field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self._default_name())

    @property
    def kind(self) -> Kind:
        """Right or wrong."""
        return Kind.BINARY

    def spec(self) -> Mapping[str, Json]:
        """Its class and its parameters."""
        shaping = (f.name for f in dataclasses.fields(self) if f.compare and f.name != "name")
        return {"check": type(self).__name__, **{name: getattr(self, name) for name in shaping}}

    def bind(self, read: Callable[[str], str]) -> Check:
        """Itself: it has no files."""
        return self

    def score(self, row: Row, answer: Answer) -> Score:
        """The answer's own failure, else the check's verdict."""
        return unanswered(answer) or self._score(row, answer)

    def _default_name(self) -> str:
        raise NotImplementedError

    def _score(self, row: Row, answer: Answer) -> Score:
        raise NotImplementedError


@dataclass(frozen=True)
class JsonSchema(NamedCheck):
    """The whole answer is JSON (RFC 8259) and valid under a schema (draft 2020-12).

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

    def bind(self, read: Callable[[str], str]) -> Check:
        """Itself with its schema read; DataError if that is missing, not JSON, or not a schema."""
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import SchemaError

        content: Json = self.schema
        where = f"the schema of {self.name!r}"
        if isinstance(self.schema, str):
            where = self.schema
            try:
                content = json.loads(read(where))
            except (OSError, UnicodeDecodeError) as error:
                hint = "write the schema there; its path is relative to the suite's file"
                raise DataError(where, f"the schema cannot be read: {error}", hint) from error
            except json.JSONDecodeError as error:
                problem = f"not JSON: {error.msg}"
                raise DataError(f"{where}:{error.lineno}", problem, "correct the schema file") from error
        if not isinstance(content, Mapping | bool):
            raise DataError(where, "a schema is a JSON object", "write a JSON Schema into it")
        try:
            Draft202012Validator.check_schema(content)
        except SchemaError as error:
            problem = f"not a JSON Schema: {error.json_path}: {short(error.message)}"
            raise DataError(where, problem, "correct the schema (draft 2020-12)") from error
        return dataclasses.replace(self, document=content)

    def _content(self) -> Json:
        return self.schema if self.document is None else self.document

    @cached_property
    def _validator(self) -> Draft202012Validator:
        from jsonschema import Draft202012Validator
        from referencing import Registry

        content = self._content()
        if not isinstance(content, Mapping | bool):
            raise UsageError(f"{self.name}: schema file {content!r} has not been read; call bind(read) first")
        # an empty registry: jsonschema's own would fetch references over the network
        return Draft202012Validator(content, registry=Registry())

    def _score(self, row: Row, answer: Answer) -> Score:
        from jsonschema.exceptions import best_match  # slow to import

        try:
            value = parse_json(answer.text, fenced_ok=self.fenced_ok)
        except NotJson as error:
            cut = f"; cut off at {answer.completion_tokens} tokens" if answer.finish == "length" else ""
            return Score(0.0, f"{error}{cut}")
        worst = best_match(self._validator.iter_errors(value))
        return Score(1.0) if worst is None else Score(0.0, f"{worst.json_path}: {short(worst.message)}")


@dataclass(frozen=True)
class FieldMatch(NamedCheck):
    """The answer is a JSON object whose ``field`` equals the expected value (1 and true differ).

    Expected is the row's metadata ``expected`` (default: ``field``), else ``field`` of the
    reference. An answer that is no JSON object, or lacks the field, is a wrong answer.
    """

    field: str
    expected: str | None = None
    fenced_ok: bool = False

    def _default_name(self) -> str:
        return self.field

    def _score(self, row: Row, answer: Answer) -> Score:
        wanted = row.metadata.get(self.expected or self.field)
        if wanted is None:
            try:
                reference = parse_json(row.reference)
            except NotJson:
                reference = None
            if not isinstance(reference, dict) or self.field not in reference:
                place = "in its metadata or its reference"
                return no_expectation(row, f"{self.expected or self.field!r} {place}")
            wanted = reference[self.field]
        try:
            value = parse_json(answer.text, fenced_ok=self.fenced_ok)
        except NotJson as error:
            return Score(0.0, str(error))
        if not isinstance(value, dict) or self.field not in value:
            return Score(0.0, f"expected {_shown(wanted)}, got no field {self.field!r}")
        got = value[self.field]
        same = got == wanted and isinstance(got, bool) == isinstance(wanted, bool)
        return verdict(same, f"expected {_shown(wanted)}, got {_shown(got)}")


def _shown(value: Json) -> str:
    return short(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str), 60)


@dataclass(frozen=True)
class ExactMatch(NamedCheck):
    """The answer equals the reference, character by character, after the two options."""

    ignore_case: bool = False
    strip: bool = True

    def _default_name(self) -> str:
        return "exact match"

    def _score(self, row: Row, answer: Answer) -> Score:
        if not row.reference.strip():
            return no_expectation(row, "reference")
        got, wanted = answer.text, row.reference
        if self.strip:
            got, wanted = got.strip(), wanted.strip()
        if self.ignore_case:
            got, wanted = got.casefold(), wanted.casefold()
        reason = f"expected {short(row.reference, 60)!r}, got {short(answer.text, 60)!r}"
        return verdict(got == wanted, reason)


@dataclass(frozen=True)
class Contains(NamedCheck):
    """The answer holds one of the accepted texts as whole words; runs of white space are equal.

    Accepted is the metadata ``expected``, a text or a list of texts of which one suffices; default
    the reference. A word ends where no letter, digit or underscore follows, so scripts written
    without spaces want ``Regex``.
    """

    expected: str | None = None
    ignore_case: bool = True

    def _default_name(self) -> str:
        return "contains the reference" if self.expected is None else f"contains {self.expected}"

    def _score(self, row: Row, answer: Answer) -> Score:
        held = row.reference if self.expected is None else row.metadata.get(self.expected)
        texts = held if isinstance(held, list | tuple) else [held]
        accepted = [" ".join(str(one).split()) for one in texts if one is not None and str(one).strip()]
        if not accepted:
            return no_expectation(row, f"{self.expected!r} in its metadata" if self.expected else "reference")
        text = " ".join(answer.text.split())
        flags = re.IGNORECASE if self.ignore_case else 0
        found = any(re.search(rf"(?<!\w){re.escape(one)}(?!\w)", text, flags) for one in accepted)
        return verdict(found, f"none of: {short(', '.join(accepted))}")


@dataclass(frozen=True)
class Regex(NamedCheck):
    """The answer matches a regular expression (Python's ``re``): the given one, or each row's own.

    Args:
        pattern: the expression. Flags go inside it: ``(?is)…``.
        expected: instead of it, the metadata key that holds each row's expression.
        full: the whole answer must match, white space around it aside; else any part of it.
    """

    pattern: str | None = None
    expected: str | None = None
    full: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.pattern is None) == (self.expected is None):
            raise UsageError(
                "Regex takes either a pattern or expected=, a metadata key; not both, not neither"
            )
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise UsageError(f"Regex: {self.pattern!r} is not a pattern: {error}") from error

    def _default_name(self) -> str:
        return f"matches {self.expected or short(self.pattern or '', 30)}"

    def _score(self, row: Row, answer: Answer) -> Score:
        pattern = self.pattern if self.expected is None else row.text(self.expected)
        if pattern is None:
            return no_expectation(row, f"{self.expected!r} in its metadata")
        try:
            search = re.compile(pattern)
        except re.error as error:
            return Score(None, failure=f"row {row.id}: {pattern!r} is not a pattern: {error}")
        text = answer.text.strip()
        found = search.fullmatch(text) if self.full else search.search(text)
        return verdict(found is not None, f"no match for {short(pattern, 60)}")


@dataclass(frozen=True)
class MaxTokens(NamedCheck):
    """The answer has at most ``limit`` tokens, as its own model counts them."""

    limit: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.limit < 1:
            raise UsageError(f"MaxTokens: the limit must be at least 1 token, not {self.limit}")

    def _default_name(self) -> str:
        return f"at most {self.limit} tokens"

    def _score(self, row: Row, answer: Answer) -> Score:
        return verdict(answer.answer_tokens <= self.limit, f"{answer.answer_tokens} tokens")


@dataclass(frozen=True)
class Refusal(NamedCheck):
    """The answer refuses where it should, and only there.

    A refusal is one of the phrases in ``harness.scoring.text.REFUSALS`` (eight languages) within
    the answer's first 240 characters. A paraphrase outside that list is not seen.

    Args:
        expected: whether rows should be refused, or the metadata key that holds it as true or false.
    """

    expected: bool | str = False

    def _default_name(self) -> str:
        return "does not refuse" if self.expected is False else "refuses as expected"

    def spec(self) -> Mapping[str, Json]:
        """The phrases are part of it: another list gives other scores."""
        return {**super().spec(), "phrases": dict(REFUSALS), "window_characters": REFUSAL_WINDOW_CHARACTERS}

    def _score(self, row: Row, answer: Answer) -> Score:
        wanted = self.expected if isinstance(self.expected, bool) else row.metadata.get(self.expected)
        if not isinstance(wanted, bool):
            return no_expectation(row, f"{self.expected!r}, true or false, in its metadata")
        phrase = refusal_in(answer.text)
        reason = "did not refuse" if phrase is None else f"refused: {phrase!r}"
        return verdict((phrase is not None) == wanted, reason)
