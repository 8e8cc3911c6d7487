"""The price of hosted calls: the most that one can cost, before it is sent, and its cost afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.data.hosted import hosted_counter, hosted_model
from harness.decision.plan import Purpose
from harness.decision.prices import PriceKey, batch_price, call_usd, most_usd, price_of
from harness.errors import UnknownName
from harness.models.ledger import Account, Ledger, Reservation
from harness.records import Message, Price, Row

# A service may count what is not in the messages: a template's own system text, special tokens
MARGIN_SHARE, MARGIN_TOKENS = 0.02, 8
UNKNOWN_MARGIN_TOKENS, UNKNOWN_TOKENS_A_MESSAGE = 64, 16


@dataclass(frozen=True)
class Spending:
    """The price of one model, and the ledger that its calls of one purpose are paid from.

    Args:
        model: its name.
        price: dollars a million tokens, for single calls.
        ledger: where money is reserved.
        purpose: of the calls.
        is_tuned: whether a fine-tune of the model is asked, or made.
    """

    model: str
    price: Price
    ledger: Ledger
    purpose: Purpose = "answers"
    is_tuned: bool = False

    @property
    def account(self) -> Account:
        """The line of the ledger that its bills are added to."""
        return Account(self.purpose, self.model, self.is_tuned)

    @property
    def is_capped(self) -> bool:
        """Whether there is a cap, under which nothing without a bound may begin."""
        return self.ledger.is_capped

    def reserve(self, upper_usd: float, missing: str = "") -> Reservation:
        """Set money aside for one request, before it is sent.

        Args:
            upper_usd: the most that it can cost.
            missing: the work that is not done if there is no money for it, for the message.

        Raises:
            BudgetReached: it could pass the cap.
        """
        return self.ledger.reserve(upper_usd, self.account, missing)

    @property
    def spent_usd(self) -> float:
        """Dollars billed for such calls in this run so far."""
        return self.ledger.spent_on(self.account)

    def most(self, prompt_tokens: int, max_tokens: int | None, *, batched: bool = False) -> float:
        """The most that one call can cost.

        Raises:
            UsageError: nothing bounds the answer.
        """
        return most_usd(self._paid(batched), prompt_tokens, max_tokens, self.model)

    def cost(
        self, prompt_tokens: int, completion_tokens: int, cached: int = 0, *, batched: bool = False
    ) -> float:
        """The cost of one call, in dollars, by the tokens that it was billed."""
        return call_usd(self._paid(batched), prompt_tokens, completion_tokens, cached)

    def _paid(self, batched: bool) -> Price:
        return batch_price(self.price) if batched else self.price


@dataclass(frozen=True)
class Money:
    """A run's ledger and its prices.

    Args:
        ledger: the run's.
        prices: the project's own, which come first, and the file that they are in. A function, because suites
            that come late may bring the file.
    """

    ledger: Ledger
    prices: Callable[[], tuple[Mapping[PriceKey, Price], str]] = field(default=lambda: ({}, "economics.toml"))

    def on(self, model: str, *, tuned: bool = False, purpose: Purpose = "answers") -> Spending | None:
        """The price of a model and the ledger, for calls of one purpose; None where it has no price.

        Args:
            model: its name; that of a fine-tune (``ft:…``) is priced as one.
            tuned: whether a fine-tune of the model is asked, or made.
            purpose: of the calls.

        Raises:
            UnknownName: there is a cap and no price; the message has the lines to add. Without a cap it is no
                error, because many servers bill nobody.
        """
        is_tuned = tuned or model.startswith("ft:")
        try:
            price = price_of(model, is_tuned, *self.prices())
        except UnknownName:
            if self.ledger.is_capped:
                raise
            return None
        return Spending(model, price, self.ledger, purpose, is_tuned)


def prompt_bound(model: str) -> Callable[[Sequence[Message]], int]:
    """Counts the tokens of a prompt, no fewer than the service will.

    For known models by their encoding, with a small margin. Of any other's tokenizer it is known only that a
    token holds at least one byte: every byte counts.
    """
    known = hosted_model(model)
    if known is None:
        return _bytes_bound
    count = hosted_counter(known.encoding)

    def bound(messages: Sequence[Message]) -> int:
        (tokens,) = count([Row("", tuple(messages))])
        return math.ceil(tokens * (1 + MARGIN_SHARE)) + MARGIN_TOKENS

    return bound


def _bytes_bound(messages: Sequence[Message]) -> int:
    texts = sum(len(m.content.encode("utf-8", "replace")) + UNKNOWN_TOKENS_A_MESSAGE for m in messages)
    return texts + UNKNOWN_MARGIN_TOKENS
