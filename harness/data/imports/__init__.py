"""Rows from what people have: logs, traces, evaluations and configurations of other tools."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.data.chat_rows import public_form, row_of
from harness.data.files import opened, read_text
from harness.data.findings import Unusable
from harness.data.imports import inspect_logs, langfuse, lm_eval, openai_evals, otel, promptfoo
from harness.data.imports.yaml_text import read_yaml
from harness.data.rows import PROBLEMS_SHOWN, list_items, parse_object
from harness.data.tables import TABLES, read_source
from harness.data.tool_forms import ToolForms
from harness.errors import DataError
from harness.records import Json, Message, Row

MOST_BYTES = 2_000_000_000
_YAML = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Form:
    """A form of another tool: how an object of it is known, what it holds, and the chat object of each."""

    name: str
    knows: Callable[[Mapping[str, Json]], bool]
    items: Callable[[Mapping[str, Json]], Iterator[Json]]
    row: Callable[[Mapping[str, Json]], dict[str, Json]]


FORMS = (
    Form("OpenTelemetry GenAI spans", otel.is_otlp, otel.spans, otel.row),
    Form("an Inspect log", inspect_logs.is_log, inspect_logs.samples, inspect_logs.row),
    Form("lm-eval samples", lm_eval.is_sample, lm_eval.items, lm_eval.row),
    Form("promptfoo results", promptfoo.is_results, promptfoo.results, promptfoo.result_row),
    Form("a promptfoo configuration", promptfoo.is_config, promptfoo.cases, promptfoo.case_row),
    Form("OpenAI Evals", openai_evals.is_evals, openai_evals.items, openai_evals.row),
    Form("Langfuse", langfuse.is_langfuse, langfuse.items, langfuse.row),
)
KEYS_SHOWN = REASONS_SHOWN = 8
_HINT = f"give chat rows (`messages`) or {', '.join(form.name for form in FORMS)}"


@dataclass(frozen=True, slots=True)
class Imported:
    """The rows of a file, what form it has, and what was left out: how many, by the reason."""

    rows: tuple[Row, ...]
    form: str
    left_out: Mapping[str, int]


def import_rows(path: Path, columns: str | None = None) -> Imported:
    """The rows of a file in any form that is known by its content.

    Rows of our own formats must all be right. Of the others, what has no text or no right reply is left out
    and counted; metadata ``conversation`` and ``time`` say what belongs together, and when. ``columns`` says
    which ones of a table are the conversation, as ``harness validate --columns`` does.

    Raises:
        DataError: the file cannot be read, its form is not known, or nothing of it can be used.
        UsageError: ``columns`` are no columns of it.
    """
    opened(path).close()  # a pipe would be waited for
    if columns or path.suffix.lower() in TABLES:
        return Imported(read_source(str(path), columns, ToolForms()), "a table", {})
    if zipfile.is_zipfile(path):
        return _read([(1, inspect_logs.read_archive(path))], path)
    if path.suffix.lower() in _YAML:
        return _read([(1, read_yaml(path))], path)
    objects = _objects(path)
    first = objects[0][1]
    is_own = "messages" in first or {"prompt", "completion"} <= first.keys() or public_form(first)
    if is_own and not any(form.knows(first) for form in FORMS):
        return Imported(read_source(str(path), None, ToolForms()), "chat rows", {})
    return _read(objects, path)


def _objects(path: Path) -> list[tuple[int, dict[str, Json]]]:
    """Objects of JSON Lines, of a JSON list, or the one of a JSON file, each with its line."""
    text = read_text(path, most_bytes=MOST_BYTES)
    if text.lstrip().startswith("["):
        found = [(line, item.decode()) for line, item in list_items(path)]
    else:
        found = [(line, item) for line, item in enumerate(text.split("\n"), start=1) if item.strip()]
    if not found:
        raise DataError(str(path), "has no rows", _HINT)
    if not found[0][1].rstrip().endswith("}"):  # one object over many lines
        found = [(1, text)]
    objects, problems = [], []
    for line, item in found:
        try:
            objects.append((line, parse_object(item)))
        except Unusable as error:
            at = getattr(error.__cause__, "lineno", 1) if len(found) == 1 else line
            problems.append((at, error.problem))
    if problems:
        listed = [f"\n  {path}:{at}: {problem}" for at, problem in problems[:PROBLEMS_SHOWN]]
        more = f"\n  and {len(problems) - len(listed)} more" if len(problems) > len(listed) else ""
        problem = f"{len(problems)} lines are no JSON objects:{''.join(listed)}{more}"
        raise DataError(f"{path}:{problems[0][0]}", problem, _HINT)
    return objects


def _read(objects: list[tuple[int, dict[str, Json]]], path: Path) -> Imported:
    line, first = objects[0]
    form = next((form for form in FORMS if form.knows(first)), None)
    if form is None:
        keys = ", ".join(list(first)[:KEYS_SHOWN])
        raise DataError(f"{path}:{line}", f"an object of no known form (its keys: {keys})", _HINT)
    rows: dict[tuple[Message, ...], Row] = {}
    ids: set[str] = set()
    refused: list[Unusable] = []
    for line, value in objects:
        try:
            for number, item in enumerate(form.items(value), start=1):
                where = f"{path}:{line}" if len(objects) > 1 else f"{path}#{number}"
                try:
                    row = _row(form, item, where)
                    if row.messages in rows:
                        raise Unusable("repeated-id", "the same once more", "")
                    if row.id in ids:
                        row = replace(row, id=where, metadata={**row.metadata, "id": where})
                    ids.add(row.id)
                    rows[row.messages] = row
                except Unusable as error:
                    refused.append(error)
        except Unusable as error:
            refused.append(error)
    left_out = Counter(error.problem for error in refused)
    if not rows:
        why = "; ".join(f"{count:,}: {reason}" for reason, count in left_out.most_common(REASONS_SHOWN))
        hint = refused[0].hint if refused else _HINT
        raise DataError(str(path), f"{form.name} without a usable row ({why or 'it is empty'})", hint)
    return Imported(tuple(rows.values()), form.name, dict(left_out))


def _row(form: Form, item: Json, where: str) -> Row:
    if not isinstance(item, dict):
        raise Unusable("not-an-object", "an item that is no object", "leave it out")
    value = form.row(item)
    given = item.get("id", item.get("spanId"))
    named = {"id": given} if isinstance(given, str | int) and str(given).strip() else {}
    return row_of({**value, **named}, where, where)
