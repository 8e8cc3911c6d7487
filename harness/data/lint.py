"""The quality of training rows: a file can be read and trained on, and still make a worse model.

Nothing here refuses a file. Every finding is a warning that names its rows and the numbers behind it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from harness.data.findings import Finding, Severity
from harness.data.repetition import PlainRow, copies, filled_in, near_copies, plain_turn, shown_lines
from harness.data.reply_quality import (
    are_labels,
    form_findings,
    json_object,
    length_findings,
    placeholder_findings,
)
from harness.data.rows import line_of
from harness.data.sensitive import KINDS, is_sensitive, sensitive_findings
from harness.data.shift import shift_findings
from harness.data.template_tokens import template_findings
from harness.records import Row

SENTENCES = 5
LABEL_WORDS = 5
CALLED = "the functions called"
REPLY = "the reply"


def lint_rows(
    rows: Sequence[Row], heldout: Sequence[Row] = (), *, stratify: str | None = None
) -> tuple[Finding, ...]:
    """Everything doubtful about training ``rows``, by line; the same for the same rows on every machine.

    With ``heldout``, the training rows are compared with it as well: the classes of ``stratify`` (or of
    every metadata field that looks like one), languages and lengths. Findings about the whole file have
    its last line. ``findings.CODES`` lists the codes; the functions called here define them.
    """
    if not rows:
        return ()
    lines = [line_of(row) or at for at, row in enumerate(rows, start=1)]
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
        *template_findings(rows, lines),
        *sensitive_findings(rows, lines),
        *shift_findings(rows, heldout, last, stratify),
    ]
    # a finding quotes rows: where that is personal data or a secret, it must not
    hidden = "see the row: the finding holds sensitive text and is not shown"
    shown = [replace(each, problem=hidden) if is_sensitive(each.problem) else each for each in found]
    return tuple(sorted(shown, key=lambda finding: (finding.line, finding.code, finding.problem)))


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
            places: dict[str, list[int]] = defaultdict(list)  # lines by value
            for line, value in sorted((lines[at], labels[at][name]) for at in group if name in labels[at]):
                if name != REPLY or len(value.split()) <= LABEL_WORDS:
                    places[value].append(line)
            if len({value.casefold() for value in places}) < 2:
                continue
            at_lines = tuple(sorted(line for found in places.values() for line in found))
            listed = "; ".join(f"{value!r} ({shown_lines(found)})" for value, found in places.items())
            problem = f"the same input has different values of {name} in {len(at_lines)} rows: {listed}"
            hint = (
                "decide which is right and correct the others: the model can only learn to guess between them"
            )
            yield Finding("contradiction", at_lines[1], problem, hint, at_lines)


def _labels(row: Row) -> Mapping[str, str]:
    """The labels that a row's reply may give its input, by name."""
    calls = row.messages[-1].tool_calls
    if calls:
        return {CALLED: ", ".join(sorted(call.name for call in calls))}
    parsed = json_object(row.reference)
    if parsed is None:
        return {REPLY: " ".join(row.reference.split())}
    texts = {name: value for name, value in parsed.items() if isinstance(value, str)}
    others = {name: value for name, value in parsed.items() if not isinstance(value, str | dict)}
    texts |= {name: json.dumps(value, ensure_ascii=False, sort_keys=True) for name, value in others.items()}
    return {f'"{name}"': text for name, text in texts.items()}


# --------------------------------------------------------------------------- the first things to fix
_ADVICE = {  # most harmful first: of one row, of several, and the cost
    "secret": ("row holds", "rows hold", "revoke it now; whoever has the model has it"),
    "personal-data": ("row holds", "rows hold", "a model repeats what it was trained on"),
    "contradiction": ("row contradicts", "rows contradict each other", "the same input, different labels"),
    "template-leftover": (
        "row holds a chat template's tokens",
        "rows hold a chat template's tokens",
        "the template is applied again",
    ),
    "placeholder": ("row holds a placeholder", "rows hold placeholders", "the model will write it too"),
    "inconsistent-format": ("reply has another form", "replies have another form", "one form is learnt best"),
    "exact-duplicate": ("row is a copy", "rows are copies of others", "keep one of each"),
    "near-duplicate": ("row is nearly a copy", "rows are nearly copies of others", "keep the best"),
    "length-outlier": ("reply has an odd length", "replies have odd lengths", "check that they are whole"),
}
_COPIES = ("exact-duplicate", "near-duplicate")  # the first of a group may stay
_SHIFTS = ("class-shift", "language-shift", "length-shift", "low-diversity")
_OF_THE_FILE = (*_SHIFTS, "empty-file", "too-few-rows", "few-rows")
_ORDER = [*(code for code in _ADVICE if code != "length-outlier"), *_SHIFTS, "length-outlier"]


def first_to_fix(findings: Sequence[Finding]) -> tuple[str, ...]:
    """At most five sentences, the most harmful first, each with the number of rows and where they are."""
    by_code: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_code[finding.code].append(finding)

    def harm(code: str) -> tuple[bool, int, str]:
        rank = _ORDER.index(code) if code in _ORDER else len(_ORDER)
        return by_code[code][0].severity is not Severity.ERROR, rank, code

    return tuple(_sentence(code, by_code[code]) for code in sorted(by_code, key=harm)[:SENTENCES])


def _sentence(code: str, findings: Sequence[Finding]) -> str:
    first = findings[0]
    if code in _OF_THE_FILE:
        return f"{first.problem[0].upper()}{first.problem[1:]}: {first.hint}."
    at = {line for f in findings for line in (f.lines[code in _COPIES :] if f.lines else (f.line,))}
    if code not in _ADVICE:
        return f"{code} in {len(at):,} row{'s' if len(at) > 1 else ''} ({shown_lines(at)}): {first.hint}."
    one, many, cost = _ADVICE[code]
    kinds = [
        kind.plural
        for kind in KINDS
        if kind.code == code and any(kind.name in f.problem or kind.plural in f.problem for f in findings)
    ]
    what = f"{len(at):,} {one if len(at) == 1 else many} {', '.join(kinds)}".rstrip()
    return f"{what} ({shown_lines(at)}): {cost}."
