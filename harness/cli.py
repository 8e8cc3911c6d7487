"""The ``harness`` command: chores that are not a test run."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import HarnessError


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. 0: done; 1: something is wrong; 2: usage."""
    parser = argparse.ArgumentParser(prog="harness", description="Chores around fine-tuning decisions.")
    commands = parser.add_subparsers(dest="command", required=True)
    report = commands.add_parser("report", help="write report.html and report.md again from a run.json")
    report.add_argument("run", type=Path, help="a run's folder or its run.json")
    doctor = commands.add_parser("doctor", help="say whether this machine can run the harness")
    doctor.add_argument("--fetch", action="store_true", help="fetch and convert the built-in model")
    doctor.add_argument("--json", action="store_true", help="for programs")
    given = parser.parse_args(arguments)
    try:
        return _report(given.run) if given.command == "report" else _doctor(given.fetch, given.json)
    except HarnessError as error:
        print(f"harness: {error}", file=sys.stderr)  # noqa: T201 - a command speaks
        return 1


def _report(run: Path) -> int:
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


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``ok`` is None for what is only worth knowing."""

    what: str
    ok: bool | None
    says: str


def _doctor(fetch: bool, as_json: bool) -> int:
    from harness.models.builtin import ensure_builtin
    from harness.models.progress import Drawn, Silent

    if fetch:
        ensure_builtin(Drawn(sys.stderr) if sys.stderr.isatty() else Silent())
    findings = examine()
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))  # noqa: T201
    else:
        marks = {True: "ok", False: "WRONG", None: "note"}
        for finding in findings:
            print(f"{marks[finding.ok]:>6}  {finding.what}: {finding.says}")  # noqa: T201
    return 1 if any(finding.ok is False for finding in findings) else 0


def examine() -> list[Finding]:
    """Python, packages, device, disk and the built-in model, as they are on this machine."""
    from importlib.metadata import PackageNotFoundError, version

    from harness.models.builtin import NAME
    from harness.models.cache import cache_folder
    from harness.models.device import cpu_name, device_plan
    from harness.models.source import is_at_hand

    findings = [Finding("python", sys.version_info >= (3, 11), sys.version.split()[0])]
    for package in ("torch", "transformers", "trl", "peft", "bitsandbytes"):
        try:
            findings.append(Finding(package, True, version(package)))
        except PackageNotFoundError:
            findings.append(Finding(package, False, "not installed: run `make setup`"))
    plan = device_plan()
    findings.append(Finding("device", None, f"{plan.numerics}; {cpu_name()}"))
    free_gb = shutil.disk_usage(cache_folder()).free / 1e9
    findings.append(
        Finding("disk", free_gb > 2, f"{free_gb:.0f} GB free at {cache_folder()} (2 GB are needed)")
    )
    ready = is_at_hand(NAME)
    says = (
        "in the cache"
        if ready
        else "not in the cache; the first run fetches 93 MB, or `harness doctor --fetch`"
    )
    findings.append(Finding(f"model {NAME}", True if ready else None, says))
    return findings


if __name__ == "__main__":
    raise SystemExit(main())
