"""``harness export``: a fine-tune of a run as files that others serve, with its model card."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.arguments import whole
from harness.errors import UsageError
from harness.fields import LARGEST, LARGEST_SEED

if TYPE_CHECKING:
    from harness.run.export_check import Checked


def add_export(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("run", type=Path, help="a run's folder or its run.json")
    parser.add_argument("candidate", metavar="CANDIDATE[@SIZE]", help="default size: the largest")
    parser.add_argument(
        "--to", type=Path, required=True, metavar="DIR", help="a folder that is not there yet"
    )
    parser.add_argument(
        "--form", choices=("adapter", "merged", "gguf"), help="default: that in which the run asked it"
    )
    parser.add_argument("--seed", type=whole(0, LARGEST_SEED), help="of the training; default: the lowest")
    parser.add_argument(
        "--check-rows",
        type=whole(5, LARGEST),
        default=20,
        metavar="N",
        help="held-out rows of each suite to ask again; default: 20",
    )
    parser.add_argument(
        "--server",
        metavar="URL",
        help="DIR is there and served at this OpenAI-compatible address: ask it too",
    )
    parser.add_argument("--server-model", metavar="NAME", help="its name there; default: DIR")
    parser.add_argument("--llama-cpp", type=Path, metavar="PATH", help="a checkout, for --form gguf")
    parser.add_argument("--anyway", action="store_true", help="export what the run does not call GO")
    parser.add_argument(
        "--harness-store", type=Path, default=Path(".harness"), metavar="FOLDER", help="default: .harness"
    )


def export(given: argparse.Namespace) -> int:
    """Write DIR, or ask what serves it. 0: it answers as the trial did; 1: it does not, and is not written.

    Raises:
        HarnessError: there is nothing to export, or the project's files are not the run's.
    """
    from harness.cli.runs import load_record
    from harness.models.progress import Drawn, Silent
    from harness.report.card import is_shippable, verdict_line
    from harness.run.export import Served, export_weights, find_converter, find_weights
    from harness.run.export_check import RULE
    from harness.store.adapters import AdapterStore

    record, _ = load_record(given.run)
    weights = find_weights(
        record, given.candidate, given.seed, AdapterStore(given.harness_store / "adapters")
    )
    if not is_shippable(weights.decision) and not given.anyway:
        raise UsageError(
            f"{weights.label} is {verdict_line(weights.decision)} in run {record.id}.\n"
            "  hint: --anyway exports it; its card says so in the first line."
        )
    form = given.form or weights.form
    if given.server is None and os.path.lexists(given.to):
        raise UsageError(f"--to {given.to}: that is there already.\n  hint: name a new folder.")
    if given.server is not None and not given.to.is_dir():
        raise UsageError(f"--server asks what serves {given.to}: export it first, then serve it.")
    served = Served(given.server, given.server_model or str(given.to)) if given.server else None
    converter = find_converter(given.llama_cpp) if form == "gguf" and served is None else None
    progress = Drawn(sys.stderr) if sys.stderr.isatty() else Silent()
    checked = export_weights(
        weights,
        form,
        given.to,
        Path.cwd(),
        progress=progress,
        rows=given.check_rows,
        converter=converter,
        served=served,
    )
    for line in _told(checked):
        print(line)  # noqa: T201 - a command prints
    if any(one.problems for one in checked):
        what = "it is not written" if served is None else "do not ship it so"
        print(f"REFUSED: {what}. More rows tell more surely (--check-rows=100). The rule: {RULE}.")  # noqa: T201
        return 1
    print(given.to / "README.md")  # noqa: T201
    return 0


def _told(checked: list[Checked]) -> list[str]:
    from harness.report.printable import printable

    return [
        printable(line) for one in checked for line in (one.told, *(f"  differs: {p}" for p in one.problems))
    ]
