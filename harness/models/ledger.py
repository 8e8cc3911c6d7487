"""One run's money: what was billed, what is reserved for requests under way, and a cap on both together."""

from __future__ import annotations

import math
from collections.abc import Iterable
from threading import Lock
from types import TracebackType
from typing import NamedTuple

from harness.decision.plan import Purpose
from harness.errors import BudgetReached
from harness.records import SpendingLine

PICO_USD = 10**12  # amounts are whole picodollars: sums of floats would drift past the cap


class Account(NamedTuple):
    """Who is billed for what: one model, or its fine-tunes, for one purpose."""

    purpose: Purpose = "answers"
    model: str = ""
    is_tuned: bool = False


ANYBODY = Account()


class Charge(NamedTuple):
    """The bill of one call or several. Token counts are None where a bill came without them."""

    usd: float
    calls: int = 1
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


UNBILLED = Charge(0.0, calls=0, prompt_tokens=0, completion_tokens=0)


def total_charge(charges: Iterable[Charge]) -> Charge:
    """Their sum. One bill without token counts leaves their sums unknown."""
    total = UNBILLED
    for charge in charges:
        total = Charge(
            total.usd + charge.usd,
            total.calls + charge.calls,
            _sum(total.prompt_tokens, charge.prompt_tokens),
            _sum(total.completion_tokens, charge.completion_tokens),
        )
    return total


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second


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
        """Set money aside for a request, before it is sent.

        Args:
            upper_usd: the most that it can cost.
            account: whose calls these are, and their purpose.
            missing: the work that is not done if there is no money for it, for the message.

        Raises:
            BudgetReached: spent, reserved and this together would pass the cap.
            ValueError: no amount of money.
        """
        if not (math.isfinite(upper_usd) and upper_usd >= 0):
            raise ValueError(f"cannot reserve {upper_usd} USD for {account}: a request has a finite cost")
        upper = math.ceil(upper_usd * PICO_USD)  # up, so that rounding never lets a run pass its cap
        reservation = Reservation(self, account, upper_usd)
        with self._lock:
            if self._cap is not None and self._spent + self._reserved + upper > self._cap:
                assert self.max_usd is not None
                spent, reserved = self._spent / PICO_USD, self._reserved / PICO_USD
                raise BudgetReached(self.max_usd, spent, reserved, upper_usd, missing)
            self._open[reservation] = upper
            self._reserved += upper
        return reservation

    def close(self, reservation: Reservation, charge: Charge) -> None:
        """Bill a reservation, once; see ``Reservation.settle``.

        Raises:
            ValueError: no amount of money, or it was closed before.
        """
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


class Reservation:
    """Money set aside for one request. As a context manager it is released where the request fails.

    Left without an error and without a bill, it counts as spent whole: an unknown bill is not taken for 0.
    """

    def __init__(self, ledger: Ledger, account: Account, upper_usd: float) -> None:
        self._ledger, self.account, self.upper_usd = ledger, account, upper_usd
        self._is_open = True

    def settle(
        self,
        usd: float,
        calls: int = 1,
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
    ) -> None:
        """The request is billed. More than was reserved is counted, too: it was paid.

        Args:
            usd: the bill; where it is not known, the most that it can be.
            calls: how many calls are billed with it: those of a batch.
            prompt_tokens: billed; those trained on, of a training. None where the bill does not say.
            completion_tokens: billed; None where the bill does not say.

        Raises:
            ValueError: no amount of money, or closed before.
        """
        self._ledger.close(self, Charge(usd, calls, prompt_tokens, completion_tokens))
        self._is_open = False

    def release(self) -> None:
        """The request is not billed.

        Raises:
            ValueError: closed before.
        """
        self.settle(*UNBILLED)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_open and kind is None:
            self.settle(self.upper_usd)
        elif self._is_open:
            self.release()
