"""``harness validate``: a training file, checked before a cent is spent."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, TextIO

from harness.data.copies import copied_rows
from harness.data.findings import CODES, Finding, Severity
from harness.data.hosted import DEFAULT_ENCODING, hosted_counter, hosted_model, is_hosted, service_epochs
from harness.data.leakage import describe, find_leaks, without_honest_repeats
from harness.data.lint import first_to_fix, lint_rows
from harness.data.repetition import diversity
from harness.data.rows import line_of
from harness.data.tables import read_source, scan_source
from harness.data.validation import Target, TokenStatistics, Validation, validate
from harness.errors import UnknownName
from harness.records import Row
from harness.words import plural

if TYPE_CHECKING:
    from rich.console import Console

LINT_ROWS = 100_000  # beyond this, comparing rows with each other wants to be asked for
SCHEMA = 1
LINES_SHOWN = 6
BAR_CELLS = 30
_STYLE = {Severity.ERROR: "bold red", Severity.WARNING: "yellow"}


@dataclass(frozen=True, slots=True)
class ValidateOptions:
    """The command's arguments. ``lint`` None: for files of up to ``LINT_ROWS`` rows."""

    file: str
    model: str | None = None
    columns: str | None = None
    epochs: float | None = None
    max_tokens: int | None = None
    heldout: Sequence[str] = ()
    stratify: str | None = None
    lint: bool | None = None


@dataclass(frozen=True, slots=True)
class TrainingPrice:
    """What training would cost. ``epochs_chosen_by`` says who decides on them."""

    usd: float
    usd_per_mtok: float
    epochs: float
    epochs_chosen_by: str
    source: str
    date: str | None


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """Everything that ``harness validate`` shows."""

    source: str
    model: str | None
    counted_with: str
    validation: Validation
    price: TrainingPrice | None
    diversity: float | None  # distinct-3 of the user turns, in [0, 1]; None without the lint
    first_to_fix: tuple[str, ...]
    notes: tuple[str, ...]


def run_validation(given: argparse.Namespace) -> int:
    """Check the file and say so. 0: usable (there may be warnings); 1: errors."""
    options = {field.name: getattr(given, field.name) for field in fields(ValidateOptions)}
    report = examine_file(ValidateOptions(**options))
    if given.json:
        print(json.dumps(as_document(report), ensure_ascii=False, indent=1))  # noqa: T201 - a command prints
    else:
        show(report, sys.stdout, all_findings=given.all)
    return 1 if report.validation.has_errors else 0


def examine_file(options: ValidateOptions) -> ValidationReport:
    """The whole examination. Rows stream; the lint and the comparison with held-out rows need all at once."""
    target, counted_with = _target(options)
    validation = validate(scan_source(options.file, options.columns), target)
    notes: list[str] = []
    distinct_3: float | None = None
    lint = validation.rows <= LINT_ROWS if options.lint is None else options.lint
    if not lint and options.lint is None:
        left_out = f"lint left out beyond {LINT_ROWS:,} rows, as it needs all of them in memory"
        notes.append(f"{left_out}: ask with --lint")
    if not validation.usable:
        notes.append("no lint: no row could be used")
    elif lint or options.heldout:
        rows = tuple(item for item in scan_source(options.file, options.columns) if isinstance(item, Row))
        heldout = tuple(row for file in options.heldout for row in read_source(file, None))
        field = options.stratify
        if field is not None and all(row.text(field) is None for row in rows):
            known = {key for row in rows for key in row.metadata}
            raise UnknownName("metadata field", field, known, "Name one with --stratify that the rows have.")
        line_by_where = {row.where: line_of(row) for row in rows}
        for leak in without_honest_repeats(find_leaks(rows, heldout), len(heldout)):
            problem = f"also in the held-out rows: {leak.heldout_where} ({describe(leak)})"
            hint = "take the row out, or replace the held-out row with one never trained on"
            validation.add(Finding("leak", line_by_where[leak.train_where], problem, hint))
        if copied := copied_rows(heldout):
            places = ", ".join(heldout[at].where for at in copied[0][:LINES_SHOWN])
            distinct = len(heldout) - sum(len(group) - 1 for group in copied)
            notes.append(
                f"{distinct:,} distinct questions in {len(heldout):,} held-out rows: copies and near-copies"
                f" count as one cluster each, such as {places}"
            )
        if lint:
            distinct_3 = diversity(rows)
            validation.add(*lint_rows(rows, heldout, stratify=field))
    price, first = _price(options, validation, notes), first_to_fix(validation.findings)
    return ValidationReport(
        options.file, options.model, counted_with, validation, price, distinct_3, first, tuple(notes)
    )


def _target(options: ValidateOptions) -> tuple[Target, str]:
    if options.model is None or is_hosted(options.model):
        known = hosted_model(options.model) if options.model else None
        encoding = known.encoding if known else DEFAULT_ENCODING
        limit = options.max_tokens or (known.training_context_tokens if known else None)
        return Target(hosted_counter(encoding), limit, bool(known and known.completions)), encoding
    from harness.models.chat_format import load_chat, row_counter
    from harness.models.progress import Drawn, Silent
    from harness.models.source import context_tokens, resolve

    source = resolve(options.model, Drawn(sys.stderr) if sys.stderr.isatty() else Silent())
    counter = row_counter(load_chat(source))
    return Target(counter, options.max_tokens or context_tokens(source)), f"{options.model}'s own tokenizer"


def _price(options: ValidateOptions, validation: Validation, notes: list[str]) -> TrainingPrice | None:
    from harness.decision.prices import price_of

    if options.model is None:
        notes.append("name a model with --model for its price and its longest row")
        return None
    if not is_hosted(options.model) or validation.tokens is None:
        return None
    try:
        price = price_of(options.model, tuned=True)
    except UnknownName as error:
        notes.append(f"no price: {error}")
        return None
    if price.training_usd_per_mtok is None:
        notes.append(f"no price: tuning {options.model} is not sold")
        return None
    epochs = options.epochs or service_epochs(validation.usable)
    usd = validation.tokens.total * epochs * price.training_usd_per_mtok / 1e6
    who = "given" if options.epochs else "OpenAI's choice where none is given"
    return TrainingPrice(usd, price.training_usd_per_mtok, epochs, who, price.source, price.date)


def as_document(report: ValidationReport) -> dict[str, object]:
    """For programs. ``findings`` holds the first thousand of each code; ``counts`` holds all."""
    validation, tokens = report.validation, report.validation.tokens
    return {
        "schema": SCHEMA,
        "source": report.source,
        "model": report.model,
        "usable": not validation.has_errors,
        "rows": validation.rows,
        "usable_rows": validation.usable,
        "counts": dict(validation.counts),
        "findings": [{"severity": f.severity.value, **asdict(f)} for f in validation.findings],
        "tokens": tokens and {"counted_with": report.counted_with, **asdict(tokens)},
        "training_price": report.price and asdict(report.price),
        "diversity_distinct_3": report.diversity,
        "first_to_fix": list(report.first_to_fix),
        "notes": list(report.notes),
    }


# --------------------------------------------------------------------------- for people
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
    found = ", ".join(plural(n, severity.value) for severity, n in counts.items() if n)
    mark, style = ("✗", "bold red") if validation.has_errors else ("✓", "bold green")
    console.print(f"{mark} {report.source}", style=style, markup=False, end="")
    console.print(
        f": {plural(validation.rows, 'row')}, {validation.usable:,} usable; {found or 'nothing found'}"
    )
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
        groups = sorted(by_code.values(), key=lambda group: (CODES[group[0].code], group[0].line))
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
