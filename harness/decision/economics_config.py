"""The project's ``economics.toml``: how many requests, and what it pays for what it runs itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches

from harness.decision.prices import PriceKey
from harness.errors import UsageError
from harness.records import Json, Price

_PRICE_NUMBERS = (
    "input_usd_per_mtok",
    "output_usd_per_mtok",
    "training_usd_per_mtok",
    "cached_input_usd_per_mtok",
)
_PRICE_TEXTS = ("source", "date")
_NOT_KEYS = ("prices", "where")


@dataclass(frozen=True)
class EconomicsConfig:
    """All money in US dollars; ``mtok`` is a million tokens. None: not given.

    Self-served models are priced by the two ``served_…`` prices or by ``gpu_usd_per_hour``;
    training by the token (epochs included) or by the hour. ``prices`` come before the hosted table.
    What one point (of 100) more is worth a day, and what one more training row costs, tell together
    whether more rows are worth their cost.
    """

    requests_per_day: float
    horizon_days: float = 30.0
    data_preparation_usd: float = 0.0
    served_input_usd_per_mtok: float | None = None
    served_output_usd_per_mtok: float | None = None
    gpu_usd_per_hour: float | None = None
    training_usd_per_hour: float | None = None
    training_usd_per_mtok: float | None = None
    value_usd_per_point_per_day: float | None = None
    training_row_usd: float | None = None
    prices: Mapping[PriceKey, Price] = field(default_factory=dict)
    where: str = "economics.toml"


def parse_economics(document: Mapping[str, Json], where: str) -> EconomicsConfig:
    """The configuration in a parsed TOML document.

    Args:
        document: what ``tomllib`` gave.
        where: the file, for messages.

    Raises:
        UsageError: an unknown key, a value that is no sensible number, or two prices for one thing.
    """
    known = [f.name for f in fields(EconomicsConfig) if f.name not in _NOT_KEYS]
    _refuse_unknown(document, [*known, "prices"], where)
    numbers = {key: _number(document[key], key, where) for key in known if key in document}
    for key in ("requests_per_day", "horizon_days"):
        if numbers.get(key, 1.0) <= 0:
            raise UsageError(f"{where}: {key} must be above 0")
    if "requests_per_day" not in numbers:
        raise UsageError(f"{where}: requests_per_day is missing; write how many requests a day you expect")
    _refuse_two_prices(numbers, where)
    prices = _prices(document.get("prices", {}), where)
    return EconomicsConfig(**numbers, prices=prices, where=where)


def _refuse_unknown(table: Mapping[str, Json], known: list[str], where: str) -> None:
    for key in table:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"
            raise UsageError(f"{where}: unknown key {key!r}; {hint}")


def _refuse_two_prices(numbers: Mapping[str, float], where: str) -> None:
    served = [key for key in ("served_input_usd_per_mtok", "served_output_usd_per_mtok") if key in numbers]
    if len(served) == 1:
        raise UsageError(f"{where}: {served[0]} stands alone; give input and output, or gpu_usd_per_hour")
    for first, second in (
        ("served_input_usd_per_mtok", "gpu_usd_per_hour"),
        ("training_usd_per_hour", "training_usd_per_mtok"),
    ):
        if first in numbers and second in numbers:
            raise UsageError(f"{where}: {first} and {second} price the same thing; keep one of them")


def _number(value: Json, key: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{where}: {key} must be a number, not {value!r}")
    if not math.isfinite(value) or value < 0:
        raise UsageError(f"{where}: {key} must be a finite number of 0 or more, not {value}")
    return float(value)


def _prices(tables: Json, where: str) -> Mapping[PriceKey, Price]:
    prices: dict[PriceKey, Price] = {}
    for model, table in _table(tables, "prices", where).items():
        heading = f'[prices."{model}"]'
        rows = dict(_table(table, heading, where))
        tuned = rows.pop("tuned", None)
        if rows or tuned is None:
            prices[model, False] = _one_price(model, rows, f"{where} {heading}")
        if tuned is not None:
            heading = f'[prices."{model}".tuned]'
            its = _table(tuned, heading, where)
            prices[model, True] = _one_price(f"{model} (tuned)", its, f"{where} {heading}")
    return prices


def _table(value: Json, heading: str, where: str) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where}: {heading} must be a table, not {value!r}")
    return value


def _one_price(model: str, table: Mapping[str, Json], where: str) -> Price:
    _refuse_unknown(table, [*_PRICE_NUMBERS, *_PRICE_TEXTS], where)
    for key in _PRICE_NUMBERS[:2]:
        if key not in table:
            raise UsageError(f"{where}: {key} is missing")
    numbers = {key: _number(table[key], key, where) for key in _PRICE_NUMBERS if key in table}
    return Price(
        model=model,
        input_usd_per_mtok=numbers["input_usd_per_mtok"],
        output_usd_per_mtok=numbers["output_usd_per_mtok"],
        training_usd_per_mtok=numbers.get("training_usd_per_mtok"),
        source=str(table.get("source", where)),
        date=str(table["date"]) if "date" in table else None,
        cached_input_usd_per_mtok=numbers.get("cached_input_usd_per_mtok"),
    )
