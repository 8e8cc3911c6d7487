"""The report as Markdown, for a pull request or a job summary.

What came from a run is hostile: ``plain`` turns every character that Markdown, HTML or a forge could
act on into an entity, so that it reads as it was written and starts no table, link, tag or mention.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from harness.records import RunRecord
from harness.report.view import build_view
from harness.report.view_models import (
    Answers,
    Cell,
    Comparisons,
    Headline,
    ReportView,
    Slices,
    TextTable,
)

_MOST_SLICES, _MOST_ANSWERS, _LONGEST = 10, 5, 280
_SYMBOL = {"good": "✅", "bad": "❌", "unsure": "⚠️", "plain": ""}
_ACTIVE = {ord(character): f"&#{ord(character)};" for character in "\\`*~[|<>&#!$^"}
_EMPHASIS = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # not inside a word, where it is only a letter
_MENTION = re.compile(r"(?<![\w.])@")  # a name@size is no mention


def render_markdown(record: RunRecord) -> str:
    """The decision, gates, curve, largest slices and cost; the rest folded."""
    return markdown_of(build_view(record))


def markdown_of(view: ReportView) -> str:
    """The same, of a view that has been built already."""
    parts = [*_headline(view.headline), *_comparisons(view.comparisons)]
    if view.curves:
        parts.append("## Learning curve")
    for curve in view.curves:
        parts += [_block(curve.table), _bullets(curve.forecast)]
    parts += _slices(view.slices, view.slices_note)
    if view.costs or view.spending:
        parts.append("## Cost and break-even")
    for cost in view.costs:
        parts += [plain(cost.verdict), _block(cost.table), _block(cost.prices), _bullets(cost.notes)]
    if view.spending:
        parts += [_block(view.spending.table), _bullets(view.spending.reconciliation)]
    parts += map(_answers, view.answers)
    if view.training.table.rows:
        body = [_bullets(view.training.flags), _block(view.training.table)]
        parts.append(_folded("Training", "\n\n".join(filter(None, body))))
    run = [_code(view.run.command), *map(_block, view.run.tables)]
    parts.append(_folded("What was run", "\n\n".join(run)))
    return "\n\n".join(filter(None, parts)) + "\n"


def plain(text: str) -> str:
    """``text`` on one line, as text: nothing in it is markup, a link, a mention or a table's border."""
    line = " ".join(text.split()).translate(_ACTIVE)
    line = line.replace("://", "&#58;//").replace("www.", "www&#46;")
    line = _EMPHASIS.sub("&#95;", line)
    return _MENTION.sub("&#64;\N{ZERO WIDTH SPACE}", line)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST].rstrip() + " …"


def _table(head: Iterable[Cell], rows: Iterable[Iterable[str]]) -> str:
    """A pipe table; the cells of ``rows`` are Markdown already."""
    columns = tuple(head)
    lines = [[plain(cell.text) or " " for cell in columns], ["--:" if c.numeric else "---" for c in columns]]
    return "\n".join("| " + " | ".join(line) + " |" for line in [*lines, *map(list, rows)])


def _block(table: TextTable) -> str:
    body = _table(table.head, ([plain(cell.text) for cell in row] for row in table.rows))
    note = f"\n\n{plain(table.note)}" if table.note else ""
    return f"**{plain(table.caption)}**\n\n{body}{note}"


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{plain(title)}</summary>\n\n{body}\n\n</details>"


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {plain(line)}" for line in lines)


def _headline(top: Headline) -> Iterator[str]:
    yield f"# {plain(top.title)}"
    for stamp in top.stamps:
        yield f"**{plain(stamp)}**"
    for card in top.cards:
        yield f"## {_SYMBOL[card.tone]} {card.verdict}: {plain(card.subject)}"
        yield plain(card.means)
        yield _bullets(card.reasons)
    for caution in top.cautions:
        figures = (f"{name}: {value}" for name, value in caution.figures)
        rest = "".join(f"\n> - {plain(line)}" for line in (*caution.details, *figures))
        yield f"> ⚠️ **{plain(caution.title)}**{rest}"
    yield _bullets([*filter(None, [top.spending]), *top.notes])
    yield f"{plain(top.policy)} Run {_code(top.run_id)}, {plain(top.created)}."


def _code(text: str) -> str:
    return f"<code>{plain(text)}</code>"


_COMPARED = (
    *(Cell(name) for name in ("suite / score", "role", "candidate")),
    *(Cell(name, numeric=True) for name in ("n", "baseline", "candidate", "difference")),
    *(Cell(name) for name in ("outcome", "method")),
)


def _comparisons(block: Comparisons) -> Iterator[str]:
    rows = [
        (
            line.state in ("measured", "no gate"),
            [
                plain(f"{line.suite} / {line.score}"),
                plain(line.role if line.state == "gated" else f"{line.role} ({line.state})"),
                plain(line.subject),
                " ".join(filter(None, [line.n, line.clusters, line.failed and f"({line.failed})"])),
                line.baseline_mean,
                line.candidate_mean,
                f"{line.difference} {line.interval}".replace("– –", "–"),
                f"{_SYMBOL[line.tone]} {line.outcome}".strip(),
                plain(line.method),
            ],
        )
        for line in block.lines
    ]
    gates = [row for is_minor, row in rows if not is_minor]
    others = [row for is_minor, row in rows if is_minor]
    yield "## Gates"
    yield _table(_COMPARED, gates) if gates else "No gate was collected."
    yield plain(block.note) if rows else ""
    yield _bullets(block.power)
    if others:
        yield _folded(f"{len(others)} comparisons that decide nothing", _table(_COMPARED, others))
    if block.changes is not None:
        yield _folded("What changed (exploratory)", _block(block.changes))


def _slices(blocks: tuple[Slices, ...], note: str) -> Iterator[str]:
    if not blocks:
        return
    yield "## Slices (exploratory)"
    yield plain(note)
    head = (
        Cell("slice"),
        *(Cell(name, numeric=True) for name in ("n", "baseline", "candidate", "difference", "p")),
    )
    for block in blocks:
        rows = (
            [
                plain(f"{line.key} {line.value}"),
                line.n,
                line.baseline_mean,
                line.candidate_mean,
                f"{line.difference} {line.interval}".replace("– –", "–"),
                plain(line.p_adjusted),
            ]
            for line in block.lines[:_MOST_SLICES]
        )
        yield _folded(f"{block.title}: the largest differences", _table(head, rows))


def _answers(block: Answers) -> str:
    """Rows that changed, each with the baseline's answer and that of the largest size, which is the last."""
    texts = []
    for row in [row for row in block.rows if "changed" in row.tags.split()][:_MOST_ANSWERS]:
        lines = [
            f"**{plain(row.id)}** ({plain(row.change)})",
            f"- question: {plain(_cut(row.question.head))}",
            f"- reference: {plain(_cut(row.reference.head))}",
        ]
        for cell in row.cells:
            if not cell.is_baseline and cell is not row.cells[-1]:
                continue
            scores = "; ".join(
                f"{chip.name} {chip.value}" + (f": {_cut(chip.reason)}" if chip.reason else "")
                for chip in cell.chips
            )
            text = cell.failure or _cut(cell.answer.head)
            lines.append(f"- {plain(cell.label)}: {plain(text)} ({plain(scores)})")
        texts.append("\n".join(lines))
    if not texts:
        return ""
    title = f"Answers that changed: {block.title} ({len(texts)} of {block.n_changed})"
    return _folded(title, "\n\n".join(texts))
