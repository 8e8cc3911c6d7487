"""From files to a tuned model, as a generator: it yields requests and is sent replies.

It knows no network, no clock and no sleep; the driver does (the pattern of httpx's ``Auth``). A process may
be killed before or after any request: the next one finds what was done by its content and goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from harness.training.hosted import failures
from harness.training.hosted.beginning import Notebook, begin, follow
from harness.training.hosted.finding import NOTHING, find_job
from harness.training.hosted.lifetimes import (
    DEFAULT_HORIZON_DAYS,
    earliest,
    ending_notes,
    lifetime,
    require_tunable,
)
from harness.training.hosted.order import Order
from harness.training.hosted.requests import (
    Checkpoint,
    GetModel,
    Job,
    Note,
    Refused,
    Remembered,
    Steps,
    Unsure,
    ask,
)
from harness.training.hosted.results import Metrics
from harness.training.hosted.waiting import Watch, checkpoints_of, measured, wait_for


@dataclass(frozen=True, slots=True)
class Tuned:
    """What came of a job. ``ends`` is the first shutdown date that the service gave, in ISO 8601."""

    job: Job
    checkpoints: tuple[Checkpoint, ...]
    metrics: tuple[Metrics, ...]
    ends: str | None
    notes: tuple[str, ...] = ()


def tune(
    order: Order,
    today: date,
    patience_s: float,
    known: Remembered = NOTHING,
    horizon_days: float = DEFAULT_HORIZON_DAYS,
) -> Steps[Tuned]:
    """The whole way: look at the model, find or begin the job, wait for it, and collect what it measured.

    Args:
        order: the job.
        today: the day.
        patience_s: the longest time without news.
        known: what this machine remembers of the job.
        horizon_days: a model that stops answering within it is warned of, before anything is paid.

    Raises:
        HostedTrainingError: what the service refused, or a job that did not end well, with its own words.
    """
    notes: list[str] = []
    notebook = Notebook(known)
    found, jobs = yield from find_job(order, known)
    for job in jobs:
        if not job.is_alive:
            yield from _report_dead(order, job, is_replaced=found is None, notes=notes)
    if found is not None:
        found = yield from follow(order, found, notebook)
    base_ends = yield from _shutdown_date(order.base)
    yield from notebook.keep(replace(notebook.known, ends=base_ends or known.ends, notes=tuple(notes)))
    if found is None:
        life = lifetime(order.base, order.profile, base_ends)
        require_tunable(life, today)
        for text in ending_notes(life, today, horizon_days):
            yield from ask(Note(text))
        found = yield from begin(order, notebook)
    watch = Watch()
    job = yield from wait_for(order, found, watch, patience_s)
    checkpoints = yield from checkpoints_of(order, job)
    metrics = yield from measured(job, watch)
    tuned_ends = yield from _shutdown_date(job.tuned_model or "")
    return Tuned(job, checkpoints, metrics, earliest([base_ends, tuned_ends]), tuple(notes))


def _report_dead(order: Order, job: Job, *, is_replaced: bool, notes: list[str]) -> Steps[None]:
    """Tell of an earlier job that failed or was cancelled; where the input was at fault, go no further."""
    if is_replaced and failures.of_the_input(job.failure):
        raise failures.failed(order, job)
    why = f": {job.failure.message}" if job.failure and job.failure.message else ""
    done = "another one is begun" if is_replaced else "another one of the same content is used"
    text = f"an earlier tuning job {job.id} of {order.base} {job.status}{why}; {done}."
    notes.append(text)
    yield from ask(Note(text))


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
