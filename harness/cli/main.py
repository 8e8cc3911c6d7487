"""The ``harness`` command: its arguments, and the function that runs each of its commands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

from harness.cli.arguments import number, require_plain, whole
from harness.cli.capture import add_capture
from harness.cli.comment import add_comment
from harness.cli.decide import add_decide
from harness.cli.diagnose import add_diagnose
from harness.cli.doctor import add_doctor
from harness.cli.export import add_export
from harness.cli.init import add_init
from harness.cli.jobs import add_jobs
from harness.cli.judge_check import add_judge_check
from harness.cli.label import add_label
from harness.cli.providers import add_providers
from harness.cli.runner_log import taken_for_text
from harness.cli.store import add_store
from harness.cli.twin import add_twin
from harness.errors import HarnessError, UsageError, disk_error
from harness.fields import LARGEST, LARGEST_SEED
from harness.report.printable import one_screen
from harness.settings import require_known_variables

COLUMNS_HELP = "which columns hold what: user=COL,assistant=COL | prompt=COL,completion=COL | messages=COL"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status. 0: done; 1: something is wrong; 2: usage."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a sign that a terminal lacks is escaped, and ends nothing
            stream.reconfigure(errors="backslashreplace")
    given_arguments = sys.argv[1:] if arguments is None else arguments
    with taken_for_text(is_json="--json" in given_arguments):
        return _ended(given_arguments)


def _ended(given_arguments: Sequence[str]) -> int:
    try:
        require_plain(given_arguments)
        require_known_variables(os.environ)
        return _run(_parser().parse_args(given_arguments))
    except UsageError as error:
        print(one_screen(f"harness: {error}"), file=sys.stderr)  # noqa: T201 - a command prints
        return 2
    except HarnessError as error:
        print(one_screen(f"harness: {error}"), file=sys.stderr)  # noqa: T201
        return 1
    except BrokenPipeError:  # the reader (head, less) has seen enough
        sys.stderr.close()
        return 0
    except OSError as error:  # a disk that is full, a folder that may not be written
        where = f"{error.filename}: " if error.filename else ""
        told = disk_error(error) or f"{where}{error.strerror or error}"
        print(one_screen(f"harness: {told}"), file=sys.stderr)  # noqa: T201
        return 1


def _run(given: argparse.Namespace) -> int:
    """Imports only what the command needs: ``--help`` and a typing error answer at once."""
    if given.command == "report":
        return compare_runs(*given.compare) if given.compare else report(given.run)
    if given.command == "init":
        from harness.cli.init import init

        return init(given)
    if given.command == "label":
        from harness.cli.label import label

        return label(given)
    if given.command == "decide":
        from harness.cli.decide import decide

        return decide(given)
    if given.command == "diagnose":
        from harness.cli.diagnose import diagnose

        return diagnose(given)
    if given.command == "export":
        from harness.cli.export import export

        return export(given)
    if given.command == "comment":
        from harness.cli.comment import comment

        return comment(given)
    if given.command == "capture":
        from harness.cli.capture import capture

        return capture(given)
    if given.command == "twin":
        from harness.cli.twin import twin

        return twin(given.port, given.state, given.scripted, given.alias, given.fail)
    if given.command == "store":
        from harness.cli.store import store

        return store(given)
    if given.command == "doctor":
        from harness.cli.doctor import doctor

        return doctor(given)
    if given.command == "jobs":
        from harness.cli.jobs import jobs

        return jobs(given)
    if given.command == "providers":
        from harness.cli.providers import providers

        return providers(given)
    if given.command == "judge-check":
        from harness.cli.judge_check import judge_check

        return judge_check(given)
    if given.command == "validate":
        from harness.cli.validate import run_validation

        return run_validation(given)
    from harness.cli.rewrite import convert, split

    return split(given) if given.command == "split" else convert(given)


def compare_runs(before: Path, now: Path) -> int:
    """Write what changed between two runs into the folder of the second.

    Raises:
        UsageError: nothing of the two can be compared.
    """
    from harness.cli.runs import load_record
    from harness.report.html import write_changes
    from harness.report.run_changes import run_changes

    (earlier, _), (later, folder) = load_record(before), load_record(now)
    print(write_changes(run_changes(earlier, later), folder))  # noqa: T201
    return 0


def report(run: Path | None) -> int:
    """Write the pages of a run's folder or ``run.json`` again, and the index a folder above.

    Raises:
        UsageError: no run is named.
    """
    from harness.cli.runs import load_record
    from harness.report.html import write_index, write_pages

    if run is None:
        raise UsageError("harness report needs a run's folder, or --compare with two of them.")
    record, folder = load_record(run)
    page = write_pages(record, folder)
    write_index(folder.parent)
    print(page)  # noqa: T201
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="harness", description="Chores around fine-tuning decisions.")
    commands = parser.add_subparsers(dest="command", required=True)
    add_init(commands.add_parser("init", help="write a project that runs at once, or one from your rows"))
    _add_validate(commands.add_parser("validate", help="check a training file before anything is paid"))
    _add_split(commands.add_parser("split", help="make a training and a held-out file from one"))
    _add_convert(commands.add_parser("convert", help="rewrite rows: CSV, Parquet, ShareGPT, xLAM, chat"))
    add_jobs(commands.add_parser("jobs", help="fine-tuning jobs at a service: list, follow, cancel, resume"))
    add_providers(commands.add_parser("providers", help="tuning services that are known, as read when"))
    report = commands.add_parser("report", help="write report.html and report.md again from a run.json")
    report.add_argument("run", type=Path, nargs="?", help="a run's folder or its run.json")
    report.add_argument(
        "--compare", type=Path, nargs=2, metavar="RUN", help="write what changed from one run to another"
    )
    add_judge_check(commands.add_parser("judge-check", help="test a suite's judges: labels, drift, attacks"))
    add_label(commands.add_parser("label", help="write a page on which people label a run's answers"))
    add_decide(commands.add_parser("decide", help="decide a run again: labels, other prices"))
    add_diagnose(commands.add_parser("diagnose", help="say why a candidate that scored well fails elsewhere"))
    add_export(commands.add_parser("export", help="write a run's fine-tune as files that servers take"))
    add_comment(commands.add_parser("comment", help="write a run into the comment of a pull request, once"))
    add_capture(commands.add_parser("capture", help="record a hosted model's answers while it gives any"))
    add_twin(commands.add_parser("twin", help="the hosted service's API on this machine, without a key"))
    add_store(commands.add_parser("store", help="what the store holds, whether it is whole, making room"))
    add_doctor(
        commands.add_parser("doctor", help="say what this machine can run, and which base it can train")
    )
    return parser


def _add_validate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="JSON Lines, CSV, Parquet, or the id of a Hugging Face dataset")
    parser.add_argument("--model", help="whose tokens, context and price: a hosted model or a local one")
    parser.add_argument(
        "--heldout", action="append", default=[], metavar="FILE", help="compare with held-out rows"
    )
    parser.add_argument("--stratify", metavar="FIELD", help="the metadata field whose classes to compare")
    parser.add_argument("--columns", help=COLUMNS_HELP)
    parser.add_argument(
        "--epochs", type=number(above=0), help="for the price; default: what the service would take"
    )
    parser.add_argument(
        "--max-tokens", type=whole(1, LARGEST), help="longest row, where it is not the model's"
    )
    lint = parser.add_mutually_exclusive_group()
    lint.add_argument("--lint", action="store_true", default=None, help="also for files beyond 100,000 rows")
    lint.add_argument("--no-lint", dest="lint", action="store_false", help="formats and tokens only")
    parser.add_argument("--all", action="store_true", help="list every finding with its line")
    parser.add_argument("--json", action="store_true", help="for programs")


def _add_split(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="JSON Lines, CSV, Parquet, or the id of a Hugging Face dataset")
    parser.add_argument("--heldout", required=True, help="how many rows to hold out: 200, or a share: 0.2")
    parser.add_argument("--stratify", metavar="FIELD", help="keep this field's proportions on both sides")
    parser.add_argument("--group", metavar="FIELD", help="never put one value of this field on both sides")
    parser.add_argument("--time", metavar="FIELD", help="hold out the newest rows by this date")
    parser.add_argument("--seed", type=whole(0, LARGEST_SEED), default=0)
    parser.add_argument("--columns", help=COLUMNS_HELP)
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="where to write; default: beside the file")
    parser.add_argument("--force", action="store_true", help="write over files that exist")


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="JSON, JSON Lines, CSV, Parquet, or the id of a Hugging Face dataset")
    parser.add_argument("--format", choices=("chat", "completion"), default="chat")
    parser.add_argument("--columns", help=COLUMNS_HELP)
    parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="the JSON Lines file to write")
    parser.add_argument("--force", action="store_true", help="write over a file that exists")
