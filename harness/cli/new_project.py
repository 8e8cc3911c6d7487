"""The files of a new project: its task, its sides and what tests them, from rows."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import resources
from keyword import iskeyword
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from harness.atomic import write_atomically
from harness.data.convert import to_json
from harness.data.fields import require_field
from harness.data.imports import import_rows
from harness.data.redaction import redacted
from harness.data.rows import read_rows
from harness.data.split_sides import instant_of
from harness.data.splits import split_rows
from harness.data.task import Task, TaskKind
from harness.errors import DataError, UsageError
from harness.records import Row
from harness.words import plural

# by these names logs say what belongs together, and when it was
TOGETHER = (
    "conversation",
    "conversation_id",
    "session_id",
    "thread_id",
    "customer_id",
    "customer",
    "user_id",
)
TIMES = ("time", "timestamp", "created_at", "created", "date")
FEWEST_ROWS, MOST_HELDOUT, MOST_DEV = 10, 200, 100
FEWEST_FOR_DEV = 60
FIELDS_GATED, SLICES = 4, 12
SERVICE_ROWS = 10  # the least that OpenAI and the stand-in train on
_TAKEN = ("pytest", "suite", "valid", "candidate", "baseline", "Suite", "FieldMatch", "JsonSchema", "TokenF1")
_RUNS_PYTEST = ("pyproject.toml", "tox.ini", "setup.cfg", "pytest.toml", ".pytest.ini")


@dataclass(frozen=True)
class Plan:
    """What is to be written."""

    task: Task
    train: tuple[Row, ...]
    dev: tuple[Row, ...]
    heldout: tuple[Row, ...]
    prompt: str
    group: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """All of them."""
        return self.train + self.dev + self.heldout


def starter(kind: str) -> Plan:
    """The plan for 18 example rows of a kind. The eight that are held out are too few for a verdict."""
    with resources.as_file(resources.files("harness.cli") / "starter" / f"{kind}.jsonl") as path:
        rows = read_rows(path)
    task = Task.of(rows)
    rows = _with_classes(rows, task)
    train, heldout = rows[:SERVICE_ROWS], rows[SERVICE_ROWS:]
    note = (
        f"{len(rows)} rows show the form: {len(train)} train, {len(heldout)} are held out, too few to decide"
        " anything. Put yours in."
    )
    return Plan(task, train, (), heldout, _resource(f"{kind}.md"), notes=(note,))


def from_file(
    source: Path,
    *,
    columns: str | None,
    heldout: int | None,
    group: str | None,
    time: str | None,
    redact: bool,
) -> Plan:
    """The plan for the rows of a file; ``group`` and ``time`` are found where they are not given.

    Raises:
        HarnessError: the file cannot be read, has too few rows, or cannot be split as is asked.
    """
    found = import_rows(source, columns)
    rows, notes = found.rows, [f"{source}: {plural(len(found.rows), 'row')}, read as {found.form}"]
    notes += [f"{count} left out: {reason}" for reason, count in found.left_out.items()]
    if redact:
        rows, counts = redacted(rows)
        shown = ", ".join(f"{count} × {kind}" for kind, count in counts.items()) or "nothing"
        notes.append(f"redacted: {shown}; names and postal addresses are not found: read the rows yourself")
    if len(rows) < FEWEST_ROWS:
        raise DataError(str(source), f"{len(rows)} rows are too few", f"give {FEWEST_ROWS} or more")
    task = Task.of(rows)
    rows = _with_classes(rows, task)
    group = group or next((key for key in TOGETHER if any(key in row.metadata for row in rows)), None)
    dated = [key for key in TIMES if all(instant_of(row.metadata.get(key)) for row in rows)]
    found_time = next((key for key in dated if len({row.text(key) for row in rows}) > 1), None)
    wanted, by = heldout or min(MOST_HELDOUT, len(rows) // 3), time or found_time
    classes = task.class_field
    try:
        made = split_rows(rows, heldout=wanted, group=group, time=by, stratify=None if by else classes)
    except UsageError:
        if time or by is None:
            raise
        notes.append(f"no cut in {by!r} leaves whole {group or 'row'}s on both sides")
        by, made = None, split_rows(rows, heldout=wanted, group=group, stratify=classes)
    notes += [f"held out: the newest by {by!r}" if by else "held out: at random", *made.notes]
    notes += [f"rows of one {group!r} are on one side"] if group else []
    plan = Plan(task, made.train, (), made.heldout, _prompt(task, rows))
    if len(made.train) >= FEWEST_FOR_DEV:
        with suppress(UsageError):  # all of one group: a loss curve can be done without
            few = min(MOST_DEV, len(made.train) // 5)
            again = split_rows(made.train, heldout=few, group=group, stratify=classes)
            plan = replace(plan, train=again.train, dev=again.heldout)
    sizes = f"{len(plan.train)} train, {len(plan.dev)} for development, {len(plan.heldout)} held out"
    is_group = group is not None and _is_field(plan.heldout, group, "group")
    return replace(plan, group=group if is_group else None, notes=(*notes, sizes))


def _with_classes(rows: Sequence[Row], task: Task) -> tuple[Row, ...]:
    """The rows with their class as metadata, to stratify and to slice by."""
    name = task.class_field
    if name is None or any(name in row.metadata for row in rows):
        return tuple(rows)
    return tuple(replace(row, metadata={**row.metadata, name: task.class_of(row)}) for row in rows)


def _prompt(task: Task, rows: Sequence[Row]) -> str:
    """What all rows' system messages say, with the labels or the schema where they do not say them."""
    said = {row.instructions for row in rows}
    if len(said) > 1 or task.kind is TaskKind.TOOLS:
        return ""  # each row has its own
    parts = [said.pop().strip()]
    if task.labels and not all(label in parts[0] for label in task.labels):
        parts.append("Reply with exactly one of these and nothing else:")
        parts.append("\n".join(f"- {label}" for label in task.labels))
    keys = task.schema.get("properties")
    if isinstance(keys, dict) and not all(key in parts[0] for key in keys):
        parts.append("Reply with one JSON object that follows this JSON Schema, and nothing else:")
        parts.append(json.dumps(task.schema, ensure_ascii=False))
    return "\n\n".join(part for part in parts if part) + "\n" if any(parts) else ""


