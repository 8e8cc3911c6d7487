"""Machines that begin one job at once, and submissions whose outcome nobody knows: one job is followed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from hosted_builders import (
    NO_WAITING,
    FakeService,
    Machine,
    hooked,
    provider_of,
    request_of,
    tuned,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HostedTrainingError
from harness.models.profiles import COMPATIBLE, TWIN, Profile
from harness.training.hosted.jobs import tune
from harness.training.hosted.provider import OutcomeUnknown, RequestRejected, TuningJob
from harness.training.hosted.record import TunedModel


class Stepping:
    """One machine in a thread of its own, which makes a call of its provider when it is told to."""

    def __init__(
        self,
        service: FakeService,
        profile: Profile = TWIN,
        wrap: Callable[[str, Callable[[], object]], object] = lambda name, call: call(),
    ) -> None:
        self._go, self._waits = threading.Semaphore(0), threading.Semaphore(0)
        self.call: str | None = None  # the one that it is about to make; None: it has ended
        self.done: TunedModel | None = None
        self.error: HostedTrainingError | None = None

        def hook(name: str, call: Callable[[], object]) -> object:
            self.call = name
            self._waits.release()
            self._go.acquire()
            return wrap(name, call)

        def run() -> None:
            environment = replace(NO_WAITING, patience_s=1e9)
            try:
                provider = hooked(provider_of(service, profile), hook)
                self.done = tune(request_of(profile=profile), provider, environment)
            except HostedTrainingError as error:
                self.error = error
            self.call = None
            self._waits.release()

        threading.Thread(target=run, daemon=True).start()
        self._waits.acquire()

    def step(self) -> None:
        assert self.call is not None
        self._go.release()
        self._waits.acquire()

    def finish(self) -> TunedModel:
        while self.call is not None:
            self.step()
        assert self.done is not None, self.error
        return self.done


@settings(max_examples=80, deadline=None)
@given(turns=st.lists(st.integers(0, 2), max_size=80), has_metadata=st.booleans())
def test_machines_at_once_in_any_order_of_their_calls_follow_one_job(
    turns: list[int], has_metadata: bool
) -> None:
    service = FakeService(keeps_metadata=has_metadata, life=("queued",) * 30 + ("succeeded",))
    machines = [Stepping(service, TWIN if has_metadata else COMPATIBLE) for _ in range(3)]
    for turn in turns:
        if machines[turn].call is not None:
            machines[turn].step()
    assert len({machine.finish().job.id for machine in machines}) == 1
    assert [job.status for job in service.jobs.values()].count("succeeded") == 1
    assert all(job.status in ("succeeded", "cancelled") for job in service.jobs.values())


def test_of_two_jobs_of_one_second_every_machine_follows_the_same() -> None:
    service = FakeService()
    first, second = Stepping(service), Stepping(service)
    for machine in (first, second):
        while machine.call != "submit":
            machine.step()
    for machine in (second, first):
        machine.step()
        for id in service.jobs:
            service.change(id, created_at=100)
    assert first.finish().job.id == second.finish().job.id == "ftjob-0"
    assert service.jobs["ftjob-1"].status == "cancelled"


@pytest.mark.parametrize("lag", range(1, 4))
def test_where_listings_lag_or_submissions_tell_no_time_one_of_two_jobs_is_ended(lag: int) -> None:
    service = FakeService(lag=lag, life=("queued",) * 60 + ("succeeded",))

    def untimed(name: str, call: Callable[[], object]) -> object:
        made = call()
        return replace(made, created=0) if name == "submit" and isinstance(made, TuningJob) else made

    machines = [Stepping(service, wrap=untimed) for _ in range(2)]
    for machine in machines:
        while machine.call != "submit":
            machine.step()
    assert len({machine.finish().job.id for machine in machines}) == 1
    assert sorted(job.status for job in service.jobs.values()) == ["cancelled", "succeeded"]


def test_a_job_that_began_elsewhere_while_files_were_checked_is_followed() -> None:
    service, request = FakeService(file_status=("pending", "pending", "processed")), request_of()
    provider = provider_of(service)

    def hook(name: str, call: Callable[[], object]) -> object:
        if name == "file_state" and not service.jobs:
            provider.submit(request, "file-0", None)
        return call()

    assert tuned(request, hooked(provider, hook)).job.id == "ftjob-0"
    assert len(service.jobs) == 1


def test_an_own_job_that_cannot_be_cancelled_is_named() -> None:
    service, machine = FakeService(), Machine()

    def hook(name: str, call: Callable[[], object]) -> object:
        if name == "submit" and not service.jobs:
            call()
        if name == "cancel":
            raise RequestRejected("it has ended")
        return call()

    done = tuned(request_of(), hooked(provider_of(service), hook), machine=machine)
    assert done.job.id == "ftjob-0"
    assert any("ftjob-1 could not be cancelled (it has ended)" in text for text in machine.said)
    assert machine.known.job == "ftjob-0"


@pytest.mark.parametrize("lag", range(4))
def test_a_submission_without_an_answer_is_looked_for_longer_and_longer_before_another(lag: int) -> None:
    service, slept = FakeService(lag=lag), list[float]()

    def hook(name: str, call: Callable[[], object]) -> object:
        result = call()
        if name == "submit":
            raise OutcomeUnknown("timed out")
        return result

    provider = hooked(provider_of(service, COMPATIBLE), hook)
    tuned(request_of(profile=COMPATIBLE), provider, replace(NO_WAITING, sleep=slept.append))
    assert len(service.jobs) == 1
    assert slept[: lag + 1] == [2.0, 4.0, 8.0, 16.0][: lag + 1]


def test_a_submission_that_is_never_answered_or_listed_is_tried_no_more_than_three_times() -> None:
    service = FakeService(lag=10**6)

    def hook(name: str, call: Callable[[], object]) -> object:
        result = call()
        if name == "submit":
            raise OutcomeUnknown("timed out")
        return result

    with pytest.raises(HostedTrainingError, match="not known whether the service began"):
        tuned(request_of(), hooked(provider_of(service), hook))
    assert len(service.jobs) == 3


def test_nobody_else_is_looked_for_where_a_job_is_found() -> None:
    service = FakeService()
    tuned(request_of(), service)
    tuned(request_of(), service)
    assert "jobs.cancel" not in service.asked
    assert service.asked.count("files.create") == 2
