"""One run's money: what is spent, what is on its way, and a cap that the two together never pass."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from threading import Lock
from types import TracebackType

from harness.errors import BudgetReached, UsageError

PICO_USD = 10**12  # amounts are whole picodollars: sums of floats would drift past the cap


class Ledger:
    """Money for training, answers and judging, set aside before each send.

    Safe to use from threads and from asyncio tasks: a reservation is granted or refused at once, and nothing
    waits. Where a refusal could be granted later, ``BudgetReached.may_fit_later`` says so.

    Args:
        max_usd: the cap in US dollars; None: no cap, the money is only counted.

    Raises:
        UsageError: a cap that is no amount of money.
    """

    def __init__(self, max_usd: float | None = None) -> None:
        if max_usd is not None and not (math.isfinite(max_usd) and max_usd >= 0):
            raise UsageError(f"--max-usd={max_usd}: use an amount of US dollars, such as --max-usd=5.")
        self.max_usd = max_usd
        self._cap = None if max_usd is None else math.floor(max_usd * PICO_USD)
        self._lock = Lock()
        self._spent = 0
        self._open: dict[Reservation, int] = {}
        self._reserved = 0
        self._by_purpose: defaultdict[str, int] = defaultdict(int)

    @property
    def is_capped(self) -> bool:
        """Whether there is a cap; without one, spending that has no bound in advance is allowed."""
        return self.max_usd is not None

    @property
    def spent_usd(self) -> float:
        """What has been billed; where the bill is not known, the most that it can be."""
        with self._lock:
            return self._spent / PICO_USD

    @property
    def reserved_usd(self) -> float:
        """What steps that are on their way may cost."""
        with self._lock:
            return self._reserved / PICO_USD

    @property
    def by_purpose(self) -> Mapping[str, float]:
        """Dollars spent, by what for."""
        with self._lock:
            return {purpose: spent / PICO_USD for purpose, spent in self._by_purpose.items()}

    def reserve(self, upper_usd: float, purpose: str = "answers") -> Reservation:
        """Set money aside for one step, before it is sent.

        Args:
            upper_usd: the most that it can cost.
            purpose: what for: ``"answers"``, ``"training"``, ``"judging"``.

        Raises:
            BudgetReached: spent, on its way and this together would pass the cap.
            UsageError: no amount of money.
        """
        if not (math.isfinite(upper_usd) and upper_usd >= 0):
            raise UsageError(f"cannot set {upper_usd} USD aside for {purpose}: a step has a finite cost.")
        upper = math.ceil(upper_usd * PICO_USD)
        reservation = Reservation(self, purpose, upper_usd)
        with self._lock:
            if self._cap is not None and self._spent + self._reserved + upper > self._cap:
                assert self.max_usd is not None
                spent, reserved = self._spent / PICO_USD, self._reserved / PICO_USD
                raise BudgetReached(self.max_usd, spent, reserved, upper_usd)
            self._open[reservation] = upper
            self._reserved += upper
        return reservation

    def paying(self, purpose: str) -> Payer:
        """The same money, for one purpose."""
        return Payer(self, purpose)

    def close(self, reservation: Reservation, usd: float) -> None:
        """Bill a reservation, once.

        Raises:
            UsageError: it was closed before.
        """
        with self._lock:
            upper = self._open.pop(reservation, None)
            if upper is None:
                raise UsageError(
                    "this money was settled or released before: each reservation is closed once."
                )
            self._reserved -= upper
            spent = math.ceil(usd * PICO_USD)
            self._spent += spent
            self._by_purpose[reservation.purpose] += spent


class Payer:
    """One purpose's way to a ledger; see ``models.spending.Budget``."""

    def __init__(self, ledger: Ledger, purpose: str) -> None:
        self._ledger, self._purpose = ledger, purpose

    @property
    def is_capped(self) -> bool:
        """Whether the ledger has a cap."""
        return self._ledger.is_capped

    def reserve(self, upper_usd: float) -> Reservation:
        """See ``Ledger.reserve``."""
        return self._ledger.reserve(upper_usd, self._purpose)


class Reservation:
    """Money set aside for one step. As a context manager it is released where the step fails.

    Left without an error and without a bill, it counts as spent whole: what is not known is not assumed free.
    """

    def __init__(self, ledger: Ledger, purpose: str, upper_usd: float) -> None:
        self._ledger, self.purpose, self.upper_usd = ledger, purpose, upper_usd
        self._open = True

    def settle(self, actual_usd: float) -> None:
        """The step is billed. More than was set aside is counted, too: it was paid.

        Raises:
            UsageError: no amount of money, or closed before.
        """
        if not (math.isfinite(actual_usd) and actual_usd >= 0):
            raise UsageError(f"a bill of {actual_usd} USD for {self.purpose} is no amount of money.")
        self._ledger.close(self, actual_usd)
        self._open = False

    def release(self) -> None:
        """The step is not billed.

        Raises:
            UsageError: closed before.
        """
        self.settle(0.0)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self.settle(self.upper_usd if kind is None else 0.0)
