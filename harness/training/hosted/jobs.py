"""One job from its rows to a tuned model: found where it exists, submitted once, and waited for.

The functions here know no service but through ``TuningProvider``. A process may be killed before or after any
call of it: the next one finds what was done by its content, and goes on from there.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from typing import ParamSpec, TypeVar

from harness.models.progress import Bar, SilentBar
from harness.models.retry import TOO_MANY, CallVerdict, RetryPolicy
from harness.training.hosted import errors
from harness.training.hosted.budget import JobBudget
from harness.training.hosted.lifetimes import (
    DEFAULT_HORIZON_DAYS,
    earliest,
    ending_notes,
    lifetime,
    require_tunable,
    today,
)
from harness.training.hosted.metrics import Metrics, merged, metrics_of_event, parse_results
from harness.training.hosted.provider import (
    PAUSED,
    RUNNING,
    SUCCEEDED,
    JobCheckpoint,
    OutcomeUnknown,
    Quote,
    Quotes,
    RateLimited,
    RemoteFile,
    RequestRejected,
    ServiceError,
    TuningJob,
    TuningProvider,
)
from harness.training.hosted.record import JobState, TunedModel
from harness.training.hosted.request import JobRequest, Upload

P = ParamSpec("P")
T = TypeVar("T")

UPLOADS = 5  # attempts, each after a look for the outcome of the last one
SUBMISSIONS = 3
LOOKS = 4  # for a job whose submission has no known outcome, before another is submitted
# What was just made may not be listed yet. The wait before a look doubles each time.
SETTLE_S, LONGEST_SETTLE_S = 2.0, 60.0
FILE_WAIT_S = 3600.0
NAMING_S = 600.0  # a job that has succeeded may name its model a little later
GONE = frozenset({400, 404, 410})  # HTTP statuses that say that there is no such job or file
NOTHING = JobState()
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
    today: date = field(default_factory=today)
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


class JobGoesOn(KeyboardInterrupt):
    """Ctrl-C while a job is under way at a service. It goes on there, and the next run finds it."""


@dataclass
class _Tuning:
    """One call of ``tune``: what it was given, and what is known so far."""

    request: JobRequest
    provider: TuningProvider
    environment: Environment
    state: JobState
    job: TuningJob | None = None  # the one that is followed
    is_submitting: bool = False  # a job may have begun whose id is not known

    def remember(self, state: JobState) -> None:
        """Write the state down, where it is new."""
        if state != self.state:
            self.state = state
            self.environment.remember(state)

    def note(self, text: str) -> None:
        """Tell people now."""
        self.environment.say(text)
        self.environment.bar.at(0, None, text)

    @property
    def settle_s(self) -> float:
        """Seconds before the first look for what was just made; a local stand-in is looked at more often."""
        return min(SETTLE_S, self.provider.capabilities.poll_s)


def tune(
    request: JobRequest, provider: TuningProvider, environment: Environment, known: JobState = NOTHING
) -> TunedModel:
    """The whole way: find or begin the job, wait for it, and collect what it measured.

    Raises:
        HostedTrainingError: the service refused, cannot be reached, or the job did not end well.
        BudgetReached, UsageError: it cannot be paid.
        JobGoesOn: Ctrl-C.
    """
    tuning = _Tuning(request, provider, environment, known)
    try:
        tuned = _tune(tuning)
    except BaseException as error:
        environment.budget.leave()
        if isinstance(error, ServiceError):
            job = tuning.job.id if tuning.job else None
            raise errors.from_service(error, job, _unreached(tuning)) from None
        if isinstance(error, KeyboardInterrupt) and (text := _farewell(tuning)):
            raise JobGoesOn(text) from error
        raise
    environment.budget.settle(tuned.job.trained_tokens, tuned.job.estimated_usd)
    return tuned


def _tune(tuning: _Tuning) -> TunedModel:
    request, environment = tuning.request, tuning.environment
    notes: list[str] = []
    found, jobs = _find(tuning)
    for job in jobs:
        if job.is_alive:
            continue
        if found is None and errors.is_of_the_input(job.failure):
            raise errors.job_ended(request, job)  # another would fail alike
        why = f": {job.failure.message}" if job.failure and job.failure.message else ""
        now = "another one is begun" if found is None else "another one of the same content is used"
        notes.append(f"an earlier tuning job {job.id} of {request.base} {job.status}{why}; {now}.")
        tuning.note(notes[-1])
    if found is not None:
        found = _follow(tuning, found)
    base_ends = _shutdown_date(tuning, request.base)
    tuning.remember(replace(tuning.state, ends=base_ends or tuning.state.ends, notes=tuple(notes)))
    if found is None:
        life = lifetime(request.base, base_ends, in_table=tuning.provider.capabilities.lifetimes)
        require_tunable(life, environment.today)
        for text in ending_notes(life, environment.today, environment.horizon_days):
            tuning.note(text)
        found = _submit(tuning)
    job, metrics = _wait(tuning, found)
    if job.estimated_usd is not None:
        notes.append(f"the service puts the cost of the tuning job {job.id} at ${job.estimated_usd:,.2f}.")
    tuned_ends = _shutdown_date(tuning, job.tuned_model or "")
    checkpoints: Sequence[JobCheckpoint] = ()
    if tuning.provider.capabilities.checkpoints:
        with suppress(ServiceError):  # the model from the end is there
            checkpoints = environment.ask(tuning.provider.checkpoints, job.id)
    return TunedModel(
        job,
        tuple(sorted(checkpoints, key=lambda checkpoint: checkpoint.step)),
        metrics,
        earliest([base_ends, tuned_ends]),
        tuple(notes),
    )


# --------------------------------------------------------------------------- found
def find_job(
    request: JobRequest, provider: TuningProvider, environment: Environment, known: JobState
) -> TuningJob | None:
    """The job of this request that is under way or has succeeded; None where one is to be begun.

    Raises:
        HostedTrainingError: the service refused, or cannot be reached.
    """
    try:
        return _find(_Tuning(request, provider, environment, known))[0]
    except ServiceError as error:
        raise errors.from_service(error) from None


def _find(tuning: _Tuning) -> tuple[TuningJob | None, tuple[TuningJob, ...]]:
    """The living job of this content (one that has succeeded first), and all that were seen, oldest first.

    The remembered job is looked at first, and is enough where it lives: not every service lists what a job
    could be recognised by.
    """
    own = None
    if tuning.state.job is not None:
        own = _unless_gone(tuning, tuning.provider.get, tuning.state.job)
        if own is not None and own.is_alive:
            return own, (own,)
    jobs = {job.id: job for job in (*([own] if own else []), *_listed(tuning))}
    seen = sorted(jobs.values(), key=lambda job: job.age_key)
    alive = sorted((job for job in seen if job.is_alive), key=lambda job: job.status != SUCCEEDED)
    return (alive[0] if alive else None), tuple(seen)


def _listed(tuning: _Tuning) -> Sequence[TuningJob]:
    return tuning.environment.ask(tuning.provider.find, tuning.request, tuning.state.files)


def _unless_gone(tuning: _Tuning, look: Callable[[str], T], id: str) -> T | None:
    """The file or job of that id; None where the service says that there is none."""
    try:
        return tuning.environment.ask(look, id)
    except RequestRejected as no:
        if no.status not in GONE:
            raise
        return None


def _shutdown_date(tuning: _Tuning, model: str) -> str | None:
    if not model:
        return None
    try:
        return tuning.environment.ask(tuning.provider.shutdown_date, model)
    except ServiceError:  # many services list no single models; a base that is missing is refused later
        return None


def _follow(tuning: _Tuning, job: TuningJob) -> TuningJob:
    """Follow a job that was found: what it will still be billed is set aside."""
    how = "has succeeded; nothing is paid again" if job.has_ended else "is under way and followed"
    tuning.job = job
    tuning.note(f"tuning job {job.id} of {tuning.request.base} is found: it {how}.")
    tuning.remember(replace(tuning.state, job=job.id))
    quote = None if job.estimated_usd is None else Quote(job.estimated_usd)
    if quote is None and not job.has_ended:
        with suppress(ServiceError):  # it has begun, whatever it costs
            quote = _quote(tuning, job.training_file, job.validation_file)
    tuning.environment.budget.reserve(job, quote)
    return job


def _quote(tuning: _Tuning, training: str, validation: str | None) -> Quote | None:
    """What the service asks for the job of these files; None where it names no price beforehand."""
    provider = tuning.provider
    if not isinstance(provider, Quotes):
        return None
    return tuning.environment.ask(provider.quote, tuning.request, training, validation)


# --------------------------------------------------------------------------- submitted
def _submit(tuning: _Tuning) -> TuningJob:
    """Send missing files and begin the job; returns the one to follow, which may be another machine's."""
    request, environment, budget = tuning.request, tuning.environment, tuning.environment.budget
    if not isinstance(tuning.provider, Quotes):  # else the price is asked for when the files are there
        budget.reserve()
    training = _sent(tuning, request.training)
    validation = _sent(tuning, request.validation) if request.validation else None
    # sending and checking files may have taken an hour
    found, _ = _find(tuning)
    if found is None:
        quote = _quote(tuning, training.id, validation.id if validation else None)
        if quote is not None:
            if not quote.is_allowed:
                raise errors.not_allowed(request, quote)
            tuning.note(f"the service asks ${quote.usd:,.2f} for tuning {request.base}.")
        budget.reserve(quote=quote)
    settle_s, problem = tuning.settle_s, ""
    for _ in range(SUBMISSIONS):
        if found is not None:
            return _follow(tuning, found)
        tuning.is_submitting = True
        budget.submitting()
        try:
            job = environment.change(
                tuning.provider.submit, request, training.id, validation.id if validation else None
            )
        except RequestRejected as no:
            tuning.is_submitting = False
            budget.rejected()
            raise errors.rejected(
                request, f"the service did not begin a tuning job of {request.base}.", no
            ) from no
        except OutcomeUnknown as error:
            problem = str(error)
        else:
            tuning.job = job
            tuning.note(f"tuning job {job.id} of {request.base} has begun.")
            tuning.remember(replace(tuning.state, job=job.id))
            return _oldest(tuning, job)
        for _ in range(LOOKS):
            environment.sleep(settle_s)
            settle_s = min(LONGEST_SETTLE_S, settle_s * 2)
            found, _ = _find(tuning)
            if found is not None:
                break
    if found is not None:
        return _follow(tuning, found)
    raise errors.outcome_unknown("began the tuning job", problem)


