"""One policy for calls that failed, whichever path they were made on."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from email.utils import formatdate
from types import SimpleNamespace

import pytest
from httpx2 import Request, Response
from openai import APIStatusError, OpenAI

from harness.errors import ModelError
from harness.models.call_scheduler import CallPolicy, CallScheduler, ModelCall
from harness.models.endpoint import Endpoint
from harness.models.progress import Silent
from harness.models.protocol import Decoding, Prompt
from harness.models.remote import OpenRemoteModel, RemoteModel
from harness.models.remote_wire import failure_of
from harness.models.retry import SPENT_CODES, CallVerdict, RetryPolicy, retry_after_s, verdict_of
from harness.records import Message
from harness.training.hosted.jobs import Environment
from harness.training.hosted.openai import OpenAIProvider
from harness.training.hosted.provider import ServiceError

NOON = 1_795_867_200.0  # 2026-11-28 12:00 UTC


def refusal(status: int, code: str | None = None, **headers: str) -> APIStatusError:
    """The error that the official client makes of a response."""
    response = Response(
        status,
        request=Request("POST", "http://127.0.0.1:9/v1/any"),
        json={"error": {"message": "no", "code": code, "type": code}},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )
    return OpenAI(api_key="none", base_url="http://127.0.0.1:9")._make_status_error_from_response(response)


@pytest.mark.parametrize("code", sorted(SPENT_CODES))
@pytest.mark.parametrize("status", [400, 403, 429])
def test_an_account_without_money_is_asked_once_and_ends_the_run(status: int, code: str) -> None:
    error = refusal(status, code, retry_after="2", x_should_retry="true")
    verdict = verdict_of(error)
    assert (verdict.retry, verdict.spent, verdict.throttled) == (False, True, False)
    failure = failure_of(error, str)
    assert (failure.verdict, failure.fatal) == (verdict, True)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (refusal(429), CallVerdict(True, throttled=True)),
        (refusal(429, "rate_limit_exceeded"), CallVerdict(True, throttled=True)),
        (refusal(503, retry_after="3"), CallVerdict(True, throttled=True, retry_after_s=3.0)),
        (refusal(503), CallVerdict(True)),
        (refusal(408), CallVerdict(True)),
        (refusal(409), CallVerdict(True)),
        (refusal(425), CallVerdict(True)),
        (refusal(500), CallVerdict(True)),
        (refusal(500, x_should_retry="false"), CallVerdict(False)),
        (refusal(400, x_should_retry="true"), CallVerdict(True)),
        (refusal(400), CallVerdict(False)),
        (refusal(401), CallVerdict(False)),
        (refusal(404), CallVerdict(False)),
    ],
)
def test_status_code_and_headers_give_the_verdict(error: APIStatusError, verdict: CallVerdict) -> None:
    assert verdict_of(error) == verdict


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after-ms": "20", "retry-after": "1"}, 0.02),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ({"retry-after": "Sat, 28 Nov 2026 12:01:00 GMT"}, 60.0),
        ({"retry-after": "Sat, 28 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, float("inf")),
        ({"retry-after": "after lunch"}, None),
    ],
)
def test_the_pause_that_a_service_asks_for(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, NOON) == seconds


@pytest.mark.parametrize("asked_s", [None, 0.0, 7.0])
def test_waits_double_and_are_drawn_from_their_whole_span_on_top_of_the_pause(asked_s: float | None) -> None:
    policy, uniform = RetryPolicy(first_wait_s=1.0, longest_wait_s=8.0), random.Random(0).uniform
    for attempt, span_s in ((1, 1), (2, 2), (3, 4), (4, 8), (5, 8), (5_000, 8)):
        waits = [policy.wait_s(attempt, asked_s, uniform) - (asked_s or 0.0) for _ in range(200)]
        assert 0 <= min(waits) < 0.1 * span_s
        assert 0.9 * span_s < max(waits) <= span_s


class CallError(Exception):
    def __init__(self, verdict: CallVerdict | None) -> None:
        self.verdict = verdict


def calling(outcomes: list[CallVerdict | str | None]) -> tuple[Callable[[], str], list[float]]:
    """A function whose calls end as listed: with a text, or with an error of that verdict."""
    left = iter(outcomes)

    def function() -> str:
        outcome = next(left)
        if isinstance(outcome, str):
            return outcome
        raise CallError(outcome)

    return function, []


FAULT, BUSY = CallVerdict(True), CallVerdict(True, throttled=True, retry_after_s=2.0)
POLICY = RetryPolicy(attempts=3, throttled_attempts=5)


def verdict_on(error: Exception) -> CallVerdict | None:
    return error.verdict if isinstance(error, CallError) else None


@pytest.mark.parametrize(
    ("outcomes", "waits"),
    [
        (["yes"], []),
        ([FAULT, FAULT, "yes"], [0.5, 1.0]),
        ([BUSY, FAULT, BUSY, FAULT, BUSY, "yes"], [2.5, 1.0, 4.0, 4.0, 10.0]),
    ],
)
def test_a_call_is_made_again_where_that_may_help(
    outcomes: list[CallVerdict | str | None], waits: list[float]
) -> None:
    function, waited = calling(outcomes)
    highest = POLICY.call(
        function, should_retry=verdict_on, sleep=waited.append, uniform=lambda low, high: high
    )
    assert (highest, waited) == ("yes", waits)


@pytest.mark.parametrize(
    ("outcomes", "calls"),
    [
        ([FAULT] * 9, 3),
        ([BUSY] * 9, 5),
        ([FAULT, CallVerdict(False), "yes"], 2),
        ([CallVerdict(True, retry_after_s=121.0), "yes"], 1),
        ([None, "yes"], 1),
    ],
)
def test_the_last_error_is_raised_where_it_does_not_help(
    outcomes: list[CallVerdict | str | None], calls: int
) -> None:
    function, waited = calling(outcomes)
    with pytest.raises(CallError):
        POLICY.call(function, should_retry=verdict_on, sleep=waited.append)
    assert len(waited) == calls - 1


# --------------------------------------------------------------------------- the same on every path
class Refusing:
    """A client whose every call ends with one error; as much of the official one as the paths use."""

    def __init__(self, error: APIStatusError) -> None:
        self.error, self.calls = error, 0
        self.batches = SimpleNamespace(list=self.call)
        self.fine_tuning = SimpleNamespace(jobs=SimpleNamespace(retrieve=self.call))

    def call(self, *args: object, **given: object) -> None:
        self.calls += 1
        raise self.error

    def close(self) -> None:
        """Nothing is open."""


Path = Callable[[Refusing, list[float]], None]
MODEL = RemoteModel("gpt-4o-mini", base_url="http://127.0.0.1:9/v1", profile="twin", batch=True)


def answering(client: Refusing, waits: list[float]) -> None:
    async def call(request: int) -> str:
        try:
            client.call()
        except APIStatusError as error:
            raise failure_of(error, str) from None
        raise AssertionError

    @asynccontextmanager
    async def session() -> AsyncIterator[ModelCall[int, str]]:
        yield call

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    list(CallScheduler(session, CallPolicy(concurrency=1), lambda: sum(waits), sleep).results([1]))


def batching(client: Refusing, waits: list[float]) -> None:
    model = OpenRemoteModel(MODEL, None, Silent(), sleep=waits.append)
    list(model.answer([Prompt("r", (Message("user", "?"),))], Decoding(), frozenset()))


def tuning(client: Refusing, waits: list[float]) -> None:
    Environment(sleep=waits.append).ask(OpenAIProvider("http://127.0.0.1:9/v1").get, "ftjob-1")


@pytest.mark.parametrize("path", [answering, batching, tuning])
@pytest.mark.parametrize(
    ("error", "is_repeated", "least_wait_s"),
    [
        (refusal(429, "rate_limit_exceeded"), True, 0.0),
        (refusal(429, "insufficient_quota"), False, 0.0),
        (refusal(429, "billing_hard_limit_reached"), False, 0.0),
        (refusal(400, "billing_hard_limit_reached"), False, 0.0),
        (refusal(429, retry_after="20"), True, 20.0),
        (refusal(429, retry_after="86400"), False, 0.0),
        (refusal(500), True, 0.0),
        (refusal(409), True, 0.0),
        (refusal(400), False, 0.0),
        (refusal(401), False, 0.0),
    ],
)
def test_one_error_is_treated_alike_whatever_was_called(
    path: Path, error: APIStatusError, is_repeated: bool, least_wait_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, waits = Refusing(error), list[float]()
    monkeypatch.setattr(Endpoint, "client", lambda endpoint: client)
    with suppress(ModelError, ServiceError):
        path(client, waits)
    assert client.calls == len(waits) + 1
    assert (client.calls > 1) is is_repeated
    assert min(waits, default=0.0) >= least_wait_s


@pytest.mark.parametrize("path", [answering, batching, tuning])
def test_a_pause_until_a_date_is_kept_on_every_path(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client, waits = (
        Refusing(refusal(429, retry_after=formatdate(time.time() + 90, usegmt=True))),
        list[float](),
    )
    monkeypatch.setattr(Endpoint, "client", lambda endpoint: client)
    with suppress(ModelError, ServiceError):
        path(client, waits)
    assert min(waits) > 60
