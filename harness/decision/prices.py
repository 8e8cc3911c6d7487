"""Prices of hosted models, in US dollars per million tokens, with source and date.

Prices are facts with a date: a project's own, in ``economics.toml``, come before these.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from types import MappingProxyType
from typing import TypeAlias

from harness.errors import UnknownName, UsageError
from harness.records import Price

_SNAPSHOT = re.compile(r"-\d{4}(-\d{2}-\d{2})?$")  # gpt-4o-mini-2024-07-18, gpt-3.5-turbo-0125

#: (model, tuned): the base model, or a fine-tune of it.
PriceKey: TypeAlias = tuple[str, bool]

_DATED = "OpenAI, base prices of December 2025"
_UNDATED = "price table without a date; check before you rely on it"
_HISTORIC = "historic price without a date; the model may be gone"

# model: base (input, cached input, output), tuned (training, input, cached input, output), date and source
# of the base row. Every tuned row comes from a table without a date. None: no cheaper price for cached input.
_TABLE = (
    ("gpt-4o-mini", (0.15, 0.075, 0.60), (3.00, 0.30, 0.15, 1.20), "2025-12", _DATED),
    ("gpt-4o", (2.50, 1.25, 10.00), (25.00, 3.75, 1.875, 15.00), "2025-12", _DATED),
    ("gpt-4.1", (2.00, 0.50, 8.00), (25.00, 3.00, 0.75, 12.00), None, _UNDATED),
    ("gpt-4.1-mini", (0.40, 0.10, 1.60), (5.00, 0.80, 0.20, 3.20), None, _UNDATED),
    ("gpt-3.5-turbo", (0.50, None, 1.50), (8.00, 3.00, None, 6.00), None, _HISTORIC),
    ("babbage-002", (0.40, None, 0.40), (0.40, 1.60, None, 1.60), None, _HISTORIC),
    ("davinci-002", (2.00, None, 2.00), (6.00, 12.00, None, 12.00), None, _HISTORIC),
)

#: Begins the source of a figure that was not read at the service's own page.
SECOND_HAND = "second-hand"
_TINKER, _TOGETHER = "https://thinkingmachines.ai/tinker/", "https://www.together.ai/pricing"
_FIREWORKS, _NEBIUS = "https://fireworks.ai/pricing", "https://nebius.com/token-factory/prices"
_LLAMA = "meta-llama/Meta-Llama-3.1-8B-Instruct"

# What services that tune open models bill. The service and its model, or a class of models by their size;
# training, input, output, an hour of a dedicated GPU, a GB and month; source and date, to the month where the
# day is not known. None: not billed, or not read there. The first row that fits a model is its price.
_SERVICES = (
    ("nebius", _LLAMA, 0.40, 0.02, 0.06, None, None, f"{SECOND_HAND} (LiteLLM 1.110): {_NEBIUS}", "2026-11"),
    ("nebius", "below 20B", 0.40, None, None, None, None, _NEBIUS, "2026-11"),
    ("tinker", "Qwen3-8B", 0.44, 0.195, 0.60, None, 0.10, _TINKER, "2026-10-07"),
    ("together", "up to 16B", 0.48, None, None, 3.99, None, f"{SECOND_HAND}: {_TOGETHER}", "2026-05"),
    ("fireworks", "up to 16B", 0.50, None, None, 8.00, None, _FIREWORKS, "2026-10-07"),
    ("fireworks", "up to 80B", 3.00, None, None, 8.00, None, _FIREWORKS, "2026-10-07"),
    ("fireworks", "up to 300B", 6.00, None, None, 8.00, None, _FIREWORKS, "2026-10-07"),
)
_NUMBERS = (
    "training_usd_per_mtok",
    "input_usd_per_mtok",
    "output_usd_per_mtok",
    "hosting_usd_per_hour",
    "storage_usd_per_gb_month",
)
_CLASS = re.compile(r"(up to|below) (\d+)B")
_SIZE = re.compile(r"(?<![a-z0-9.])(?:(\d+)x)?(\d+(?:[.p]\d+)?)b(?![a-z0-9])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ServicePrice:
    """Dollars a million tokens, an hour and a GB and month, of fine-tunes at a service."""

    service: str
    of: str  # a model, or a class of models
    numbers: Mapping[str, float]  # by key of economics.toml
    source: str
    date: str

    def fits(self, model: str) -> bool:
        """Whether it is the price of that model, by its name or by the size that stands in it."""
        own, its = (name.rpartition("/")[2].removeprefix("Meta-").lower() for name in (self.of, model))
        limit, size = _CLASS.fullmatch(self.of), _SIZE.search(its)
        if limit is None or size is None:
            return own == its
        billions = int(size[1] or 1) * float(size[2].replace("p", "."))
        return billions < int(limit[2]) or (limit[1] == "up to" and billions == int(limit[2]))

    def price(self, name: str, tuned: bool) -> Price | None:
        """Of a fine-tune, or of a base that is asked by the token; None where its answers have none here."""
        training, read, written, hosting, storage = (self.numbers.get(key) for key in _NUMBERS)
        if read is None is (hosting if tuned else None):
            return None
        ours = (training, hosting, storage) if tuned else (None, None, None)
        usd = read or 0.0, written or 0.0, ours[0]
        return Price(name + " (tuned)" * tuned, *usd, self.source, self.date, None, *ours[1:])


SERVICES: Mapping[str, ServicePrice] = MappingProxyType(
    {
        f"{service} {of}": ServicePrice(
            service,
            of,
            {key: usd for key, usd in zip(_NUMBERS, figures, strict=True) if usd is not None},
            source,
            read,
        )
        for service, of, *figures, source, read in _SERVICES
    }
)
#: The services that have a price list here.
LISTED = frozenset(one.service for one in SERVICES.values())


def billed_as(service: str, model: str) -> str:
    """The name that a model is priced under: at a service with a price list of its own, ``SERVICE/MODEL``."""
    return f"{service}/{model}" if service in LISTED else model


BATCH_DISCOUNT = 0.5
STALE_DAYS = 90
TOKENS_PER_MTOK = 1_000_000

#: The day is not known, so dates are given to the month.
HOSTED: Mapping[PriceKey, Price] = MappingProxyType(
    {
        (model, False): Price(model, read, written, None, source, date, cached)
        for model, (read, cached, written), _, date, source in _TABLE
    }
    | {
        (model, True): Price(f"{model} (tuned)", read, written, training, source, None, cached)
        for model, _, (training, read, cached, written), _, base_source in _TABLE
        for source in [_HISTORIC if base_source == _HISTORIC else _UNDATED]
    }
)


def price_of(
    model: str,
    tuned: bool,
    overrides: Mapping[PriceKey, Price] | None = None,
    where: str = "economics.toml",
) -> Price:
    """The price of a hosted model or of a fine-tune of it; ``training_usd_per_mtok`` is a token and epoch.

    A dated snapshot (``gpt-4o-mini-2024-07-18``, ``gpt-3.5-turbo-0125``) has the price of its family, and a
    fine-tuned model's id (``ft:gpt-4o-mini-2024-07-18:team::id``) is looked up as a fine-tune of its base.
    ``overrides`` are the project's own prices, which come first, from the file ``where``: those of
    ``SERVICE/MODEL`` (see ``billed_as``) before those of the model wherever it is.

    Raises:
        UnknownName: no such price; the message has the lines to add to the file.
    """
    base, is_tuned = _base_of(model, tuned)
    service, _, alone = base.partition("/") if base.partition("/")[0] in LISTED else ("", "", base)
    for table, names in ((overrides or {}, (model, base, alone)), (HOSTED, (base,))):
        for name in (*names, _SNAPSHOT.sub("", names[-1])):
            if (name, is_tuned) in table:
                return table[name, is_tuned]
    for listed in SERVICES.values():
        price = listed.price(base, is_tuned) if listed.service == service and listed.fits(alone) else None
        if price is not None:
            return price
    known = {
        name for table in (overrides or {}, HOSTED) for name, its_tuned in table if its_tuned == is_tuned
    }
    training = " (and training_usd_per_mtok)" if is_tuned else ""
    hint = f"To add it, write into {where}: {price_heading(model, tuned)} with"
    hint += f" input_usd_per_mtok and output_usd_per_mtok{training}."
    raise UnknownName("tuned model price" if is_tuned else "model price", base, known, hint)


def stale(price: Price, today: date | None) -> str:
    """A warning where a price was read more than 90 days ago; empty elsewhere. A month is its last day."""
    read = None if price.date is None or today is None else _day(price.date)
    if read is None or today is None or (today - read).days <= STALE_DAYS:
        return ""
    return (
        f"The price of {price.model} was read on {price.date} ({price.source}), more than {STALE_DAYS} days"
        " ago: look it up, and write today's into economics.toml."
    )


def _day(text: str) -> date | None:
    year, _, rest = text.partition("-")
    month, _, day = rest.partition("-")
    try:
        return date(int(year), int(month), int(day) if day else monthrange(int(year), int(month))[1])
    except (ValueError, IndexError):  # a date that people wrote in another way
        return None


def price_heading(model: str, tuned: bool) -> str:
    """The table of ``economics.toml`` that holds the price of a model, or of a fine-tune of it."""
    base, is_tuned = _base_of(model, tuned)
    return f'[prices."{base}".tuned]' if is_tuned else f'[prices."{base}"]'


def _base_of(model: str, tuned: bool) -> tuple[str, bool]:
    return (model.split(":")[1], True) if model.startswith("ft:") else (model, tuned)


def batch_price(price: Price) -> Price:
    """The price through the batch interface: half for input and output; training stays.

    Cached input costs as much as other input there: no source says that the two discounts add up.
    """
    return replace(
        price,
        input_usd_per_mtok=price.input_usd_per_mtok * BATCH_DISCOUNT,
        output_usd_per_mtok=price.output_usd_per_mtok * BATCH_DISCOUNT,
        source=f"{price.source}; batch, half price",
        cached_input_usd_per_mtok=None,
    )


def call_usd(
    price: Price, prompt_tokens: float, completion_tokens: float, cached_prompt_tokens: float = 0
) -> float:
    """The cost of one call, or the mean of several; ``cached_prompt_tokens`` are among ``prompt_tokens``."""
    cached_price = price.cached_input_usd_per_mtok
    cached = 0.0 if cached_price is None else min(cached_prompt_tokens, prompt_tokens)
    read = (prompt_tokens - cached) * price.input_usd_per_mtok + cached * (cached_price or 0.0)
    return (read + completion_tokens * price.output_usd_per_mtok) / TOKENS_PER_MTOK


def most_usd(price: Price, prompt_tokens: int, max_tokens: int | None, payee: str) -> float:
    """The most that a call can cost before it is sent: no input cached, ``max_tokens`` written.

    Args:
        price: of the model.
        prompt_tokens: no fewer than the service will count.
        max_tokens: the longest answer; None raises UsageError, since nothing bounds it.
        payee: the model or the step, for the message.
    """
    if max_tokens is None:
        raise UsageError(
            f"{payee}: nothing bounds how much it writes, so --max-usd cannot hold.\n"
            "  hint: add max_tokens to the suite, or decoding=Decoding(max_new_tokens=…) to the candidate."
        )
    dearest = max(price.input_usd_per_mtok, price.cached_input_usd_per_mtok or 0.0)
    return call_usd(replace(price, input_usd_per_mtok=dearest), prompt_tokens, max_tokens)