def _oldest(tuning: _Tuning, own: TuningJob) -> TuningJob:
    """Of the jobs that several machines began at once every machine follows the oldest, and ends its own."""
    environment, command = tuning.environment, tuning.provider.capabilities.command_for
    settle_s = tuning.settle_s
    for _ in range(LOOKS):  # a listing without the own job is too old to show another machine's
        environment.sleep(settle_s)
        settle_s = min(LONGEST_SETTLE_S, settle_s * 2)
        try:
            listed = _listed(tuning)
        except ServiceError:  # it has begun, and this machine remembers it
            return own
        if any(job.id == own.id for job in listed):
            break
    else:
        tuning.note(
            f"the service does not list {own.id} in a way that tells what it was made from: only this"
            " machine's store knows it. Keep the store; another machine would begin the job again."
        )
    others = [job for job in listed if job.is_alive and job.id != own.id]
    # as it is listed: the answer to a submission may lack its time, and then every machine's is the oldest
    mine = next((job for job in listed if job.id == own.id), own)
    oldest = min((mine, *others), key=lambda job: job.age_key)
    if oldest.id == own.id:
        return own
    tuning.note(f"another machine began the same content first, as {oldest.id}: {own.id} is cancelled.")
    try:
        environment.ask(tuning.provider.cancel, own.id)
    except ServiceError as error:
        end = f": {command('cancel', own.id)}" if command("cancel") else ""
        tuning.note(f"{own.id} could not be cancelled ({error}); it may be billed{end}.")
    return _follow(tuning, oldest)


