"""All runs on one page: verdicts, key numbers, and the runs that could not be read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from harness.records import Comparison, Decision, Gate
from harness.report import numbers
from harness.report.headline import VERDICT_TONE, stamps
from harness.report.intervals import OUTCOME_TONE, axis, plot, reach_of
from harness.report.runjson import load_as
from harness.report.trial_pairs import size_label
from harness.report.view_models import IntervalPlot, Tone

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True)
class RunHead:
    """The fields of a run record that the index reads; the answers, most of the file, are not checked."""

    id: str
    created: str
    command: str
    decisions: tuple[Decision, ...]
    gates: tuple[Gate, ...]
    rehearsal: bool = False

    def gated(self) -> list[tuple[Gate, Comparison]]:
        """The gates that decided, with their comparisons."""
        return [(gate, gate.comparison) for gate in self.gates if gate.state == "gated" and gate.comparison]


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One run found below the report folder; ``head`` is None where it could not be read."""

    folder: str
    head: RunHead | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class KeyNumber:
    """One decisive comparison of a run."""

    name: str
    text: str
    outcome: str
    tone: Tone
    plot: IntervalPlot | None


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One run, formatted. ``verdicts`` are (candidate, verdict, tone)."""

    href: str
    run_id: str
    created: str
    verdicts: tuple[tuple[str, str, Tone], ...]
    key_numbers: tuple[KeyNumber, ...]
    stamps: tuple[str, ...]
    problem: str


@dataclass(frozen=True, slots=True)
class IndexView:
    """The page: readable runs newest first, then the others. All intervals share one axis."""

    rows: tuple[IndexRow, ...]
    axis_low: str
    axis_high: str
    counts: str


def read_entry(text: str, where: str, folder: str) -> IndexEntry:
    """The head of a run record. ``where`` names the file in messages; ``folder`` holds the report.

    Raises:
        StoreError: the text is not a run record of a known schema version.
    """
    return IndexEntry(folder, load_as(_adapter(), text, where))


@cache  # building it takes 10 ms
def _adapter() -> TypeAdapter[RunHead]:
    from pydantic import TypeAdapter

    return TypeAdapter(RunHead)


def index_view(entries: Iterable[IndexEntry]) -> IndexView:
    """The entries as a page, newest first."""
    known = sorted(
        entries,
        key=lambda entry: (entry.head is not None, entry.head.created if entry.head else entry.folder),
        reverse=True,
    )
    reach = reach_of(found for entry in known if entry.head for _, found in entry.head.gated())
    low, high = axis(reach)
    broken = sum(entry.head is None for entry in known)
    counts = numbers.plural(len(known), "run") + (f", {broken:,} unreadable" if broken else "")
    return IndexView(tuple(_row(entry, reach) for entry in known), low, high, counts)


def _row(entry: IndexEntry, reach: float) -> IndexRow:
    href = f"./{quote(entry.folder)}/report.html"
    head = entry.head
    if head is None:
        return IndexRow(href, entry.folder, numbers.NONE, (), (), (), entry.problem)
    return IndexRow(
        href=href,
        run_id=head.id,
        created=head.created,
        verdicts=tuple(
            (size_label(d.size, None, d.candidate), d.verdict.value, VERDICT_TONE[d.verdict])
            for d in head.decisions
        ),
        key_numbers=tuple(
            KeyNumber(
                name=f"{gate.suite} / {found.score}",
                text=f"{numbers.points(found.difference)} {numbers.interval(found.low, found.high)}, "
                f"n = {found.n:,}",
                outcome=found.outcome.value,
                tone=OUTCOME_TONE[found.outcome],
                plot=plot(found, reach, OUTCOME_TONE[found.outcome]),
            )
            for gate, found in head.gated()
        ),
        stamps=stamps(head.rehearsal),
        problem="",
    )
