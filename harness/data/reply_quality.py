"""Replies that differ from the others in form or length, and replies with leftovers.

Form and length are compared among rows with the same system message (digits aside), since one file may
hold several tasks.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from math import log
from statistics import median

from harness.data.findings import Finding
from harness.records import Json, Row

TASK_ROWS = 20  # fewer rows have no usual form or length
MINORITY_SHARE = 0.1
FORM_FINDINGS = 20
LABEL_CHARS = 60
FEW_VALUES, FEW_SHARE = 20, 0.1

FENCES_MADS = 5.0
MAD_TO_SD = 1.4826  # for normal data: P. J. Rousseeuw and C. Croux, 1993
LENGTH_FACTOR = 4.0
OUTLIER_SHARE = 0.05  # more than this are a second kind of reply, not outliers


def json_object(text: str) -> Mapping[str, Json] | None:
    """The JSON object that ``text`` is, or None."""
    value = _json(text) if text.lstrip().startswith("{") else None
    return value if isinstance(value, dict) else None


def _json(text: str) -> Json:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def are_labels(values: Collection[str], rows: int) -> bool:
    """Whether ``values`` are few enough, short enough and repeated enough to be classes, not free text."""
    distinct = set(values)
    few = len(distinct) <= max(FEW_VALUES, FEW_SHARE * rows) and len(distinct) <= len(values) / 2
    return few and all(len(value) <= LABEL_CHARS for value in distinct)


def _tasks(rows: Sequence[Row]) -> list[list[int]]:
    """The rows that reply with text, by their system message, where there are enough of them."""
    found: dict[str, list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        if row.reference:
            system = "\n".join(m.content for m in row.prompt if m.role in ("system", "developer"))
            found[re.sub(r"\d+", "0", " ".join(system.split()))].append(at)
    return [task for task in found.values() if len(task) >= TASK_ROWS]


# --------------------------------------------------------------------------- form
def form_findings(rows: Sequence[Row], lines: Sequence[int]) -> Iterator[Finding]:
    """``inconsistent-format``: replies of another form than at least 90% of those to the same task.

    Compared in turn: kind (JSON object, JSON array, fenced code, plain text), keys, order of keys,
    whitespace at the ends. Against plain text only where it is labels: prose may hold anything. At most 20
    findings, the last of which covers the rest.
    """
    hint = "write all replies in one form: the model learns to produce each form as often as it sees it"
    found = [
        Finding("inconsistent-format", lines[at], problem, hint)
        for task in _tasks(rows)
        for at, problem in _odd_ones(rows, task)
    ]
    found.sort(key=lambda finding: (finding.line, finding.problem))
    rest = found[FORM_FINDINGS:]
    if rest:
        last = found[FORM_FINDINGS - 1]
        at = tuple(finding.line for finding in (last, *rest))
        more = f"{last.problem}; {len(rest):,} more replies differ in form from the others"
        found[FORM_FINDINGS - 1 :] = [replace(last, problem=more, lines=at)]
    yield from found


def _odd_ones(rows: Sequence[Row], task: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Places of replies that differ in form from the usual one of their task, each with the difference."""
    objects = {at: found for at in task if (found := json_object(rows[at].reference)) is not None}
    kinds = {at: "a JSON object" if at in objects else _kind(rows[at].reference) for at in task}
    usual = _usual(kinds)
    plain = [rows[at].reference for at in task if kinds[at] == "plain text"]
    if usual == "plain text" and not are_labels(plain, len(task)):
        usual = None
    if usual is not None:
        yield from _differing(kinds, usual, "is", "are")
    if usual == "a JSON object":
        keys = {at: ", ".join(sorted(found)) or "none" for at, found in objects.items()}
        usual_keys = _usual(keys)
        yield from _differing(keys, usual_keys, "has the keys", "have")
        in_order = {at: ", ".join(found) for at, found in objects.items() if keys[at] == usual_keys}
        yield from _differing(in_order, _usual(in_order), "has its keys in the order", "have")
    ends: dict[int, str] = {}
    for at in task:
        if usual is None or kinds[at] == usual:
            reply = rows[at].reference
            sides = {"before": reply != reply.lstrip(), "after": reply != reply.rstrip()}
            where = " and ".join(side for side, has_space in sides.items() if has_space)
            ends[at] = f"whitespace {where} it" if where else "no whitespace around it"
    yield from _differing(ends, _usual(ends), "has", "have")


def _kind(reply: str) -> str:
    text = reply.strip()
    if re.fullmatch(r"```.*\n(?:(?!```)[^\n]*\n)*```", text):
        return "fenced code"
    return "a JSON array" if text.startswith("[") and isinstance(_json(text), list) else "plain text"


def _usual(forms: Mapping[int, str]) -> str | None:
    """The form of at least 90% of ``forms``, if there is one."""
    if len(forms) < TASK_ROWS:
        return None
    form, count = Counter(forms.values()).most_common(1)[0]
    return form if len(forms) - count <= MINORITY_SHARE * len(forms) else None


