"""A process killed at any point of a job's life, and run again: one upload, one job, the same result."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import count

import pytest
from hosted_builders import HOUR_S, NO_WAITING, TODAY, FakeService, Killed, Killing, order_of, tuned
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.models.endpoint import Endpoint
from harness.models.profiles import COMPATIBLE, TWIN, Profile
from harness.models.progress import SilentBar
from harness.testing.fake_openai import (
    CHAT,
    Faults,
    ScriptedBackend,
    running_twin,
    set_twin_faults,
    twin_stats,
)
from harness.training.hosted.driver import drive
from harness.training.hosted.order import FINGERPRINT_KEY, Order
from harness.training.hosted.protocol import Tuned, tune
from harness.training.hosted.requests import ListJobs
from harness.training.hosted.service import OpenAIService

POINTS = st.lists(st.tuples(st.integers(0, 22), st.booleans()), min_size=1, max_size=4)
QUICKLY = replace(NO_WAITING, sleep=lambda seconds: time.sleep(min(seconds, 0.005)), tries=30)
SPEC_SEEDS = count(1)  # each example is a job of its own in the one twin


@settings(max_examples=300, deadline=None)
@given(points=POINTS, profile=st.sampled_from([TWIN, COMPATIBLE]))
def test_killed_anywhere_and_run_again_there_is_one_upload_and_one_job(
    points: list[tuple[int, bool]], profile: Profile
) -> None:
    service, order = FakeService(keeps_metadata=profile.metadata), order_of(profile=profile)
    for at, after in points:
        with_kill = Killing(service.reply, at, after=after)
        with suppress(Killed):
            drive(tune(order, TODAY, HOUR_S), with_kill, SilentBar(), NO_WAITING)
    done = tuned(order, service)
    undisturbed = tuned(order, FakeService(keeps_metadata=profile.metadata))
    assert set(service.uploads().values()) == {1}
    assert len(service.jobs) == 1
    assert (done.metrics, done.checkpoints) == (undisturbed.metrics, undisturbed.checkpoints)
    assert done.job.tuned_model == undisturbed.job.tuned_model


@dataclass(frozen=True)
class Twin:
    url: str
    service: OpenAIService

    def uploads_of(self, order: Order) -> list[int]:
        sent = twin_stats(self.url)["uploads_by_sha256"]
        assert isinstance(sent, dict)
        assert order.validation is not None
        return [sent[order.training.digest], sent[order.validation.digest]]

    def jobs_of(self, order: Order) -> int:
        found = self.service.reply(ListJobs({FINGERPRINT_KEY: order.fingerprint}))
        assert isinstance(found, tuple)
        return len(found)

    def tuned(self, order: Order) -> Tuned:
        return drive(tune(order, TODAY, HOUR_S), self.service, SilentBar(), QUICKLY)


@pytest.fixture(scope="module")
def twin() -> Iterator[Twin]:
    with ExitStack() as stack:
        url = stack.enter_context(running_twin(backend=ScriptedBackend(step_s=0.001)))
        yield Twin(url, stack.enter_context(OpenAIService(Endpoint(url, client_kind="compatible"))))


@settings(max_examples=30, deadline=None)
@given(at=st.integers(0, 25), after=st.booleans())
def test_killed_at_thirty_random_points_against_a_real_server(twin: Twin, at: int, after: bool) -> None:
    order = on_twin(next(SPEC_SEEDS))
    with suppress(Killed):
        drive(tune(order, TODAY, HOUR_S), Killing(twin.service.reply, at, after=after), SilentBar(), QUICKLY)
    done = twin.tuned(order)
    assert twin.uploads_of(order) == [1, 1]
    assert twin.jobs_of(order) == 1
    assert [c.step for c in done.checkpoints] == [2, 4, 6]
    assert [round(m.train_loss or 0, 4) for m in done.metrics] == [round(2 / (1 + k), 4) for k in range(1, 7)]
    assert twin.tuned(order).job == done.job


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_answers_lost_on_the_way_make_no_second_upload_or_job(twin: Twin, seed: int) -> None:
    faults = Faults(lost=0.15, malformed=0.1, dropped=0.1, server_error=0.1, rate_limited=0.1)
    set_twin_faults(twin.url, replace(faults, retry_after_s=0.0, seed=seed, path="/v1/f"))
    order = on_twin(next(SPEC_SEEDS))
    try:
        done = drive(tune(order, TODAY, HOUR_S), twin.service, SilentBar(), replace(QUICKLY, tries=30))
    finally:
        set_twin_faults(twin.url, Faults())
    assert done.job.status == "succeeded"
    assert twin.uploads_of(order) == [1, 1]
    assert twin.jobs_of(order) == 1


def on_twin(number: int) -> Order:
    """A job whose files nobody else sends."""
    order = order_of(n=12, first=1000 * number)
    assert order.validation is not None
    own = order.validation.content.replace(b"dev question", f"dev {number} question".encode())
    name = order.validation.name.replace("harness-", f"harness-{number}-")
    return replace(order, base=CHAT, validation=replace(order.validation, content=own, name=name))
