"""Records of runs before this one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import StoreError, UsageError
from harness.records import Decision, Gate, RunRecord, SuiteInfo
from harness.report.runjson import load_as, load_run

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True)
class JudgedRun:
    """The fields of a run record that tell what its held-out rows have judged; answers are not read."""

    id: str
    created: str
    alpha: float
    suites: tuple[SuiteInfo, ...]
    gates: tuple[Gate, ...]
    decisions: tuple[Decision, ...]
    rehearsal: bool = False


def earlier_records(reports: Path) -> Iterator[RunRecord]:
    """Run records under the report folder, the latest first; what cannot be read tells nothing here."""
    for file in _files(reports):
        try:
            yield load_run(file.read_text(encoding="utf-8"), str(file))
        except (StoreError, OSError, UnicodeDecodeError):
            continue


def judged_runs(reports: Path, references: tuple[Path, ...] = ()) -> Iterator[JudgedRun]:
    """What runs have judged: those that were named, then those under the report folder, the latest first.

    Rehearsals judged nothing. What cannot be read in the report folder is passed over.

    Raises:
        UsageError: one that was named cannot be read.
    """
    for file in (*references, *_files(reports)):
        try:
            run = load_as(_adapter(), file.read_text(encoding="utf-8"), str(file))
        except (StoreError, OSError, UnicodeDecodeError) as error:
            if file not in references:
                continue
            problem = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
            hint = "name the run.json of an earlier run, or leave the option out."
            raise UsageError(f"--reference-run={file}: {problem}\n  hint: {hint}") from error
        if not run.rehearsal:
            yield run


def _files(reports: Path) -> list[Path]:
    return sorted(reports.glob("*/run.json"), reverse=True)


@cache
def _adapter() -> TypeAdapter[JudgedRun]:
    from pydantic import TypeAdapter

    return TypeAdapter(JudgedRun)
