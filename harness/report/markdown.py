"""The report as Markdown, for a pull request or a job summary.

What came from a run is hostile: ``plain`` turns every character that Markdown, HTML or a forge could
act on into an entity, so that it reads as it was written and starts no table, link, tag or mention.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from harness.records import RunRecord
from harness.report import numbers
from harness.report.printable import printable
from harness.report.run_changes import RunChanges
from harness.report.terminal import fact_line
from harness.report.view import build_view
from harness.report.view_models import (
    Answers,
    ComparisonLine,
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

MOST_CHARACTERS = 60_000  # a comment on GitHub holds 65,536
_BRIEF = re.compile("the decision|what decided|What it earns|answers:|Reasons")  # what a comment has
_MDE = "MDE: how far the truth has to lie from what is claimed to be shown 8 times in 10, in points."
_MOST_SLICES, _MOST_ANSWERS, _MOST_LINES, _MOST_CARDS = 10, 5, 50, 8
_LONGEST, _LONG = 280, 900  # characters
_SYMBOL = {"good": "✅", "bad": "❌", "unsure": "⚠️", "plain": ""}
_ACTIVE = {ord(character): f"&#{ord(character)};" for character in "\\`*~[|<>&#!$^"}
_EMPHASIS = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # not inside a word, where it is only a letter
_MENTION = re.compile(r"(?<![\w.])@")  # a name@size is no mention


def render_markdown(record: RunRecord) -> str:
    """The decision in plain sentences and the gates; the rest folded, as far as there is room."""
    return markdown_of(build_view(record))


def markdown_of(view: ReportView, *, is_brief: bool = False) -> str:
    """The same, of a view that has been built already. It fits a comment on a pull request at any size.

    Args:
        is_brief: only what a change needs: the decision, its reasons, money, and answers that changed.
    """
    parts = [
        ("the decision", "\n\n".join(filter(None, _headline(view.headline)))),
        (
            "what decided",
            _joined(
                [*_gates(view.comparisons), _bullets(_cut(line, _LONG) for line in view.headline.reference)]
            ),
        ),
    ]
    if view.costs or view.spending:
        body = [
            part
            for one in view.costs
            for part in (plain(one.verdict), _block(one.table), _known(one.knowing), _bullets(one.notes))
        ]
        body += [_block(view.spending.table), _bullets(view.spending.reconciliation)] if view.spending else []
        parts.append(("What it earns or costs", _folded("What it earns or costs", _joined(body))))
    if view.forecasts and view.forecasts.table:
        body = [_block(view.forecasts.table), _bullets(view.forecasts.notes)]
        parts.append(("Learning curve", _folded("Learning curve, and twice the rows", _joined(body))))
    since = [block for block in view.answers if block.since_reference] if is_brief else []
    parts += [(f"answers: {block.title}", _answers(block)) for block in since or view.answers]
    parts.append(("Reasons", _folded("Every reason, and what these rows can show", _joined(_reasons(view)))))
    parts += [
        (f"Judge {block.title}", _folded(f"Judge {block.title}: {block.said}", _judge(block)))
        for block in view.judges
    ]
    parts.append(("Not measured", _folded("What was not measured", _bullets(view.not_measured))))
    parts += _slices(view.slices, view.slices_note)
    if others := view.comparisons.others:
        title = f"{len(others)} comparisons that decide nothing"
        parts.append((title, _folded(title, _lines(others))))
    if view.training.table.rows:
        body = [_bullets(view.training.flags), _block(view.training.table)]
        parts.append(("Training", _folded("Training", _joined(body))))
    parts.append(
        (
            "What was run",
            _folded("What was run", _joined([_code(view.command), *map(_block, view.provenance)])),
        )
    )
    return _fitted([(title, text) for title, text in parts if text and (not is_brief or _BRIEF.match(title))])


def markdown_of_changes(view: RunChanges) -> str:
    """What changed between two runs."""
    verdicts = [f"{candidate}: {was} → {now}" for candidate, was, _, now, _ in view.verdicts]
    parts = [
        ("verdicts", _joined([f"# {plain(view.title)}", _bullets(verdicts)])),
        ("what differs", _bullets(f"not alike: {line}" for line in view.not_compared)),
        ("gates", _block(view.gates)),
        ("costs", _block(view.costs) if view.costs.rows else ""),
    ]
    for block in view.flips:
        head = f"{block.title}: {block.n_lost:,} lost, {block.n_gained:,} gained, of {block.n:,}"
        lines = [f"lost {one.row}: {one.before} → {one.now}" for one in block.lost]
        lines += [f"gained {one.row}: {one.before} → {one.now}" for one in block.gained]
        parts.append((head, _folded(head, _bullets(_cut(line, 2 * _LONGEST) for line in lines))))
    return _fitted([(title, text) for title, text in parts if text])


def _known(table: TextTable | None) -> str:
    return "" if table is None else _block(table)


def _joined(parts: Iterable[str]) -> str:
    return "\n\n".join(filter(None, parts))


def _fitted(parts: Sequence[tuple[str, str]]) -> str:
    """The parts in order, but for those that a comment has no room for: these are named at the end."""
    kept: list[str] = []
    left_out: list[str] = []
    room = MOST_CHARACTERS
    for title, text in parts:
        if len(text) + 2 > room and not kept:  # the decision itself: of very many candidates
            text = text[:room].rpartition("\n")[0]
        if len(text) + 2 > room:
            left_out.append(_cut(title, 60))
            continue
        kept.append(text)
        room -= len(text) + 2
    if left_out:
        kept.append(
            f"Left out, as a comment has no room (report.html has all): {plain(numbers.listed(left_out, 8))}."
        )
    return "\n\n".join(kept) + "\n"


def plain(text: str) -> str:
    """``text`` on one line, as text: nothing in it is markup, a link, a mention or a table's border."""
    line = printable(" ".join(text.split())).translate(_ACTIVE)
    line = line.replace("://", "&#58;//").replace("www.", "www&#46;")
    line = _EMPHASIS.sub("&#95;", line)
    if line.startswith("/"):  # GitLab does what such a line of a comment says: /merge, /close
        line = f"&#47;{line[1:]}"
    return _MENTION.sub("&#64;\N{ZERO WIDTH SPACE}", line)


