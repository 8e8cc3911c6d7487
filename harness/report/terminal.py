"""The table at the end of a run: one line a gate, then the decision."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from harness.records import Decision, Gate, Role, RunRecord
from harness.report import numbers
from harness.report.headline import stamps
from harness.report.spending import spending_sentence
from harness.report.trial_pairs import seeds_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

WIDE = 100  # columns from which the score has a place

COLOURS = {"GO": "bold green", "NO-GO": "bold red", "INCONCLUSIVE": "bold yellow"}
# control characters but the end of a line, those that turn the writing direction, halves of surrogate pairs
_UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
OUTCOME_COLOURS = {"shown": "green", "refuted": "red", "inconclusive": "yellow"}


def summary(record: RunRecord, width: int, colour: bool) -> str:
    """Gates at the largest size, a table for each candidate, then every decision, as terminal text.

    At 80 columns a line holds a gate; the score is told where there is room for it.
    """
    from rich.console import Console

    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=colour, no_color=not colour, highlight=False)
    for stamp in stamps(record.rehearsal):
        console.print(_text(stamp, "bold yellow"))
        console.print()
    shown = [gate for gate in record.gates if gate.state != "measured"]
    groups: dict[tuple[str, str], list[Gate]] = {}
    for gate in shown:
        groups.setdefault((_label(gate), _baseline(gate, shown)), []).append(gate)
    for (label, baseline), gates in groups.items():
        console.print(_text(f"{label} against {baseline}" if baseline else label, "bold"))
        console.print(_table(gates, with_score=width >= WIDE))
        if any(gate.state == "advisory" for gate in gates):
            console.print(_text("* advisory: its judge was not admitted, so it decides nothing"))
        console.print()
    for decision in record.decisions:
        _print_decision(console, decision)
    console.print(_text(spending_sentence(record)))
    return out.getvalue().strip("\n")


def _table(gates: Sequence[Gate], *, with_score: bool) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    head = ["gate", *(["score"] if with_score else []), "means", "difference (90%)", "n", "outcome"]
    for name in head:
        right = name == "n"
        table.add_column(
            name, justify="right" if right else "left", overflow="fold", no_wrap=name not in ("gate", "score")
        )
    for gate in gates:
        cells = _cells(gate)
        # texts, not strings: rich reads [red] in a string as markup
        table.add_row(*(cells if with_score else (cells[0], *cells[2:])))
    return table


def _label(gate: Gate) -> str:
    return seeds_label(gate.size, gate.seeds, gate.candidate)


def _baseline(gate: Gate, gates: Sequence[Gate]) -> str:
    """What a gate is compared with; a missing one or a threshold stands with the candidate's others."""
    own = [gate, *(other for other in gates if _label(other) == _label(gate))]
    named = (g.comparison.baseline for g in own if g.comparison is not None and g.role is not Role.THRESHOLD)
    return next(named, "")


def printable(text: str) -> str:
    """``text`` with its control characters spelled out: an answer must not steer the reader's terminal."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def _cells(gate: Gate) -> tuple[Text, ...]:
    """Gate, score, both means, difference with its interval, n, outcome."""
    name = gate.test.rpartition("::")[2].removeprefix("test_")
    found = gate.comparison
    if found is None:
        return (*map(_text, (name, "", "", "", "")), _text("missing", "yellow"))
    outcome = _text(found.outcome + ("*" if gate.state == "advisory" else ""), OUTCOME_COLOURS[found.outcome])
    difference = "none" if found.difference is None else numbers.points(found.difference)
    texts = (
        name,
        f"{found.score} where {found.rows}" if found.rows else found.score,
        f"{_mean(found.baseline_mean).removesuffix('%')} → {_mean(found.candidate_mean)}",
        f"{difference} {numbers.interval(found.low, found.high)}",
        str(found.n),
    )
    return (*map(_text, texts), outcome)


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(printable(text), style)


def _mean(value: float | None) -> str:
    return numbers.NONE if value is None else numbers.percent(value)


def _print_decision(console: Console, decision: Decision) -> None:
    label = decision.candidate if decision.size is None else f"{decision.candidate} at {decision.size} rows"
    console.print(_text(f"{decision.verdict}: {label}", COLOURS[decision.verdict]))
    for reason in decision.reasons:
        console.print(_text(f"  - {reason}"))
    console.print()
