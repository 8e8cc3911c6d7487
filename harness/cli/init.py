"""``harness init``: a project that runs at once, from nothing or from rows that somebody has."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from harness.cli.arguments import whole
from harness.errors import DataError, UsageError
from harness.fields import LARGEST

KINDS = {"label": "one of a few labels", "json": "a JSON object", "text": "free text"}
CANDIDATES = {"local": "a QLoRA fine-tune on this machine", "hosted": "a fine-tune at a service"}
OF_ROWS = ("columns", "heldout", "group", "time", "redact")
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def add_init(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("folder", type=Path, nargs="?", default=Path(), help="where; default: here")
    parser.add_argument("--task", metavar="NAME", help="the suite's name; default: mail, or the file's name")
    parser.add_argument("--kind", choices=tuple(KINDS), help="what the model replies; default: label")
    parser.add_argument("--candidate", choices=tuple(CANDIDATES), help="what to try; default: local")
    parser.add_argument("--yes", action="store_true", help="ask nothing: take the defaults")
    source = parser.add_argument_group("from rows that you have")
    source.add_argument(
        "--from",
        type=Path,
        dest="source",
        metavar="FILE",
        help="conversations (JSON Lines, CSV, Parquet), or a file of promptfoo, OpenAI Evals, Langfuse,"
        " OpenTelemetry, Inspect or lm-eval",
    )
    source.add_argument("--columns", metavar="MAP", help="of a table: user=COL,assistant=COL")
    source.add_argument(
        "--heldout", type=whole(1, LARGEST), metavar="N", help="default: a third, at most 200"
    )
    source.add_argument("--group", metavar="FIELD", help="never on two sides; default: the conversation")
    source.add_argument(
        "--time", metavar="FIELD", help="hold out the newest; default: where rows have a time"
    )
    source.add_argument("--redact", action="store_true", help="take out e-mail addresses, numbers and keys")


def init(given: argparse.Namespace) -> int:
    """Write the project; return 0.

    Raises:
        HarnessError: something is in the way, or the rows cannot be used.
    """
    from harness.cli.new_project import from_file, project_files, starter, write_project

    kind, candidate, name = _answers(given)
    if given.source is None:
        plan = starter(kind)
    else:
        options = {key: getattr(given, key) for key in OF_ROWS}
        try:
            plan = from_file(given.source, **options)
        except RecursionError as error:
            hint = "take the rows out whose lists and objects are so deep"
            raise DataError(str(given.source), "values in it are nested too deeply", hint) from error
    files = project_files(plan, name, candidate)
    left = write_project(given.folder, files)
    written = [path for path in files if path not in left]
    where = "" if given.folder == Path() else f"cd {given.folder} && "
    for line in (
        *(f"  {note}" for note in plan.notes),
        *(f"  {path} is there, and was left as it is" for path in left),
        f"{len(written)} files: {', '.join(written)}",
        f"next: {where}pytest suites/    (first with --plan: what it takes, and what the rows can show)",
    ):
        print(line)  # noqa: T201 - a command prints
    return 0


def _answers(given: argparse.Namespace) -> tuple[str, str, str]:
    """Kind, candidate and name: as options say, else as a person answers, else the defaults.

    Raises:
        UsageError: nobody is there to answer, or a name is none.
    """
    asked = next((key for key in OF_ROWS if getattr(given, key)), None)
    if asked and not given.source:
        raise UsageError(f"--{asked} is about rows that you have: name their file with --from.")
    if given.source and given.kind:
        raise UsageError("--kind: rows show what the replies are; leave it out with --from.")
    options = {"kind": given.kind or given.source, "candidate": given.candidate, "task": given.task}
    missing = [f"--{option}" for option, value in options.items() if not value]
    if missing and not given.yes and not sys.stdin.isatty():
        raise UsageError(f"nobody is there to answer: give {', '.join(missing)}, or --yes for the defaults.")
    stem = (
        re.sub(r"\W+", "_", given.source.stem.lower(), flags=re.ASCII).strip("_") if given.source else "mail"
    )
    default = stem if NAME.fullmatch(stem) else "task"
    ask = not given.yes
    kind = given.kind or (
        _choice("What does the model reply?", KINDS) if ask and not given.source else "label"
    )
    candidate = given.candidate or (_choice("What do you want to try?", CANDIDATES) if ask else "local")
    name = given.task or (_ask(f"Name of the task [{default}]: ") if ask else "") or default
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a task: use small letters, digits and underscores.")
    return kind, candidate, name


def _choice(question: str, known: Mapping[str, str]) -> str:
    listed = [f"  {number}. {name}: {text}" for number, (name, text) in enumerate(known.items(), start=1)]
    names = list(known)
    while True:
        said = _ask("\n".join([question, *listed, f"1 to {len(names)} [1]: "])).lower() or "1"
        if said in names:
            return said
        if said in map(str, range(1, len(names) + 1)):
            return names[int(said) - 1]


def _ask(question: str) -> str:
    try:
        return input(question).strip()
    except EOFError as error:
        raise UsageError("no answer; --yes takes the defaults.") from error
