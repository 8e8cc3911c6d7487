"""The report as one HTML file that opens from disk, the folder it is written to, and the index of all runs.

Jinja escapes everything by default. Only three things enter a page as markup: our own style sheet,
our own script (whose hash is the only one the page's content security policy admits), and our own
charts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from harness.atomic import write_atomically
from harness.errors import DataError, StoreError
from harness.records import Comparison, RunRecord
from harness.report import numbers
from harness.report.comparisons import axis, plot, reach_of
from harness.report.markdown import markdown_of, markdown_of_changes
from harness.report.pages import digest_of, environment, ours, replace_file
from harness.report.pictures import OUTCOME_TONE
from harness.report.run_changes import RunChanges
from harness.report.runjson import RunHead, dumped, load_head
from harness.report.trial_pairs import size_label
from harness.report.view import REHEARSAL, VERDICT_TONE, build_view
from harness.report.view_models import IntervalPlot, ReportView, Tone

_MOST_POINTS = 20  # runs of one gate in the index


def render_html(record: RunRecord) -> str:
    """The whole report as one page without any address that a browser would load."""
    return _page(build_view(record))


def write_report(record: RunRecord, folder: Path) -> Path:
    """Write ``run.json``, ``report.md`` and ``report.html`` into ``folder``; the path of the page.

    Each file is replaced in one step, so that no reader sees half of one. ``run.json`` comes first, since the
    other two can be made from it.

    Raises:
        StoreError: the record holds a number that cannot be written.
    """
    write_atomically(folder / "run.json", dumped(record))
    return write_pages(record, folder)


def write_pages(record: RunRecord, folder: Path) -> Path:
    """Write ``report.md`` and ``report.html`` into ``folder``; the path of the page."""
    view = build_view(record)
    replace_file(folder / "report.md", markdown_of(view))
    return replace_file(folder / "report.html", _page(view))


def _page(view: ReportView) -> str:
    script, style = ours("report.js"), ours("report.css")
    template = environment().get_template("report.html.j2")
    return template.render(
        view=view,
        style=style,
        style_sha256=digest_of(style),
        script=script,
        script_sha256=digest_of(script),
    )


def write_changes(view: RunChanges, folder: Path) -> Path:
    """Write ``compare.html`` and ``compare.md`` into ``folder``; the path of the page."""
    replace_file(folder / "compare.md", markdown_of_changes(view))
    style = ours("report.css")
    page = environment().get_template("compare.html.j2")
    text = page.render(view=view, style=style, style_sha256=digest_of(style))
    return replace_file(folder / "compare.html", text)


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One run, formatted; ``problem`` says why it could not be read.

    ``verdicts`` are (candidate, verdict, tone), and ``gates`` (suite and score, figures, outcome, interval).
    """

    href: str
    run_id: str
    created: str = numbers.NONE
    verdicts: Sequence[tuple[str, str, Tone]] = ()
    gates: Sequence[tuple[str, str, str, IntervalPlot | None]] = ()
    stamp: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """What one run found of a gate."""

    href: str
    created: str
    figures: str
    outcome: str
    plot: IntervalPlot | None


@dataclass(frozen=True, slots=True)
class Trend:
    """A gate of one candidate over the runs that judged it, oldest first."""

    title: str
    points: Sequence[TrendPoint]


def write_index(report_dir: Path) -> Path:
    """Write ``index.html`` over every ``*/run.json`` below ``report_dir``; the path of the page.

    Runs are listed newest first, then those that could not be read. All intervals share one axis.
    """
    heads: list[tuple[str, RunHead]] = []
    broken: list[IndexRow] = []
    for path in sorted(report_dir.glob("*/run.json")):
        folder = path.parent.name
        href = f"./{quote(folder)}/report.html"
        try:
            heads.append((href, load_head(path, RunHead)))
        except (DataError, StoreError) as error:
            broken.append(IndexRow(href, folder, problem=str(error)))  # listed with its problem, not hidden
    heads.sort(key=lambda item: item[1].created, reverse=True)
    reach = reach_of(found for _, head in heads for _, found in head.gated())
    rows = [*(_index_row(href, head, reach) for href, head in heads), *reversed(broken)]
    counts = numbers.plural(len(rows), "run") + (f", {len(broken):,} unreadable" if broken else "")
    template = environment().get_template("index.html.j2")
    style = ours("report.css")
    page = template.render(
        rows=rows,
        trends=_trends(heads, reach),
        counts=counts,
        ends=axis(reach),
        style=style,
        style_sha256=digest_of(style),
    )
    return replace_file(report_dir / "index.html", page)


def _trends(heads: Sequence[tuple[str, RunHead]], reach: float) -> list[Trend]:
    """For each suite, score, claim and candidate that several runs judged, what they found."""
    points: dict[tuple[str, str, str, str], list[TrendPoint]] = {}
    for href, head in reversed(heads):
        for gate in head.gates:
            found = gate.comparison
            if gate.state != "gated" or found is None or gate.against:
                continue
            place = gate.suite, f"{found.score} {found.rows}".strip(), gate.role.value, gate.candidate
            points.setdefault(place, []).append(
                TrendPoint(
                    href, head.created[:16].replace("T", " "), _figures(found), found.outcome.value,
                    plot(found, reach, OUTCOME_TONE[found.outcome]),
                )
            )  # fmt: skip
    return [
        Trend(f"{suite} / {score} ({role}), {candidate}", found[-_MOST_POINTS:])
        for (suite, score, role, candidate), found in sorted(points.items())
        if len(found) > 1
    ]


def _figures(found: Comparison) -> str:
    return f"{numbers.points(found.difference)} {numbers.interval(found.low, found.high)}, n = {found.n:,}"


def _index_row(href: str, head: RunHead, reach: float) -> IndexRow:
    return IndexRow(
        href=href,
        run_id=head.id,
        created=head.created,
        verdicts=[
            (size_label(d.size, None, d.candidate), d.verdict.value, VERDICT_TONE[d.verdict])
            for d in head.decisions
        ],
        gates=[
            (
                f"{suite} / {found.score}",
                _figures(found),
                found.outcome.value,
                plot(found, reach, OUTCOME_TONE[found.outcome]),
            )
            for suite, found in head.gated()
        ],
        stamp=REHEARSAL if head.rehearsal else "",
    )
