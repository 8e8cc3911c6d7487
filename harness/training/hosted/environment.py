"""What a job needs besides its service: money, the clock, people who watch, and patience with faults."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import ParamSpec, TypeVar

from harness.models.progress import Bar, SilentBar
from harness.models.retry import TOO_MANY, CallVerdict, RetryPolicy
from harness.training.hosted.budget import JobBudget
from harness.training.hosted.lifetimes import DEFAULT_HORIZON_DAYS
from harness.training.hosted.provider import OutcomeUnknown, RateLimited, RequestRejected
from harness.training.hosted.record import JobState

P = ParamSpec("P")
T = TypeVar("T")

# A job runs for hours: a service or a network that is away for minutes is waited for.
RETRY = RetryPolicy(
    attempts=9, throttled_attempts=9, first_wait_s=2.0, longest_wait_s=60.0, longest_retry_after_s=600.0
)


@dataclass(frozen=True)
class Environment:
    """What a job needs besides its service."""

    budget: JobBudget = field(default_factory=JobBudget)  # pays for it
    bar: Bar = field(default_factory=SilentBar)  # shows how far it is
    # prints a line that stays, where a bar would be drawn over
    say: Callable[[str], None] = lambda text: None
    # writes down the state of the job on this machine
    remember: Callable[[JobState], None] = lambda state: None
    today: date = field(default_factory=lambda: datetime.now(UTC).date())  # the day, in UTC
    patience_s: float = 6 * 3600.0  # the longest time without news
    # a model that stops answering within it is warned of before anything is paid
    horizon_days: float = DEFAULT_HORIZON_DAYS
    retry: RetryPolicy = RETRY  # how calls that failed are repeated
    sleep: Callable[[float], None] = time.sleep  # waits so many seconds
    uniform: Callable[[float, float], float] = random.uniform  # draws a number between two

    def ask(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a call that changes nothing, repeated where the service does not answer.

        Raises:
            ServiceError: of the last call.
        """
        return self._repeated((RateLimited, OutcomeUnknown), lambda: call(*args, **kwargs))

    def change(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a call that must not be made twice: repeated only where nothing was done.

        Raises:
            RequestRejected, OutcomeUnknown: of the last call.
        """
        try:
            return self._repeated((RateLimited,), lambda: call(*args, **kwargs))
        except RateLimited as error:  # at the last attempt, too, nothing was done
            raise RequestRejected(
                error.message, status=TOO_MANY, code=error.code, param=error.param
            ) from None

    def _repeated(
        self, kinds: tuple[type[RateLimited] | type[OutcomeUnknown], ...], call: Callable[[], T]
    ) -> T:
        def verdict(error: Exception) -> CallVerdict | None:
            if not isinstance(error, kinds):
                return None
            throttled = isinstance(error, RateLimited)
            return CallVerdict(retry=True, throttled=throttled, retry_after_s=error.retry_after_s)

        return self.retry.call(call, should_retry=verdict, sleep=self.sleep, uniform=self.uniform)
