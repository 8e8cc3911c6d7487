"""The run that a command is given: a folder that a run wrote, or its ``run.json``."""

from __future__ import annotations

import os
from pathlib import Path

from harness.atomic import what_is_at
from harness.errors import UsageError
from harness.records import RunRecord


def load_record(run: Path) -> tuple[RunRecord, Path]:
    """The run's record, and the folder that holds it.

    Raises:
        UsageError: there is no such file.
        DataError: it cannot be read.
        StoreError: it does not hold a run's record.
    """
    from harness.report.runjson import load_file

    file = run / "run.json" if what_is_at(run) == "folder" else run
    if not os.path.lexists(file):
        raise UsageError(f"{file} does not exist. Give a folder that a run wrote, such as reports/example.")
    return load_file(file), file.parent
