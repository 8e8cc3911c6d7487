"""``harness validate``: a training file, checked before a cent is spent."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from harness.data.findings import Finding
from harness.data.hosted import DEFAULT_ENCODING, hosted_counter, hosted_model, is_hosted, service_epochs
from harness.data.leakage import describe, find_leaks
from harness.data.lint import first_to_fix, lint_rows
from harness.data.repetition import diversity
from harness.data.rows import line_of
from harness.data.tables import read_source, scan_source
from harness.data.validation import Target, Validation, validate
from harness.errors import UnknownName
from harness.records import Row

LINT_ROWS = 100_000  # beyond this, comparing rows with each other wants to be asked for
SCHEMA = 1


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
        from harness.cli.validate_view import show

        show(report, sys.stdout, all_findings=given.all)
    return 1 if report.validation.has_errors else 0


def examine_file(options: ValidateOptions) -> ValidationReport:
    """The whole examination. Rows stream; the lint and the comparison with held-out rows need all at once.

    Raises:
        DataError: the file is missing, or a held-out file cannot be used.
        UsageError: columns or a model that do not exist.
    """
    target, counted_with = _target(options)
    validation = validate(scan_source(options.file, options.columns), target)
    notes: list[str] = []
    distinct_3: float | None = None
    lint = options.lint
    if lint is None:
        lint = validation.rows <= LINT_ROWS
        notes += (
            []
            if lint
            else [
                f"lint left out beyond {LINT_ROWS:,} rows, as it needs all of them in memory: ask with --lint"
            ]
        )
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
        for leak in find_leaks(rows, heldout):
            if leak.kind != "exact-short":  # a user text of under five words is often the same by chance
                problem = f"also in the held-out rows: {leak.heldout_where} ({describe(leak)})"
                hint = "take the row out, or replace the held-out row with one never trained on"
                validation.add(Finding("leak", line_by_where[leak.train_where], problem, hint))
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
    from harness.models.chat import load_tokenizer, row_counter
    from harness.models.progress import Drawn, Silent
    from harness.models.source import context_tokens, resolve

    source = resolve(options.model, Drawn(sys.stderr) if sys.stderr.isatty() else Silent())
    counter = row_counter(load_tokenizer(source))
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
