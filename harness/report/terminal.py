"""The table at the end of a run: one line a gate, then the decision."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from harness.records import Decision, Gate, RunRecord
from harness.report import numbers

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

COLOURS = {"GO": "bold green", "NO-GO": "bold red", "INCONCLUSIVE": "bold yellow"}
# control characters but the end of a line, those that turn the writing direction, halves of surrogate pairs
_UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
OUTCOME_COLOURS = {"shown": "green", "refuted": "red", "inconclusive": "yellow"}


def summary(record: RunRecord, width: int, colour: bool) -> str:
    """Gates at the largest size as a table, then every decision with its reasons, as terminal text."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("gate", "candidate", "baseline", "score", "difference (90%)", "n", "outcome"):
        table.add_column(name, justify="right" if name == "n" else "left", overflow="fold")
    for gate in record.gates:
        if gate.state != "measured":
            table.add_row(*_cells(gate))  # texts, not strings: rich reads [red] in a string as markup
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=colour, no_color=not colour, highlight=False)
    console.print(table)
    for decision in record.decisions:
        _print_decision(console, decision)
    return out.getvalue().rstrip("\n")


def printable(text: str) -> str:
    """``text`` with its control characters spelled out: an answer must not steer the reader's terminal."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def _cells(gate: Gate) -> tuple[Text, ...]:
    label = gate.candidate if gate.size is None else f"{gate.candidate}@{gate.size}"
    name = gate.test.rpartition("::")[2]
    found = gate.comparison
    if found is None:
        return (*map(_text, (name, label, "", "", "", "")), _text("missing", "yellow"))
    outcome = _text(found.outcome, OUTCOME_COLOURS[found.outcome])
    if gate.state == "advisory":
        outcome = outcome.append(" (advisory)", "default")
    difference = "none" if found.difference is None else numbers.points(found.difference)
    texts = (
        name,
        f"{label} {_mean(found.candidate_mean)}",
        f"{found.baseline} {_mean(found.baseline_mean)}",
        found.score,
        f"{difference} {numbers.interval(found.low, found.high)}",
        str(found.n),
    )
    return (*map(_text, texts), outcome)


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(printable(text), style)


def _mean(value: float | None) -> str:
    return "" if value is None else numbers.percent(value)


def _print_decision(console: Console, decision: Decision) -> None:
    label = decision.candidate if decision.size is None else f"{decision.candidate} at {decision.size} rows"
    console.print()
    console.print(_text(f"{decision.verdict}: {label}", COLOURS[decision.verdict]))
    for reason in decision.reasons:
        console.print(_text(f"  - {reason}"))
