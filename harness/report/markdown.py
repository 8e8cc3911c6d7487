"""The report as Markdown, for a pull request or a job summary.

What came from a run is hostile: ``plain`` turns every character that Markdown, HTML or a forge could
act on into an entity, so that it reads as it was written and starts no table, link, tag or mention.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from harness.records import RunRecord
from harness.report.terminal import fact_line, printable
from harness.report.view import build_view
from harness.report.view_models import (
    Answers,
    Comparisons,
    Fact,
    Figures,
    Headline,
    JudgeBlock,
    LadderBlock,
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
    parts += ["## Judges", *map(_judge, view.judges)] if view.judges else []
    if view.curves:
        parts.append("## Learning curve")
    if view.forecasts and view.forecasts.table:
        parts.append(_block(view.forecasts.table))
    if view.forecasts:
        parts.append(_bullets(view.forecasts.notes))
    parts += [_block(curve.table) for curve in view.curves]
    parts += _slices(view.slices, view.slices_note)
    if view.costs or view.spending:
        parts.append("## Cost and break-even")
    for cost in view.costs:
        parts += [plain(cost.verdict), _block(cost.table), _block(cost.prices), _bullets(cost.notes)]
        if cost.knowing is not None:
            parts.append(_block(cost.knowing))
    if view.spending:
        parts += [_block(view.spending.table), _bullets(view.spending.reconciliation)]
    parts += map(_answers, view.answers)
    if view.training.table.rows:
        body = [_bullets(view.training.flags), _block(view.training.table)]
        parts.append(_folded("Training", "\n\n".join(filter(None, body))))
    parts.append(_folded("What was run", "\n\n".join([_code(view.command), *map(_block, view.provenance)])))
    return "\n\n".join(filter(None, parts)) + "\n"


def plain(text: str) -> str:
    """``text`` on one line, as text: nothing in it is markup, a link, a mention or a table's border."""
    line = printable(" ".join(text.split())).translate(_ACTIVE)
    line = line.replace("://", "&#58;//").replace("www.", "www&#46;")
    line = _EMPHASIS.sub("&#95;", line)
    return _MENTION.sub("&#64;\N{ZERO WIDTH SPACE}", line)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST].rstrip() + " …"


def _block(table: TextTable) -> str:
    body = _table(table.columns, (map(plain, row) for row in table.rows))
    return f"**{plain(table.caption)}**\n\n{body}" + (f"\n\n{plain(table.note)}" if table.note else "")


