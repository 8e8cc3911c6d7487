"""A process killed at any point of a job's life, and run again: one upload, one job, the same result."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from itertools import count

import pytest
from hosted_builders import (
    NO_WAITING,
    FakeService,
    Killed,
    killing,
    provider_of,
    request_of,
    tuned,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HostedTrainingError
from harness.models.profiles import COMPATIBLE, TWIN, Profile
from harness.models.retry import RetryPolicy
from harness.testing.fake_openai import (
    CHAT,
    Faults,
    ScriptedBackend,
    running_fake_openai,
    set_twin_faults,
    twin_stats,
)
from harness.training.hosted.jobs import tune
from harness.training.hosted.openai import OpenAIProvider
from harness.training.hosted.record import TunedModel
from harness.training.hosted.request import JobRequest

POINTS = st.lists(st.tuples(st.integers(0, 22), st.booleans()), min_size=1, max_size=4)
PATIENT = RetryPolicy(attempts=30, throttled_attempts=30, first_wait_s=0.001)
QUICKLY = replace(NO_WAITING, sleep=lambda seconds: time.sleep(min(seconds, 0.005)), retry=PATIENT)
SEEDS = count(1)  # each example is a job of its own in the one server


@settings(max_examples=100, deadline=None)
@given(points=POINTS, profile=st.sampled_from([TWIN, COMPATIBLE]))
def test_killed_anywhere_and_run_again_there_is_one_upload_and_one_job(
    points: list[tuple[int, bool]], profile: Profile
) -> None:
    service, request = FakeService(keeps_metadata=profile.metadata), request_of(profile=profile)
    for at, after in points:
        with suppress(Killed):
            tuned(request, killing(provider_of(service, profile), at, after=after))
    done = tuned(request, service, profile=profile)
    undisturbed = tuned(request, FakeService(keeps_metadata=profile.metadata), profile=profile)
    assert set(service.uploads().values()) == {1}
    assert len(service.jobs) == 1
    assert (done.metrics, done.checkpoints) == (undisturbed.metrics, undisturbed.checkpoints)
    assert done.job.tuned_model == undisturbed.job.tuned_model


@dataclass(frozen=True)
class Server:
    url: str
    provider: OpenAIProvider

    def uploads_of(self, request: JobRequest) -> list[int]:
        sent = twin_stats(self.url)["uploads_by_sha256"]
        assert isinstance(sent, dict)
        assert request.validation is not None
        return [sent[request.training.digest], sent[request.validation.digest]]

    def jobs_of(self, request: JobRequest) -> int:
        return len(self.provider.find(request, {}))

    def tuned(self, request: JobRequest) -> TunedModel:
        return tune(request, self.provider, QUICKLY)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with ExitStack() as stack:
        url = stack.enter_context(running_fake_openai(backend=ScriptedBackend(step_s=0.001)))
        yield Server(url, stack.enter_context(closing(OpenAIProvider(url, profile="twin"))))


@settings(max_examples=12, deadline=None)
@given(at=st.integers(0, 25), after=st.booleans())
def test_killed_at_random_points_against_a_real_server(server: Server, at: int, after: bool) -> None:
    request = on_server(next(SEEDS))
    with suppress(Killed):
        tune(request, killing(server.provider, at, after=after), QUICKLY)
    done = server.tuned(request)
    assert server.uploads_of(request) == [1, 1]
    assert server.jobs_of(request) == 1
    assert [c.step for c in done.checkpoints] == [2, 4, 6]
    assert [round(m.train_loss or 0, 4) for m in done.metrics] == [round(2 / (1 + k), 4) for k in range(1, 7)]
    assert server.tuned(request).job == done.job


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_answers_lost_on_the_way_make_no_second_upload_or_job(server: Server, seed: int) -> None:
    faults = Faults(lost=0.15, malformed=0.1, dropped=0.1, server_error=0.1, rate_limited=0.1)
    set_twin_faults(server.url, replace(faults, retry_after_s=0.0, seed=seed))
    request = on_server(next(SEEDS))
    try:
        # three submissions without an answer end a run, whose hint is to run again
        with suppress(HostedTrainingError):
            server.tuned(request)
    finally:
        set_twin_faults(server.url, Faults())
    done = server.tuned(request)
    assert done.job.status == "succeeded"
    assert server.uploads_of(request) == [1, 1]
    assert server.jobs_of(request) == 1


def on_server(number: int) -> JobRequest:
    """A job whose files nobody else sends."""
    request = request_of(n=12, first=1000 * number)
    assert request.validation is not None
    own = request.validation.content.replace(b"dev question", f"dev {number} question".encode())
    name = request.validation.name.replace("harness-", f"harness-{number}-")
    return replace(
        request,
        settings=replace(request.settings, base=CHAT),
        validation=replace(request.validation, content=own, name=name),
    )
