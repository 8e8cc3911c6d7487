"""What a job may cost before it is begun, set aside, and what it did cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.data.hosted import DEFAULT_ENCODING, hosted_counter, hosted_model, service_epochs
from harness.errors import UsageError
from harness.models.ledger import MARGIN_SHARE, MARGIN_TOKENS, Reservation, Spending
from harness.records import Row
from harness.training.hosted.provider import Quote, TuningJob
from harness.training.hosted.request import JobRequest

TOKENS_PER_MTOK = 1e6


@dataclass(frozen=True, slots=True)
class TokenBill:
    """Tokens that a job is billed for."""

    expected: float  # over all epochs
    most: float | None  # their upper bound; None where nothing bounds them
    most_an_epoch: float = math.inf  # the bound of one epoch, known even then


def training_tokens(request: JobRequest, rows: Sequence[Row]) -> TokenBill:
    """What a job costs in tokens: as its model's encoding counts, else the newest one, bounded by bytes.

    ``rows`` are those of its training file. Epochs that are left to the service are expected as OpenAI's
    cookbook has them, and not bounded.
    """
    known = hosted_model(request.base)
    an_epoch = float(sum(hosted_counter(known.encoding if known else DEFAULT_ENCODING)(rows)))
    most_an_epoch = an_epoch * (1 + MARGIN_SHARE) + MARGIN_TOKENS * len(rows)
    if known is None:  # a token of any tokenizer holds at least one byte
        most_an_epoch = float(len(request.training.content))
        an_epoch = min(an_epoch, most_an_epoch)
    epochs = request.settings.epochs
    if epochs is None:
        return TokenBill(an_epoch * service_epochs(len(rows)), None, most_an_epoch)
    return TokenBill(an_epoch * epochs, most_an_epoch * epochs, most_an_epoch)


def is_payable(spending: Spending, base: str, *, bounded: bool) -> bool:
    """Whether a training can be paid by its tokens; without a cap it is not an error that it cannot.

    Raises:
        UsageError: under a cap, its tokens are not ``bounded``, or ``base`` has no price.
    """
    price = spending.price.training_usd_per_mtok
    if spending.ledger.is_capped and not bounded:
        raise UsageError(
            f"tuning {base} with epochs='auto' has no bound, and there is a cap on spending.\n"
            "  hint: say how many: epochs=3."
        )
    if spending.ledger.is_capped and price is None:
        raise UsageError(
            f"there is no price for tuning {base}, and there is a cap on spending.\n"
            f'  hint: economics.toml: [prices."{base}".tuned] with training_usd_per_mtok.'
        )
    return price is not None


class JobBudget:
    """The money of one job: set aside before it is begun, and settled by what the service billed.

    A job is billed at its end. So one that an earlier run began and that is still under way is set aside like
    a new one: this run's cap is for what falls due in it. A job that had ended when found costs nothing.
    Without ``spending`` nothing is counted.
    """

    def __init__(
        self, spending: Spending | None = None, bill: TokenBill = TokenBill(0.0, None), base: str = ""
    ) -> None:
        self._spending, self._bill, self._base = spending, bill, base
        self._reservation: Reservation | None = None
        self._quoted_usd: float | None = None
        self._submissions = 0  # that may have begun a job, as far as is known
        self._may_be_billed = False

    def reserve(self, found: TuningJob | None = None, quote: Quote | None = None) -> None:
        """Set aside the most that the job can cost, before it is begun or when it was ``found``: what the
        service asks for it, where there is a ``quote``.

        Raises:
            BudgetReached: it could pass the cap.
            UsageError: nothing bounds it, or it has no price.
        """
        if found is not None and found.has_ended:
            if not self._may_be_billed:  # else this run has begun it, and its bill is settled at the end
                self.leave()
            return
        if found is not None:
            self._may_be_billed = True
        if self._reservation is not None or self._spending is None:
            return
        bill, what = self._bill, f"the tuning of {self._base}"
        if found is not None:
            bill = _bounded_by(found, bill)
            what += f" (job {found.id} goes on at the service and is billed there)"
        if quote is not None:
            what += f", for which the service asks ${quote.usd:,.2f}"
            self._reservation = self._spending.reserve(quote.usd, missing=what)
            self._quoted_usd = quote.usd
            return
        if found is not None and self._spending.ledger.is_capped and bill.most is None:
            raise UsageError(
                f"the tuning job {found.id} of {self._base} is under way, begun with epochs='auto':"
                " nothing bounds its bill, and there is a cap on spending.\n"
                "  hint: run again when it has ended, and it costs the run nothing; or run without"
                " --max-usd."
            )
        if not is_payable(self._spending, self._base, bounded=bill.most is not None):
            return
        self._bill = bill
        self._reservation = self._spending.reserve(self._usd(self._most), missing=what)

    def submitting(self) -> None:
        """A job is about to be submitted: whatever becomes of the answer, it may have begun."""
        self._submissions += 1
        self._may_be_billed = True

    def rejected(self) -> None:
        """The service plainly refused the last submission."""
        self._submissions -= 1
        # an earlier one whose outcome is not known may still be billed
        self._may_be_billed = self._submissions > 0

    def settle(self, trained_tokens: int | None, usd: float | None = None) -> None:
        """The job has succeeded; ``usd`` is what the service itself puts it at. Where it says neither, it
        billed what it had asked for, or else the most."""
        if self._reservation is not None:
            assert self._spending is not None
            is_priced = self._spending.price.training_usd_per_mtok is not None  # else a quote has bounded it
            if usd is None and trained_tokens is not None and is_priced:
                usd = self._usd(trained_tokens)
            usd = self._quoted_usd if usd is None else usd
            usd = self._usd(self._most) if usd is None else usd
            self._reservation.settle(usd, prompt_tokens=trained_tokens, completion_tokens=0)
            self._reservation = None

    def leave(self) -> None:
        """The job is left before its end: what it may cost counts as spent, unless it was never begun."""
        if self._reservation is not None:
            if self._may_be_billed:
                self.settle(None)
            else:
                self._reservation.release()
            self._reservation = None

    @property
    def _most(self) -> float:
        """Tokens at most; those expected where nothing bounds them, which is so only without a cap."""
        return self._bill.expected if self._bill.most is None else self._bill.most

    def _usd(self, tokens: float) -> float:
        assert self._spending is not None
        return tokens * (self._spending.price.training_usd_per_mtok or 0.0) / TOKENS_PER_MTOK


def _bounded_by(job: TuningJob, bill: TokenBill) -> TokenBill:
    """The bill of a job under way, which names its epochs even where they were left to the service."""
    if bill.most is not None or job.epochs is None or math.isinf(bill.most_an_epoch):
        return bill
    most = bill.most_an_epoch * job.epochs
    return TokenBill(min(bill.expected, most), most, bill.most_an_epoch)
