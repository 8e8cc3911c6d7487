"""``harness decide``: a run decided again with labels of its answers, or other prices. No model is asked."""

from __future__ import annotations

import argparse
import glob
import shutil
import sys
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path

from harness.errors import DataError, UsageError
from harness.records import LabelFile, RunRecord


def add_decide(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("run", type=Path, help="a run's folder or its run.json")
    parser.add_argument(
        "--labels",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="labels of its answers, as the page of `harness label` saves them",
    )
    parser.add_argument("--economics", type=Path, metavar="FILE", help="prices, in place of the run's own")
    parser.add_argument("--requests-per-day", metavar="N", help="a number, or a range such as 30000-80000")
    parser.add_argument("--horizon-days", metavar="N", help="the days over which a saving is added up")


def decide(given: argparse.Namespace) -> int:
    """Write the decided run into a folder beside the run's; 1 where the decision fails by the run's policy.

    Raises:
        HarnessError: no run, a file that cannot be read, labels that do not fit the run, or no price.
    """
    figures = {
        key: _figure(value, option)
        for key, option, value in (
            ("requests_per_day", "--requests-per-day", given.requests_per_day),
            ("horizon_days", "--horizon-days", given.horizon_days),
        )
        if value is not None
    }
    if not given.labels and not figures and given.economics is None:
        raise UsageError(
            f"harness decide {given.run}: by what?\n  hint: --labels FILE, --economics FILE,"
            " --requests-per-day=N or --horizon-days=N"
        )
    from harness.cli.runs import load_record
    from harness.decision.regression import why_blocked
    from harness.report.earnings import earns
    from harness.report.html import write_index, write_report
    from harness.report.printable import printable
    from harness.report.terminal import summary
    from harness.run.recording import own_folder

    record, folder = load_record(given.run)
    command = f"harness decide {given.run}"
    if given.labels:
        command += f" --labels {' '.join(map(str, given.labels))}"
        record = _with_labels(record, folder, given.labels, command)
    if figures or given.economics is not None:
        options = {"requests-per-day": given.requests_per_day, "horizon-days": given.horizon_days}
        command += "" if given.economics is None else f" --economics {given.economics}"
        command += "".join(f" --{name}={value}" for name, value in options.items() if value is not None)
        record = _priced(record, given.economics, figures, command)
    decided, folder = own_folder(record, folder.parent)
    page = write_report(decided, folder)
    write_index(folder.parent)
    print(summary(decided, shutil.get_terminal_size().columns, sys.stdout.isatty()))  # noqa: T201 - a command
    for money in decided.economics if figures or given.economics else ():
        print(printable(f"{money.candidate}: {earns(money)}"))  # noqa: T201
    print(f"\nreport: {printable(str(page))}")  # noqa: T201
    return int(why_blocked(decided) != "")


def _figure(value: str, option: str) -> str:
    """A number, or two as a range of ``economics.toml``."""
    ends = value.split("-")
    try:
        numbers = [float(end.replace(",", "").replace("_", "")) for end in ends]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 2 or not all(0 < number < inf for number in numbers):
        raise UsageError(f"{option} is a number above 0, or a range such as 30000-80000, not {value!r}.")
    return f"{numbers[0]!r}" if len(numbers) == 1 else str(numbers)


def _priced(record: RunRecord, file: Path | None, figures: Mapping[str, str], command: str) -> RunRecord:
    from harness.data.files import read_text
    from harness.run.repricing import priced_again, repriced_config

    text = None if file is None else read_text(file, ".toml")
    config = repriced_config(record, text, str(file), figures)
    return priced_again(record, config, command)


def _with_labels(record: RunRecord, folder: Path, files: Sequence[Path], command: str) -> RunRecord:
    from harness.data.files import MOST_LABEL_BYTES, read_text
    from harness.data.fingerprints import bytes_digest
    from harness.run.deciding import decide_with_labels
    from harness.scoring.run_labels import RunLabel, parse_run_labels

    labels: list[RunLabel] = []
    label_files: list[tuple[LabelFile, str]] = []
    for path in files:
        text = read_text(path, most_bytes=MOST_LABEL_BYTES)
        if any(text == other for _, other in label_files):
            raise DataError(str(path), "holds the same labels as another file", "name each file once")
        found = parse_run_labels(text, str(path))
        labels += found
        label_files.append((LabelFile(path.name, bytes_digest(text.encode("utf-8")), len(found)), text))
    earlier = _earlier(record.id, folder.parent)
    return decide_with_labels(record, labels, [each for each, _ in label_files], command, earlier)


def _earlier(run: str, reports: Path) -> list[tuple[LabelFile, ...]]:
    """The files of labels that the run was decided with before, oldest first."""
    from harness.report.runjson import load_head
    from harness.run.deciding import DECIDED, DecidedHead

    heads = [load_head(path, DecidedHead) for path in reports.glob(f"{glob.escape(run)}-{DECIDED}*/run.json")]
    return [
        head.label_files for head in sorted(heads, key=lambda head: head.created) if head.decided_from == run
    ]
