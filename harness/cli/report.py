"""``harness report``: the pages of a finished run, written again from its record."""

from __future__ import annotations

from pathlib import Path

from harness.errors import UsageError


def report(run: Path) -> int:
    """Write ``report.html`` and ``report.md`` beside ``run``, and ``index.html`` a folder above; return 0.

    Args:
        run: a run's folder or its ``run.json``, also of an earlier schema version. It is not written to.

    Raises:
        UsageError: there is no such file, or it cannot be read.
        StoreError: it is not a run record.
    """
    from harness.report.html import write_index, write_pages
    from harness.report.runjson import load_run

    file = run / "run.json" if run.is_dir() else run
    if not file.is_file():
        raise UsageError(f"{file} does not exist. Give a folder that a run wrote, such as reports/example.")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from error
    page = write_pages(load_run(text, str(file)), file.parent)
    write_index(file.parent.parent)
    print(page)  # noqa: T201 - a command prints
    return 0
