"""How ``harness validate`` looks to people: what is wrong, what to fix first, tokens and price."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from harness.data.findings import CODES, Finding, Severity

if TYPE_CHECKING:
    from rich.console import Console

    from harness.cli.validate import ValidationReport
    from harness.data.validation import TokenStatistics

LINES_SHOWN = 6
BAR_CELLS = 30
_STYLE = {Severity.ERROR: "bold red", Severity.WARNING: "yellow"}


def show(report: ValidationReport, stream: TextIO, *, all_findings: bool) -> None:
    """Write the report; findings are grouped by code unless all are asked for."""
    from rich.console import Console

    width = None if stream.isatty() else 100
    console = Console(file=stream, width=width, highlight=False, soft_wrap=False)
    validation = report.validation
    counts = {
        severity: sum(n for code, n in validation.counts.items() if CODES[code] is severity)
        for severity in (Severity.ERROR, Severity.WARNING)
    }
    found = ", ".join(f"{n} {severity.value}{'' if n == 1 else 's'}" for severity, n in counts.items() if n)
    mark, style = ("✗", "bold red") if validation.has_errors else ("✓", "bold green")
    console.print(f"{mark} {report.source}", style=style, markup=False, end="")
    console.print(f": {validation.rows:,} rows, {validation.usable:,} usable; {found or 'nothing found'}")
    if validation.findings:
        _findings(console, report, all_findings)
    if report.first_to_fix:
        console.print("\nWhat to fix first", style="bold")
        for k, sentence in enumerate(report.first_to_fix, start=1):
            console.print(f" {k}. {sentence}", markup=False)
    if validation.tokens:
        _tokens(console, report, validation.tokens)
    for note in report.notes:
        console.print(f"\n{note}", style="dim", markup=False)


def _findings(console: Console, report: ValidationReport, all_findings: bool) -> None:
    """A table: one line a finding, or one a code, errors first."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    table.add_column("line" if all_findings else "lines", justify="right", no_wrap=True)
    table.add_column("finding", no_wrap=True)
    table.add_column("what is wrong, and what to do", ratio=1)
    if all_findings:
        groups = [[finding] for finding in report.validation.findings]
    else:
        by_code: dict[str, list[Finding]] = {}
        for finding in report.validation.findings:
            by_code.setdefault(finding.code, []).append(finding)
        groups = sorted(
            by_code.values(), key=lambda group: (group[0].severity is not Severity.ERROR, group[0].line)
        )
    for group in groups:
        first = group[0]
        count = report.validation.counts[first.code]
        name = Text(first.code, style=_STYLE[first.severity])
        if not all_findings and count > 1:
            name.append(f" ×{count}")
        problem = Text(first.problem)
        problem.append(f"\n→ {first.hint}", style="dim")
        table.add_row(_lines(group), name, problem)
    console.print()
    console.print(table)
    hidden = sum(report.validation.counts.values()) - len(report.validation.findings)
    if hidden and all_findings:
        console.print(f"and {hidden:,} more, counted but not listed", style="dim")


def _lines(group: list[Finding]) -> str:
    """Their line numbers, three in a row of the cell."""
    lines = list(dict.fromkeys(finding.line for finding in group))
    shown = lines[:LINES_SHOWN]
    text = "\n".join(", ".join(map(str, shown[k : k + 3])) for k in range(0, len(shown), 3))
    return text + ("…" if len(lines) > LINES_SHOWN else "")


def _tokens(console: Console, report: ValidationReport, tokens: TokenStatistics) -> None:
    console.print(f"\nTokens a row (n={tokens.n:,}, {report.counted_with})", style="bold")
    shares = ", ".join(f"p{p} {value:,}" for p, value in tokens.percentiles.items())
    console.print(f"total {tokens.total:,}, mean {tokens.mean:.1f}, {shares}, longest {tokens.longest:,}")
    most = max(rows for _, _, rows in tokens.histogram)
    digits = len(f"{tokens.longest:,}")
    for low, high, rows in tokens.histogram:
        bar = "█" * max(round(BAR_CELLS * rows / most), rows > 0)
        console.print(f"{low:>{digits},}–{high - 1:<{digits},} {bar:<{BAR_CELLS}} {rows:,}", markup=False)
    if report.diversity is not None:
        console.print(f"\nDiversity of the user texts (distinct-3, from 0 to 1): {report.diversity:.2f}")
    price = report.price
    if price:
        dated = price.date or "no date"
        console.print(
            f"\nTraining {report.model}: about {price.usd:,.2f} US dollars", style="bold", markup=False
        )
        console.print(
            f"{tokens.total:,} tokens × {price.epochs:g} epochs ({price.epochs_chosen_by}) "
            f"at {price.usd_per_mtok:g} dollars per million; price: {price.source} ({dated})",
            markup=False,
        )
