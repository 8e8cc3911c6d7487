"""How a plan looks in a terminal: a table of work, dollars and their prices, and what the rows can show."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

from harness.decision.plan import PURPOSES, CostLine, Plan, PlannedLabels, Purpose, Standing, Usd, Work
from harness.decision.prices import price_heading, stale
from harness.records import Price
from harness.report import numbers
from harness.report.go_forecast import planned_decision
from harness.report.label_gain import LabelOutlook, in_columns, planned_outlook
from harness.report.printable import printable

WIDTH = 100
#: Header, cells and their side. A column without a single cell is left out.
Column: TypeAlias = tuple[str, Sequence[str], Literal["left", "right"]]

STANDINGS: dict[Standing, str] = {
    "fits": " is enough: even the high end stays below it.",
    "may be reached": " may be reached; the run would then end INCONCLUSIVE, and the next go on from there.",
    "will be reached": " will be reached before the end: even the low end is above it. The run would end"
    " INCONCLUSIVE, and the next one go on from there.",
    "refused": ": the run would be refused, for the reasons above; what is there already is not.",
}


def plan_text(plan: Plan, width: int = WIDTH) -> str:
    """The plan as text, no line wider than ``width`` terminal cells. A wide character (CJK) takes two."""
    unready = [line for problem in plan.unready for line in f"not ready: {problem}".splitlines()]
    effects = [
        "not known before a first run"
        if one.effect is None
        else f"{100 * one.effect:.1f} points, by the spread of run {one.earlier}"
        for one in plan.power
    ]
    power: list[Column] = [
        ("suite", [one.suite for one in plan.power], "left"),
        ("rows", [f"{one.rows:,}" for one in plan.power], "right"),
        ("score", [one.score for one in plan.power], "left"),
        ("smallest change shown", effects, "left"),
    ]
    blocks = [
        ["A plan: nothing was trained, asked, sent or paid."],
        _table(_work_columns(plan.work), width),
        [line for note in _work_notes(plan) for line in _wrapped(note, width)],
        [line for note in _dollar_notes(plan) for line in _wrapped(note, width)],
        _table(_price_columns(plan.bills), width),
        [line for said in plan.memory for line in _wrapped(said, width)],
        [line for problem in unready for line in _wrapped(problem, width)],
        ["What the held-out rows can show, at 80% power and one-sided 5%:", *_table(power, width)],
        [line for one in plan.decisions for line in _wrapped(planned_decision(one), width)],
        *_labels(plan.labels, width),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _labels(labels: Sequence[PlannedLabels], width: int) -> Iterator[list[str]]:
    """What labels would bring, a table for all judges of which the same is known."""
    alike: dict[LabelOutlook, list[str]] = {}
    for one in labels:
        alike.setdefault(planned_outlook(one), []).append(f"{one.score} (suite {one.suite})")
    for outlook, scores in alike.items():
        what = f"What labels of this run's answers would show of {', '.join(scores)}, by `harness label RUN`:"
        yield [
            *_wrapped(what, width),
            *in_columns([outlook.header, *outlook.table]),
            *_wrapped(outlook.note, width),
        ]


def _work_columns(work: Sequence[Work]) -> list[Column]:
    trained = [one.trainings for one in work]
    calls = [one.calls for one in work]
    training_tokens = [
        _range(_tokens(t.tokens), _tokens(t.most_tokens), "–") if t and t.new else "" for t in trained
    ]
    return [
        ("\ncandidate", [one.label for one in work], "left"),
        ("\nrows", [f"{t.rows:,}" if t else "" for t in trained], "right"),
        ("tokens to\ntrain on", training_tokens, "right"),
        ("jobs\nnew", [f"{t.new:,}" if t else "" for t in trained], "right"),
        ("jobs\nkept", [f"{t.kept:,}" if t else "" for t in trained], "right"),
        ("calls\nnew", [f"{c.new:,}" for c in calls], "right"),
        ("calls\nkept", [f"{c.kept:,}" for c in calls], "right"),
        ("prompt\ntokens", [_tokens(c.prompt_tokens) for c in calls], "right"),
        ("answer\n≤ each", [_tokens(c.most_answer_tokens) for c in calls], "right"),
        ("\ndollars", [_work_usd(one) for one in work], "left"),
    ]


def _tokens(value: float | None) -> str:
    """As ``numbers.tokens``, without a decimal from 100k on: two of them share a cell."""
    if value is None:
        return ""
    return f"{value / 1e3:,.0f}k" if 99_950 <= value < 999_500 else numbers.tokens(value)


def _work_usd(work: Work) -> str:
    """For a cell: one dollar sign, and no more digits than a hundredth of a cent."""
    parts = []
    if work.usd is not None:
        usd = work.usd
        low = "<$0.0001" if 0 < usd.low < 1e-4 else numbers.usd(usd.low)
        high = "" if usd.high is None else low if usd.high < 1e-4 else numbers.usd(usd.high)
        parts.append(_range(low, high, "–").replace("–$", "–"))
    if any(bill.price is None for bill in work.bills):
        parts.append("no price")
    return " + ".join(parts)


def _range(low: str, high: str, between: str) -> str:
    """Both ends, or one where they look alike; without a high end it is open."""
    if not high:
        return f"{low} and up"
    return low if low == high else f"{low}{between}{high}"


def _work_notes(plan: Plan) -> Iterator[str]:
    jobs = sum(one.trainings.shared for one in plan.work if one.trainings)
    answers = sum(one.calls.shared for one in plan.work)
    shared = [numbers.plural(jobs, "job")] if jobs else []
    shared += [numbers.plural(answers, "answer")] if answers else []
    if shared:
        yield f"{' and '.join(shared)} that several lines need are counted in the first of them only."
    probes = sum(one.calls.probes for one in plan.work)
    if probes:
        yield (
            f"Up to {numbers.plural(probes, 'call')} look whether hosted models are still those that gave the"
            " kept answers. Where one is not, its kept answers are asked for again, beyond this plan:"
            " RemoteModel(version=…) pins a model."
        )
    if any(bill.purpose == "judging" for bill in plan.bills):
        yield "Judges are asked at most this often: judgments that are in the store are not subtracted."
    if not any(one.trainings and one.trainings.new for one in plan.work):
        yield "Nothing is left to train."
    if plan.seconds:
        yield f"This machine computes {time_to_take(plan.seconds, plan.within)}."


def time_to_take(seconds: Mapping[Purpose, float], within: float) -> str:
    """Seconds by purpose as a range of minutes, and what it is made of."""
    whole = sum(seconds.values())
    parts = [f"{purpose} {minutes(part)}" for purpose, part in seconds.items() if part]
    return f"for {minutes(whole / within)} to {minutes(whole * within)} min ({', '.join(parts)})"


def minutes(seconds: float) -> str:
    """Whole minutes; of few ones a tenth, too."""
    return f"{seconds / 60:.1f}" if seconds < 285 else f"{seconds / 60:.0f}"


def _dollar_notes(plan: Plan) -> Iterator[str]:
    dates = sorted({bill.price.date or "unknown date" for bill in plan.bills if bill.price is not None})
    if dates:
        yield f"dollars: {usd_range(plan.usd())} (prices of {' and of '.join(dates)}, below)"
        by_purpose = [(purpose, plan.usd(purpose)) for purpose in PURPOSES]
        parts = [f"{purpose} {usd_range(usd)}" for purpose, usd in by_purpose if usd != Usd()]
        if parts:
            yield f"  {'; '.join(parts)}"
        yield "  low: prompts as counted, answers as long as the references; high: what a cap would set aside"
    asked = [bill.price for bill in plan.bills if bill.purpose != "training"]
    for price in _prices(plan.bills):
        if price.hosting_usd_per_hour and price in asked:
            yield (
                f"An endpoint of {price.model} costs ${price.hosting_usd_per_hour:,.2f} an hour while it is"
                " up, asked or not: not in these dollars."
            )
        if old := stale(price, plan.today):
            yield old
    for reason in plan.unbounded:
        yield f"nothing bounds it: {reason}"
    for purpose, model, is_tuned in dict.fromkeys((b.purpose, b.model, b.is_tuned) for b in plan.unpriced):
        keys, what = "input_usd_per_mtok, output_usd_per_mtok", f"{purpose} of {model}"
        if purpose == "training":
            keys, what = f"{keys}, training_usd_per_mtok", f"tuning {model}"
        elif is_tuned:
            what = f"{what} (tuned)"
        heading = price_heading(model, is_tuned)
        yield f"no price for {what}: not in these dollars. Add to {plan.prices_file}: {heading} with {keys}"
    if plan.bills and plan.standing is not None:
        yield f"--max-usd={plan.max_usd:g}{STANDINGS[plan.standing]}"


def usd_range(usd: Usd) -> str:
    """Dollars as they stand in a sentence."""
    return _range(numbers.usd(usd.low), "" if usd.high is None else numbers.usd(usd.high), " to ")


def _prices(bills: Sequence[CostLine]) -> list[Price]:
    """Each once, by model."""
    found = {bill.price for bill in bills if bill.price is not None}
    return sorted(found, key=lambda price: (price.model, price.source))


def _price_columns(bills: Sequence[CostLine]) -> list[Column]:
    prices = _prices(bills)
    return [
        ("dollars a million tokens", [price.model for price in prices], "left"),
        ("read", [_usd_per_mtok(price.input_usd_per_mtok) for price in prices], "right"),
        ("written", [_usd_per_mtok(price.output_usd_per_mtok) for price in prices], "right"),
        ("trained", [_usd_per_mtok(price.training_usd_per_mtok) for price in prices], "right"),
        ("an hour", [_usd_per_mtok(price.hosting_usd_per_hour) for price in prices], "right"),
        ("date", [price.date or "unknown" for price in prices], "left"),
        ("source", [price.source for price in prices], "left"),
    ]


def _usd_per_mtok(usd: float | None) -> str:
    return "" if usd is None else f"{usd:,.4g}"


def _wrapped(text: str, width: int) -> list[str]:
    """``text`` in lines of at most ``width`` cells, all but the first indented by two more."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.text import Text

    body = printable(" ".join(text.split()))
    indent = " " * (len(text) - len(text.lstrip(" ")))
    if cell_len(indent + body) <= width:
        return [indent + body]
    lines = Text(body).wrap(Console(width=width), width - len(indent) - 2)
    return [f"{indent}{'  ' if number else ''}{line.plain.rstrip()}" for number, line in enumerate(lines)]


def _table(columns: Sequence[Column], width: int) -> list[str]:
    """Lines of a table without rules; two spaces between columns where there is room, else one."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = [(head, [*map(printable, cells)], side) for head, cells, side in columns if any(cells)]
    if not shown:
        return []
    unfolded = sum(
        max(cell_len(line) for text in (head, *cells) for line in text.split("\n"))
        for head, cells, _ in shown
    )
    gap = 2 if unfolded + 2 * (len(shown) - 1) <= width else 1
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
    for at, (head, _, side) in enumerate(shown):
        table.add_column(Text(head), justify=side, overflow="fold", no_wrap=0 < at < len(shown) - 1)
    for cells in zip(*(column[1] for column in shown), strict=True):
        table.add_row(*map(Text, cells))  # texts, not strings: rich reads [red] in a string as markup
    out = io.StringIO()
    console = Console(file=out, width=width, no_color=True, highlight=False)
    console.print(table)
    return [line.rstrip() for line in out.getvalue().splitlines()]
