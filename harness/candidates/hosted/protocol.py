"""From files to a tuned model, as a generator: it yields requests and is sent replies.

It knows no network, no clock and no sleep; the driver does (the pattern of httpx's ``Auth``). A process may
be killed before or after any request: the next one finds what was done by its content and goes on from there.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TypeAlias, TypeVar

from harness.candidates.hosted import failures
from harness.candidates.hosted.lifetimes import earliest, lifetime, require_tunable
from harness.candidates.hosted.order import FINGERPRINT_KEY, Order, Upload
from harness.candidates.hosted.requests import (
    PAUSED,
    RUNNING,
    SUCCEEDED,
    AnyRequest,
    Checkpoint,
    CreateJob,
    GetContent,
    GetFile,
    GetJob,
    GetModel,
    Job,
    ListCheckpoints,
    ListEvents,
    ListFiles,
    ListJobs,
    Note,
    Refused,
    RemoteFile,
    Request,
    SetMoneyAside,
    Show,
    Sleep,
    Unsure,
    UploadFile,
    ask,
)
from harness.candidates.hosted.results import Metrics, merged, metrics_of_event, parse_results
from harness.errors import HostedTrainingError

T = TypeVar("T")
Steps: TypeAlias = Generator[AnyRequest, object, T]

TRIES = 5  # of an upload or a creation whose outcome was unknown; each looks first for what the last one did
SETTLE_S = 2.0  # before looking: what was just made may not be listed yet
FILE_NOT_READY = frozenset({"pending", "running", "notRunning", "uploading", "importing", "processing"})
FILE_BAD = frozenset({"error", "failed", "deleted", "deleting"})
FILE_WAIT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Tuned:
    """What came of a job. ``ends`` is the first shutdown date that the service gave, in ISO 8601."""

    job: Job
    checkpoints: tuple[Checkpoint, ...]
    metrics: tuple[Metrics, ...]
    ends: str | None
    notes: tuple[str, ...] = ()


@dataclass
class _Watch:
    """What is known of a job that is waited for."""

    events: dict[str, None] = field(default_factory=dict)
    last_event: str | None = None
    metrics: tuple[Metrics, ...] = ()
    status: str = ""
    quiet_s: float = 0.0


def tune(order: Order, today: date, patience_s: float) -> Steps[Tuned]:
    """The whole way: look at the model, find or begin the job, wait for it, and collect what it measured.

    Raises:
        HostedTrainingError: what the service refused, or a job that did not end well, with its own words.
    """
    notes: list[str] = []
    found, jobs = yield from find_job(order)
    known = found
    for job in jobs:
        if not job.is_alive:
            yield from _report_dead(order, job, is_replaced=found is None, notes=notes)
    base_ends = yield from _shutdown_date(order.base)
    if known is None:
        require_tunable(lifetime(order.base, order.profile, base_ends), today)
        known = yield from _begin(order)
    watch = _Watch()
    job = yield from _wait(order, known, watch, patience_s)
    checkpoints = yield from _checkpoints(order, job)
    measured = yield from _measured(job, watch)
    tuned_ends = yield from _shutdown_date(job.tuned_model or "")
    return Tuned(job, checkpoints, measured, earliest([base_ends, tuned_ends]), tuple(notes))


# --------------------------------------------------------------------------- found again
def find_job(order: Order) -> Steps[tuple[Job | None, tuple[Job, ...]]]:
    """The living job of this content (one that has succeeded first), and all there are.

    Where jobs carry no metadata, the training file is named after the job, and tells it.
    """
    if order.profile.metadata:
        mark = {FINGERPRINT_KEY: order.fingerprint}
        listed = yield from ask(ListJobs(mark))
        mine = [job for job in listed if job.metadata.get(FINGERPRINT_KEY) == order.fingerprint]
    else:
        files = yield from ask(ListFiles())
        sent = {file.id for file in files if _is_same(file, order.training)}
        listed = (yield from ask(ListJobs())) if sent else ()
        mine = [job for job in listed if job.training_file in sent]
    mine.sort(key=lambda job: (job.created, job.id))
    alive = sorted((job for job in mine if job.is_alive), key=lambda job: job.status != SUCCEEDED)
    return (alive[0] if alive else None), tuple(mine)


def _is_same(file: RemoteFile, sent: Upload) -> bool:
    return file.name == sent.name and file.bytes == len(sent.content) and file.status not in FILE_BAD


def _report_dead(order: Order, job: Job, *, is_replaced: bool, notes: list[str]) -> Steps[None]:
    """Tell of an earlier job that failed or was cancelled; where the input was at fault, go no further."""
    if is_replaced and failures.of_the_input(job.failure):
        raise failures.failed(order, job)
    why = f": {job.failure.message}" if job.failure and job.failure.message else ""
    done = "another one is begun" if is_replaced else "another one of the same content is used"
    text = f"an earlier tuning job {job.id} of {order.base} {job.status}{why}; {done}."
    notes.append(text)
    yield from ask(Note(text, job.id))


def _shutdown_date(model: str) -> Steps[str | None]:
    """The date that the service gives for a model; None where it gives none or does not know the model."""
    if not model:
        return None
    try:
        offering = yield from ask(GetModel(model))
    except (
        Refused,
        Unsure,
    ):  # many services list no single models; a base that is missing is told at creation
        return None
    return offering.shutdown_date


# --------------------------------------------------------------------------- begun
def _begin(order: Order) -> Steps[Job]:
    """Send what is not there yet, and begin the job, looking for it again wherever that was unsure."""
    yield from ask(SetMoneyAside())
    training = yield from _file(order, order.training)
    validation = (yield from _file(order, order.validation)) if order.validation else None
    problem = ""
    for attempt in range(TRIES + 1):
        if attempt:
            yield from ask(Sleep(SETTLE_S))
            found, _ = yield from find_job(order)
            if found is not None:
                return found
        if attempt == TRIES:
            break
        try:
            job = yield from ask(CreateJob(order.body(training.id, validation.id if validation else None)))
        except Unsure as error:
            problem = str(error)
            continue
        except Refused as no:
            raise failures.job_refused(order, no) from no
        yield from ask(Note(f"tuning job {job.id} of {order.base} has begun.", job.id))
        return job
    raise failures.unsure("began the tuning job", problem)


def _file(order: Order, sent: Upload) -> Steps[RemoteFile]:
    """The file at the service: the one that is there, or sent now; ready to be used."""
    problem = ""
    for attempt in range(TRIES + 1):
        if attempt:
            yield from ask(Sleep(SETTLE_S))
        files = yield from ask(ListFiles())
        same = sorted((f for f in files if _is_same(f, sent)), key=lambda f: (f.created, f.id))
        if same:
            return (yield from _ready(order, sent, same[0]))
        if attempt == TRIES:
            break
        try:
            file = yield from ask(UploadFile(sent.name, sent.content))
        except Unsure as error:
            problem = str(error)
            continue
        except Refused as no:
            raise failures.upload_refused(order, sent, no) from no
        return (yield from _ready(order, sent, file))
    raise failures.unsure(f"took the file {sent.name}", problem)


def _ready(order: Order, sent: Upload, file: RemoteFile) -> Steps[RemoteFile]:
    waited = 0.0
    while file.status in FILE_NOT_READY and waited < FILE_WAIT_S:
        yield from ask(Sleep(order.profile.poll_s))
        waited += order.profile.poll_s
        file = yield from ask(GetFile(file.id))
    if file.status in FILE_BAD:
        raise failures.file_rejected(order, sent, file.problem)
    return file


# --------------------------------------------------------------------------- waited for
def _wait(order: Order, job: Job, watch: _Watch, patience_s: float) -> Steps[Job]:
    """Follow the job to its end.

    Raises:
        HostedTrainingError: it failed, was cancelled or paused, or there was no news for too long.
    """
    while True:
        news = yield from _follow(job, watch)
        if job.status in PAUSED:
            raise failures.paused(order, job)
        if job.has_ended:
            break
        watch.quiet_s = 0.0 if news else watch.quiet_s + order.profile.poll_s
        if watch.quiet_s > patience_s:
            raise failures.silent(order, job, patience_s / 3600)
        yield from ask(Sleep(order.profile.poll_s))
        job = yield from _looked_at(GetJob(job.id), order, job)
    if job.status != SUCCEEDED:
        raise (
            failures.failed(order, job)
            if job.failure or job.status == "failed"
            else failures.cancelled(order, job)
        )
    if not job.tuned_model:
        raise HostedTrainingError(
            f"the tuning job {job.id} of {order.base} succeeded, but the service names no model.",
            f"look at it with `harness jobs follow {job.id}`.",
            job=job.id,
        )
    return job


def _looked_at(request: Request[Job], order: Order, job: Job) -> Steps[Job]:
    try:
        return (yield from ask(request))
    except Refused as no:
        error = failures.job_refused(order, no)
        raise HostedTrainingError(
            f"the tuning job {job.id} of {order.base} cannot be looked at any more.",
            error.mend,
            code=error.code,
            message=error.message,
            param=error.param,
            job=job.id,
        ) from no


def _follow(job: Job, watch: _Watch) -> Steps[bool]:
    """Read new events, show how far the job is; whether there was any news."""
    try:
        events = yield from ask(ListEvents(job.id, watch.last_event))
    except (Refused, Unsure):  # events are a comfort; the job itself says how it ended
        events = ()
    fresh = [event for event in events if event.id not in watch.events]
    watch.events.update(dict.fromkeys(event.id for event in fresh))
    if fresh:
        watch.last_event = fresh[-1].id
    found = [item for event in fresh if (item := metrics_of_event(event)) is not None]
    watch.metrics = merged((*watch.metrics, *found))
    news = bool(fresh) or job.status != watch.status
    watch.status = job.status
    yield from ask(_show(job, watch.metrics))
    return news


def _show(job: Job, metrics: Sequence[Metrics]) -> Show:
    done = metrics[-1].step if metrics else 0
    total = next((item.total for item in reversed(metrics) if item.total), None)
    losses = [item.train_loss for item in metrics if item.train_loss is not None]
    note = f"{job.id} {job.status.replace('_', ' ')}"
    if losses and (job.status in RUNNING or job.status == SUCCEEDED):
        note = f"loss {losses[-1]:.3f}, {note}"
    return Show(float(done), None if total is None else float(total), note)


# --------------------------------------------------------------------------- collected
def _checkpoints(order: Order, job: Job) -> Steps[tuple[Checkpoint, ...]]:
    if not order.profile.checkpoints:
        return ()
    try:
        found = yield from ask(ListCheckpoints(job.id))
    except (Refused, Unsure):
        return ()
    return tuple(sorted(found, key=lambda checkpoint: checkpoint.step))


def _measured(job: Job, watch: _Watch) -> Steps[tuple[Metrics, ...]]:
    """The events' metrics, completed by those of the results file, which hold every step."""
    found: list[Metrics] = []
    for file in job.result_files:
        try:
            content = yield from ask(GetContent(file))
        except (Refused, Unsure):  # the curves are the poorer for it, the model is not
            continue
        found += parse_results(content)
    return merged((*watch.metrics, *found))
