"""How calls are bounded, repeated and given up, with a clock that only waits move."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field

import anyio
import pytest

from harness.errors import BudgetReached, ModelError
from harness.models.call_scheduler import (
    CallFailed,
    CallPolicy,
    CallResult,
    CallScheduler,
    ModelCall,
    Throttle,
)
from harness.models.retry import CallVerdict

BUSY = CallFailed("HTTP 429: slow down", CallVerdict(True, throttled=True, retry_after_s=2.0))
BROKEN = CallFailed("HTTP 500: oops", CallVerdict(True))
WRONG = CallFailed("HTTP 400: no such parameter", CallVerdict(False))
NO_KEY = CallFailed("HTTP 401: wrong key", CallVerdict(False), fatal=True)

NO_MODEL = CallFailed("HTTP 404: no such model", CallVerdict(False), fatal=True, unknown_model=True)

DEFAULTS = CallPolicy()

Outcome = Callable[[int, int], "CallFailed | str"]  # (request, number of its call)


@dataclass
class World:
    """A service that says what ``outcome`` says, and the time that waiting takes."""

    outcome: Outcome
    now: float = 0.0
    waits: list[float] = field(default_factory=list)
    calls: dict[int, int] = field(default_factory=dict)
    at_once: int = 0
    most_at_once: int = 0

    @asynccontextmanager
    async def session(self) -> AsyncIterator[ModelCall[int, str]]:
        yield self.call

    async def call(self, request: int) -> str:
        self.calls[request] = self.calls.get(request, 0) + 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await anyio.sleep(0)
        self.at_once -= 1
        outcome = self.outcome(request, self.calls[request])
        if isinstance(outcome, CallFailed):
            raise outcome
        return outcome

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
        await anyio.sleep(0)

    def results(self, n: int, policy: CallPolicy = DEFAULTS) -> Generator[CallResult[int, str], None, None]:
        calls = CallScheduler(self.session, policy, lambda: self.now, self.sleep, random.Random(0))
        return calls.results(range(n))


def ask(outcome: Outcome, n: int, policy: CallPolicy = DEFAULTS) -> tuple[World, list[CallResult[int, str]]]:
    world = World(outcome)
    return world, list(world.results(n, policy))


def test_every_request_ends_with_its_reply_whatever_the_order() -> None:
    _, results = ask(lambda request, _: f"re {request}", 500)
    assert {r.request: r.reply for r in results} == {k: f"re {k}" for k in range(500)}
    assert all(r.failure is None and r.attempts == 1 for r in results)


def test_no_more_calls_are_on_their_way_than_allowed() -> None:
    world, _ = ask(lambda *_: "yes", 300, CallPolicy(concurrency=7))
    assert world.most_at_once == 7


def test_answers_that_nobody_takes_hold_back_the_next_calls() -> None:
    world = World(lambda *_: "yes")
    with closing(world.results(100, CallPolicy(concurrency=4))) as results:
        next(results)
        made = 0
        while made < (made := len(world.calls)):  # calls go on in another thread, for as long as they may
            time.sleep(0.05)
        assert made <= 2 * 4  # what a process that dies now would lose: those on their way, and one round


def test_requests_are_taken_as_calls_become_free_and_not_before() -> None:
    taken: list[int] = []

    def requests() -> Iterator[int]:
        for k in range(10_000):
            taken.append(k)
            yield k

    calls = CallScheduler(World(lambda *_: "yes").session, CallPolicy(concurrency=4))
    results = calls.results(requests())
    for _ in range(3):
        next(results)
    results.close()
    assert len(taken) < 40, "memory stays flat: what is not read is not asked"


@pytest.mark.parametrize("failure", [BUSY, BROKEN])
def test_what_may_go_well_later_is_asked_again(failure: CallFailed) -> None:
    world, (result,) = ask(lambda _, number: failure if number < 3 else "yes", 1)
    assert (result.reply, result.attempts, world.calls[0]) == ("yes", 3, 3)


def test_what_can_never_go_well_is_asked_once_and_counted() -> None:
    world, results = ask(lambda request, _: WRONG if request == 5 else "yes", 20)
    failed = [r for r in results if r.failure is not None]
    assert [(r.request, r.failure, r.attempts) for r in failed] == [(5, WRONG.reason, 1)]
    assert len(results) == 20
    assert world.calls[5] == 1


def test_attempts_are_bounded() -> None:
    world, results = ask(lambda request, _: BROKEN if request == 0 else "yes", 30, CallPolicy(attempts=4))
    assert world.calls[0] == 4
    assert [r.failure for r in results if r.request == 0] == [BROKEN.reason]


def test_a_pause_that_the_service_asks_for_is_kept() -> None:
    world, _ = ask(lambda _, number: BUSY if number == 1 else "yes", 1)
    assert world.waits[0] >= 2.0


@pytest.mark.parametrize(
    ("seconds", "told"), [(86_400.0, "24 hours"), (121.0, "2.02 minutes"), (float("inf"), "for ever")]
)
@pytest.mark.parametrize("answered", [0, 100])
def test_a_pause_longer_than_a_run_waits_ends_it_and_names_the_time(
    seconds: float, told: str, answered: int
) -> None:
    """Under concurrency: every worker is told so at once, and none may sleep on it."""
    long = CallFailed("HTTP 429: later", CallVerdict(True, throttled=True, retry_after_s=seconds))
    world, got = (
        World(lambda request, _: long if request >= answered else "yes"),
        list[CallResult[int, str]](),
    )
    with pytest.raises(ModelError, match=f"{told}.*2 minutes.*HTTP 429: later") as caught:
        got.extend(world.results(500, CallPolicy(concurrency=8)))
    assert "answers are kept" in str(caught.value)
    assert sum(r.failure is None for r in got) == answered
    assert sum(world.calls.values()) <= answered + 8
    assert sum(world.waits) == 0


def test_those_who_wait_already_are_woken_when_the_run_ends() -> None:
    long = CallFailed("HTTP 503: later", CallVerdict(True, retry_after_s=1e6))

    @asynccontextmanager
    async def session() -> AsyncIterator[ModelCall[int, str]]:
        async def call(request: int) -> str:
            await anyio.sleep(0.05 * (request == 7))
            raise (
                long
                if request == 7
                else CallFailed("HTTP 429", CallVerdict(True, throttled=True, retry_after_s=100))
            )

        yield call

    began = time.monotonic()
    with pytest.raises(ModelError, match=r"11\.6 days"):
        list(CallScheduler(session, CallPolicy(concurrency=8)).results(range(100)))
    assert time.monotonic() - began < 5


def test_a_run_that_waits_as_the_service_asks_says_for_how_long() -> None:
    world = World(lambda _, number: BUSY if number == 1 else "yes")
    calls = CallScheduler(world.session, CallPolicy(concurrency=2), lambda: world.now)
    said: list[float] = []

    async def sleep(seconds: float) -> None:
        said.append(calls.tally.pause_s(world.now))
        await world.sleep(seconds)

    calls.sleep = sleep
    assert len(list(calls.results(range(2)))) == 2
    assert max(said) == pytest.approx(2.0)
    assert calls.tally.pause_s(world.now) == 0


def test_waits_double_and_are_drawn_from_their_whole_span() -> None:
    policy = CallPolicy(attempts=7, first_wait_s=1.0, longest_wait_s=8.0)
    spans = zip(*(ask_waits(seed, policy) for seed in range(40)), strict=True)
    for span, limit in zip(spans, (1, 2, 4, 8, 8, 8), strict=True):
        assert 0.8 * limit < max(span) <= limit
        assert min(span) < 0.2 * limit


def ask_waits(seed: int, policy: CallPolicy) -> list[float]:
    world = World(lambda *_: BROKEN)
    calls = CallScheduler(world.session, policy, lambda: world.now, world.sleep, random.Random(seed))
    list(calls.results(range(1)))
    return world.waits


def test_a_wrong_key_ends_the_run_at_once() -> None:
    world = World(lambda *_: NO_KEY)
    with pytest.raises(ModelError, match="wrong key"):
        list(world.results(2000, CallPolicy(concurrency=8)))
    assert sum(world.calls.values()) <= 8


def test_a_service_that_has_died_is_not_asked_for_every_row() -> None:
    world = World(lambda request, _: BROKEN if request >= 100 else "yes")
    got: list[CallResult[int, str]] = []
    with pytest.raises(ModelError, match=r"25 rows in a row.*oops") as caught:
        got.extend(world.results(5000, CallPolicy(concurrency=8, attempts=2)))
    assert "100 answers are kept" in str(caught.value)
    assert sum(world.calls.values()) < 200
    assert sum(r.failure is None for r in got) == 100, "what was answered is handed over first"


def test_an_answer_that_never_comes_is_a_failure_in_time() -> None:
    @asynccontextmanager
    async def session() -> AsyncIterator[ModelCall[int, str]]:
        async def call(request: int) -> str:
            await anyio.sleep_forever()
            raise AssertionError

        yield call

    policy = CallPolicy(attempts=2, timeout_s=0.02, first_wait_s=0.001)
    (result,) = CallScheduler(session, policy).results([1])
    assert result.failure == "no answer within 0.02 s"
    assert result.attempts == 2


@pytest.mark.parametrize("seed", range(5))
def test_the_fault_run_costs_little_more_than_one_call_a_row(seed: int) -> None:
    rng = random.Random(seed)

    def outcome(request: int, number: int) -> CallFailed | str:
        drawn = rng.random()
        return BUSY if drawn < 0.05 else BROKEN if drawn < 0.09 else "yes"

    world, results = ask(outcome, 2000, CallPolicy(concurrency=64))
    assert {r.request for r in results} == set(range(2000))
    assert sum(world.calls.values()) <= 1.15 * 2000


def test_a_service_with_a_limit_is_asked_little_more_than_it_allows() -> None:
    """4 calls at once are let in; the other 60 would be turned away for ever without adapting."""
    inside = calls_made = 0

    @asynccontextmanager
    async def session() -> AsyncIterator[ModelCall[int, str]]:
        yield call

    async def call(request: int) -> str:
        nonlocal inside, calls_made
        calls_made += 1
        if inside >= 4:
            raise CallFailed("HTTP 429", CallVerdict(True, throttled=True, retry_after_s=0.02))
        inside += 1
        await anyio.sleep(0.002)
        inside -= 1
        return "yes"

    policy = CallPolicy(concurrency=64, first_wait_s=0.01)
    results = list(CallScheduler(session, policy).results(range(400)))
    assert sum(r.failure is None for r in results) == 400
    assert calls_made < 2 * 400


def test_the_limit_is_halved_once_a_round_trip_and_regained() -> None:
    async def check() -> None:
        now = 0.0
        throttle = Throttle(64, lambda: now)
        throttle.turned_away(0.0, 1.0)
        assert throttle.slots.total_tokens == 64, "one call turned away is no evidence"
        for _ in range(64):  # all of one round
            throttle.turned_away(0.0, 1.0)
        assert throttle.slots.total_tokens == 32
        assert throttle.open_at == 1.0
        now = 1.0
        throttle.turned_away(1.0, 1.0)
        assert throttle.slots.total_tokens == 16
        for _ in range(2000):
            throttle.went_well()
        assert throttle.slots.total_tokens == 64

    anyio.run(check)


class Purse:
    """A budget of so many calls at once and in all."""

    def __init__(self, at_once: int, total: int) -> None:
        self.open, self.at_once, self.left = 0, at_once, total

    def take(self) -> None:
        if self.open >= self.at_once or self.left <= 0:
            raise BudgetReached(1.0, 0.0 if self.left > 0 else 1.0, 0.5 if self.open else 0.0, 0.5)
        self.open, self.left = self.open + 1, self.left - 1

    def give_back(self) -> None:
        self.open -= 1


@pytest.mark.parametrize(("total", "answered"), [(100, 50), (20, 20)])
def test_calls_wait_for_money_on_its_way_and_stop_when_there_is_none(total: int, answered: int) -> None:
    purse = Purse(at_once=3, total=total)

    @asynccontextmanager
    async def session() -> AsyncIterator[ModelCall[int, str]]:
        async def call(request: int) -> str:
            purse.take()
            await anyio.sleep(0.001)
            purse.give_back()
            return "yes"

        yield call

    got: list[CallResult[int, str]] = []
    results = CallScheduler(session, CallPolicy(concurrency=16)).results(range(50))
    try:
        got.extend(results)
    except BudgetReached:
        assert total == 20
    assert len(got) == answered
    assert all(r.failure is None for r in got)


def test_a_mistake_in_the_program_is_not_taken_for_a_failed_call() -> None:
    @asynccontextmanager
    async def session() -> AsyncIterator[ModelCall[int, str]]:
        async def call(request: int) -> str:
            raise KeyError("a mistake")

        yield call

    with pytest.raises(ExceptionGroup) as caught:
        list(CallScheduler(session, CallPolicy()).results([1]))
    assert caught.group_contains(KeyError)


@pytest.mark.parametrize("taken", [1, 9])
def test_whoever_leaves_has_what_was_on_its_way(taken: int) -> None:
    begun: list[int] = []
    ended: list[int] = []

    @asynccontextmanager
    async def session() -> AsyncIterator[ModelCall[int, str]]:
        async def call(request: int) -> str:
            begun.append(request)
            await anyio.sleep(0.05)
            ended.append(request)
            return "yes"

        yield call

    calls = CallScheduler(session, CallPolicy(concurrency=8))
    results = calls.results(range(1000))
    got = {next(results).request for _ in range(taken)}
    results.close()
    assert got | {result.request for result in calls.late} == set(ended) == set(begun)
    assert len(begun) < 40, "no more are taken"


def test_leaving_waits_for_calls_and_not_for_those_who_sleep() -> None:
    @asynccontextmanager
    async def session() -> AsyncIterator[ModelCall[int, str]]:
        async def call(request: int) -> str:
            if request % 2:
                raise CallFailed("HTTP 500", CallVerdict(True))
            return "yes"

        yield call

    calls = CallScheduler(
        session, CallPolicy(concurrency=8, first_wait_s=1e4, longest_wait_s=1e4, parting_s=60)
    )
    results = calls.results(range(1000))
    next(results)
    began = time.monotonic()
    results.close()
    assert time.monotonic() - began < 5


def test_a_call_that_does_not_end_is_not_waited_for_long() -> None:
    cancelled: list[int] = []

    @asynccontextmanager
    async def session() -> AsyncIterator[ModelCall[int, str]]:
        async def call(request: int) -> str:
            try:
                await anyio.sleep(100 if request else 0)
            except anyio.get_cancelled_exc_class():
                cancelled.append(request)
                raise
            return "yes"

        yield call

    calls = CallScheduler(session, CallPolicy(concurrency=3, parting_s=0.05))
    results = calls.results(range(4))
    assert next(results).request == 0
    began = time.monotonic()
    results.close()
    assert time.monotonic() - began < 5
    assert sorted(cancelled) == [1, 2, 3]


def test_a_model_that_is_still_being_loaded_is_waited_for_by_few_calls() -> None:
    world = World(lambda *_: NO_MODEL if world.now < 100 else "yes")
    results = list(world.results(500, CallPolicy(concurrency=64, attempts=1, loading_s=300)))
    assert sum(r.failure is None for r in results) == 500
    assert sum(world.calls.values()) < 500 + 5 * 64


def test_a_deployment_that_was_asleep_is_waited_for_though_nothing_was_just_made() -> None:
    asleep = CallFailed("HTTP 503: scaling up", CallVerdict(True), waking_s=1_200)
    world = World(lambda *_: asleep if world.now < 600 else "yes")
    results = list(world.results(100, CallPolicy(concurrency=16, attempts=2)))
    assert sum(r.failure is None for r in results) == 100
    assert sum(world.calls.values()) < 100 + 60 * 16


def test_a_model_that_is_never_loaded_ends_the_run_after_minutes() -> None:
    world = World(lambda *_: NO_MODEL)
    with pytest.raises(ModelError, match="no such model"):
        list(world.results(500, CallPolicy(concurrency=16, loading_s=300)))
    assert 300 <= world.now < 500
    assert sum(world.calls.values()) < 1000


def test_a_model_that_was_not_just_made_is_not_waited_for() -> None:
    world = World(lambda *_: NO_MODEL)
    with pytest.raises(ModelError, match="no such model"):
        list(world.results(500, CallPolicy(concurrency=16)))
    assert world.now == 0
