"""The table at the end of a run: one line a gate, then the decision."""

from __future__ import annotations

import io
import re
from itertools import filterfalse
from typing import TYPE_CHECKING

from harness.decision.gates import NOT_ADMITTED
from harness.records import Gate, Role, RunRecord
from harness.report import numbers
from harness.report.comparisons import gate_line
from harness.report.corrections import correction_line
from harness.report.printable import printable
from harness.report.trial_pairs import seeds_label
from harness.report.view import headline, kept_answers, recorded_answers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from harness.report.view_models import Fact, LadderBlock, Tone

WIDE = 100  # columns from which the score has a place
# a gate's reason, which the table above it has as figures
_IN_THE_TABLE = re.compile(r"(target|guard|threshold) gate .* \(suite .*\) is shown: ")
_LADDER_COLUMNS = (0, 1, 2, 4, 5)  # the rung, its outcome and quality, dollars and latency

COLOURS: dict[Tone, str] = {"good": "green", "bad": "red", "unsure": "yellow", "plain": ""}


def summary(record: RunRecord, width: int, colour: bool) -> str:
    """Gates at the largest size, a table for each candidate, then every decision, as terminal text.

    At 80 columns a line holds a gate; the score is shown where there is room for it.
    """
    from rich.console import Console
    from rich.padding import Padding

    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=colour, no_color=not colour, highlight=False)
    top = headline(record)
    if top.stamp:
        console.print(_text(top.stamp, "bold yellow"))
        console.print()
    shown = [gate for gate in record.gates if gate.state != "measured"]
    groups: dict[tuple[str, str], list[Gate]] = {}
    for gate in shown:
        subject = seeds_label(gate.size, gate.seeds, gate.candidate)
        groups.setdefault((subject, _baseline(gate, shown)), []).append(gate)
    for (subject, baseline), gates in groups.items():
        console.print(_text(f"{subject} against {baseline}" if baseline else subject, "bold"))
        console.print(_table(gates, record.alpha, with_score=width >= WIDE))
        for gate in gates:
            if line := correction_line(gate):
                console.print(
                    _text(f"{gate_line(gate, 1.0, record.alpha).test.removeprefix('test_')}: {line}")
                )
        if any(gate.state == "advisory" for gate in gates):
            whys = {gate.why or NOT_ADMITTED for gate in gates if gate.state == "advisory"}
            also = ", or is trusted with labels of this run only" if whys != {NOT_ADMITTED} else ""
            console.print(_text(f"* advisory: {NOT_ADMITTED}{also}, so it decides nothing"))
        console.print()
    for card in top.cards:
        console.print(_text(f"{card.verdict}: {card.subject}", f"bold {COLOURS[card.tone]}"))
        for fact in card.plainly:
            console.print(Padding(_text(f"{fact.name}: {fact.value}"), (0, 0, 0, 2)))
        for reason in filterfalse(_IN_THE_TABLE.match, card.reasons):
            console.print(_text(f"  - {reason}"))
        for note in card.notes:
            console.print(_text(f"  ! {note}", COLOURS["unsure"]))
        if card.forecast:
            console.print(_text(f"  {card.forecast}"))
        console.print()
    if top.ladder is not None:
        _print_ladder(console, top.ladder)
    for line in (
        *top.reference,
        *([top.spending] if top.spending else []),
        *(f"kept answers: {each}" for each in kept_answers(record)),
        *(f"recorded answers: {each}" for each in recorded_answers(record)),
    ):
        console.print(_text(line))
    return out.getvalue().strip("\n")


def _print_ladder(console: Console, block: LadderBlock) -> None:
    """Every rung on a line, then the one that holds, and from when on tuning pays."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for place in _LADDER_COLUMNS:
        name, is_numeric = block.table.columns[place]
        table.add_column(name, justify="right" if is_numeric else "left", overflow="fold")
    for row in block.table.rows:
        table.add_row(*(_text(row[place]) for place in _LADDER_COLUMNS))
    console.print(table)
    console.print()
    console.print(_text(f"{block.verdict}: {block.means}", f"bold {COLOURS[block.tone]}"))
    for fact in block.facts:
        console.print(_text(f"  - {fact_line(fact)}"))
    for row in block.crossovers.rows if block.crossovers else ():
        console.print(_text(f"  - {row[0]} pays from {row[-1]}"))
    console.print()


def fact_line(fact: Fact) -> str:
    """A fact on one line."""
    return f"{fact.name}: {fact.value}" + (f" ({fact.words})" if fact.words else "")


def _baseline(gate: Gate, gates: Sequence[Gate]) -> str:
    """What a gate is compared with. One without a baseline is listed with the candidate's other gates."""
    of_candidate = [
        g for g in gates if (g.candidate, g.size, g.seeds) == (gate.candidate, gate.size, gate.seeds)
    ]
    for one in (gate, *of_candidate):
        if one.comparison is not None and one.role is not Role.THRESHOLD:
            return one.comparison.baseline
    return ""


def _table(gates: Sequence[Gate], alpha: float, *, with_score: bool) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("gate", overflow="fold")
    if with_score:
        table.add_column("score", overflow="fold")
    for name in ("means", f"difference ({numbers.level(alpha)})", "n", "outcome"):
        table.add_column(name, justify="right" if name == "n" else "left", no_wrap=True, overflow="fold")
    for gate in gates:
        line = gate_line(gate, 1.0, alpha)
        found = line.figures
        cells = [line.test.removeprefix("test_"), *([line.score] if with_score else [])]
        if gate.comparison is None:
            cells += ["", "", ""]
        else:
            means = f"{found.baseline_mean.removesuffix('%')} → {found.candidate_mean}"
            cells += [means, f"{found.difference} {found.interval}", found.n]
        outcome = line.outcome + ("*" if gate.state == "advisory" else "")
        # texts, not strings: rich reads [red] in a string as markup
        table.add_row(*map(_text, cells), _text(outcome, COLOURS[found.tone]))
    return table


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(printable(text), style)
