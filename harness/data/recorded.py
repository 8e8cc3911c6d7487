"""Answers that were given elsewhere or earlier: one JSON object a line, and how each finds its row.

``{"id": "ticket-17", "answer": "..."}`` is enough. What else a line may hold are the fields of
``RecordedAnswer``; other keys are left alone. What is not there is not known, and never a zero.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Literal

from harness.data.findings import Unusable, shown
from harness.data.fingerprints import row_fingerprint
from harness.data.rows import decode, parse_object
from harness.errors import DataError
from harness.fields import LARGEST
from harness.records import Answer, FailureKind, Json, Message, Part, Row
from harness.words import plural

if TYPE_CHECKING:
    from pydantic import TypeAdapter

DIGITS = 16
NAMES_SHOWN = 5
ONE_LINE = 'write one JSON object a line, such as {"id": "ticket-17", "answer": "..."}'


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """One line: who answered which row, with what, when and at what cost. None and empty: not known.

    ``question`` is the row's last user turn. ``asked`` is the digest of all its turns (``question_digests``),
    and counts where both are there. ``prompt`` is the digest of the suite's prompt; empty where it had none.
    """

    id: str | int
    answer: str | None = None
    failure: str | None = None  # why no answer came; one of both is there
    failure_kind: FailureKind | None = None
    finish: Literal["stop", "length", "failed", "tool_calls"] = "stop"
    suite: str = ""
    question: str | None = None
    asked: str | None = None
    asked_with: str = ""  # what stood before the question, in words
    prompt: str | None = None
    settings: Mapping[str, Json] = field(default_factory=dict)  # of the decoding
    model: str = ""  # as it was asked
    service: str = ""  # its address
    served_by: str = ""  # as the service named it, where that is another name
    system_fingerprint: str = ""
    time: str = ""  # ISO 8601
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_prompt_tokens: int = 0
    latency_ms: float | None = None
    attempts: int = 1
    thought: str | None = None
    thought_tokens: int | None = None
    logprob: float | None = None
    usd: float | None = None
    batched: bool = False
    parts: tuple[Part, ...] = ()  # of an answer that several calls made
    where: str = ""  # ``file:line``; not in the line

    def for_row(self, row: Row) -> Answer:
        """The answer as checks and judges see it.

        People write calls and no ``finish``: where the row offers tools, an answer that ends with calls makes
        them. What a model wrote so, and a digest was recorded of, is text.
        """
        given = {name: getattr(self, name) for name in _OF_ANSWER}
        finish = "failed" if self.failure is not None else self.finish
        if finish == "stop" and row.tools and not self.asked and _has_calls(self.answer or ""):
            finish = "tool_calls"
        return Answer(**given | {"row_id": row.id, "text": self.answer or "", "finish": finish})

    def line(self) -> str:
        """The line, with its end; fields at their defaults are left out."""
        told = {
            one.name: value
            for one in dataclasses.fields(self)
            if one.name != "where" and (value := getattr(self, one.name)) not in (one.default, {})
        }
        return json.dumps(told, ensure_ascii=False, default=dataclasses.asdict) + "\n"


_OF_ANSWER = {one.name for one in dataclasses.fields(RecordedAnswer)} & {
    one.name for one in dataclasses.fields(Answer)
}


def recorded_from(answer: Answer, **more: object) -> RecordedAnswer:
    """An answer of a run, with what is known beside it; ``more`` are fields of ``RecordedAnswer``."""
    given = {name: getattr(answer, name) for name in _OF_ANSWER}
    text = None if answer.failure is not None else answer.text
    return RecordedAnswer(**given | {"id": answer.row_id, "answer": text} | more)


def question_digests(row: Row) -> tuple[str, str]:
    """Of what the row asks: of its turns without its leading system messages, and with them.

    The first does not change with the prompt, so that an answer given under full instructions stays one to
    this row. Where rows differ in their own system messages, these hold facts, and the second is recorded.
    """

    def digest(turns: Sequence[Message]) -> str:
        asked = tuple(replace(turn, weight=1) for turn in turns)
        return row_fingerprint(replace(row, messages=asked))[:DIGITS]

    return digest(row.turns), digest(row.prompt)


def digests_to_record(rows: Sequence[Row]) -> list[str]:
    """For each row of a suite the digest that is recorded of its question."""
    differ = len({row.instructions for row in rows}) > 1
    return [question_digests(row)[differ] for row in rows]


# --------------------------------------------------------------------------- reading
def parse_recorded(content: bytes, where: str) -> tuple[RecordedAnswer, ...]:
    """The answers of a file. Two lines that are equal count once.

    Raises:
        DataError: a line that is no answer, two answers to one row, or no line at all.
    """
    found: dict[tuple[str, str], RecordedAnswer] = {}
    lines = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            one = _read(line, number, f"{where}:{number}")
        except Unusable as error:
            if number == len(lines) and error.code == "invalid-json":
                problem = "the last line is cut off, as a process was that wrote it"
                hint = "run harness capture again, which asks for this row; or delete the line"
                raise DataError(f"{where}:{number}", problem, hint) from error
            hint = ONE_LINE if error.code in ("invalid-json", "not-an-object") else error.hint
            raise DataError(f"{where}:{number}", error.problem, hint) from error
        place = one.suite, str(one.id)
        before = found.setdefault(place, one)
        if replace(before, where="") != replace(one, where=""):
            problem = f"the row {shown(place[1])} is answered in line {_line(before)} as well"
            raise DataError(one.where, problem, "keep one of the two lines")
    if not found:
        raise DataError(where, "the file has no answers", ONE_LINE)
    return tuple(found.values())


def _read(line: bytes, number: int, where: str) -> RecordedAnswer:
    from pydantic import ValidationError

    value = parse_object(decode(line, number))
    value.pop("where", None)
    try:
        one = _adapter().validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "the line"
        problem = f"no {name!r}" if first["type"].startswith("missing") else f"{name!r}: {first['msg']}"
        raise DataError(where, problem, ONE_LINE) from error
    if (one.answer is None) == (one.failure is None):
        raise DataError(
            where,
            "neither an answer nor a failure" if one.answer is None else "both an answer and a failure",
            'give the text under "answer"; or why there is none under "failure", which is counted as such',
        )
    if one.finish == "tool_calls" and one.answer is not None and not _has_calls(one.answer):
        hint = 'end the answer with a line such as [{"name": "get_weather", "arguments": {"city": "Paris"}}]'
        raise DataError(where, "finish is 'tool_calls', and the answer ends with none", hint)
    for name in ("prompt_tokens", "completion_tokens", "cached_prompt_tokens", "latency_ms", "usd"):
        if not 0 <= (getattr(one, name) or 0) <= LARGEST:
            raise DataError(where, f"{name!r} is below 0, or no number", "leave out what is not known")
    if not math.isfinite(one.logprob or 0):
        raise DataError(where, "'logprob' is no number", "leave out what is not known")
    return replace(one, where=where)


def _has_calls(text: str) -> bool:
    try:
        calls = json.loads(text.strip().rpartition("\n")[2])
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(calls, list)
        and bool(calls)
        and all(isinstance(call, dict) and {"name", "arguments"} <= call.keys() for call in calls)
    )


@cache  # building it takes a while
def _adapter() -> TypeAdapter[RecordedAnswer]:
    from pydantic import TypeAdapter

    return TypeAdapter(RecordedAnswer)


def _line(one: RecordedAnswer) -> str:
    return one.where.rpartition(":")[2]


# --------------------------------------------------------------------------- finding rows
@dataclass(frozen=True, slots=True)
class Matched:
    """The recorded answer of each row that has one, by the row's id, and the rows that have none."""

    found: Mapping[str, RecordedAnswer]
    missing: tuple[Row, ...]


