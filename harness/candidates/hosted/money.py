"""What a job may cost before it is begun, set aside, and what it did cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.candidates.hosted.order import Order
from harness.candidates.hosted.spec import OpenAITuning
from harness.data.hosted import hosted_counter, hosted_model, service_epochs
from harness.errors import BudgetReached, UsageError
from harness.models.spending import MARGIN_SHARE, MARGIN_TOKENS, Reservation, Spending
from harness.records import Row

TOKENS_PER_MTOK = 1e6


@dataclass(frozen=True, slots=True)
class TokenBill:
    """Tokens that a job is billed for, over all epochs. ``most`` is None where nothing bounds them."""

    expected: float
    most: float | None


def training_tokens(spec: OpenAITuning, order: Order, rows: Sequence[Row]) -> TokenBill:
    """What the rows cost in tokens: counted where the model's encoding is known, else bounded by their bytes.

    Args:
        spec: says the epochs. Left to the service, they are expected as its cookbook has them, not bounded.
        order: the files.
        rows: those of the training file.
    """
    known = hosted_model(spec.base)
    if known is None:
        an_epoch = most_an_epoch = float(len(order.training.content))
    else:
        an_epoch = float(sum(hosted_counter(known.encoding)(rows)))
        most_an_epoch = an_epoch * (1 + MARGIN_SHARE) + MARGIN_TOKENS * len(rows)
    if spec.epochs == "auto":
        return TokenBill(an_epoch * service_epochs(len(rows)), None)
    return TokenBill(an_epoch * spec.epochs, most_an_epoch * spec.epochs)


def is_paid(spending: Spending, base: str, *, bounded: bool) -> bool:
    """Whether a training can be paid by its tokens; without a cap it is not an error that it cannot.

    Args:
        spending: the price and the budget.
        base: the model to tune.
        bounded: whether it is known how many tokens the training takes at most.

    Raises:
        UsageError: under a cap, nothing bounds it, or it has no price.
    """
    price = spending.price.training_usd_per_mtok
    if spending.budget.is_capped and not bounded:
        raise UsageError(
            f"tuning {base} with epochs='auto' has no bound, and there is a cap on spending.\n"
            "  mend: say how many: epochs=3."
        )
    if spending.budget.is_capped and price is None:
        raise UsageError(
            f"there is no price for tuning {base}, and there is a cap on spending.\n"
            f'  mend: economics.toml: [prices."{base}".tuned] with training_usd_per_mtok.'
        )
    return price is not None


class Purse:
    """The money of one job: set aside when it is begun, and settled by what the service billed."""

    def __init__(self, spending: Spending | None, bill: TokenBill, base: str) -> None:
        self._spending, self._bill, self._base = spending, bill, base
        self._reservation: Reservation | None = None

    def open(self) -> None:
        """Set the most aside that the job can cost.

        Raises:
            BudgetReached: it could pass the cap.
            UsageError: nothing bounds it, or it has no price.
        """
        if self._spending is None or not is_paid(
            self._spending, self._base, bounded=self._bill.most is not None
        ):
            return
        try:
            self._reservation = self._spending.budget.reserve(self._usd(self._most))
        except BudgetReached as reached:
            raise reached.naming(f"the tuning of {self._base}") from None

    def settle(self, trained_tokens: int | None) -> None:
        """The job has succeeded; where the service does not say what it billed, it billed the most."""
        if self._reservation is not None:
            self._reservation.settle(self._usd(self._most if trained_tokens is None else trained_tokens))
            self._reservation = None

    def leave(self, *, is_begun: bool) -> None:
        """The job is left before its end: what it may cost counts as spent, unless it was never begun."""
        if self._reservation is not None:
            if is_begun:
                self.settle(None)
            else:
                self._reservation.release()
            self._reservation = None

    @property
    def _most(self) -> float:
        """Tokens at most; what is expected where nothing bounds them, which is so only without a cap."""
        return self._bill.expected if self._bill.most is None else self._bill.most

    def _usd(self, tokens: float) -> float:
        assert self._spending is not None
        return tokens * (self._spending.price.training_usd_per_mtok or 0.0) / TOKENS_PER_MTOK
