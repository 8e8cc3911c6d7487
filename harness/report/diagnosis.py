"""A diagnosis as a page, as Markdown, as JSON and as lines for a terminal. Pure but for `write_diagnosis`.

Values of fields, names and questions come from users' rows: Jinja escapes them on the page, ``plain`` in
Markdown, ``printable`` on a terminal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.records import Cause, CauseTest, Diagnosis
from harness.report import numbers
from harness.report.markdown import plain
from harness.report.pages import environment, ours, replace_file
from harness.report.printable import printable
from harness.report.view_models import TextTable

TITLES: dict[Cause, str] = {
    "leaks": "The held-out score was inflated: its rows were trained on",
    "long tail": "The failures are of categories that training hardly covers",
    "shift": "The inputs are not those that it was tested on",
    "overfitting": "It was trained for too long",
    "base": "The training took away what the base could do",
    "forgetting": "It has forgotten general abilities",
}
_NAMES: dict[Cause, str] = {
    "leaks": "1 leaks",
    "long tail": "2 long tail",
    "shift": "3 shift",
    "overfitting": "4 overfitting",
    "base": "5 the base",
    "forgetting": "6 forgetting",
}


@dataclass(frozen=True, slots=True)
class CauseCard:
    """One cause that is shown: what it is, what shows it, what to do next."""

    title: str
    evidence: Sequence[str]
    next_step: str


@dataclass(frozen=True, slots=True)
class DiagnosisView:
    """Everything that the pages show, formatted."""

    title: str
    said: str
    facts: Sequence[str]
    cards: Sequence[CauseCard]
    tests: TextTable
    categories: TextTable | None
    notes: Sequence[str]


def diagnosis_view(found: Diagnosis) -> DiagnosisView:
    """The view of a diagnosis."""
    made = [one for one in found.tests if one.p is not None]
    cards = [_card(cause, found.tests) for cause in found.causes]
    if cards:
        title = cards[0].title
        said = f"{numbers.plural(len(cards), 'cause')} shown, the strongest evidence first."
    else:
        title = "No cause found"
        least = [one.detectable for one in made if one.detectable is not None and one.cause in _OF_FAILURES]
        power = f" Differences smaller than {max(least):.2f} may have been missed." if least else ""
        tests = numbers.plural(len(made), "test")
        said = f"{tests} made; below is what was looked at, and what it could see.{power}"
    right = f", {numbers.count(found.right, found.judged)} judged ones right" if found.judged else ""
    return DiagnosisView(
        title,
        said,
        (
            f"candidate {found.candidate} of run {found.run}, suite {found.suite}",
            f"{numbers.plural(found.failures, 'failure')} from {found.file}",
            f"{numbers.plural(found.training, 'training row')};"
            f" {numbers.plural(found.heldout, 'held-out row')}{right}",
        ),
        cards,
        TextTable(
            "What was looked at, in this order",
            (
                "cause",
                "what",
                "n#",
                "effect#",
                "95% interval#",
                "p#",
                "p, of all tests#",
                "least seen#",
                "figures",
            ),
            [_row(one) for one in found.tests],
            "Effects: differences of shares, Cramér's V, Cliff's delta, or shares of the loss or the score;"
            " 0 is none, 1 the largest. The second p is Holm's, for all tests of this diagnosis. Least seen:"
            " the effect that is found 8 times in 10 with so many rows.",
        ),
        _categories(found),
        found.notes,
    )


_OF_FAILURES = ("long tail", "shift", "base")


def _card(cause: Cause, tests: Sequence[CauseTest]) -> CauseCard:
    shown = sorted((t for t in tests if t.cause == cause and t.is_shown), key=lambda t: -(t.low or 0.0))
    return CauseCard(
        TITLES[cause], [f"{one.what}: {one.said} {_figures(one)}" for one in shown], shown[0].next_step
    )


def _figures(one: CauseTest) -> str:
    return (
        f"{one.measure[0].upper()}{one.measure[1:]} {_number(one.effect)}, 95% interval"
        f" {_number(one.low)} to {_number(one.high)}, p = {numbers.p_value(one.adjusted)} among all tests."
    ).replace("= <", "< ")


def _number(value: float | None) -> str:
    return numbers.NONE if value is None else f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def _row(one: CauseTest) -> list[str]:
    known = one.effect is not None
    return [
        _NAMES[one.cause],
        one.what + (" (shown)" if one.is_shown else ""),
        f"{one.n[0]:,} / {one.n[1]:,}" if known else numbers.NONE,
        _number(one.effect),
        f"{_number(one.low)} to {_number(one.high)}" if known else numbers.NONE,
        numbers.p_value(one.p),
        numbers.p_value(one.adjusted),
        _number(one.detectable),
        one.said,
    ]


def _categories(found: Diagnosis) -> TextTable | None:
    if not found.categories:
        return None
    rows = [
        (
            f"{one.field}: {one.value[:60]}" + (" (hardly covered)" if one.is_thin else ""),
            f"{one.failures:,}",
            f"{one.training:,}",
            f"{one.heldout:,}",
            numbers.percent(one.right),
        )
        for one in found.categories
    ]
    heads = ("category", "failures#", "training rows#", "held-out rows#", "of these right#")
    return TextTable("Categories with the largest excess of failures", heads, rows)


# --------------------------------------------------------------------------- written
def diagnosis_html(found: Diagnosis) -> str:
    """One page without any address that a browser would load, and without a script."""
    template = environment().get_template("diagnosis.html.j2")
    return template.render(view=diagnosis_view(found), style=ours("report.css"))


def diagnosis_markdown(found: Diagnosis) -> str:
    """The same as Markdown."""
    view = diagnosis_view(found)
    parts = [f"# {plain(view.title)}", plain(view.said), _bullets(view.facts)]
    for at, card in enumerate(view.cards, start=1):
        parts += [
            f"## {at}. {plain(card.title)}",
            _bullets(card.evidence),
            f"**Next:** {plain(card.next_step)}",
        ]
    parts += [_table(table) for table in (view.categories, view.tests) if table is not None]
    return "\n\n".join(filter(None, [*parts, _bullets(view.notes)])) + "\n"


def _table(table: TextTable) -> str:
    heads, rules = zip(
        *((name, "--:" if is_number else "---") for name, is_number in table.columns), strict=True
    )
    lines = [heads, rules, *(map(plain, row) for row in table.rows)]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join(filter(None, [f"**{plain(table.caption)}**", body, plain(table.note)]))


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {plain(line)}" for line in lines)


def diagnosis_lines(found: Diagnosis) -> Iterator[str]:
    """The same for a terminal: causes with their next steps, and a line for each thing looked at."""
    view = diagnosis_view(found)
    lines = [*(f"  {fact}" for fact in view.facts), "", f"{view.title}.", f"  {view.said}"]
    for at, card in enumerate(view.cards, start=1):
        lines += ["", f"{at}. {card.title}"]
        lines += [f"   - {line}" for line in card.evidence]
        lines.append(f"   next: {card.next_step}")
    lines += ["", "looked at:"]
    for one in found.tests:
        if one.p is None:
            lines.append(f"  {_NAMES[one.cause]}, {one.what}: {one.said}")
        else:
            seen = "" if one.detectable is None else f", least seen {_number(one.detectable)}"
            seen += ", SHOWN" if one.is_shown else ""
            lines.append(
                f"  {_NAMES[one.cause]}, {one.what}: {_number(one.effect)} ({_number(one.low)} to"
                f" {_number(one.high)}), p {numbers.p_value(one.adjusted)}{seen}"
            )
    lines += [f"note: {note}" for note in view.notes]
    yield from map(printable, lines)


def write_diagnosis(found: Diagnosis, folder: Path) -> Path:
    """Write ``diagnosis.json``, ``.md`` and ``.html`` into ``folder``; the path of the page."""
    text = json.dumps(asdict(found), ensure_ascii=False, indent=1, allow_nan=False)
    replace_file(folder / "diagnosis.json", f"{text}\n")
    replace_file(folder / "diagnosis.md", diagnosis_markdown(found))
    return replace_file(folder / "diagnosis.html", diagnosis_html(found))
