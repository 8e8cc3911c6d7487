"""What a candidate costs and saves a day, and when it has paid for itself."""

from __future__ import annotations

from harness.records import Economics, Price, RunRecord
from harness.report import numbers
from harness.report.view_models import Cell, CostBlock, Table


def costs(record: RunRecord) -> tuple[CostBlock, ...]:
    """One block for each candidate whose prices are known."""
    return tuple(_block(economics) for economics in record.economics)


def _block(money: Economics) -> CostBlock:
    return CostBlock(_table(money), _prices(money), _verdict(money), money.notes)


def _verdict(money: Economics) -> str:
    if money.break_even_days is None:
        return (
            f"Never pays for itself at {numbers.number(money.requests_per_day)} requests a day: "
            f"{numbers.usd(money.candidate_usd_per_day)} a day against "
            f"{numbers.usd(money.baseline_usd_per_day)} for {money.baseline}."
        )
    return (
        f"Pays for itself after {numbers.days(money.break_even_days)} at "
        f"{numbers.number(money.requests_per_day)} requests a day."
    )


def _table(money: Economics) -> Table:
    head = (Cell(""), Cell(money.baseline, numeric=True), Cell(money.candidate, numeric=True))
    horizon = numbers.days(money.horizon_days)
    lines = [
        (
            "prompt tokens a request (mean)",
            numbers.tokens(money.baseline_prompt_tokens),
            numbers.tokens(money.candidate_prompt_tokens),
        ),
        *_cached(money),
        (
            "completion tokens a request (mean)",
            numbers.tokens(money.baseline_completion_tokens),
            numbers.tokens(money.candidate_completion_tokens),
        ),
        (
            "inference a day",
            numbers.usd(money.baseline_usd_per_day),
            numbers.usd(money.candidate_usd_per_day),
        ),
        ("training, once", numbers.NONE, numbers.usd(money.training_usd)),
        ("saved a day", numbers.NONE, numbers.usd(money.saving_usd_per_day)),
        (
            f"saved in {horizon}, training deducted",
            numbers.NONE,
            numbers.usd(money.saving_usd_over_horizon),
        ),
        ("break-even", numbers.NONE, numbers.days(money.break_even_days)),
    ]
    return Table(
        caption=f"{money.candidate} against {money.baseline}, "
        f"{numbers.number(money.requests_per_day)} requests a day",
        head=head,
        rows=tuple((Cell(a), Cell(b, numeric=True), Cell(c, numeric=True)) for a, b, c in lines),
        note="Token counts are means over "
        f"{numbers.plural(money.n_requests_measured, 'request')} of this run.",
    )


def _cached(money: Economics) -> list[tuple[str, str, str]]:
    baseline, candidate = money.baseline_cached_prompt_tokens, money.candidate_cached_prompt_tokens
    if not baseline and not candidate:
        return []
    return [("of these cached, at their own price", numbers.tokens(baseline), numbers.tokens(candidate))]


def _prices(money: Economics) -> Table:
    head = (
        Cell("price of"),
        Cell("input", numeric=True),
        Cell("cached", numeric=True),
        Cell("output", numeric=True),
        Cell("training", numeric=True),
        Cell("source"),
        Cell("date", numeric=True),
    )
    sold = ((money.baseline, money.baseline_price), (money.candidate, money.candidate_price))
    return Table(
        caption="Prices, dollars per million tokens",
        head=head,
        rows=tuple(_price(name, price) for name, price in sold),
    )


def _price(name: str, price: Price) -> tuple[Cell, ...]:
    return (
        Cell(f"{name} ({price.model})"),
        Cell(numbers.usd(price.input_usd_per_mtok), numeric=True),
        Cell(numbers.usd(price.cached_input_usd_per_mtok), numeric=True),
        Cell(numbers.usd(price.output_usd_per_mtok), numeric=True),
        Cell(numbers.usd(price.training_usd_per_mtok), numeric=True),
        Cell(price.source),
        Cell(price.date or "undated", numeric=True),
    )
