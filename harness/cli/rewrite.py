"""``harness split`` and ``harness convert``: rows in, files of rows out."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.atomic import what_is_at, write_atomically
from harness.data.convert import to_json, to_prompt_completion
from harness.data.splits import split_rows
from harness.data.tables import read_source
from harness.data.tool_forms import ToolForms
from harness.errors import UsageError


def split(given: argparse.Namespace) -> int:
    """Write FILE.train.jsonl and FILE.heldout.jsonl; return 0."""
    rows = read_source(given.file, given.columns)
    folder = given.to or Path(given.file).parent
    files = [folder / f"{Path(given.file).stem}.{side}.jsonl" for side in ("train", "heldout")]
    _require_free(files, given.force)
    if not re.fullmatch(r"[1-9][0-9]{0,9}|0?\.[0-9]{1,15}", given.heldout):
        raise UsageError(f"--heldout={given.heldout}: give a number of rows (200) or a share (0.2).")
    size = int(given.heldout) if given.heldout.isdecimal() else float(given.heldout)
    fields = {name: getattr(given, name) for name in ("seed", "stratify", "group", "time")}
    made = split_rows(rows, heldout=size, **fields)
    folder.mkdir(parents=True, exist_ok=True)
    for file, side in zip(files, (made.train, made.heldout), strict=True):
        _write(file, map(to_json, side))
        print(f"{len(side):>7} rows  {file}")  # noqa: T201 - a command prints
    for note in made.notes:
        print(f"  {note}")  # noqa: T201
    return 0


def convert(given: argparse.Namespace) -> int:
    """Write every row in the wanted format; return 0."""
    forms = ToolForms()
    rows = read_source(given.file, given.columns, forms)
    _require_free([given.to], given.force)
    form = to_prompt_completion if given.format == "completion" else to_json
    given.to.parent.mkdir(parents=True, exist_ok=True)
    _write(given.to, [form(row) for row in rows])
    print(f"{len(rows):>7} rows  {given.to}")  # noqa: T201
    if forms.renamed:
        one, other = next(iter(forms.renamed.items()))
        what = f"dots in {len(forms.renamed)} names of functions, which services refuse, are underscores now"
        print(f"  {what}, in tools and calls: {one} is {other}")  # noqa: T201
    return 0


def _require_free(files: Iterable[Path], force: bool) -> None:
    """Files that are there are written over where that is asked for; folders, pipes and devices never are.

    Raises:
        UsageError: names what is there.
    """
    there = [str(file) for file in files if os.path.lexists(file)]
    for file in there:
        if Path(file).is_symlink() or what_is_at(Path(file)) != "file":
            raise UsageError(
                f"{file} is there, and is no file of its own.\n  hint: name another place with --to."
            )
    if there and not force:
        places = ", ".join(there)
        raise UsageError(f"{places} exists; name another place with --to, or write over it with --force.")


def _write(file: Path, objects: Iterable[Mapping[str, object]]) -> None:
    lines = [json.dumps(value, ensure_ascii=False) for value in objects]
    write_atomically(file, "\n".join(lines) + "\n")
