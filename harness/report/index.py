"""All runs on one page: verdicts, key numbers, and the runs that could not be read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from harness.errors import StoreError
from harness.records import Comparison, Decision, Gate
from harness.report import numbers
from harness.report.headline import VERDICT_TONE, stamps
from harness.report.intervals import OUTCOME_TONE, axis, plot, reach_of
from harness.report.runjson import check_schema
from harness.report.trial_pairs import size_label
from harness.report.view_models import IntervalPlot, Tone

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True)
class RunHead:
    """The part of a run record that the index reads."""

    id: str
    created: str
    command: str
    decisions: tuple[Decision, ...]
    gates: tuple[Gate, ...]
    rehearsal: bool = False


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
        StoreError: the text is not a run record of this schema version.
    """
    from pydantic import ValidationError

    plain = check_schema(text, where)
    try:
        return IndexEntry(folder, _adapter().validate_python(plain))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise StoreError(f"{where}: does not fit a run record at {place}: {first['msg']}.") from error


@cache  # building it takes 10 ms
def _adapter() -> TypeAdapter[RunHead]:
    from pydantic import TypeAdapter

    return TypeAdapter(RunHead)


def unreadable(folder: str, problem: str) -> IndexEntry:
    """A run that is listed with what is wrong with it, rather than hidden."""
    return IndexEntry(folder, None, problem)


def index_view(entries: Iterable[IndexEntry]) -> IndexView:
    """The entries as a page, newest first."""
    known = sorted(entries, key=lambda e: (e.head is not None, e.head.created if e.head else e.folder))
    known.reverse()
    reach = reach_of(found for entry in known if entry.head for _, found in _decisive(entry.head))
    low, high = axis(reach)
    broken = sum(entry.head is None for entry in known)
    counts = numbers.plural(len(known), "run") + (f", {broken:,} unreadable" if broken else "")
    return IndexView(tuple(_row(entry, reach) for entry in known), low, high, counts)


def _decisive(head: RunHead) -> list[tuple[Gate, Comparison]]:
    return [(gate, gate.comparison) for gate in head.gates if gate.state == "gated" and gate.comparison]


def _row(entry: IndexEntry, reach: float) -> IndexRow:
    href = f"{_href(entry.folder)}/report.html"
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
        key_numbers=tuple(_key_number(gate, found, reach) for gate, found in _decisive(head)),
        stamps=stamps(head.rehearsal),
        problem="",
    )


def _href(folder: str) -> str:
    from urllib.parse import quote

    return "./" + quote(folder)


def _key_number(gate: Gate, found: Comparison, reach: float) -> KeyNumber:
    tone = OUTCOME_TONE[found.outcome]
    return KeyNumber(
        name=f"{gate.suite} / {found.score}",
        text=f"{numbers.points(found.difference)} {numbers.interval(found.low, found.high)}, n = {found.n:,}",
        outcome=found.outcome.value,
        tone=tone,
        plot=plot(found, reach, tone),
    )
