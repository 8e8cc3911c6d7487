"""What a candidate costs and saves a day, and when it has paid for itself."""

from __future__ import annotations

from harness.records import Economics, RunRecord
from harness.report import numbers
from harness.report.view_models import Cell, CostBlock, TextTable

_PRICE_HEAD = (
    Cell("price of"),
    *(Cell(name, numeric=True) for name in ("input", "cached", "output", "training")),
    Cell("source"),
    Cell("date", numeric=True),
)


def costs(record: RunRecord) -> tuple[CostBlock, ...]:
    """One block for each candidate whose prices are known."""
    return tuple(_block(money) for money in record.economics)


def _block(money: Economics) -> CostBlock:
    """The candidate beside its baseline: a day's costs, the saving, and the prices that they rest on."""
    requests = f"{numbers.number(money.requests_per_day)} requests a day"
    if money.break_even_days is None:
        verdict = (
            f"Never pays for itself at {requests}: {numbers.usd(money.candidate_usd_per_day)} a day against "
            f"{numbers.usd(money.baseline_usd_per_day)} for {money.baseline}."
        )
    else:
        verdict = f"Pays for itself after {numbers.days(money.break_even_days)} at {requests}."
    prices = []
    for name, price in ((money.baseline, money.baseline_price), (money.candidate, money.candidate_price)):
        per_mtok = (
            price.input_usd_per_mtok,
            price.cached_input_usd_per_mtok,
            price.output_usd_per_mtok,
            price.training_usd_per_mtok,
        )
        prices.append(
            (
                Cell(f"{name} ({price.model})"),
                *(Cell(numbers.usd(usd), numeric=True) for usd in per_mtok),
                Cell(price.source),
                Cell(price.date or "undated", numeric=True),
            )
        )
    return CostBlock(
        table=_table(money, requests),
        prices=TextTable("Prices, dollars per million tokens", _PRICE_HEAD, tuple(prices)),
        verdict=verdict,
        notes=money.notes,
    )


def _table(money: Economics, requests: str) -> TextTable:
    none = numbers.NONE
    lines = [
        (
            "prompt tokens a request (mean)",
            numbers.tokens(money.baseline_prompt_tokens),
            numbers.tokens(money.candidate_prompt_tokens),
        ),
        (
            "of these cached, at their own price",
            numbers.tokens(money.baseline_cached_prompt_tokens),
            numbers.tokens(money.candidate_cached_prompt_tokens),
        ),
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
        ("training, once", none, numbers.usd(money.training_usd)),
        ("saved a day", none, numbers.usd(money.saving_usd_per_day)),
        (
            f"saved in {numbers.days(money.horizon_days)}, training deducted",
            none,
            numbers.usd(money.saving_usd_over_horizon),
        ),
        ("break-even", none, numbers.days(money.break_even_days)),
    ]
    if not money.baseline_cached_prompt_tokens and not money.candidate_cached_prompt_tokens:
        del lines[1]
    return TextTable(
        caption=f"{money.candidate} against {money.baseline}, {requests}",
        head=(Cell(""), Cell(money.baseline, numeric=True), Cell(money.candidate, numeric=True)),
        rows=tuple((Cell(a), Cell(b, numeric=True), Cell(c, numeric=True)) for a, b, c in lines),
        note="Token counts are means over "
        f"{numbers.plural(money.n_requests_measured, 'request')} of this run.",
    )
