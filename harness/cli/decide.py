"""``harness decide``: a run decided again with what people said of its answers. No model is asked."""

from __future__ import annotations

import argparse
import glob
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import DataError

if TYPE_CHECKING:
    from harness.records import LabelFile


def add_decide(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("run", type=Path, help="a run's folder or its run.json")
    parser.add_argument(
        "--labels",
        type=Path,
        nargs="+",
        action="extend",
        required=True,
        metavar="FILE",
        help="labels of its answers, as the page of `harness label` saves them",
    )


def decide(run: Path, files: Sequence[Path]) -> int:
    """Write the decided run into a folder beside the run's; 1 where the decision fails by the run's policy.

    Raises:
        HarnessError: no run, a file that cannot be read, or labels that do not fit the run.
    """
    from harness.cli.runs import load_record
    from harness.data.files import read_text
    from harness.data.fingerprints import bytes_digest
    from harness.records import LabelFile, Verdict
    from harness.report.html import write_index, write_report
    from harness.report.terminal import printable, summary
    from harness.run.deciding import decide_with_labels
    from harness.run.recording import fails, own_folder
    from harness.scoring.run_labels import RunLabel, parse_run_labels

    record, folder = load_record(run)
    labels: list[RunLabel] = []
    label_files: list[tuple[LabelFile, str]] = []
    for path in files:
        text = read_text(path)
        if any(text == other for _, other in label_files):
            raise DataError(str(path), "holds the same labels as another file", "name each file once")
        found = parse_run_labels(text, str(path))
        labels += found
        label_files.append((LabelFile(path.name, bytes_digest(text.encode("utf-8")), len(found)), text))
    command = f"harness decide {run} --labels {' '.join(map(str, files))}"
    earlier = _earlier(record.id, folder.parent)
    decided = decide_with_labels(record, labels, [each for each, _ in label_files], command, earlier)
    decided, folder = own_folder(decided, folder.parent)
    page = write_report(decided, folder)
    write_index(folder.parent)
    print(summary(decided, shutil.get_terminal_size().columns, sys.stdout.isatty()))  # noqa: T201 - a command
    print(f"\nreport: {printable(str(page))}")  # noqa: T201
    refuted = any(each.verdict is Verdict.NO_GO for each in decided.decisions)
    return int((refuted and decided.ladder is None) or fails(decided))


def _earlier(run: str, reports: Path) -> list[tuple[LabelFile, ...]]:
    """The files of labels that the run was decided with before, oldest first."""
    from pydantic import TypeAdapter

    from harness.data.files import read_text
    from harness.report.runjson import load_as
    from harness.run.deciding import DECIDED, DecidedHead

    adapter = TypeAdapter(DecidedHead)
    heads = [
        load_as(adapter, read_text(path, ".json"), str(path))
        for path in reports.glob(f"{glob.escape(run)}-{DECIDED}*/run.json")
    ]
    return [
        head.label_files for head in sorted(heads, key=lambda head: head.created) if head.decided_from == run
    ]
