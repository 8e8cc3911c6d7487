"""Following a job to its end, and collecting what it measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.errors import HostedTrainingError
from harness.training.hosted import failures
from harness.training.hosted.order import Order
from harness.training.hosted.requests import (
    PAUSED,
    RUNNING,
    SUCCEEDED,
    Checkpoint,
    GetContent,
    GetJob,
    Job,
    ListCheckpoints,
    ListEvents,
    Refused,
    Request,
    Show,
    Sleep,
    Steps,
    Unsure,
    ask,
)
from harness.training.hosted.results import Metrics, merged, metrics_of_event, parse_results


@dataclass
class Watch:
    """What is known of a job that is waited for."""

    events: dict[str, None] = field(default_factory=dict)
    last_event: str | None = None
    metrics: tuple[Metrics, ...] = ()
    status: str = ""
    quiet_s: float = 0.0


def wait_for(order: Order, job: Job, watch: Watch, patience_s: float) -> Steps[Job]:
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
            error.hint,
            code=error.code,
            message=error.message,
            param=error.param,
            job=job.id,
        ) from no


def _follow(job: Job, watch: Watch) -> Steps[bool]:
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


def checkpoints_of(order: Order, job: Job) -> Steps[tuple[Checkpoint, ...]]:
    """The job's models from its middle, in order of step; none where the service lists none."""
    if not order.profile.checkpoints:
        return ()
    try:
        found = yield from ask(ListCheckpoints(job.id))
    except (Refused, Unsure):
        return ()
    return tuple(sorted(found, key=lambda checkpoint: checkpoint.step))


def measured(job: Job, watch: Watch) -> Steps[tuple[Metrics, ...]]:
    """The events' metrics, completed by those of the results file, which hold every step."""
    found: list[Metrics] = []
    for file in job.result_files:
        try:
            content = yield from ask(GetContent(file))
        except (Refused, Unsure):  # the curves are the poorer for it, the model is not
            continue
        found += parse_results(content)
    return merged((*watch.metrics, *found))