def _sent(tuning: _Tuning, sent: Upload) -> RemoteFile:
    """The file at the service, ready to be used: the one that is there, or sent now."""
    provider, environment = tuning.provider, tuning.environment
    there: RemoteFile | None = None
    if (known := tuning.state.files.get(sent.name)) is not None:
        there = _unless_gone(tuning, provider.file_state, known)
        there = None if there is not None and there.state == "unusable" else there
    settle_s, problem = tuning.settle_s, ""
    for attempt in range(UPLOADS + 1):
        there = there or environment.ask(provider.find_file, sent)
        if there is not None or attempt == UPLOADS:
            break
        try:
            there = environment.change(provider.upload, sent)
            break
        except RequestRejected as no:
            param = tuning.request.param(sent)
            problem = f"the service did not take the {param.replace('_', ' ')} ({len(sent.places)} rows)."
            raise errors.rejected(tuning.request, problem, no, param=param) from no
        except OutcomeUnknown as error:
            problem = str(error)
            environment.sleep(settle_s)
            settle_s = min(LONGEST_SETTLE_S, settle_s * 2)
    if there is None:
        raise errors.outcome_unknown(f"took the file {sent.name}", problem)
    tuning.remember(replace(tuning.state, files={**tuning.state.files, sent.name: there.id}))
    waited_s, poll_s = 0.0, provider.capabilities.poll_s
    while there.state == "checking" and waited_s < FILE_WAIT_S:
        environment.sleep(poll_s)
        waited_s += poll_s
        there = environment.ask(provider.file_state, there.id)
    if there.state == "unusable":
        raise errors.file_unusable(tuning.request, sent, there.problem)
    if there.state == "checking":
        raise errors.file_unchecked(tuning.request, sent, there.id, waited_s)
    return there


