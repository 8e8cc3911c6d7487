"""Whether a job is there already: on this machine's word, or among those that the service lists."""

from __future__ import annotations

from harness.training.hosted.order import FINGERPRINT_KEY, Order, Upload
from harness.training.hosted.requests import (
    SUCCEEDED,
    GetJob,
    Job,
    ListFiles,
    ListJobs,
    Refused,
    Remembered,
    RemoteFile,
    Steps,
    ask,
)

FILE_BAD = frozenset({"error", "failed", "deleted", "deleting"})
GONE = frozenset({400, 404, 410})  # statuses that say that there is no such job or file
NOTHING = Remembered()


def find_job(order: Order, known: Remembered = NOTHING) -> Steps[tuple[Job | None, tuple[Job, ...]]]:
    """The living job of this content (one that has succeeded first), and all that were seen.

    What this machine remembers is looked at first, and is enough where it lives: not every service lists
    what a job could be known by.
    """
    own = (yield from _remembered(known.job)) if known.job else None
    if own is not None and own.is_alive:
        return own, (own,)
    listed = yield from list_jobs(order, known)
    mine = {job.id: job for job in (*((own,) if own else ()), *listed)}
    seen = sorted(mine.values(), key=age)
    alive = sorted((job for job in seen if job.is_alive), key=lambda job: job.status != SUCCEEDED)
    return (alive[0] if alive else None), tuple(seen)


def list_jobs(order: Order, known: Remembered) -> Steps[tuple[Job, ...]]:
    """The jobs of this content that the service lists.

    Where jobs carry no metadata, the training file is named after the job, and so is the end of its suffix:
    either tells it.
    """
    if order.profile.metadata:
        marked = yield from ask(ListJobs({FINGERPRINT_KEY: order.fingerprint}))
        return tuple(job for job in marked if job.metadata.get(FINGERPRINT_KEY) == order.fingerprint)
    files = yield from ask(ListFiles())
    sent = {file.id for file in files if is_same(file, order.training)}
    sent |= {id for name, id in known.files.items() if name == order.training.name}
    jobs = yield from ask(ListJobs())
    return tuple(job for job in jobs if _file_of(job) in sent or _is_marked(order, job))


def is_same(file: RemoteFile, sent: Upload) -> bool:
    """Whether it is the file that was sent: by its name, which holds a digest, and its size where said."""
    return file.name == sent.name and file.bytes in (0, len(sent.content)) and file.status not in FILE_BAD


def age(job: Job) -> tuple[int, str]:
    """Sorts the older first; every machine sees the same order."""
    return job.created, job.id


def _remembered(id: str) -> Steps[Job | None]:
    try:
        return (yield from ask(GetJob(id)))
    except Refused as no:
        if no.status not in GONE:
            raise
        return None


def _file_of(job: Job) -> str:
    """Some services name a file by an address that ends in its id."""
    return job.training_file.rpartition("/")[2]


def _is_marked(order: Order, job: Job) -> bool:
    mark = order.mark
    return mark is not None and any(mark in (name or "") for name in (job.suffix, job.tuned_model))
