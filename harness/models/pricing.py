"""Money at the point where it is spent: what a call may cost before it is sent, and what it did cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from harness.data.hosted import hosted_counter, hosted_model
from harness.decision.prices import PriceKey, batch_price, call_usd, most_usd, price_of
from harness.errors import UnknownName
from harness.records import Message, Price, Row

# A service may count what is not in the messages: a template's own system text, special tokens
MARGIN_SHARE, MARGIN_TOKENS = 0.02, 8
UNKNOWN_MARGIN_TOKENS, UNKNOWN_TOKENS_A_MESSAGE = 64, 16


class Reservation(Protocol):
    """Money set aside for one step."""

    def settle(self, actual_usd: float) -> None:
        """The step is billed; what it did not need is free again."""

    def release(self) -> None:
        """The step is not billed."""


class Budget(Protocol):
    """Where money is set aside before anything is sent."""

    @property
    def is_capped(self) -> bool:
        """Whether there is a most that may be spent."""

    def reserve(self, upper_usd: float) -> Reservation:
        """Set ``upper_usd`` aside.

        Raises:
            BudgetReached: it could pass the cap.
        """


@dataclass(frozen=True)
class Spending:
    """The price of one model and the budget that its calls are paid from.

    Args:
        model: its name.
        price: dollars a million tokens, for single calls.
        budget: where money is set aside.
    """

    model: str
    price: Price
    budget: Budget

    def most(self, prompt_tokens: int, max_tokens: int | None, *, batched: bool = False) -> float:
        """The most that one call can cost.

        Raises:
            UsageError: nothing bounds the answer.
        """
        return most_usd(self._paid(batched), prompt_tokens, max_tokens, self.model)

    def cost(
        self, prompt_tokens: int, completion_tokens: int, cached: int = 0, *, batched: bool = False
    ) -> float:
        """What a call did cost."""
        return call_usd(self._paid(batched), prompt_tokens, completion_tokens, cached)

    def _paid(self, batched: bool) -> Price:
        return batch_price(self.price) if batched else self.price


def spending_on(
    model: str,
    budget: Budget | None,
    prices: Mapping[PriceKey, Price] | None = None,
    where: str = "economics.toml",
    *,
    tuned: bool = False,
) -> Spending | None:
    """What calls of a model are paid from; None where nothing is to be counted.

    Without a cap a model without a price is no error: many a server bills nobody.

    Args:
        model: its name; that of a fine-tune (``ft:…``) is priced as one.
        budget: the run's; None: there is none.
        prices: the project's own, which come first.
        where: the file that they stand in.
        tuned: whether a fine-tune of the model is asked, or made.

    Raises:
        UnknownName: there is a cap and no price; says what to add to which file.
    """
    if budget is None:
        return None
    try:
        return Spending(model, price_of(model, tuned or model.startswith("ft:"), prices, where), budget)
    except UnknownName:
        if budget.is_capped:
            raise
        return None


@dataclass(frozen=True)
class Money:
    """What a run's hosted models are paid from.

    Args:
        budget: by purpose: ``"answers"``, ``"training"``, ``"judging"``.
        prices: the project's own, which come first, and the file that they stand in.
    """

    budget: Callable[[str], Budget]
    prices: Callable[[], tuple[Mapping[PriceKey, Price], str]] = field(default=lambda: ({}, "economics.toml"))

    def on(self, model: str, *, tuned: bool = False, purpose: str = "answers") -> Spending | None:
        """See ``spending_on``."""
        prices, where = self.prices()
        return spending_on(model, self.budget(purpose), prices, where, tuned=tuned)


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
