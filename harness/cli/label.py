"""``harness label``: a page on which people label a run's answers."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from harness.atomic import what_is_at
from harness.cli.arguments import whole
from harness.errors import DataError, UsageError
from harness.fields import LARGEST, LARGEST_SEED
from harness.words import plural

if TYPE_CHECKING:
    from harness.records import SuiteInfo
    from harness.report.labelling import Sheet

MADE_HERE = b'content="harness label"'  # near the beginning of every such page


def add_label(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("run", type=Path, help="a run's folder or its run.json")
    parser.add_argument("--suite", help="default: the only one with a judge")
    parser.add_argument("--score", help="what to label; default: the only judge's")
    parser.add_argument(
        "--candidate", metavar="NAME[@SIZE]", help="default: the only one, at its largest size"
    )
    parser.add_argument(
        "--labels", type=whole(1, LARGEST), default=100, metavar="N", help="rows to label; default: 100"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--pairs", action="store_true", help="a preference: both answers beside each other")
    form.add_argument(
        "--scale",
        type=whole(2, 10),
        metavar="N",
        help="the judge's levels from 1 to N, or 2 for good and bad; default: the judge's",
    )
    parser.add_argument("--field", help="show this field of JSON answers; default: the judge's")
    parser.add_argument("--ask", metavar="TEXT", help="the question to people; default: is this answer good?")
    parser.add_argument("--seed", type=whole(0, LARGEST_SEED), default=0, help="of the draw; default: 0")
    parser.add_argument(
        "--uniform", action="store_true", help="draw all rows alike, not the doubtful ones more often"
    )
    parser.add_argument(
        "--earlier",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="labels of this run: to say what more of them would bring",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: label.html beside run.json")


def label(given: argparse.Namespace) -> int:
    """Write the page, and say what to do with it; return 0.

    Raises:
        UsageError: there is no such run, suite, score or candidate; several would do; the file is another's.
        StoreError: the record cannot be read.
        DataError: earlier labels that cannot be read, or are of another run.
    """
    from harness.cli.runs import load_record
    from harness.data.files import MOST_LABEL_BYTES, read_text
    from harness.decision.ppi import MIN_LABELS
    from harness.report.label_gain import in_columns
    from harness.report.label_page import write_label_page
    from harness.report.labelling import Wanted, label_sheet
    from harness.scoring.run_labels import fit_to, parse_run_labels

    record, folder = load_record(given.run)
    names = ("suite", "score", "candidate", "labels", "seed", "pairs", "scale", "field", "uniform")
    wanted = Wanted(**{name: getattr(given, name) for name in names}, ask=given.ask or "")
    read = ((read_text(file, most_bytes=MOST_LABEL_BYTES), str(file)) for file in given.earlier)
    labels = [label for text, file in read for label in parse_run_labels(text, file)]
    sheet = label_sheet(record, wanted, fit_to(record, labels))
    sheet = _in_full(sheet, next(suite for suite in record.suites if suite.name == sheet.suite))
    page = given.out or folder / "label.html"
    _require_ours(page)
    write_label_page(sheet, page, shlex.quote(str(given.run)))
    few = f"\nA correction takes {MIN_LABELS} rows at least." if len(sheet.rows) < MIN_LABELS else ""
    table = "\n".join(in_columns([sheet.outlook.header, *sheet.outlook.table]))
    print(page)  # noqa: T201 - a command prints
    print(  # noqa: T201
        f"{len(sheet.cards):,} cards: the answers of {sheet.subject} to {len(sheet.rows):,} of"
        f" {plural(sheet.n_rows, 'row')} of {sheet.suite}, for the score {sheet.score}.\n"
        f"{sheet.gain}{few}\n{table}\n{sheet.outlook.note}\n"
        "Open the page, label, and save the labels; then:\n"
        f"  harness decide {shlex.quote(str(given.run))} --labels labels-NAME.jsonl"
    )
    return 0


def _in_full(sheet: Sheet, suite: SuiteInfo) -> Sheet:
    """The sheet with whole conversations, where the held-out file is still there as it was in the run."""
    from harness.data.fingerprints import rows_fingerprint
    from harness.data.rows import read_rows
    from harness.report.labelling import in_full

    file = Path(suite.heldout)
    if what_is_at(file) != "file":
        return sheet
    try:
        rows = read_rows(file)
    except DataError:  # it was changed since, and the record has the questions
        return sheet
    return in_full(sheet, rows) if rows_fingerprint(rows) == suite.heldout_digest else sheet


def _require_ours(page: Path) -> None:
    """UsageError where something else than an earlier page would be written over."""
    kind = what_is_at(page)
    if kind == "file":
        with page.open("rb") as file:
            if MADE_HERE in file.read(2_000):
                return
    elif kind is None:
        return
    raise UsageError(f"{page} is there and is no page for labelling: name another place with --out.")
