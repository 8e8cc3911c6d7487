"""The quality of training rows: what parses, trains, and still makes a worse model.

Nothing here refuses a file. Every finding is a warning that names its rows and the numbers behind it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.data.findings import Finding, Severity
from harness.data.repetition import (
    PlainRow,
    copies,
    diversity,
    filled_in,
    near_copies,
    plain_turn,
    shown_lines,
)
from harness.data.replies import (
    are_labels,
    form_findings,
    json_object,
    length_findings,
    placeholder_findings,
)
from harness.data.sensitive import KINDS, is_sensitive, sensitive_findings
from harness.data.shift import shift_findings
from harness.records import Json, Row

__all__ = ["diversity", "first_to_fix", "lint_rows"]

SENTENCES = 5
LABEL_WORDS = 5
CALLED = "the functions called"
REPLY = "the reply"


def lint_rows(
    rows: Sequence[Row], heldout: Sequence[Row] = (), *, stratify: str | None = None
) -> tuple[Finding, ...]:
    """All that is doubtful about training ``rows``, by line; the same for the same rows on every machine.

    With ``heldout``, the training rows are compared with it as well: the classes of ``stratify`` (or of
    every metadata field that looks like one), languages and lengths. Findings about the whole file stand at
    its last line. See ``findings.CODES`` for the codes, and the modules of this room for what each means.
    """
    if not rows:
        return ()
    lines = [_line(row, at) for at, row in enumerate(rows, start=1)]
    last = max(lines)
    plain = [PlainRow.of(row) for row in rows]
    opposed = list(contradictions(rows, lines))
    found = [
        *copies(plain, lines),
        *opposed,
        *near_copies(plain, lines, [finding.lines for finding in opposed]),
        *filled_in(plain, last),
        *form_findings(rows, lines),
        *length_findings(rows, lines),
        *placeholder_findings(rows, lines),
        *sensitive_findings(rows, lines),
        *shift_findings(rows, heldout, last, stratify),
    ]
    return tuple(
        sorted(map(_discreet, found), key=lambda finding: (finding.line, finding.code, finding.problem))
    )


def _line(row: Row, at: int) -> int:
    number = row.where.rpartition(":")[2]
    return int(number) if number.isdecimal() else at


def _discreet(finding: Finding) -> Finding:
    """The finding, without what it quotes from a row where that is personal data or a secret."""
    if not is_sensitive(finding.problem):
        return finding
    return replace(finding, problem="see the row: what was found holds sensitive text and is not shown")


# --------------------------------------------------------------------------- contradictions
def contradictions(rows: Sequence[Row], lines: Sequence[int]) -> Iterator[Finding]:
    """``contradiction``: one finding for each field of replies to one input that have different labels.

    Inputs are all turns before the reply, the system message included, case, spacing and punctuation aside.
    Labels are the fields of JSON objects and the functions called, where the file has few values of them
    (up to 20, or 10% of the rows; each up to 60 characters), and replies of up to five words where all plain
    replies of the file are so few. Free texts that differ do not contradict.
    """
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        offered = sorted(json.dumps(tool, sort_keys=True) for tool in row.tools)
        groups[(*(f"{m.role} {plain_turn(m)}" for m in row.prompt), *offered)].append(at)
    repeated = [group for group in groups.values() if len(group) > 1]
    if not repeated:
        return
    labels = [_labels(row) for row in rows]
    values: dict[str, list[str]] = defaultdict(list)
    for row_labels in labels:
        for name, value in row_labels.items():
            values[name].append(value)
    compared = sorted(name for name, seen in values.items() if are_labels(seen, len(rows)))
    for group in repeated:
        for name in compared:
            yield from _opposed(name, {lines[at]: labels[at][name] for at in group if name in labels[at]})


def _labels(row: Row) -> Mapping[str, str]:
    calls = row.messages[-1].tool_calls
    if calls:
        return {CALLED: ", ".join(sorted(call.name for call in calls))}
    parsed = json_object(row.reference)
    if parsed is None:
        return {REPLY: " ".join(row.reference.split())}
    return {f'"{name}"': _shown(value) for name, value in parsed.items() if not isinstance(value, dict)}


def _shown(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _opposed(name: str, by_line: Mapping[int, str]) -> Iterator[Finding]:
    places: dict[str, list[int]] = defaultdict(list)
    for line, value in sorted(by_line.items()):
        if name != REPLY or len(value.split()) <= LABEL_WORDS:
            places[value].append(line)
    if len({value.casefold() for value in places}) < 2:
        return
    at = tuple(sorted(line for found in places.values() for line in found))
    said = "; ".join(f"{value!r} ({shown_lines(found)})" for value, found in places.items())
    yield Finding(
        "contradiction",
        at[1],
        f"the same input has different values of {name} in {len(at)} rows: {said}",
        "decide which is right and correct the others: the model can only learn to guess between them",
        at,
    )


# --------------------------------------------------------------------------- what to do first
@dataclass(frozen=True, slots=True)
class _Advice:
    """The sentence for all findings of one code: ``one`` or ``many``, then what it costs."""

    code: str
    one: str
    many: str
    cost: str


_ADVICE = (  # most harmful first
    _Advice("secret", "row holds", "rows hold", "revoke it now; whoever has the model has it"),
    _Advice("personal-data", "row holds", "rows hold", "a model repeats what it was trained on"),
    _Advice(
        "contradiction", "row contradicts", "rows contradict each other", "the same input, different labels"
    ),
    _Advice(
        "placeholder", "row holds a placeholder", "rows hold placeholders", "the model will write it too"
    ),
    _Advice(
        "inconsistent-format",
        "reply has another form",
        "replies have another form",
        "one form is learnt best",
    ),
    _Advice("exact-duplicate", "row is a copy", "rows are copies of others", "keep one of each"),
    _Advice("near-duplicate", "row is nearly a copy", "rows are nearly copies of others", "keep the best"),
    _Advice(
        "length-outlier", "reply has an odd length", "replies have odd lengths", "check that they are whole"
    ),
)
_COPIES = ("exact-duplicate", "near-duplicate")  # the first of a group may stay
_SHIFTS = ("class-shift", "language-shift", "length-shift", "low-diversity")
_OF_THE_FILE = (*_SHIFTS, "empty-file", "too-few-rows", "few-rows")
_ORDER = [*(advice.code for advice in _ADVICE[:-1]), *_SHIFTS, _ADVICE[-1].code]


def first_to_fix(findings: Sequence[Finding]) -> tuple[str, ...]:
    """At most five sentences, the most harmful first, each with the number of rows and where they are."""
    by_code: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_code[finding.code].append(finding)
    order = sorted(
        by_code, key=lambda code: (by_code[code][0].severity is not Severity.ERROR, _rank(code), code)
    )
    return tuple(_sentence(code, by_code[code]) for code in order[:SENTENCES])


def _rank(code: str) -> int:
    return _ORDER.index(code) if code in _ORDER else len(_ORDER)


def _sentence(code: str, findings: Sequence[Finding]) -> str:
    at = {
        line
        for finding in findings
        for line in (finding.lines[code in _COPIES :] if finding.lines else (finding.line,))
    }
    if code in _OF_THE_FILE:
        return f"{findings[0].problem[0].upper()}{findings[0].problem[1:]}: {findings[0].hint}."
    advice = next((advice for advice in _ADVICE if advice.code == code), None)
    if advice is None:
        return (
            f"{code} in {len(at):,} row{'s' if len(at) > 1 else ''} ({shown_lines(at)}): {findings[0].hint}."
        )
    kinds = [
        k.plural for k in KINDS if any(f.code == k.code and _names(f, k.name, k.plural) for f in findings)
    ]
    what = f"{len(at):,} {advice.one if len(at) == 1 else advice.many} {', '.join(kinds)}".rstrip()
    return f"{what} ({shown_lines(at)}): {advice.cost}."


def _names(finding: Finding, *names: str) -> bool:
    return any(name in finding.problem for name in names)
