"""``harness report``: the pages of a run again, from its record."""

from __future__ import annotations

from pathlib import Path


def report(run: Path) -> int:
    """``harness report``: the pages of a finished run, written again."""
    from harness.errors import UsageError
    from harness.report.html import write_index, write_report
    from harness.report.runjson import load_run

    file = run / "run.json" if run.is_dir() else run
    if not file.is_file():
        raise UsageError(f"{file} does not exist. Give a folder that a run wrote, such as reports/example.")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from error
    page = write_report(load_run(text, str(file)), file.parent)
    write_index(file.parent.parent)
    print(page)  # noqa: T201
    return 0
