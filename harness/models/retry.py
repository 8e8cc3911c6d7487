"""When a call that failed is made again, and when: one policy for answers, batches and tuning jobs.

tenacity would bring the loop over attempts, ten lines here; the rest depends on the service's answer, and
would be callbacks of our own.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from openai import APIStatusError

T = TypeVar("T")

#: Error codes of an account without money. They come as HTTP 429 (or 400), but no waiting helps.
SPENT_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
TOO_MANY = 429
_OVERLOADED = (503, 529)  # "too many calls" if it says when to come back, else a fault like any other
_TRANSIENT = (408, 409, 425)


@dataclass(frozen=True, slots=True)
class CallVerdict:
    """How a failed call is treated."""

    retry: bool  # the same call may succeed later
    throttled: bool = False  # the service did nothing, because there are too many calls
    spent: bool = False  # the account has no money left, so every other call would end alike
    retry_after_s: float | None = None  # the pause that the service asks for


def verdict_of(error: APIStatusError) -> CallVerdict:
    """The consequence of an HTTP error for the next attempt, whatever was called.

    A caller that must not repeat a call whose outcome is unknown decides that for itself.
    """
    status, headers = error.status_code, error.response.headers
    after_s = retry_after_s(headers, time.time())
    if SPENT_CODES & {str(error.code), str(error.type)}:  # of an odd service, anything
        return CallVerdict(retry=False, spent=True, retry_after_s=after_s)
    throttled = status == TOO_MANY or (status in _OVERLOADED and after_s is not None)
    retry = throttled or status in _TRANSIENT or status >= 500
    if headers.get("x-should-retry") in ("true", "false"):  # the official SDK obeys it, too
        retry = headers["x-should-retry"] == "true"
    return CallVerdict(retry, throttled, retry_after_s=after_s)


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """The pause that a response asks for ``now`` (s since 1970); None where it names none that can be read.

    ``retry-after-ms`` is OpenAI's own and more precise; ``Retry-After`` is a number of seconds or an HTTP
    date (RFC 9110 §10.2.3). The names in ``headers`` are in lower case, or the mapping ignores case.
    """
    for name, units_per_s in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) / units_per_s
        except (KeyError, ValueError):
            continue
        return seconds if seconds >= 0 else None  # NaN is not >= 0 either
    try:
        seconds = parsedate_to_datetime(headers["retry-after"]).timestamp() - now
    except (KeyError, TypeError, ValueError):
        return None
    return max(0.0, seconds)


@dataclass(frozen=True)
class RetryPolicy:
    """How often a call is made, and how long the pauses between are."""

    attempts: int = 5  # calls that may end in a fault, the first included
    throttled_attempts: int = 12  # calls that the service may turn away as too many
    first_wait_s: float = 0.5  # the first wait is drawn from 0 to this; it doubles each time
    longest_wait_s: float = 30.0  # where the doubling ends
    longest_retry_after_s: float = 120.0  # a service that asks for a longer pause is not waited for

    def wait_s(
        self,
        attempt: int,
        retry_after_s: float | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> float:
        """Seconds to wait after the ``attempt``-th call, counted from 1.

        On top of the pause that the service asks for comes "full jitter" (Brooker 2015), so that clients that
        were turned away together do not come back together.
        """
        doublings = min(attempt - 1, 60)  # 2.0 ** 1024 overflows
        span_s = min(self.longest_wait_s, self.first_wait_s * 2.0**doublings)
        return (retry_after_s or 0.0) + uniform(0.0, span_s)

    def wants_too_long(self, verdict: CallVerdict) -> bool:
        """Whether a repetition would help, but after a longer pause than anybody waits."""
        return verdict.retry and (verdict.retry_after_s or 0.0) > self.longest_retry_after_s

    def goes_on(self, verdict: CallVerdict, faults: int, throttled: int) -> bool:
        """Whether to call again, after so many calls that failed and that were turned away as too many."""
        return (
            verdict.retry
            and faults < self.attempts
            and throttled < self.throttled_attempts
            and not self.wants_too_long(verdict)
        )

    def call(
        self,
        function: Callable[[], T],
        *,
        should_retry: Callable[[Exception], CallVerdict | None],
        sleep: Callable[[float], None] = time.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> T:
        """Call ``function``, again where that may help, and return its result; the last error is raised.

        ``should_retry`` gives the verdict on an error; None where it is no failed call, but a mistake.
        """
        faults = throttled = 0
        while True:
            try:
                return function()
            except Exception as error:
                verdict = should_retry(error)
                if verdict is None:
                    raise
                throttled += verdict.throttled
                faults += not verdict.throttled
                if not self.goes_on(verdict, faults, throttled):
                    raise
            sleep(self.wait_s(faults + throttled, verdict.retry_after_s, uniform))


def spoken_span(seconds: float) -> str:
    """A span of time as a message gives it: in the largest unit of which there are at least two."""
    if math.isinf(seconds):
        return "ever"
    for unit, length_s in (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.3g} {unit}"
    return f"{seconds:.3g} s"