# --------------------------------------------------------------------------- waited for
def _wait(tuning: _Tuning, job: TuningJob) -> tuple[TuningJob, tuple[Metrics, ...]]:
    """Follow a job until it has succeeded; with its metrics by step."""
    request, provider, environment = tuning.request, tuning.provider, tuning.environment
    service, id = provider.capabilities, job.id
    seen: set[str] = set()
    last: str | None = None
    metrics: tuple[Metrics, ...] = ()
    status, quiet_s, unnamed_s = "", 0.0, 0.0
    while True:
        try:
            events = environment.ask(provider.events, id, last)
        except ServiceError:  # the job itself says how it ended
            events = ()
        fresh = [event for event in events if event.id not in seen]
        seen.update(event.id for event in fresh)
        last = fresh[-1].id if fresh else last
        found = (metrics_of_event(event) for event in fresh)
        metrics = merged((*metrics, *(item for item in found if item is not None)))
        quiet_s = 0.0 if fresh or job.status != status else quiet_s + service.poll_s
        status = job.status
        _show(environment.bar, job, metrics)
        if job.status in PAUSED:
            raise errors.job_paused(request, job, service)
        is_named = job.status != SUCCEEDED or job.tuned_model or unnamed_s > NAMING_S
        if job.has_ended and is_named:
            break
        unnamed_s += service.poll_s if job.has_ended else 0.0
        if quiet_s > environment.patience_s:
            raise errors.job_silent(request, job, service, environment.patience_s / 3600)
        environment.sleep(service.poll_s)
        try:
            job = tuning.job = environment.ask(provider.get, id)
        except RequestRejected as no:
            problem = f"the tuning job {id} of {request.base} cannot be looked at any more."
            raise errors.rejected(request, problem, no, job=id) from no
    if job.status != SUCCEEDED:
        raise errors.job_ended(request, job)
    if not job.tuned_model:
        raise errors.job_without_model(request, job, service)
    for file in job.result_files:  # they hold every step, where events hold some
        try:
            content = environment.ask(provider.content, file)
        except ServiceError:  # the curves lack points; the model lacks nothing
            continue
        metrics = merged((*metrics, *parse_results(content)))
    return job, metrics


def _show(bar: Bar, job: TuningJob, metrics: Sequence[Metrics]) -> None:
    total = next((item.total for item in reversed(metrics) if item.total), None)
    losses = [item.train_loss for item in metrics if item.train_loss is not None]
    note = f"{job.id} {job.status.replace('_', ' ')}"
    if losses and (job.status in RUNNING or job.status == SUCCEEDED):
        note = f"loss {losses[-1]:.3f}, {note}"
    bar.at(float(metrics[-1].step if metrics else 0), None if total is None else float(total), note)


# --------------------------------------------------------------------------- left
def _farewell(tuning: _Tuning) -> str:
    """What Ctrl-C leaves behind; empty where it leaves nothing that costs."""
    command = tuning.provider.capabilities.command_for
    if tuning.job is not None and not tuning.job.has_ended:
        id = tuning.job.id
        how = f" Look at it: {command('follow', id)}. To end it: {command('cancel', id)}."
        return (
            f"the tuning job {id} goes on at the service; the next run finds it and pays nothing twice."
            + (how if command("follow") else "")
        )
    if tuning.is_submitting and tuning.job is None:
        see = f" See {command('list')}." if command("list") else ""
        return f"a tuning job may have begun; the next run finds it.{see}"
    return ""


def _unreached(tuning: _Tuning) -> str:
    """What to do where the service cannot be reached any more."""
    command = tuning.provider.capabilities.command_for
    if tuning.job is not None:
        look = f", or {command('follow', tuning.job.id)}" if command("follow") else ""
        return f"the job {tuning.job.id} goes on there: run again later{look}."
    hint = "check the address (base_url) and the network, then run again: what was done is found."
    if tuning.is_submitting:
        see = f": see {command('list')}" if command("list") else ""
        hint += f" A tuning job may have begun{see}."
    return hint
