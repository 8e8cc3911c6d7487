"""How a plan looks in a terminal: a table of work, dollars and their prices, and what the rows can show."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Literal, TypeAlias

from harness.decision.plan import PURPOSES, CostLine, Plan, Power, Standing, Usd, Work
from harness.decision.prices import price_heading
from harness.records import Price
from harness.report import numbers
from harness.report.terminal import printable

WIDTH = 100
Side: TypeAlias = Literal["left", "right"]
#: Header, cells and their side. A column without a single cell is left out.
Column: TypeAlias = tuple[str, Sequence[str], Side]

STANDINGS: dict[Standing, str] = {
    "fits": " is enough: even the high end stays below it.",
    "may be reached": " may be reached; the run would then end INCONCLUSIVE, and the next go on from there.",
    "will be reached": " will be reached before the end: even the low end is above it. The run would end"
    " INCONCLUSIVE, and the next one go on from there.",
    "refused": ": the run would be refused, for the reasons above; what is there already is not.",
}


def told(plan: Plan, width: int = WIDTH) -> str:
    """The plan as text of at most ``width`` columns."""
    blocks = [
        ["A plan: nothing was trained, asked, sent or paid."],
        _table(_columns(plan.work), width),
        [line for said in (*_footnotes(plan.work), *_time(plan)) for line in _wrapped(said, width)],
        list(_dollars(plan, width)),
        [line for problem in plan.unready for line in _unready(problem, width)],
        ["What the held-out rows can show, at 80% power and one-sided 5%:", *_shown(plan.power, width)],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


# --------------------------------------------------------------------------- work
def _columns(work: Sequence[Work]) -> list[Column]:
    trained = [one.trainings for one in work]
    calls = [one.calls for one in work]
    return [
        ("\ncandidate", [one.label for one in work], "left"),
        ("\nrows", [f"{t.rows:,}" if t else "" for t in trained], "right"),
        ("tokens to\ntrain on", [_training_tokens(one) for one in work], "right"),
        ("jobs\nnew", [f"{t.new:,}" if t else "" for t in trained], "right"),
        ("jobs\nkept", [f"{t.kept:,}" if t else "" for t in trained], "right"),
        ("calls\nnew", [f"{c.new:,}" for c in calls], "right"),
        ("calls\nkept", [f"{c.kept:,}" for c in calls], "right"),
        ("prompt\ntokens", [_tokens(c.prompt_tokens) for c in calls], "right"),
        ("answer\n≤ each", [_tokens(c.most_answer_tokens) for c in calls], "right"),
        ("\ndollars", [_work_usd(one) for one in work], "left"),
    ]


def _training_tokens(one: Work) -> str:
    trained = one.trainings
    if trained is None or not trained.new:
        return ""
    low = _tokens(trained.tokens)
    if trained.most_tokens is None:
        return f"{low} and up"
    high = _tokens(trained.most_tokens)
    return low if low == high else f"{low}–{high}"


def _tokens(value: float | None) -> str:
    """As ``numbers.tokens``, without a decimal from 100k on: two of them share a cell."""
    if value is None:
        return ""
    return f"{value / 1e3:,.0f}k" if 99_950 <= value < 999_500 else numbers.tokens(value)


def _work_usd(one: Work) -> str:
    usd, unpriced = one.usd, [bill.purpose for bill in one.bills if bill.price is None]
    parts = [] if usd is None else [_short_range(usd)]
    parts += ["no price"] if unpriced else []
    return " + ".join(parts)


def _short_range(usd: Usd) -> str:
    """For a cell: one sign, and no more digits than a hundredth of a cent."""
    low = "<$0.0001" if 0 < usd.low < 1e-4 else numbers.usd(usd.low)
    if usd.high is None or usd.high < 1e-4:
        return f"{low} and up" if usd.high is None else low
    high = numbers.usd(usd.high)
    return low if low == high else f"{low}–{high.removeprefix('$')}"


def _range(usd: Usd, between: str) -> str:
    low, high = numbers.usd(usd.low), None if usd.high is None else numbers.usd(usd.high)
    if high is None:
        return f"{low} and up"
    return low if low == high else f"{low}{between}{high}"


def _footnotes(work: Sequence[Work]) -> Iterator[str]:
    jobs = sum(one.trainings.shared for one in work if one.trainings)
    answers = sum(one.calls.shared for one in work)
    parts = [numbers.plural(jobs, "job")] if jobs else []
    parts += [numbers.plural(answers, "answer")] if answers else []
    if parts:
        yield f"{' and '.join(parts)} that several lines need stand in the first of them alone."
    if any(bill.purpose == "judging" for one in work for bill in one.bills):
        yield "Judges are asked so often at most: judgments that are kept are not taken off here."


def _time(plan: Plan) -> Iterator[str]:
    if not plan.local_tokens:
        if not any(one.trainings and one.trainings.new for one in plan.work):
            yield "Nothing is left to train."
        return
    seconds = plan.training_seconds
    if seconds is None:
        yield "How long training takes is not known: this machine has trained nothing yet."
        return
    pace = f"{plan.training_tokens_per_second:,.0f} tokens/s"
    yield (
        f"Training on this machine takes about {max(1, round(seconds / 60))} min at {pace}, its latest pace."
    )


# --------------------------------------------------------------------------- dollars
def _dollars(plan: Plan, width: int) -> Iterator[str]:
    if not plan.bills:
        return
    priced = [bill for bill in plan.bills if bill.price is not None]
    if priced:
        dates = sorted({bill.price.date or "unknown date" for bill in priced if bill.price is not None})
        yield f"dollars: {_range(plan.usd(), ' to ')} (prices of {' and of '.join(dates)}, below)"
        each = [(purpose, plan.usd(purpose)) for purpose in PURPOSES]
        said = [f"{purpose} {_range(usd, ' to ')}" for purpose, usd in each if usd != Usd()]
        yield from _wrapped(f"  {'; '.join(said)}", width) if said else ()
        low = "prompts as counted, answers as long as the references"
        yield f"  low: {low}; high: what a cap would set aside"
    for reason in plan.unbounded:
        yield from _wrapped(f"nothing bounds it: {reason}", width)
    for bill in dict.fromkeys((b.purpose, b.model, b.is_tuned) for b in plan.unpriced):
        yield from _wrapped(_unpriced(CostLine(*bill, None), plan.prices_file), width)
    if plan.standing is not None:
        yield from _wrapped(f"--max-usd={plan.max_usd:g}{STANDINGS[plan.standing]}", width)
    if priced:
        yield ""
        yield from _table(_price_columns(priced), width)


def _unpriced(bill: CostLine, file: str) -> str:
    keys = ["input_usd_per_mtok", "output_usd_per_mtok"]
    if bill.purpose == "training":
        keys.append("training_usd_per_mtok")
    whose = f"tuning {bill.model}" if bill.purpose == "training" else f"{bill.purpose} of {bill.model}"
    tuned = " (tuned)" if bill.is_tuned and bill.purpose != "training" else ""
    heading = price_heading(bill.model, bill.is_tuned)
    return (
        f"no price for {whose}{tuned}: not in these dollars. Add to {file}: {heading} with {', '.join(keys)}"
    )


def _price_columns(bills: Sequence[CostLine]) -> list[Column]:
    found = dict.fromkeys(bill.price for bill in bills if bill.price is not None)
    prices = sorted(found, key=lambda price: price.model)
    return [
        ("dollars a million tokens", [_name(price) for price in prices], "left"),
        ("read", [_usd(price.input_usd_per_mtok) for price in prices], "right"),
        ("written", [_usd(price.output_usd_per_mtok) for price in prices], "right"),
        ("trained", [_usd(price.training_usd_per_mtok) for price in prices], "right"),
        ("date", [price.date or "unknown" for price in prices], "left"),
        ("source", [price.source for price in prices], "left"),
    ]


def _name(price: Price) -> str:
    return price.model


def _usd(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}"


# --------------------------------------------------------------------------- the rest
def _unready(problem: str, width: int) -> list[str]:
    head, *rest = problem.splitlines() or [""]
    return [
        *_wrapped(f"not ready: {head}", width),
        *(line for more in rest for line in _wrapped(more, width)),
    ]


def _shown(power: Sequence[Power], width: int) -> list[str]:
    return _table(
        [
            ("suite", [one.suite for one in power], "left"),
            ("rows", [f"{one.rows:,}" for one in power], "right"),
            ("score", [one.score for one in power], "left"),
            ("smallest change shown", [_effect(one) for one in power], "left"),
        ],
        width,
    )


def _effect(one: Power) -> str:
    if one.effect is None:
        return "not known before a first run"
    return f"{100 * one.effect:.1f} points, by the spread of run {one.earlier}"


def _wrapped(text: str, width: int) -> list[str]:
    indent = " " * (len(text) - len(text.lstrip()))
    return wrap(printable(text), width, subsequent_indent=f"{indent}  ", break_on_hyphens=False)


def _table(columns: Sequence[Column], width: int) -> list[str]:
    """Lines of a table without rules; two spaces between columns where there is room, else one."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = [(head, [*map(printable, cells)], side) for head, cells, side in columns if any(cells)]
    gap = 2 if _wide(shown, 2) <= width else 1
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
    for at, (head, _, side) in enumerate(shown):
        table.add_column(Text(head), justify=side, overflow="fold", no_wrap=0 < at < len(shown) - 1)
    for cells in zip(*(column[1] for column in shown), strict=True):
        table.add_row(*map(Text, cells))  # texts, not strings: rich reads [red] in a string as markup
    out = io.StringIO()
    console = Console(file=out, width=width, no_color=True, highlight=False)
    console.print(table)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def _wide(columns: Sequence[Column], gap: int) -> int:
    """Columns of the terminal that a table takes where nothing is folded."""
    widths = [
        max(len(line) for text in (head, *cells) for line in text.split("\n")) for head, cells, _ in columns
    ]
    return sum(widths) + gap * (len(widths) - 1)
