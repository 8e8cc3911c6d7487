"""Deterministic checks: a value in {0, 1} with its reason, from a row and an answer.

All checks follow one protocol, ``Check``; a user's own needs only that. A wrong answer scores 0.0.
An answer that never came, or a row without an expectation, is a failure: its value is None, and it
is counted.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from harness.errors import HarnessError, UsageError
from harness.fields import AnyText, Count, require_fields
from harness.records import Answer, Json, Kind, Row, Score
from harness.scoring import refusals
from harness.scoring.json_values import composed, described, same_json
from harness.scoring.mentions import Mentions
from harness.scoring.patterns import BadPattern, PatternTimeout, matches, nfc, require_pattern
from harness.scoring.taken import failed, taken
from harness.scoring.text import NotJson, parse_json, short

NOTHING = object()


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
    """One score a row, in order; whatever a check raises, or returns in place of a score, is that row's
    failure.

    Ctrl-C passes through, and so do the harness's own errors in its own checks: they say that the suite is
    wrong, not the answer.
    """
    scores: list[Score] = []
    for row, answer in pair_up(check.name, rows, answers):
        try:
            given: object = check.score(row, answer)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # a user's check may raise anything, pytest.skip and sys.exit included
            if isinstance(error, HarnessError) and isinstance(check, NamedCheck):
                raise
            scores += failed(error, check.name)
        else:
            scores.append(taken(given, check.name, Kind(check.kind)))
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


def own_reference(row: Row) -> Answer:
    """The row's reference as an answer. It has no time, and at least as many tokens as words."""
    finish: Literal["stop", "tool_calls"] = "tool_calls" if row.messages[-1].tool_calls else "stop"
    return Answer(row.id, row.reference, 0, len(row.reference.split()), 0.0, finish)


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Why the right answer to a row, its own reference, cannot have full marks, and what to do about it."""

    problem: str
    hint: str


def verdict(passed: bool, reason: str) -> Score:
    """1 or 0; the reason is shown for 0."""
    return Score(1.0) if passed else Score(0.0, reason)


@dataclass(frozen=True)
class NamedCheck:
    """Base of the checks: a name with a default, and failures of answers passed on."""

    name: str | Literal[""] = dataclasses.field(default="", kw_only=True)

    def __post_init__(self) -> None:
        require_fields(self)
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

    def contradiction(self, row: Row) -> Contradiction | None:
        """Why the row's own reference does not get full marks; None where it does.

        A candidate that answers all rows perfectly would fail this one, so a run stops here.
        """
        score = self.score(row, own_reference(row))
        if score.value == 1.0 or self.kind is not Kind.BINARY:
            return None
        if score.failure is not None:
            return Contradiction(score.failure, "write it into the row, or take the row out")
        problem = f"{self.name!r} scores the row's own reference 0: {score.reason}"
        return Contradiction(
            problem, "correct the reference, or what the check expects; a right answer would fail"
        )

    def _default_name(self) -> str:
        raise NotImplementedError

    def _score(self, row: Row, answer: Answer) -> Score:
        raise NotImplementedError


@dataclass(frozen=True)
class FieldMatch(NamedCheck):
    """The answer is a JSON object whose ``field`` equals the expected value, as JSON values are equal.

    Types count at every depth: 1 is neither true nor "1"; 1 and 1.0 are one number. Texts are compared in
    Unicode's composed form. Expected is the row's metadata ``expected`` (default: ``field``), else
    ``field`` of the reference. An answer that is no JSON object, or lacks the field, is a wrong answer.
    """

    field: str
    expected: str | None = None
    fenced_ok: bool = False

    def _default_name(self) -> str:
        return self.field

    def _score(self, row: Row, answer: Answer) -> Score:
        wanted = row.metadata.get(self.expected or self.field)
        if wanted is None:
            wanted = self._held(row.reference)
        if wanted is NOTHING:
            return no_expectation(row, f"{self.expected or self.field!r} in its metadata or its reference")
        try:
            value = composed(parse_json(answer.text, fenced_ok=self.fenced_ok))
        except NotJson as error:
            return Score(0.0, str(error))
        if not isinstance(value, dict) or nfc(self.field) not in value:
            return Score(0.0, f"expected {_shown(wanted)}, got no field {self.field!r}")
        got = value[nfc(self.field)]
        if same_json(got, wanted):
            return Score(1.0)
        if _shown(got) == _shown(wanted):
            return Score(0.0, f"expected {described(wanted)}, got {described(got)}")
        return Score(0.0, f"expected {_shown(wanted)}, got {_shown(got)}")

    def contradiction(self, row: Row) -> Contradiction | None:
        """See ``NamedCheck``; metadata that differs from the reference is shown beside it."""
        found = super().contradiction(row)
        wanted, held = row.metadata.get(self.expected or self.field), self._held(row.reference)
        if found is None or wanted is None or held is NOTHING or same_json(wanted, held):
            return found
        problem = (
            f"metadata {self.expected or self.field!r} is {described(wanted)}, and the reference's field"
            f" {self.field!r} holds {described(held)}: {self.name!r} would score the right answer 0"
        )
        return Contradiction(problem, "make them equal, types included, or leave the metadata out")

    def _held(self, reference: str) -> Json:
        """The field of the reference, else ``NOTHING``."""
        try:
            value = composed(parse_json(reference, fenced_ok=True))
        except NotJson:
            return NOTHING
        return value.get(nfc(self.field), NOTHING) if isinstance(value, dict) else NOTHING


def _shown(value: Json) -> str:
    return short(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str), 60)


@dataclass(frozen=True)
class ExactMatch(NamedCheck):
    """The answer equals the reference, character by character, after the two options.

    Both are compared in Unicode's composed form: "é" is one character, however it was typed.
    """

    ignore_case: bool = False
    strip: bool = True

    def _default_name(self) -> str:
        return "exact match"

    def _score(self, row: Row, answer: Answer) -> Score:
        if not row.reference.strip():
            return no_expectation(row, "reference")
        got, wanted = nfc(answer.text), nfc(row.reference)
        if self.strip:
            got, wanted = got.strip(), wanted.strip()
        if self.ignore_case:
            got, wanted = nfc(got.casefold()), nfc(wanted.casefold())
        reason = f"expected {short(row.reference, 60)!r}, got {short(answer.text, 60)!r}"
        return verdict(got == wanted, reason)


@dataclass(frozen=True)
class Contains(NamedCheck):
    """The answer holds one of the accepted texts, as whole words and whole numbers.

    Numbers are compared by their value ("1,000" is 1000, and 5 is not in "-5"); ``harness.scoring.mentions``
    says what a word and a number are.

    Args:
        expected: the metadata key that holds the accepted texts, one or a list; default the reference.
        ignore_case: compare words without regard to case.
        first_words: read only so many words (between white space) of the answer. Without it an answer that
            goes on and on has more chances than a short one.
    """

    expected: str | None = None
    ignore_case: bool = True
    first_words: Count | None = None

    def _default_name(self) -> str:
        return "contains the reference" if self.expected is None else f"contains {self.expected}"

    def _score(self, row: Row, answer: Answer) -> Score:
        held = row.reference if self.expected is None else row.metadata.get(self.expected)
        texts = held if isinstance(held, list | tuple) else [held]
        accepted = [str(one) for one in texts if isinstance(one, str | int | float) and str(one).strip()]
        if not accepted:
            return no_expectation(row, f"{self.expected!r} in its metadata" if self.expected else "reference")
        text, place = answer.text, ""
        if self.first_words is not None:
            text, place = (
                " ".join(text.split()[: self.first_words]),
                f" in the first {self.first_words} words",
            )
        mentions = Mentions(text, ignore_case=self.ignore_case)
        found = any(one in mentions for one in accepted)
        return verdict(found, f"none of: {short(', '.join(accepted))}{place}")


@dataclass(frozen=True)
class Regex(NamedCheck):
    """The answer matches a regular expression: the given one, or each row's own.

    The syntax is that of Python's ``re``, and of the package ``regex`` beyond it. Answer and expression are
    in Unicode's composed form. An expression that takes too long on an answer is a failure of that row.

    Args:
        pattern: the expression. Flags go inside it: ``(?is)…``.
        expected: instead of it, the metadata key that holds each row's expression.
        full: the whole answer must match, white space around it aside; else any part of it.
    """

    pattern: AnyText | None = None
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
                require_pattern(self.pattern)
            except BadPattern as error:
                raise UsageError(f"Regex: {short(self.pattern, 60)!r} is not a pattern: {error}") from error

    def _default_name(self) -> str:
        return f"matches {self.expected or short(self.pattern or '', 30)}"

    def _score(self, row: Row, answer: Answer) -> Score:
        pattern = self.pattern if self.expected is None else row.text(self.expected)
        if pattern is None:
            return no_expectation(row, f"{self.expected!r} in its metadata")
        try:
            found = matches(pattern, answer.text.strip(), full=self.full)
        except BadPattern as error:
            return Score(None, failure=f"row {row.id}: {short(pattern, 60)!r} is not a pattern: {error}")
        except PatternTimeout as error:
            return Score(None, failure=f"row {row.id}: {error}")
        return verdict(found, f"no match for {short(pattern, 60)}")


@dataclass(frozen=True)
class MaxTokens(NamedCheck):
    """The answer has at most ``limit`` tokens, as its own model counts them."""

    limit: Count

    def _default_name(self) -> str:
        return f"at most {self.limit} tokens"

    def _score(self, row: Row, answer: Answer) -> Score:
        if answer.answer_tokens is None:
            return Score(None, failure="no count of tokens: it was not recorded with the answer")
        return verdict(answer.answer_tokens <= self.limit, f"{answer.answer_tokens} tokens")


@dataclass(frozen=True)
class Refusal(NamedCheck):
    """The answer refuses where it should, and only there.

    Sentences near the answer's beginning are read by rules for English, German, Spanish and French, and by
    phrases for Italian, Dutch, Portuguese and Polish; see ``harness.scoring.refusals``. A refusal in other
    words than these is not seen: ``python -m benchmarks.refusals`` prints how often, in both directions.

    Args:
        expected: whether rows should be refused, or the metadata key that holds it as true or false.
    """

    expected: bool | str = False

    def _default_name(self) -> str:
        return "does not refuse" if self.expected is False else "refuses as expected"

    def spec(self) -> Mapping[str, Json]:
        """The rules are part of it: other rules give other scores."""
        return {**super().spec(), "rules": refusals.written_rules()}

    def _score(self, row: Row, answer: Answer) -> Score:
        wanted = self.expected if isinstance(self.expected, bool) else row.metadata.get(self.expected)
        if not isinstance(wanted, bool):
            return no_expectation(row, f"{self.expected!r}, true or false, in its metadata")
        sentence = refusals.refusal_in(answer.text)
        reason = "did not refuse" if sentence is None else f"refused: {short(sentence, 80)!r}"
        return verdict((sentence is not None) == wanted, reason)

    def contradiction(self, row: Row) -> Contradiction | None:
        """See ``NamedCheck``; a reference that refuses in words that are not known contradicts nothing."""
        found = super().contradiction(row)
        refuses = refusals.refusal_in(row.reference) is not None
        return found if refuses or found is None or "did not refuse" not in found.problem else None
