"""``harness diagnose``: why a candidate that scored well fails in production."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.cli.arguments import number


def add_diagnose(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("run", type=Path, help="a run's folder or its run.json")
    parser.add_argument(
        "failures", type=Path, help="rows that failed in production, JSON Lines, each with the right answer"
    )
    parser.add_argument(
        "--candidate", metavar="NAME[@SIZE]", help="default: what the run calls GO, at its largest size"
    )
    parser.add_argument("--suite", metavar="NAME", help="where the run has several with a prompt")
    parser.add_argument("--no-ask", action="store_true", help="do not ask the baseline the failures")
    parser.add_argument(
        "--max-usd", type=number(above=0), metavar="USD", help="most that a hosted baseline may cost"
    )
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="where to write; default: the run's folder")
    parser.add_argument(
        "--harness-store", type=Path, default=Path(".harness"), metavar="FOLDER", help="default: .harness"
    )


def diagnose(given: argparse.Namespace) -> int:
    """Print the causes and write the pages. 0: looked, whatever was found.

    Raises:
        HarnessError: no run, or failures that cannot be matched to it.
    """
    from harness.cli.runs import load_record
    from harness.models.progress import Drawn, Silent
    from harness.report.diagnosis import diagnosis_lines, write_diagnosis
    from harness.report.printable import printable
    from harness.run.diagnosing import Asking
    from harness.run.diagnosing import diagnose as diagnosed

    record, folder = load_record(given.run)
    progress = Drawn(sys.stderr) if sys.stderr.isatty() else Silent()
    asking = Asking(given.harness_store, progress, given.max_usd, not given.no_ask)
    found = diagnosed(record, given.failures, Path.cwd(), asking, given.candidate, given.suite)
    for line in diagnosis_lines(found):
        print(line)  # noqa: T201 - a command prints
    print(f"\nreport: {printable(str(write_diagnosis(found, given.to or folder)))}")  # noqa: T201
    return 0
