"""Machines that begin the same job at once, and creations whose outcome nobody knows: one job is followed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hosted_builders import (
    HOUR_S,
    NO_WAITING,
    TODAY,
    FakeService,
    Machine,
    order_of,
    tuned,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HostedTrainingError
from harness.models.profiles import COMPATIBLE, TWIN
from harness.models.progress import SilentBar
from harness.training.hosted.driver import drive
from harness.training.hosted.protocol import Tuned, tune
from harness.training.hosted.requests import (
    AnyRequest,
    CancelJob,
    CreateJob,
    GetFile,
    Job,
    Note,
    Refused,
    Remember,
    SetMoneyAside,
    Show,
    Sleep,
    Steps,
    Unsure,
    UploadFile,
)


class Stepping:
    """One machine, moved by a request at a time."""

    def __init__(self, service: FakeService, steps: Steps[Tuned]) -> None:
        self._service, self._steps = service, steps
        self.request: AnyRequest | None = next(steps)
        self.done: Tuned | None = None

    def step(self) -> None:
        assert self.request is not None
        try:
            try:
                quiet = isinstance(self.request, Sleep | Show | Note | Remember | SetMoneyAside)
                reply = None if quiet else self._service.reply(self.request)
            except Refused as no:
                self.request = self._steps.throw(no)
            else:
                self.request = self._steps.send(reply)
        except StopIteration as end:
            self.request, self.done = None, end.value


@settings(max_examples=300, deadline=None)
@given(turns=st.lists(st.integers(0, 2), max_size=80), has_metadata=st.booleans())
def test_machines_at_once_in_any_order_of_their_requests_follow_one_job(
    turns: list[int], has_metadata: bool
) -> None:
    service = FakeService(keeps_metadata=has_metadata, life=("queued",) * 30 + ("succeeded",))
    profile = TWIN if has_metadata else COMPATIBLE
    machines = [Stepping(service, tune(order_of(profile=profile), TODAY, 10**9)) for _ in range(3)]
    for turn in turns:
        if machines[turn].request is not None:
            machines[turn].step()
    for machine in machines:
        while machine.request is not None:
            machine.step()
    assert len({machine.done.job.id for machine in machines if machine.done}) == 1
    assert [job.status for job in service.jobs.values()].count("succeeded") == 1
    assert all(job.has_ended for job in service.jobs.values())


def test_of_two_jobs_of_one_second_every_machine_follows_the_same() -> None:
    service = FakeService()
    first, second = (Stepping(service, tune(order_of(), TODAY, HOUR_S)) for _ in range(2))
    for machine in (first, second):
        while not isinstance(machine.request, CreateJob):
            machine.step()
    for machine in (second, first):
        machine.step()
        service.jobs = {id: _of_one_second(job) for id, job in service.jobs.items()}
    for machine in (first, second):
        while machine.request is not None:
            machine.step()
    assert first.done is not None
    assert second.done is not None
    assert first.done.job.id == second.done.job.id == "ftjob-0"
    assert service.jobs["ftjob-1"].status == "cancelled"


def test_a_job_that_began_elsewhere_while_files_were_checked_is_followed() -> None:
    service, order = FakeService(file_status=("pending", "pending", "processed")), order_of()

    def reply(request: AnyRequest) -> object:
        if isinstance(request, GetFile) and not service.jobs:
            service.reply(CreateJob(order.body("file-0", None)))
        return service.reply(request)

    done = drive(tune(order, TODAY, HOUR_S), _Service(reply), SilentBar(), NO_WAITING)
    assert done.job.id == "ftjob-0"
    assert len(service.jobs) == 1


def test_an_own_job_that_cannot_be_cancelled_is_said() -> None:
    service, order, machine = FakeService(), order_of(), Machine()

    def reply(request: AnyRequest) -> object:
        if isinstance(request, CreateJob) and not service.jobs:
            service.reply(request)
        if isinstance(request, CancelJob):
            raise Refused(400, None, "it has ended", None)
        return service.reply(request)

    done = drive(tune(order, TODAY, HOUR_S), _Service(reply), SilentBar(), NO_WAITING, "", machine.beside)
    assert done.job.id == "ftjob-0"
    assert any("ftjob-1 could not be cancelled (it has ended)" in text for text in machine.said)
    assert machine.known.job == "ftjob-0"


@pytest.mark.parametrize("lag", range(4))
def test_a_creation_without_an_answer_is_looked_for_longer_and_longer_before_another(lag: int) -> None:
    service = FakeService(lag=lag)
    slept: list[float] = []

    def reply(request: AnyRequest) -> object:
        if isinstance(request, CreateJob):
            service.reply(request)
            raise Unsure("timed out")
        return service.reply(request)

    pacing = replace(NO_WAITING, sleep=slept.append)
    drive(tune(order_of(profile=COMPATIBLE), TODAY, HOUR_S), _Service(reply), SilentBar(), pacing)
    assert len(service.jobs) == 1
    assert slept[: lag + 1] == [2.0, 4.0, 8.0, 16.0][: lag + 1]


def test_a_creation_that_is_never_answered_or_listed_is_tried_no_more_than_three_times() -> None:
    service = FakeService(lag=10**6)

    def reply(request: AnyRequest) -> object:
        reply = service.reply(request)
        if isinstance(request, CreateJob):
            raise Unsure("timed out")
        return reply

    with pytest.raises(HostedTrainingError, match="not known whether the service began"):
        drive(tune(order_of(), TODAY, HOUR_S), _Service(reply), SilentBar(), NO_WAITING)
    assert len(service.jobs) == 3


def test_nobody_else_is_looked_for_where_a_job_is_found() -> None:
    service = FakeService()
    tuned(order_of(), service)
    tuned(order_of(), service)
    assert not any(isinstance(request, CancelJob) for request in service.asked)
    assert [type(request) for request in service.asked].count(UploadFile) == 2


def _of_one_second(job: Job) -> Job:
    return replace(job, created=100)


class _Service:
    def __init__(self, reply: Callable[[AnyRequest], object]) -> None:
        self.reply = reply