def match(recorded: Sequence[RecordedAnswer], suite: str, rows: Sequence[Row]) -> Matched:
    """Find each row's answer: by the digest of its question, whatever its id is today; else by id.

    A line without a digest has to have the row's id, or its question. Lines of other suites are passed over.

    Raises:
        DataError: a row that asks something else than when it was answered.
    """
    by_digest: defaultdict[str, list[RecordedAnswer]] = defaultdict(list)
    by_id: defaultdict[str, list[RecordedAnswer]] = defaultdict(list)
    by_question: defaultdict[str, list[RecordedAnswer]] = defaultdict(list)
    for one in recorded:
        if one.asked:
            by_digest[one.asked].append(one)
        elif one.question:
            by_question[one.question.strip()].append(one)
        if one.suite in ("", suite):
            by_id[str(one.id)].append(one)
    found: dict[str, RecordedAnswer] = {}
    used: set[int] = set()
    for by_own_id in (True, False):  # rows of one question are told apart by their ids, if they can be
        for row in rows:
            same = [one for digest in question_digests(row) for one in by_digest[digest]]
            if by_own_id or len(row.turns) == 1:  # "Yes, please." is the last turn of many conversations
                same += by_question[row.question.strip()]
            same.sort(key=lambda s: s.suite != suite)
            if by_own_id:
                same = [s for s in same if str(s.id) == row.id]
                same += [s for s in by_id[row.id] if not s.asked and not s.question]
            first = next((one for one in same if id(one) not in used), None)
            if first is not None and row.id not in found:
                found[row.id] = first
                used.add(id(first))
    placed = [row for row in rows if row.id in found and _by_place_alone(row, found[row.id])]
    if placed:
        one = found[placed[0].id]
        raise DataError(
            one.where,
            f"{placed[0].id!r} is no id, but the place of a row of suite {suite} that has none",
            'write "suite" or "question" beside the answer; or give the rows ids of their own',
        )
    missing = tuple(row for row in rows if row.id not in found)
    changed = [(row, one) for row in missing for one in by_id[row.id] if id(one) not in used]
    if changed:
        row, one = changed[0]
        more = f" (and {len(changed) - 1} more rows)" if len(changed) > 1 else ""
        was = "" if one.question is None else f": then {shown(one.question)}, now {shown(row.question)}"
        if (one.question or "").strip() == row.question.strip():
            was = ": not in its last user turn, but in what stands around it (other turns, facts, tools)"
        raise DataError(
            one.where,
            f"the row {row.id!r} of {row.where or suite} asks something else than when this answer was"
            f" given{more}{was}",
            "restore the row; or run harness capture again, without this line or with another --out",
        )
    return Matched(found, missing)


