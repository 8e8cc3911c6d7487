"""Carries the protocol out: sends its requests, sleeps, tries again what is worth it, tells people."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from harness.errors import HostedTrainingError
from harness.models.progress import Bar
from harness.training.hosted.failures import BUSY
from harness.training.hosted.money import Purse
from harness.training.hosted.requests import (
    AnyRequest,
    CreateJob,
    Job,
    Note,
    Refused,
    Remember,
    Remembered,
    SetMoneyAside,
    Show,
    Sleep,
    Steps,
    Unsure,
    UploadFile,
)
from harness.training.hosted.service import Busy, Service

T = TypeVar("T")


@dataclass(frozen=True)
class Pacing:
    """Time and chance, and how often what failed is tried again.

    A wait is drawn from [half, whole] of ``first_s`` doubled with each try, at most ``longest_s``, so that
    many clients do not come back at one moment; what the service asks for (Retry-After) is the least.
    """

    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
    tries: int = 9
    first_s: float = 1.0
    longest_s: float = 60.0
    longest_retry_after_s: float = 600.0

    def wait_s(self, attempt: int, asked_s: float | None) -> float:
        """Seconds to wait after the ``attempt``-th failure, from 0."""
        whole = min(self.longest_s, self.first_s * 2.0**attempt)
        drawn = whole * (0.5 + self.chance() / 2)
        return drawn if asked_s is None else max(drawn, min(asked_s, self.longest_retry_after_s))


class JobGoesOn(KeyboardInterrupt):
    """Ctrl-C while a job is under way at a service. It goes on there, and the next run finds it."""


@dataclass(frozen=True)
class Beside:
    """What stands beside a job while it is driven.

    Args:
        purse: what it is paid from; None: nothing is counted.
        remember: keeps what is known of it on this machine.
        say: prints a line that stays, where a bar would be drawn over.
    """

    purse: Purse | None = None
    remember: Callable[[Remembered], None] = lambda known: None
    say: Callable[[str], None] = lambda text: None


def drive(
    steps: Steps[T],
    service: Service,
    bar: Bar,
    pacing: Pacing,
    flags: str = "",
    beside: Beside | None = None,
) -> T:
    """Run the protocol to its end.

    Args:
        steps: what to do.
        service: who does it.
        bar: who watches.
        pacing: the clock.
        flags: what must follow ``harness jobs …`` for it to speak to the same service, such as
            ``--base-url=…``; for messages.
        beside: who pays, remembers and tells; None: nobody. What they raise ends it all.

    Raises:
        HostedTrainingError: what the service refused, or that it cannot be reached.
        JobGoesOn: Ctrl-C.
    """
    driven = _Driven(service, bar, pacing, beside or Beside())
    try:
        return _run(steps, driven)
    except Refused as no:
        raise HostedTrainingError(
            "the service refused a request.",
            _mend(no),
            code=no.code or str(no.status),
            message=no.message,
            param=no.param,
            job=driven.job,
        ) from None
    except Unsure as error:
        raise HostedTrainingError(
            "the service cannot be reached, or does not answer as it should.",
            driven.unreached(flags),
            message=str(error),
            job=driven.job,
        ) from None
    except KeyboardInterrupt as error:
        said = driven.farewell(flags)
        if said is None:
            raise
        raise JobGoesOn(said) from error


def _run(steps: Steps[T], driven: _Driven) -> T:
    try:
        request = next(steps)
        while True:
            try:
                reply = driven.reply(request)
            except (Refused, Unsure) as answer:
                request = steps.throw(answer)
            else:
                request = steps.send(reply)
    except StopIteration as end:
        result: T = end.value
        return result


class _Driven:
    """One protocol under way, and the job that it is about."""

    def __init__(self, service: Service, bar: Bar, pacing: Pacing, beside: Beside) -> None:
        self._service, self._bar, self._pacing, self._beside = service, bar, pacing, beside
        self.job: str | None = None
        self._ended = False
        self._is_beginning = False

    def reply(self, request: AnyRequest) -> object:
        """What comes of a request.

        Raises:
            Refused, Unsure: as the service says; also when it was busy for all tries.
        """
        match request:
            case Sleep(seconds):
                self._pacing.sleep(seconds)
                return None
            case Show(done, total, note):
                self._bar.at(done, total, note)
                return None
            case SetMoneyAside(found):
                if self._beside.purse is not None:
                    self._beside.purse.open(found)
                return None
            case Remember(known):
                self._beside.remember(known)
                return None
            case Note(text, job):
                if job is not None:
                    self._is_about(job)
                self._beside.say(text)
                self._bar.at(0, None, text)
                return None
            case CreateJob():
                return self._created(request)
        reply = self._patiently(request)
        if isinstance(reply, Job) and reply.id == self.job:
            self._is_about(reply)
        return reply

    def _is_about(self, job: Job) -> None:
        self.job, self._ended = job.id, job.has_ended

    def _created(self, request: CreateJob) -> object:
        """Begin a job. From here on it may be billed, and an interruption may leave it behind."""
        purse = self._beside.purse
        self._is_beginning = True
        if purse is not None:
            purse.sent()
        try:
            reply = self._patiently(request)
        except Refused:
            self._is_beginning = False
            if purse is not None:
                purse.refused()
            raise
        if isinstance(reply, Job):
            self._is_about(reply)
        return reply

    def _patiently(self, request: AnyRequest) -> object:
        for attempt in range(self._pacing.tries):
            try:
                return self._service.reply(request)
            except Busy as busy:
                if attempt == self._pacing.tries - 1:
                    raise _given_up(request, busy) from None
                wait_s = self._pacing.wait_s(attempt, busy.retry_after_s)
            self._pacing.sleep(wait_s)
        raise AssertionError("no try was made")

    def farewell(self, flags: str) -> str | None:
        """What Ctrl-C leaves behind; None where it leaves nothing that costs."""
        after = f" {flags}" if flags else ""
        if self.job is not None and not self._ended:
            return (
                f"the tuning job {self.job} goes on at the service; the next run finds it and pays nothing"
                f" twice. Look at it: `harness jobs follow {self.job}{after}`. To end it:"
                f" `harness jobs cancel {self.job}{after}`."
            )
        if self._is_beginning:
            return f"a tuning job may have begun; the next run finds it. See `harness jobs list{after}`."
        return None

    def unreached(self, flags: str) -> str:
        """What to do where the service cannot be reached any more."""
        after = f" {flags}" if flags else ""
        if self.job is not None:
            look = f"`harness jobs follow {self.job}{after}`"
            return f"the job {self.job} goes on there: run again later, or {look}."
        begun = f" A tuning job may have begun: see `harness jobs list{after}`." if self._is_beginning else ""
        return "check the address (base_url) and the network, then run again: what was done is found." + begun


def _given_up(request: AnyRequest, busy: Busy) -> Refused | Unsure:
    """A service that stays busy has done nothing: of what costs money that is worth knowing."""
    if isinstance(request, CreateJob | UploadFile):
        return Refused(BUSY, busy.code, str(busy), busy.param)
    return Unsure(str(busy))


def _mend(no: Refused) -> str:
    if no.status in (401, 403):
        return "check that the key belongs to this service, has not been withdrawn, and may tune models."
    if no.status == 404:
        return "check the address: base_url ends in /v1 at most services. Not every one of them tunes models."
    return "change what the service names, then run again: what was done is found."