def _differing(forms: Mapping[int, str], usual: str | None, one: str, many: str) -> Iterator[tuple[int, str]]:
    count = sum(form == usual for form in forms.values())
    for at, form in forms.items():
        if usual is not None and form != usual:
            most = 2 * LABEL_CHARS
            this, that = (text if len(text) <= most else f"{text[:most]}..." for text in (form, usual))
            yield at, f"the reply {one} {this}; {count:,} of {len(forms):,} {many} {that}"


# --------------------------------------------------------------------------- length
def length_findings(rows: Sequence[Row], lines: Sequence[int]) -> Iterator[Finding]:
    """``length-outlier``: replies far longer or shorter than the others to the same task.

    Beyond five robust standard deviations (1.4826 x the median absolute deviation) of the logarithm of
    the length in characters, and by a factor of at least four. Differences among lengths of up to 60
    characters do not count, nor do outliers that are over 5% of the replies: those are a second kind.
    """
    for task in _tasks(rows):
        sizes = [len(rows[at].reference) for at in task]
        middle = median(map(log, sizes))
        mad = median(abs(log(size) - middle) for size in sizes)
        fence = max(FENCES_MADS * MAD_TO_SD * mad, log(LENGTH_FACTOR))
        usual = median(sizes)
        odd = [
            (at, size)
            for at, size in zip(task, sizes, strict=True)
            if abs(log(size) - middle) >= fence and max(size, usual) > LABEL_CHARS
        ]
        for at, size in odd if len(odd) <= OUTLIER_SHARE * len(task) else ():
            usually = f"the median of {len(task):,} replies is {usual:,.0f}"
            problem = f"the reply has {size:,} characters; {usually}"
            hint = "check that the reply is whole, and belongs to this message"
            yield Finding("length-outlier", lines[at], problem, hint)


# --------------------------------------------------------------------------- leftovers
_TEMPLATE = re.compile(r"(?<![\w\\}^${])\{\{[ ]*[A-Za-z_][\w. |-]{0,40}\}\}(?!\})")
_LEFTOVERS = (
    re.compile(r"\bTODO\b(?=\s*(?:[:(\[\]\"']|$))|\bFIXME\b|\bTBD\b", re.MULTILINE),
    re.compile(r"\blorem ipsum\b", re.IGNORECASE),
    re.compile(
        r"\[(?:insert|enter|fill in|add)\s+[^\]\n]{2,60}\](?!\()|\[your\s+[^\]\n]{2,40}\](?!\()",
        re.IGNORECASE,
    ),
    re.compile(r"<(?:your|insert|enter)[ _-][^<>\n/=]{2,40}>", re.IGNORECASE),
    re.compile(r"(?<![\w.*/-])(?:x{3,}|X{4,})(?![\w*/-]|\.\w)"),
    re.compile(r"\bas an? (?:large |ai |artificial intelligence )+language model\b", re.IGNORECASE),
    re.compile(r"\basdf(?=asdf|[ghjkl])[asdfghjkl]*\b|(?:^|(?<=\"))asdf(?=\"|$)"),
    _TEMPLATE,
)
_MARKS = ("TODO", "FIXME", "TBD", "orem", "OREM", "[", "<", "xxx", "XXXX", "odel", "asdf", "{{")
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`|^[ \t]*(?:#|//|--|/?\*|;)[^\n]*$", re.DOTALL | re.MULTILINE)
_ABOUT_TEMPLATES = re.compile(
    "template|placeholder|merge field|variable|jinja|mustache|handlebars|liquid|django|angular|vue|helm",
    re.IGNORECASE,
)


def placeholder_findings(rows: Sequence[Row], lines: Sequence[int]) -> Iterator[Finding]:
    """``placeholder``: text that a writer or a template left to be filled in, or a model's stock refusal.

    In replies; ``{{name}}`` in user turns too. Code and comments are not searched. A reply may repeat
    the turns before it, since it answers them.
    """
    for line, row in zip(lines, rows, strict=True):
        for text, where in islice(_leftovers(row), 1):
            hint = "write what belongs there, or take the row out"
            yield Finding("placeholder", line, f"{where} holds the leftover {text!r}", hint)


def _leftovers(row: Row) -> Iterator[tuple[str, str]]:
    for message in row.prompt:
        text = message.content if message.role == "user" else ""
        if "{{" in text and not _ABOUT_TEMPLATES.search(text):
            for match in _TEMPLATE.finditer(_CODE.sub(" ", text)):
                yield match[0], "the user's message"
    for at, message in enumerate(row.messages):
        if message.role != "assistant" or not any(mark in message.content for mark in _MARKS):
            continue
        prose = _CODE.sub(" ", message.content)
        asked = "\n".join(m.content for m in row.messages[:at] if m.role != "system")
        for match in chain.from_iterable(pattern.finditer(prose) for pattern in _LEFTOVERS):
            if match[0].casefold() not in asked.casefold() and not _ABOUT_TEMPLATES.search(asked):
                yield match[0], "the reply"
