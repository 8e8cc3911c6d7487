"""What hosted models cost, in US dollars per million tokens, with source and date.

Prices are facts with a date: a project's own, in ``economics.toml``, come before these.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

from harness.errors import UnknownName
from harness.records import Price

#: (model, tuned): the base model, or a fine-tune of it.
PriceKey: TypeAlias = tuple[str, bool]

_DATED = "OpenAI, base prices of December 2025"
_UNDATED = "price table without a date; check before you rely on it"
_HISTORIC = "historic price without a date; the model may be gone"

# model: base (input, output), tuned (training, input, output), date and source of the base row.
# Every tuned row comes from a table without a date.
_TABLE: tuple[tuple[str, tuple[float, float], tuple[float, float, float], str | None, str], ...] = (
    ("gpt-4o-mini", (0.15, 0.60), (3.00, 0.30, 1.20), "2025-12", _DATED),
    ("gpt-4o", (2.50, 10.00), (25.00, 3.75, 15.00), "2025-12", _DATED),
    ("gpt-4.1", (2.00, 8.00), (25.00, 3.00, 12.00), None, _UNDATED),
    ("gpt-4.1-mini", (0.40, 1.60), (5.00, 0.80, 3.20), None, _UNDATED),
    ("gpt-3.5-turbo", (0.50, 1.50), (8.00, 3.00, 6.00), None, _HISTORIC),
    ("babbage-002", (0.40, 0.40), (0.40, 1.60, 1.60), None, _HISTORIC),
    ("davinci-002", (2.00, 2.00), (6.00, 12.00, 12.00), None, _HISTORIC),
)

BATCH_DISCOUNT = 0.5


def _rows() -> dict[PriceKey, Price]:
    rows: dict[PriceKey, Price] = {}
    for model, base, (training, tuned_input, tuned_output), date, source in _TABLE:
        rows[model, False] = Price(model, *base, None, source, date)
        tuned_source = _HISTORIC if source == _HISTORIC else _UNDATED
        rows[model, True] = Price(f"{model} (tuned)", tuned_input, tuned_output, training, tuned_source, None)
    return rows


#: The day is not known, so dates are given to the month.
HOSTED: Mapping[PriceKey, Price] = MappingProxyType(_rows())


def price_of(model: str, tuned: bool, overrides: Mapping[PriceKey, Price] | None = None) -> Price:
    """The price of a hosted model or of a fine-tune of it; ``training_usd_per_mtok`` is a token and epoch.

    A dated snapshot (``gpt-4o-mini-2024-07-18``) costs what its family costs, and a fine-tuned
    model's id (``ft:gpt-4o-mini-2024-07-18:team::id``) is looked up as a fine-tune of its base.

    Args:
        model: name of the base.
        tuned: price the fine-tune.
        overrides: the project's own prices, which come first.

    Raises:
        UnknownName: no such price; says what to add to ``economics.toml``.
    """
    is_tuned = tuned or model.startswith("ft:")
    base = model.split(":")[1] if model.startswith("ft:") else model
    for table in (overrides or {}, HOSTED):
        for name in (model, base, re.sub(r"-\d{4}-\d{2}-\d{2}$", "", base)):
            if (name, is_tuned) in table:
                return table[name, is_tuned]
    known = {
        name for table in (overrides or {}, HOSTED) for name, its_tuned in table if its_tuned == is_tuned
    }
    heading = f'[prices."{base}".tuned]' if is_tuned else f'[prices."{base}"]'
    hint = f"To add it, write into economics.toml: {heading} with input_usd_per_mtok and output_usd_per_mtok"
    hint += " (and training_usd_per_mtok)." if is_tuned else "."
    raise UnknownName("tuned model price" if is_tuned else "model price", base, known, hint)


def batch_price(price: Price) -> Price:
    """The price through the batch interface: half for input and output; training stays."""
    return dataclasses.replace(
        price,
        input_usd_per_mtok=price.input_usd_per_mtok * BATCH_DISCOUNT,
        output_usd_per_mtok=price.output_usd_per_mtok * BATCH_DISCOUNT,
        source=f"{price.source}; batch, half price",
    )