def _by_place_alone(row: Row, one: RecordedAnswer) -> bool:
    """Whether nothing but the row's place in its file says that this is its answer."""
    return not (one.asked or one.question or one.suite or "id" in row.metadata)


def require_all(matched: Matched, recorded: Sequence[RecordedAnswer], suite: str, where: str) -> None:
    """Raise a ``DataError`` that names rows without a recorded answer."""
    if not matched.missing:
        return
    if not matched.found:
        suites = sorted({one.suite for one in recorded if one.suite})
        whose = f": they are of {', '.join(suites)}" if suites and suite not in suites else ""
        raise DataError(
            where,
            f"none of its {len(recorded):,} answers is to a row of suite {suite}{whose}",
            "name the file that was recorded for it; or record it into this one, with harness capture --out",
        )
    used = {id(one) for one in matched.found.values()}
    left = [str(one.id) for one in recorded if id(one) not in used and one.suite in ("", suite)]
    extra = f"; of no row are {_names(left)}" if left else ""
    n = len(matched.missing)
    raise DataError(
        where,
        f"{n:,} of {plural(n + len(matched.found), 'row')} of suite {suite} have no recorded answer:"
        f" {_names([row.id for row in matched.missing])}{extra}",
        "run harness capture again, which asks for those alone; or say for each why it has none:"
        ' {"id": "...", "failure": "not recorded"}',
    )


def _names(ids: Sequence[str]) -> str:
    named = ", ".join(map(shown, ids[:NAMES_SHOWN]))
    return f"{named} and {len(ids) - NAMES_SHOWN:,} more" if len(ids) > NAMES_SHOWN else named