def _table(columns: Iterable[tuple[str, bool]], rows: Iterable[Iterable[str]]) -> str:
    """A pipe table; the cells of ``rows`` are Markdown already."""
    names, numeric = zip(*columns, strict=True)
    rules = ["--:" if is_numeric else "---" for is_numeric in numeric]
    lines = [[plain(name) or " " for name in names], rules, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{plain(title)}</summary>\n\n{body}\n\n</details>"


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {plain(line)}" for line in lines)


def _headline(top: Headline) -> Iterator[str]:
    yield f"# {plain(top.title)}"
    if top.stamp:
        yield f"**{plain(top.stamp)}**"
    if top.ladder is not None:
        yield from _ladder(top.ladder)
    for card in top.cards:
        yield f"## {_SYMBOL[card.tone]} {card.verdict}: {plain(card.subject)}"
        yield plain(card.means)
        yield _bullets(card.reasons)
        yield "\n".join(f"> ⚠️ {plain(note)}" for note in card.notes)
        yield plain(card.forecast)
    if top.together is not None:
        yield _block(top.together)
    if top.evidence:
        yield f"**What the evidence points to**\n\n{_bullets(map(fact_line, top.evidence))}"
    for caution in top.cautions:
        rest = "".join(f"\n> - {plain(line)}" for line in caution.details)
        yield f"> ⚠️ **{plain(caution.title)}**{rest}"
    yield _bullets([*filter(None, [top.spending]), *top.notes])
    yield f"{plain(top.policy)} Run {_code(top.run_id)}, {plain(top.created)}."


def _ladder(block: LadderBlock) -> Iterator[str]:
    yield f"## {_SYMBOL[block.tone]} {plain(block.verdict)}"
    yield plain(block.means)
    yield _bullets(fact_line(fact) for fact in block.facts)
    yield _block(block.table)
    yield _bullets(f"{chart.description} {chart.note}".strip() for chart in block.charts)
    yield _block(block.crossovers) if block.crossovers else ""
    yield _folded("Why each rung ended as it did", _bullets(block.whys)) if block.whys else ""


def _code(text: str) -> str:
    return f"<code>{plain(text)}</code>"


def _difference(figures: Figures) -> str:
    return f"{figures.difference} {figures.interval}".replace("– –", "–")


def _comparisons(block: Comparisons) -> Iterator[str]:
    heads = [(name, False) for name in ("suite / score", "role", "candidate")]
    heads += [(name, True) for name in ("n", "baseline", "candidate", "difference")]
    heads += [(name, False) for name in ("outcome", "method")]
    gates: list[list[str]] = []
    others: list[list[str]] = []
    for line in block.lines:
        found = line.figures
        row = [
            plain(f"{line.suite} / {line.score}"),
            plain(line.role if line.state == "gated" else f"{line.role} ({line.state})"),
            plain(line.subject),
            " ".join(filter(None, [found.n, found.clusters, found.failed and f"({found.failed})"])),
            found.baseline_mean,
            found.candidate_mean,
            _difference(found),
            f"{_SYMBOL[found.tone]} {line.outcome}".strip(),
            plain(line.method),
        ]
        (others if line.is_minor else gates).append(row)
    yield "## Gates"
    yield _table(heads, gates) if gates else "No gate was collected."
    yield plain(block.note) if block.lines else ""
    yield _bullets(block.power)
    if others:
        yield _folded(f"{len(others)} comparisons that decide nothing", _table(heads, others))
    if block.changes is not None:
        yield _folded("What changed (exploratory)", _block(block.changes))


def _slices(blocks: Iterable[Slices], note: str) -> Iterator[str]:
    heads = [("slice", False)]
    heads += [(name, True) for name in ("n", "baseline", "candidate", "difference", "p")]
    for place, block in enumerate(blocks):
        if place == 0:
            yield "## Slices (exploratory)"
            yield plain(note)
        rows = []
        for line in block.lines[:_MOST_SLICES]:
            found = line.figures
            name, means = plain(f"{line.key} {line.value}"), (found.baseline_mean, found.candidate_mean)
            rows.append([name, found.n, *means, _difference(found), plain(line.p_adjusted)])
        yield _folded(f"{block.title}: the largest differences", _table(heads, rows))


def _judge(block: JudgeBlock) -> str:
    def row(fact: Fact) -> list[str]:
        return [plain(fact.name), plain(fact.value), plain(fact.words)]

    heads = [("measure", False), ("value", False), ("in words", False)]
    parts = [f"**{plain(block.title)}: {plain(block.said)}.** {plain(block.means)}"]
    facts = [fact for _, some in block.groups for fact in some]
    parts += [f"{plain(gate)}\n\n{_table(heads, map(row, some))}" for gate, some in block.corrections]
    parts += [_table(heads, map(row, facts))] if facts else []
    if block.opposed:
        opposed = [
            [plain(_cut(text)) for text in (one.where, one.answer, one.said, one.people, one.reason)]
            for one in block.opposed
        ]
        heads_of = [(name, False) for name in ("where", "answer", "judge", "people", "the judge's reason")]
        parts.append(_folded("Where judge and people disagree most", _table(heads_of, opposed)))
    told = [plain(block.told)] if block.told else []
    more = [*told, *([_table(heads, map(row, block.more))] if block.more else [])]
    parts += [_folded("More figures", "\n\n".join(more))] if more else []
    parts.append(f"See for yourself: {'; '.join(map(_code, block.commands))}")
    return "\n\n".join(parts)


def _answers(block: Answers) -> str:
    """Rows that changed, each with the baseline's answer and that of the largest size, which is the last."""
    texts = []
    for row in [row for row in block.rows if "changed" in row.tags][:_MOST_ANSWERS]:
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