def _cut(text: str, longest: int = _LONGEST) -> str:
    return text if len(text) <= longest else text[:longest].rstrip() + " …"


def _block(table: TextTable) -> str:
    body = _table(table.columns, (map(plain, map(_cut, row)) for row in table.rows))
    return f"**{plain(table.caption)}**\n\n{body}" + (f"\n\n{plain(table.note)}" if table.note else "")


def _table(columns: Iterable[tuple[str, bool]], rows: Iterable[Iterable[str]]) -> str:
    """A pipe table; the cells of ``rows`` are Markdown already."""
    names, numeric = zip(*columns, strict=True)
    rules = ["--:" if is_numeric else "---" for is_numeric in numeric]
    lines = [[plain(name) or " " for name in names], rules, *rows]
    shown = "\n".join("| " + " | ".join(line) + " |" for line in lines[: 2 + _MOST_LINES])
    more = len(lines) - 2 - _MOST_LINES
    return shown + (f"\n\n… and {numbers.plural(more, 'line')} more in report.html" if more > 0 else "")


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{plain(title)}</summary>\n\n{body}\n\n</details>"


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {plain(line)}" for line in lines)


def _headline(top: Headline) -> Iterator[str]:
    yield f"# {plain(_cut(top.title))}"
    if top.stamp:
        yield f"**{plain(top.stamp)}**"
    if top.ladder is not None:
        yield from _ladder(top.ladder)
    for card in top.cards[:_MOST_CARDS]:
        yield f"## {_SYMBOL[card.tone]} {card.verdict}: {plain(_cut(card.subject))}"
        yield f"**{plain(card.means)}** {plain(_cut(card.speaks_of, _LONG))}"
        yield "\n".join(f"- **{fact.name}:** {plain(_cut(fact.value, _LONG))}" for fact in card.plainly)
    if rest := top.cards[_MOST_CARDS:]:
        yield _bullets(f"{card.verdict}: {_cut(card.subject)}" for card in rest[:_MOST_LINES])
    if top.cautions:
        found = [
            f"> - {plain(_cut(one.title, _LONG))}"
            + (f" ({numbers.plural(len(one.details), 'place')})" if one.details else "")
            for one in top.cautions[:_MOST_CARDS]
        ]
        yield "\n".join(
            [f"> ⚠️ {top.n_cautions} to know before you trust it (details in report.html):", *found]
        )
    yield _bullets([*filter(None, [top.spending]), *(_cut(note, _LONG) for note in top.notes[:_MOST_CARDS])])
    yield f"Run {_code(_cut(top.run_id))}, {plain(top.created)}."


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


