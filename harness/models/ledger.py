"""One run's money: prices, bills, reservations for requests under way, and a cap on all of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import NamedTuple

from harness.data.hosted import hosted_counter, hosted_model
from harness.decision.plan import Purpose
from harness.decision.prices import PriceKey, batch_price, call_usd, most_usd, price_of
from harness.errors import BudgetReached, UnknownName
from harness.records import Message, Price, Row, SpendingLine

PICO_USD = 10**12  # amounts are whole picodollars: sums of floats would drift past the cap
# A service may count what is not in the messages: a template's own system text, special tokens
MARGIN_SHARE, MARGIN_TOKENS = 0.02, 8
UNKNOWN_MARGIN_TOKENS, UNKNOWN_TOKENS_A_MESSAGE = 64, 16


class Account(NamedTuple):
    """Who is billed for what: one model, or its fine-tunes, for one purpose."""

    purpose: Purpose = "answers"
    model: str = ""
    is_tuned: bool = False


ANYBODY = Account()


class Charge(NamedTuple):
    """The bill of one call or several. Token counts are None where a bill came without them."""

    usd: float  # where the bill is not known, the most that it can be
    calls: int = 1
    prompt_tokens: int | None = None  # of a training, those trained on
    completion_tokens: int | None = None


UNBILLED = Charge(0.0, calls=0, prompt_tokens=0, completion_tokens=0)


def total_charge(charges: Iterable[Charge]) -> Charge:
    """Their sum. One bill without token counts leaves their sums unknown."""

    def total(counts: tuple[int | None, ...]) -> int | None:
        return None if None in counts else sum(count or 0 for count in counts)

    usd, calls, read, written = zip(UNBILLED, *charges, strict=True)
    return Charge(sum(usd), sum(calls), total(read), total(written))


class Ledger:
    """Money for training, answers and judging, reserved before each request is sent.

    Safe to use from threads and from asyncio tasks: a reservation is granted or refused at once, and nothing
    waits. Where a refusal could be granted later, ``BudgetReached.may_fit_later`` says so.

    Args:
        max_usd: the cap in US dollars, finite and not negative; None: no cap, the money is only counted.
    """

    def __init__(self, max_usd: float | None = None) -> None:
        self.max_usd = max_usd
        self._cap = None if max_usd is None else math.floor(max_usd * PICO_USD)
        self._lock = Lock()  # training and answering may pay from different threads
        self._spent = 0
        self._open: dict[Reservation, int] = {}
        self._reserved = 0
        self._charges: dict[Account, Charge] = {}

    @property
    def is_capped(self) -> bool:
        """Whether there is a cap; without one, spending that has no bound in advance is allowed."""
        return self.max_usd is not None

    @property
    def spent_usd(self) -> float:
        """Dollars billed; where a bill is not known, the most that it can be."""
        with self._lock:
            return self._spent / PICO_USD

    @property
    def reserved_usd(self) -> float:
        """Dollars that requests on their way may cost."""
        with self._lock:
            return self._reserved / PICO_USD

    def lines(self) -> tuple[SpendingLine, ...]:
        """The bills of each account, ordered by purpose and model."""
        with self._lock:
            return tuple(
                SpendingLine(**account._asdict(), **charge._asdict())
                for account, charge in sorted(self._charges.items())
            )

    def spent_on(self, account: Account) -> float:
        """Dollars billed to an account so far."""
        with self._lock:
            return self._charges.get(account, UNBILLED).usd

    def reserve(self, upper_usd: float, account: Account = ANYBODY, missing: str = "") -> Reservation:
        """Set aside the most that a request can cost, before it is sent.

        Raises:
            BudgetReached: spent, reserved and this together would pass the cap; names the ``missing`` work.
            ValueError: no amount of money.
        """
        if not (math.isfinite(upper_usd) and upper_usd >= 0):
            raise ValueError(f"cannot reserve {upper_usd} USD for {account}: a request has a finite cost")
        upper = math.ceil(upper_usd * PICO_USD)  # up, so that rounding never lets a run pass its cap
        reservation = Reservation(self, account)
        with self._lock:
            if self._cap is not None and self._spent + self._reserved + upper > self._cap:
                assert self.max_usd is not None
                spent, reserved = self._spent / PICO_USD, self._reserved / PICO_USD
                raise BudgetReached(self.max_usd, spent, reserved, upper_usd, missing)
            self._open[reservation] = upper
            self._reserved += upper
        return reservation

    def close(self, reservation: Reservation, charge: Charge) -> None:
        """Bill a reservation, once; see ``Reservation.settle``."""
        if not (math.isfinite(charge.usd) and charge.usd >= 0):
            raise ValueError(f"a bill of {charge.usd} USD for {reservation.account} is no amount of money")
        with self._lock:
            upper = self._open.pop(reservation, None)
            if upper is None:
                raise ValueError("this money was settled or released before: each reservation is closed once")
            self._reserved -= upper
            spent = math.ceil(charge.usd * PICO_USD)
            self._spent += spent
            if charge != UNBILLED:  # else a line would say that an account had bills of nothing
                before = self._charges.get(reservation.account, UNBILLED)
                rounded = charge._replace(usd=spent / PICO_USD)
                self._charges[reservation.account] = total_charge([before, rounded])


@dataclass(frozen=True, eq=False)
class Reservation:
    """Money set aside for one request, until the request is billed or is known to cost nothing."""

    ledger: Ledger
    account: Account

    def settle(
        self,
        usd: float,
        calls: int = 1,
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
    ) -> None:
        """The request is billed: see ``Charge``. More than was reserved is counted, too: it was paid.

        Raises:
            ValueError: no amount of money, or closed before.
        """
        self.ledger.close(self, Charge(usd, calls, prompt_tokens, completion_tokens))

    def release(self) -> None:
        """The request is not billed."""
        self.settle(*UNBILLED)


@dataclass(frozen=True)
class Spending:
    """The price of one model, and the ledger that its calls of one purpose are paid from."""

    model: str
    price: Price
    ledger: Ledger
    purpose: Purpose = "answers"
    is_tuned: bool = False  # a fine-tune of the model is asked, or made

    @property
    def account(self) -> Account:
        """The line of the ledger that its bills are added to."""
        return Account(self.purpose, self.model, self.is_tuned)

    def reserve(self, upper_usd: float, missing: str = "") -> Reservation:
        """See ``Ledger.reserve``."""
        return self.ledger.reserve(upper_usd, self.account, missing)

    def most(self, prompt_tokens: int, max_tokens: int | None, *, batched: bool = False) -> float:
        """The most that one call can cost; ``UsageError`` where nothing bounds the answer."""
        price = batch_price(self.price) if batched else self.price
        return most_usd(price, prompt_tokens, max_tokens, self.model)

    def cost(
        self, prompt_tokens: int, completion_tokens: int, cached: int = 0, *, batched: bool = False
    ) -> float:
        """The cost of one call, in dollars, by the tokens that it was billed."""
        price = batch_price(self.price) if batched else self.price
        return call_usd(price, prompt_tokens, completion_tokens, cached)


@dataclass(frozen=True)
class Money:
    """A run's ledger and its prices."""

    ledger: Ledger
    #: The project's own, and the file that they are in. A function, because late suites may bring the file.
    prices: Callable[[], tuple[Mapping[PriceKey, Price], str]] = field(default=lambda: ({}, "economics.toml"))

    def on(
        self, model: str, *, tuned: bool = False, purpose: Purpose = "answers", quoted: bool = False
    ) -> Spending | None:
        """The price of a model and the ledger, for calls of one purpose; None where it has no price.

        ``tuned`` means that a fine-tune of the model is asked, or made; one of its own (``ft:…``) always is.
        ``quoted``: the service names the price of each job before it, so none need be known here.

        Raises:
            UnknownName: there is a cap and no price; the message has the lines to add. Without a cap it is no
                error, because many servers bill nobody.
        """
        is_tuned = tuned or model.startswith("ft:")
        try:
            price = price_of(model, is_tuned, *self.prices())
        except UnknownName:
            if quoted:
                price = Price(model, 0.0, 0.0, None, "the service's quote for each job", None)
            elif self.ledger.is_capped:
                raise
            else:
                return None
        return Spending(model, price, self.ledger, purpose, is_tuned)


def _texts(messages: Sequence[Message]) -> Iterator[str]:
    for message in messages:
        yield message.content
        yield from (f"{call.name} {call.id} {call.arguments}" for call in message.tool_calls)


def prompt_bound(model: str) -> Callable[[Sequence[Message]], int]:
    """Counts the tokens of a prompt, no fewer than the service will.

    Of an unknown model's tokenizer it is known only that a token holds at least one byte: every byte counts.
    """
    known = hosted_model(model)
    if known is None:
        return lambda messages: (
            UNKNOWN_MARGIN_TOKENS
            + sum(
                len(text.encode("utf-8", "replace")) + UNKNOWN_TOKENS_A_MESSAGE for text in _texts(messages)
            )
        )
    count = hosted_counter(known.encoding)

    def bound(messages: Sequence[Message]) -> int:
        (tokens,) = count([Row("", tuple(messages))])
        return math.ceil(tokens * (1 + MARGIN_SHARE)) + MARGIN_TOKENS

    return bound