def _is_field(rows: Sequence[Row], name: str, purpose: str) -> bool:
    """Whether a suite can group or slice by it."""
    try:
        require_field(rows, name, purpose, "")
    except DataError:
        return False
    return True


# --------------------------------------------------------------------------- files
def project_files(plan: Plan, name: str, candidate: str) -> dict[str, str]:
    """The text of each file, by its path in the project's folder."""
    task, suite, classes = plan.task, f"suites/{name}", plan.task.class_field
    classed = classes is not None and all(row.text(classes) for row in plan.rows)
    few = classes is not None and len({row.text(classes) for row in plan.heldout}) <= SLICES
    sliced = classes is not None and few and _is_field(plan.heldout, classes, "slice")
    longest = max(len(row.reference.encode()) for row in plan.rows)
    checks = _checks(task)
    facts = {
        "name": name,
        "hosted": candidate == "hosted",
        "kind": task.kind.value,
        "dev": bool(plan.dev),
        "stratify": classes if classed else None,
        "epochs": max(3, min(20, 200 // len(plan.train))),
        "checks": checks,
        "imports": sorted({check["code"].partition("(")[0] for check in checks} | {"Suite"}),
        "prompt": bool(plan.prompt),
        "slices": [classes] if sliced else [],
        "group": plan.group,
        "max_tokens": longest // 16 * 8 + 24,  # a token of any language is two bytes and more
    }
    economics = _resource("economics.toml").replace(
        "{score}", json.dumps(max(checks, key=lambda check: check["better"])["score"])
    )
    schema = json.dumps(task.schema, indent=2, ensure_ascii=False) + "\n" if task.schema else ""
    files = {
        "conftest.py": _rendered("conftest.py", facts),
        "pytest.ini": _rendered("pytest.ini", facts),
        f"{suite}/test_{name}.py": _rendered("test.py", facts),
        f"{suite}/prompt.md": plan.prompt,
        f"{suite}/reply.schema.json": schema,
        f"{suite}/train.jsonl": _lines(plan.train),
        f"{suite}/dev.jsonl": _lines(plan.dev),
        f"{suite}/heldout.jsonl": _lines(plan.heldout),
        "suites/economics.toml": economics,
        ".github/workflows/fine-tune.yml": _rendered("workflow.yml", facts),
        ".gitignore": _resource("gitignore"),
    }
    return {path: text for path, text in files.items() if text}


def _checks(task: Task) -> list[dict[str, str]]:
    """Variable, code and score's name of each check; ``better`` where a gain is wanted."""
    one = {
        TaskKind.LABEL: ("label", 'ExactMatch(name="label")', "label"),
        TaskKind.TOOLS: ("calls", "ToolCall()", "tool call"),
        TaskKind.TEXT: ("words", "TokenF1()", "token F1"),
    }
    if task.kind in one:
        return [_check(*one[task.kind], better=True)]
    found = [_check("valid", 'JsonSchema("reply.schema.json")', "valid")]
    gated = [
        *((field, "FieldMatch({})") for field in task.matched),
        *((field, "TokenF1(field={})") for field in task.texts),
    ]
    for number, (field, code) in enumerate(gated[:FIELDS_GATED]):
        usable = field.isidentifier() and field.isascii() and not iskeyword(field) and field not in _TAKEN
        written = code.format(json.dumps(field, ensure_ascii=False))
        found.append(_check(field if usable else f"field_{number}", written, field, better=number == 0))
    return found


def _check(name: str, code: str, score: str, *, better: bool = False) -> dict[str, str]:
    return {"name": name, "code": code, "score": score, "better": "yes" if better else ""}


def _lines(rows: Sequence[Row]) -> str:
    return "".join(json.dumps(to_json(row), ensure_ascii=False) + "\n" for row in rows)


def _resource(name: str) -> str:
    return (resources.files("harness.cli") / "starter" / name).read_text(encoding="utf-8")


def _rendered(name: str, facts: Mapping[str, object]) -> str:
    lines = Environment(  # of Python and YAML: nothing is to be escaped
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    return lines.from_string(_resource(f"{name}.jinja")).render(facts)


def write_project(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Write the files, none over another; returns those that were there and may stay.

    Raises:
        UsageError: names what is in the way.
    """
    there = [path for path in files if os.path.lexists(folder / path)]
    taken = [path for path in there if path != ".gitignore"]
    for name in _RUNS_PYTEST:
        path = folder / name
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        if re.search(r"^\[(tool[.:])?pytest", text, re.MULTILINE):
            taken.append(f"{name}, whose settings of pytest a pytest.ini would put out of force")
    if taken:
        shown = "\n  ".join(str(folder / path) for path in taken)
        raise UsageError(
            f"in the way, and never written over:\n  {shown}\n"
            "  hint: name an empty folder (harness init FOLDER), and take from it what you want"
        )
    for name in files.keys() - set(there):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, files[name])
    return there
