"""What a project says of its money, in ``economics.toml``: read whole, each mistake with line and mend."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import NoReturn

from harness.decision.point_values import KEY as POINT_VALUES
from harness.decision.point_values import line_of
from harness.decision.prices import SERVICES, PriceKey
from harness.errors import UnknownName, UsageError
from harness.fields import shown_value
from harness.records import Json, Price

MOST_USD = 1e15  # and requests and days: beyond it, a slip of the keyboard
DOLLARS = "USD"
_NOT_RANGES = (
    "horizon_days",
    "gpu_hours_per_day",
    "hosting_hours_per_day",
    "hosting_replicas",
    "retraining_every_days",
    "retraining_rows",
)
_ABOVE_0 = ("requests_per_day", "horizon_days", "gpu_hours_per_day", "retraining_every_days")
_PER_MTOK = tuple(f"{each}_usd_per_mtok" for each in ("input", "output", "training", "cached_input"))
_PRICE_NUMBERS = (*_PER_MTOK, "hosting_usd_per_hour", "storage_usd_per_gb_month")
_CURRENCY = re.compile(r"[A-Z]{3}")
_ONE_OF = (  # two prices of the same thing
    ("served_input_usd_per_mtok", "gpu_usd_per_hour"),
    ("training_usd_per_hour", "training_usd_per_mtok"),
    ("training_row_usd", "row_minutes"),
    ("gpu_idle_share", "gpu_hours_per_day"),
)
_TOGETHER = (  # the first says nothing without the second
    ("row_minutes", "hourly_usd"),
    ("preparation_hours", "hourly_usd"),
    ("review_hours_per_month", "hourly_usd"),
    ("labels_per_month", "label_usd"),
    ("retraining_usd", "retraining_every_days"),
    ("retraining_rows", "retraining_every_days"),
    ("gpu_idle_share", "gpu_usd_per_hour"),
    ("gpu_hours_per_day", "gpu_usd_per_hour"),
)


@dataclass(frozen=True)
class EconomicsConfig:
    """All money in US dollars; ``mtok`` is a million tokens. None: not given.

    Self-served models are priced by the two ``served_…`` prices or by ``gpu_usd_per_hour``;
    training by the token (epochs included) or by the hour. ``prices`` take precedence over the hosted table.
    ``value_usd_per_point_per_day`` has a value for one percentage point of each score that it names, as
    ``score`` or ``suite/score``; a plain number is of the one score that targets compare.
    A training row costs ``training_row_usd`` or ``row_minutes``: for those that a candidate uses, unless
    ``data_preparation_usd`` is one sum for all of them, and for more of them.
    A figure that was given as a range has its middle here, and its ends, by key, in ``ranges``.
    """

    requests_per_day: float
    horizon_days: float = 30.0
    requests_growth_per_month: float = 0.0
    hourly_usd: float = 0.0  # of people's time
    preparation_hours: float = 0.0  # once, however many rows
    row_minutes: float | None = None
    data_preparation_usd: float | None = None
    served_input_usd_per_mtok: float | None = None
    served_output_usd_per_mtok: float | None = None
    gpu_usd_per_hour: float | None = None
    gpu_idle_share: float = 0.0  # of the hours that are paid
    gpu_hours_per_day: float | None = None  # that it is paid for, whether anybody asks or not
    hosting_hours_per_day: float = 24.0  # of an endpoint that is paid by the hour
    hosting_replicas: float = 1.0  # of it that are up
    storage_gb: float = 0.0
    training_usd_per_hour: float | None = None
    training_usd_per_mtok: float | None = None
    retraining_every_days: float | None = None
    retraining_usd: float | None = None  # each time; None: what the training that ships costs
    retraining_rows: float = 0.0  # new ones, each time
    labels_per_month: float = 0.0
    label_usd: float | None = None
    review_hours_per_month: float = 0.0
    value_usd_per_point_per_day: Mapping[str, float] | float | None = None
    training_row_usd: float | None = None
    heldout_row_usd: float | None = None  # None: as a training row
    prices: Mapping[PriceKey, Price] = field(default_factory=dict)
    currency: str = DOLLARS
    usd_per_unit: float = 1.0
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    where: str = "economics.toml"
    text: str = ""

    @property
    def row_usd(self) -> float | None:
        """Of one training row; None where nothing says it."""
        return self.training_row_usd if self.row_minutes is None else self.row_minutes / 60 * self.hourly_usd

    def points_range(self, suite: str, score: str) -> tuple[float, float] | None:
        """The range of a point's worth, where it was given as one."""
        keys = POINT_VALUES, f"{POINT_VALUES}.{score}", f"{POINT_VALUES}.{suite}/{score}"
        return next((self.ranges[key] for key in keys if key in self.ranges), None)


_OWN = ("prices", POINT_VALUES, "currency", "usd_per_unit", "ranges", "where", "text")
_NUMBERS = tuple(f.name for f in fields(EconomicsConfig) if f.name not in _OWN)
_KEYS = (*_NUMBERS, "prices", POINT_VALUES, "currency")