def _gates(block: Comparisons) -> Iterator[str]:
    yield "## What decided"
    yield _lines(block.gates) if block.gates else "No gate was collected."
    yield f"{plain(block.note)} {_MDE}" if block.lines else ""


def _lines(lines: Iterable[ComparisonLine]) -> str:
    heads = [("outcome", False), ("suite / score", False), ("claim", False), ("candidate", False)]
    heads += [(name, True) for name in ("n", "baseline", "candidate", "difference", "MDE")]
    return _table(heads, map(_line, lines))


def _line(line: ComparisonLine) -> list[str]:
    found = line.figures
    return [
        f"{_SYMBOL[found.tone]} {line.outcome}".strip(),
        plain(_cut(f"{line.suite} / {line.score}")),
        plain(line.role if line.state in ("gated", "not run") else f"{line.role} ({line.state})"),
        plain(_cut(line.subject)),
        " ".join(filter(None, [found.n, found.clusters, found.failed and f"({found.failed})"])),
        found.baseline_mean,
        found.candidate_mean,
        _difference(found),
        line.mde,
    ]


def _reasons(view: ReportView) -> Iterator[str]:
    for card in view.headline.cards[:_MOST_CARDS]:
        yield _bullets(_cut(reason, _LONG) for reason in card.reasons[:_MOST_LINES])
        yield plain(card.forecast)
    if view.headline.together is not None:
        yield _block(view.headline.together)
    yield plain(view.headline.policy)
    if view.headline.evidence:
        yield f"**What the evidence points to**\n\n{_bullets(map(fact_line, view.headline.evidence))}"
    yield _bullets(view.comparisons.power[:_MOST_LINES])
    if view.comparisons.changes is not None:
        yield _block(view.comparisons.changes)


def _slices(blocks: Sequence[Slices], note: str) -> Iterator[tuple[str, str]]:
    heads = [("slice", False)]
    heads += [(name, True) for name in ("n", "baseline", "candidate", "difference", "p")]
    for place, block in enumerate(blocks):
        rows = []
        for line in block.lines[:_MOST_SLICES]:
            found = line.figures
            name, means = plain(f"{line.key} {line.value}"), (found.baseline_mean, found.candidate_mean)
            rows.append([name, found.n, *means, _difference(found), plain(line.p_adjusted)])
        told = [] if place else [plain(note)]
        yield (
            f"slices of {block.title}",
            _folded(
                f"Slices of {block.title}: the largest differences", _joined([*told, _table(heads, rows)])
            ),
        )


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
    """Rows that changed, each with the baseline's answer and that of the largest size."""
    texts = []
    for row in [row for row in block.rows if row.outcome in ("lost", "won")][:_MOST_ANSWERS]:
        lines = [
            f"**{plain(row.id)}** ({plain(row.change)})",
            f"- question: {plain(_cut(row.question))}",
            f"- reference: {plain(_cut(row.reference.text))}",
        ]
        for cell in row.cells:
            scores = "; ".join(
                f"{chip.name} {chip.value}" + (f": {_cut(chip.reason)}" if chip.reason else "")
                for chip in cell.chips
            )
            text = cell.note or _cut(cell.answer.text)
            lines.append(f"- {plain(cell.label)}: {plain(text)} ({plain(scores)})")
        texts.append("\n".join(lines))
    if not texts:
        return ""
    title = f"Answers that changed: {block.title} ({len(texts)} of {block.n_changed})"
    return _folded(title, "\n\n".join(texts))
