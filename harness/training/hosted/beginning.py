"""Sending what is not there yet and beginning the job, once, even where answers get lost or machines race."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.training.hosted import failures
from harness.training.hosted.finding import FILE_BAD, GONE, age, find_job, is_same, list_jobs
from harness.training.hosted.order import Order, Upload
from harness.training.hosted.requests import (
    CancelJob,
    CreateJob,
    GetFile,
    Job,
    ListFiles,
    Note,
    Refused,
    Remember,
    Remembered,
    RemoteFile,
    SetMoneyAside,
    Sleep,
    Steps,
    Unsure,
    UploadFile,
    ask,
)

UPLOADS = 5  # tries, each after a look for what the last one did
CREATIONS = 3
LOOKS = 4  # for a job whose creation was unsure, before another is begun
SETTLE_S, LONGEST_SETTLE_S = 2.0, 60.0  # before a look: what was just made may not be listed yet; doubles
FILE_NOT_READY = frozenset({"pending", "running", "notRunning", "uploading", "importing", "processing"})
FILE_WAIT_S = 3600.0


@dataclass
class Notebook:
    """What this machine remembers of the job, written down at each change."""

    known: Remembered

    def keep(self, known: Remembered) -> Steps[None]:
        """From here on."""
        if known != self.known:
            self.known = known
            yield from ask(Remember(known))

    def keep_file(self, sent: Upload, file: RemoteFile) -> Steps[None]:
        """A file that is at the service."""
        yield from self.keep(replace(self.known, files={**self.known.files, sent.name: file.id}))

    def keep_job(self, job: Job) -> Steps[None]:
        """The job that is followed."""
        yield from self.keep(replace(self.known, job=job.id))


def begin(order: Order, notebook: Notebook) -> Steps[Job]:
    """Send what is not there yet and begin the job; the one to follow, which another machine may have begun.

    Raises:
        HostedTrainingError: what the service refused; or it is not known whether it began the job.
    """
    yield from ask(SetMoneyAside())
    training = yield from _file(order, order.training, notebook)
    validation = (yield from _file(order, order.validation, notebook)) if order.validation else None
    body = order.body(training.id, validation.id if validation else None)
    plain = order.body(training.id, validation.id if validation else None, marked=False)
    # sending and checking files may have taken an hour
    found, _ = yield from find_job(order, notebook.known)
    settle_s, problem = first_settle_s(order), ""
    for _ in range(CREATIONS):
        if found is not None:
            return (yield from follow(order, found, notebook))
        try:
            job = yield from _created(order, body, plain)
        except Unsure as error:
            problem = str(error)
        else:
            yield from ask(Note(f"tuning job {job.id} of {order.base} has begun.", job))
            yield from notebook.keep_job(job)
            return (yield from _only_one(order, job, notebook))
        for _ in range(LOOKS):
            yield from ask(Sleep(settle_s))
            settle_s = min(LONGEST_SETTLE_S, settle_s * 2)
            found, _ = yield from find_job(order, notebook.known)
            if found is not None:
                break
    if found is not None:
        return (yield from follow(order, found, notebook))
    raise failures.unsure("began the tuning job", problem)


def follow(order: Order, job: Job, notebook: Notebook) -> Steps[Job]:
    """A job that was found: told, remembered, and what it will still be billed is set aside."""
    told = "has succeeded; nothing is paid again" if job.has_ended else "is under way and followed"
    yield from ask(Note(f"tuning job {job.id} of {order.base} is found: it {told}.", job))
    yield from notebook.keep_job(job)
    yield from ask(SetMoneyAside(job))
    return job


def first_settle_s(order: Order) -> float:
    """Seconds before the first look for what was just made; a twin is looked at more often than a service."""
    return min(SETTLE_S, order.profile.poll_s)


def _created(order: Order, body: dict[str, object], plain: dict[str, object]) -> Steps[Job]:
    """Begin the job; without our mark in its suffix where that is what the service will not take."""
    for sent in (body, plain):
        try:
            return (yield from ask(CreateJob(sent)))
        except Refused as no:
            is_about_mark = sent != plain and "suffix" in f"{no.param} {no.message}".lower()
            if not is_about_mark:
                raise failures.job_refused(order, no) from no
    raise AssertionError("the second is sent without a mark")


def _only_one(order: Order, own: Job, notebook: Notebook) -> Steps[Job]:
    """Look who else has begun this job since the last look: every machine then follows the oldest."""
    yield from ask(Sleep(first_settle_s(order)))
    try:
        listed = yield from list_jobs(order, notebook.known)
    except (Refused, Unsure):  # it has begun, and this machine remembers it
        return own
    if all(job.id != own.id for job in listed):
        yield from ask(Note(_unlisted(own)))
    alive = [job for job in listed if job.is_alive]
    oldest = min((own, *(job for job in alive if job.id != own.id)), key=age)
    if oldest.id == own.id:
        return own
    yield from ask(
        Note(f"another machine began the same content first, as {oldest.id}: {own.id} is cancelled.")
    )
    try:
        yield from ask(CancelJob(own.id))
    except (Refused, Unsure) as error:
        text = f"{own.id} could not be cancelled ({error}); it may be billed: `harness jobs cancel {own.id}`."
        yield from ask(Note(text))
    return (yield from follow(order, oldest, notebook))


def _unlisted(job: Job) -> str:
    return (
        f"the service does not list {job.id} in a way that tells what it was made from: only this machine's"
        " store knows it. Keep the store; another machine would begin the job again."
    )


def _file(order: Order, sent: Upload, notebook: Notebook) -> Steps[RemoteFile]:
    """The file at the service: the one that is there, or sent now; ready to be used."""
    there = yield from _remembered(notebook.known.files.get(sent.name))
    settle_s, problem = first_settle_s(order), ""
    for attempt in range(UPLOADS + 1):
        if there is None:
            same = [file for file in (yield from ask(ListFiles())) if is_same(file, sent)]
            there = min(same, key=lambda file: (file.created, file.id), default=None)
        if there is None and attempt < UPLOADS:
            try:
                there = yield from ask(UploadFile(sent.name, sent.content))
            except Refused as no:
                raise failures.upload_refused(order, sent, no) from no
            except Unsure as error:
                problem = str(error)
                yield from ask(Sleep(settle_s))
                settle_s = min(LONGEST_SETTLE_S, settle_s * 2)
        if there is not None:
            yield from notebook.keep_file(sent, there)
            return (yield from _ready(order, sent, there))
    raise failures.unsure(f"took the file {sent.name}", problem)


def _remembered(id: str | None) -> Steps[RemoteFile | None]:
    if id is None:
        return None
    try:
        file = yield from ask(GetFile(id))
    except Refused as no:
        if no.status not in GONE:
            raise
        return None
    return None if file.status in FILE_BAD else file


def _ready(order: Order, sent: Upload, file: RemoteFile) -> Steps[RemoteFile]:
    waited = 0.0
    while file.status in FILE_NOT_READY and waited < FILE_WAIT_S:
        yield from ask(Sleep(order.profile.poll_s))
        waited += order.profile.poll_s
        file = yield from ask(GetFile(file.id))
    if file.status in FILE_BAD:
        raise failures.file_rejected(order, sent, file.problem)
    if file.status in FILE_NOT_READY:
        raise failures.file_not_ready(order, sent, file, waited)
    return file