def parse_economics(text: str, where: str) -> EconomicsConfig:
    """The configuration in the text of a file; ``where`` is its name.

    Raises:
        UsageError: no TOML, an unknown key, a value that is no sensible number, two currencies, or two prices
            for one thing.
    """
    try:
        document: Mapping[str, Json] = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # besides TOMLDecodeError, a number of thousands of digits
        raise UsageError(f"{where}: not TOML: {error}.") from error
    return _Reader(document, where, text).config()


class _Reader:
    """Reads one file; ``fail`` knows where in it a key stands."""

    def __init__(self, document: Mapping[str, Json], where: str, text: str) -> None:
        self._where, self._text = where, text
        self._lines = text.splitlines()
        self._ranges: dict[str, tuple[float, float]] = {}
        self._currency, self._rate = self._money(document)
        own = self._currency.lower()
        #: the key of a dollar figure by the name that it has in this file
        self._written = {key.replace("usd", own): key for key in (*_KEYS, *_PRICE_NUMBERS)}
        self._document = document

    def config(self) -> EconomicsConfig:
        document = {
            self._key(key, _KEYS): value for key, value in self._document.items() if key != self._rate_key
        }
        points = self._point_values(document.get(POINT_VALUES))
        numbers = {key: self._number(document[key], key) for key in _NUMBERS if key in document}
        for key in _ABOVE_0:
            if numbers.get(key, 1.0) <= 0:
                self.fail(f"{key} must be above 0", key)
        if "requests_per_day" not in numbers:
            self.fail("requests_per_day is missing; write how many requests a day you expect")
        for key in ("gpu_idle_share",):
            if numbers.get(key, 0.0) >= 1:
                self.fail(f"{key} is a share below 1 (30% is 0.3), not {numbers[key]:g}", key)
        served = [
            key for key in ("served_input_usd_per_mtok", "served_output_usd_per_mtok") if key in numbers
        ]
        if len(served) == 1:
            self.fail(f"{served[0]} stands alone; give input and output, or gpu_usd_per_hour", served[0])
        for first, second in _ONE_OF:
            if first in numbers and second in numbers:
                self.fail(f"{first} and {second} price the same thing; keep one of them", second)
        for first, second in _TOGETHER:
            if numbers.get(first) and second not in numbers:
                self.fail(f"{first} says nothing without {second}; add it", first)
        return EconomicsConfig(
            **numbers,
            value_usd_per_point_per_day=points,
            prices=self._prices(document.get("prices", {})),
            currency=self._currency,
            usd_per_unit=self._rate,
            ranges=self._ranges,
            where=self._where,
            text=self._text,
        )

    # ------------------------------------------------------------- where, and in which currency
    def fail(self, problem: str, *path: str) -> NoReturn:
        line = self._line(path) if path else None
        raise UsageError(f"{self._where}{f':{line}' if line else ''}: {problem}")

    def _line(self, path: Sequence[str]) -> int | None:
        """Of a key below the headings before it in ``path``; of a heading where there is no such line."""
        *headings, key = path
        names = "|".join(
            {re.escape(name) for name in (key, *(w for w, k in self._written.items() if k == key))}
        )
        said = re.compile(rf"""\s*(?:[\w"'.-]+\.)?["']?(?:{names})["']?\s*(?:=|\.)""")
        is_inside, found = not headings, None
        for number, line in enumerate(self._lines, 1):
            if line.lstrip().startswith("["):
                is_inside = bool(headings) and all(name in line for name in headings)
                if is_inside or key in line:
                    found = found or number
            elif is_inside and said.match(line):
                return number
        return found

    def _money(self, document: Mapping[str, Json]) -> tuple[str, float]:
        """The file's currency, and dollars for one unit of it."""
        self._written, self._rate_key = {}, "usd_per_usd"
        currency = document.get("currency", DOLLARS)
        if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
            self.fail(
                f'currency is three capital letters such as "EUR", not {shown_value(currency)}', "currency"
            )
        self._rate_key = f"usd_per_{currency.lower()}"
        if currency == DOLLARS:
            return currency, 1.0
        if self._rate_key not in document:
            self.fail(
                f"currency is {currency}, and hosted models are billed in dollars; add {self._rate_key}"
                f" = what one {currency} is worth in dollars",
                "currency",
            )
        rate = self._checked(document[self._rate_key], self._rate_key)
        if rate == 0:
            self.fail(f"{self._rate_key} must be above 0", self._rate_key)
        return currency, rate

    def _key(self, key: str, known: Sequence[str], *path: str) -> str:
        """The name of a key in dollars.

        Raises:
            UsageError: there is no such key, or it is in another currency than the file.
        """
        if self._written.get(key) in known:
            return self._written[key]
        tokens = key.split("_")
        for at, token in enumerate(tokens):
            dollars = "_".join((*tokens[:at], "usd", *tokens[at + 1 :]))
            if len(token) == 3 and dollars in known:
                own = dollars.replace("usd", self._currency.lower())
                self.fail(
                    f"{key} is in {token.upper()}, and the file's currency is {self._currency}: two"
                    f" currencies; write {own}, or set currency = {token.upper()!r} for the whole file",
                    *path,
                    key,
                )
        own_keys = [name for name, in_dollars in self._written.items() if in_dollars in known]
        close = get_close_matches(key, own_keys, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(own_keys)}"
        self.fail(f"unknown key {shown_value(key)}; {hint}", *path, key)

    # ------------------------------------------------------------- values
    def _number(self, value: Json, key: str, name: str = "") -> float:
        """A number or the middle of a range, in dollars where it is money."""
        name = name or key
        rate = self._rate if "usd" in key.split("_") else 1.0
        if not isinstance(value, list):
            return rate * self._checked(value, key, name)
        if key in _NOT_RANGES:
            self.fail(f"{name} is one number, not a range", key)
        if len(value) != 2:
            self.fail(
                f"{name} is a number or a range of two, such as [10, 20], not {shown_value(value)}", key
            )
        low, high = (rate * self._checked(each, key, name) for each in value)
        if low >= high:
            self.fail(f"{name} is a range, the smaller number first, not {shown_value(value)}", key)
        self._ranges[name] = low, high
        return (low + high) / 2

    def _checked(self, value: Json, key: str, name: str = "", *path: str) -> float:
        name = name or key
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fail(f"{name} must be a number, not {shown_value(value)}", *path, key)
        least = -0.99 if key == "requests_growth_per_month" else 0
        if not least <= value <= MOST_USD:
            problem = f"must be a finite number of {least:g} or more (at most {MOST_USD:g})"
            self.fail(f"{name} {problem}, not {shown_value(value)}", *path, key)
        return float(value)

    def _point_values(self, value: Json) -> Mapping[str, float] | float | None:
        if value is None or not isinstance(value, Mapping):
            return None if value is None else self._number(value, POINT_VALUES)
        found: dict[str, float] = {}
        for name, usd in value.items():
            if self._written.get(name) in _KEYS:
                self.fail(
                    f"{name} stands below [{POINT_VALUES}], and a table takes every line below it;"
                    " write it above",
                    POINT_VALUES,
                    name,
                )
            if isinstance(usd, Mapping) and usd:  # support.intent without quotes: a table in a table
                inner = next(iter(usd))
                self.fail(
                    f"{POINT_VALUES}: {name} is a table; a score of one suite has its name in quotes,"
                    f" such as {line_of(f'{name}/{inner}', 1)}",
                    POINT_VALUES,
                )
            found[name] = self._number(usd, POINT_VALUES, f"{POINT_VALUES}.{name}")
        return found or None

    def _prices(self, value: Json) -> dict[PriceKey, Price]:
        prices: dict[PriceKey, Price] = {}
        for model, table in self._table(value, "prices", "prices").items():
            base = dict(self._table(table, f'[prices."{model}"]', "prices", model))
            tuned = base.pop("tuned", None)
            if base or tuned is None:
                prices[model, False] = self._price(model, base, "prices", model)
            if tuned is not None:
                heading = f'[prices."{model}".tuned]'
                its = self._table(tuned, heading, "prices", model, "tuned")
                prices[model, True] = self._price(f"{model} (tuned)", its, "prices", model, "tuned")
        return prices

    def _table(self, value: Json, heading: str, *path: str) -> Mapping[str, Json]:
        if not isinstance(value, Mapping):
            self.fail(f"{heading} must be a table, not {shown_value(value)}", *path)
        return value

    def _price(self, model: str, table: Mapping[str, Json], *path: str) -> Price:
        """Price lists are in dollars, whatever the file is in; one in the file's currency is taken too."""
        heading = f'[prices."{path[1]}"]' if len(path) == 2 else f'[prices."{path[1]}".tuned]'
        words = ("source", "date", "service")
        known = [*_PRICE_NUMBERS, *words]
        own = self._currency.lower()
        service = table.get("service")
        if service is not None and (not isinstance(service, str) or service not in SERVICES):
            self.fail(f"{heading}: {UnknownName('service', str(service), SERVICES)}", *path, "service")
        listed = None if service is None else SERVICES[str(service)]
        numbers: dict[str, float] = {} if listed is None else dict(listed.numbers)
        for key, value in table.items():
            in_dollars = key if key in known else self._key(key, known, *path)
            if in_dollars in _PRICE_NUMBERS:
                rate = 1.0 if key in _PRICE_NUMBERS else self._rate
                numbers[in_dollars] = rate * self._checked(value, key, "", *path)
        currencies = {"usd" if key in _PRICE_NUMBERS else own for key in table if key not in words}
        if len(currencies) > 1:
            self.fail(
                f"{heading}: prices in USD and in {self._currency}: two currencies; keep one of them", *path
            )
        by_hour = "hosting_usd_per_hour" in numbers
        for key in _PER_MTOK[:2]:
            if key not in numbers and not by_hour:
                self.fail(f"{heading}: {key} is missing", *path)
        read, written, training, cached, hosting, storage = (numbers.get(key) for key in _PRICE_NUMBERS)
        source = str(table.get("source", listed.source if listed else self._where))
        date = str(table["date"]) if "date" in table else listed.date if listed else None
        return Price(model, read or 0.0, written or 0.0, training, source, date, cached, hosting, storage)
