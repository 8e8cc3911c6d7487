"""A tuning service in memory, rows for it, and pacing without waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date

from harness.data.fingerprints import bytes_digest
from harness.models.profiles import TWIN, Profile
from harness.models.progress import Bar, SilentBar
from harness.records import Message, Row
from harness.training.hosted.driver import Beside, Pacing, drive
from harness.training.hosted.finding import NOTHING
from harness.training.hosted.order import Order, make_order
from harness.training.hosted.protocol import Tuned, tune
from harness.training.hosted.requests import (
    AnyRequest,
    CancelJob,
    Checkpoint,
    CreateJob,
    Event,
    GetContent,
    GetFile,
    GetJob,
    GetModel,
    Job,
    JobFailure,
    ListCheckpoints,
    ListEvents,
    ListFiles,
    ListJobs,
    Offering,
    Refused,
    Remembered,
    RemoteFile,
    UploadFile,
)
from harness.training.hosted.spec import OpenAITuning

BASE = "gpt-4o-mini-2024-07-18"
TODAY = date(2026, 11, 21)
HOUR_S = 3600.0
SPEC = OpenAITuning(base=BASE, train="train.jsonl", dev="dev.jsonl")
NO_WAITING = Pacing(sleep=lambda seconds: None, chance=lambda: 0.5)
RESULTS = (
    b"step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,2.0,0.4,,\n2,1.0,0.6,1.2,0.5\n"
)


def rows(n: int, name: str = "train", first: int = 0) -> tuple[Row, ...]:
    return tuple(
        Row(
            f"{name}-{k}",
            (Message("user", f"{name} question {k}"), Message("assistant", f"answer {k}")),
            where=f"{name}.jsonl:{k - first + 1}",
        )
        for k in range(first, first + n)
    )


def order_of(
    spec: OpenAITuning = SPEC, n: int = 12, seed: int = 0, profile: Profile = TWIN, first: int = 0
) -> Order:
    return make_order(spec, rows(n, first=first), rows(3, "dev"), seed, profile)


@dataclass
class FakeService:
    """Files and jobs in memory. A job moves through ``life``, one state a look at it.

    How unkind its listings are: files without their size or name, jobs that name their file by an address or
    have lost their suffix, and jobs that are not ``listed`` before so many listings have been asked for.
    """

    life: tuple[str, ...] = ("validating_files", "queued", "running", "running", "succeeded")
    failure: JobFailure | None = None
    keeps_metadata: bool = True
    file_status: tuple[str, ...] = ("processed",)
    file_problem: str = ""
    shutdown_date: str | None = None
    lists_bytes: bool = True
    lists_names: bool = True
    keeps_suffix: bool = True
    names_files_by: str = ""
    lag: int = 0
    results: bytes = RESULTS
    files: dict[str, RemoteFile] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    asked: list[AnyRequest] = field(default_factory=list)
    refuses: Mapping[type[AnyRequest], Refused] = field(default_factory=dict)
    looks: Counter[str] = field(default_factory=Counter)
    listings: int = 0  # of jobs, asked for
    born: Counter[str] = field(default_factory=Counter)  # by job: the listings before it

    def reply(self, request: AnyRequest) -> object:
        self.asked.append(request)
        if type(request) in self.refuses:
            raise self.refuses[type(request)]
        match request:
            case GetModel(model):
                return Offering(model, self.shutdown_date)
            case ListFiles():
                return tuple(map(self._as_listed, self.files.values()))
            case UploadFile(name, content):
                return self._upload(name, content)
            case GetFile(id):
                return self._file(id)
            case GetContent():
                return self.results
        return self._reply_about_jobs(request)

    def _reply_about_jobs(self, request: AnyRequest) -> object:
        match request:
            case ListJobs(metadata):
                self.listings += 1
                return tuple(
                    replace(job, training_file=self.names_files_by + job.training_file)
                    for job in self.jobs.values()
                    if metadata.items() <= dict(job.metadata).items()
                    and self.listings - self.born[job.id] > self.lag
                )
            case CancelJob(id):
                self.jobs[id] = replace(self._known(id), status="cancelled")
                return self.jobs[id]
            case CreateJob(body):
                return self._create(body)
            case GetJob(id):
                return self._moved(id)
            case ListEvents(job):
                return self._events(job)
            case ListCheckpoints(job):
                return tuple(
                    Checkpoint(f"c{k}", k, f"ft:{job}:step-{k}", {"full_valid_loss": abs(k - 2) + 1.0})
                    for k in (1, 2, 3)
                )
        raise AssertionError(request)

    def uploads(self) -> Counter[str]:
        """How often each content was sent."""
        return Counter(bytes_digest(content) for content in self.contents.values())

    def _upload(self, name: str, content: bytes) -> RemoteFile:
        id = f"file-{len(self.files)}"
        self.contents[id] = content
        self.files[id] = RemoteFile(id, name, len(content), "fine-tune", self.file_status[0], created=1)
        return self._as_listed(self._file(id))

    def _as_listed(self, file: RemoteFile) -> RemoteFile:
        name = file.name if self.lists_names else f"{file.id}.jsonl"
        return replace(file, name=name, bytes=file.bytes if self.lists_bytes else 0)

    def _known(self, id: str) -> Job:
        if id not in self.jobs:
            raise Refused(404, "not_found", f"no job {id}", None)
        return self.jobs[id]

    def _file(self, id: str) -> RemoteFile:
        if id not in self.files:
            raise Refused(404, "not_found", f"no file {id}", None)
        status = self.file_status[min(self.looks[id], len(self.file_status) - 1)]
        self.looks[id] += 1
        self.files[id] = replace(self.files[id], status=status, problem=self.file_problem)
        return self.files[id]

    def _create(self, body: Mapping[str, object]) -> Job:
        metadata = body.get("metadata") if self.keeps_metadata else None
        seed, validation = body.get("seed"), body.get("validation_file")
        job = Job(
            id=f"ftjob-{len(self.jobs)}",
            status=self.life[0],
            model=str(body["model"]),
            training_file=str(body["training_file"]),
            validation_file=None if validation is None else str(validation),
            metadata=metadata if isinstance(metadata, Mapping) else {},
            seed=seed if isinstance(seed, int) else None,
            suffix=str(body["suffix"]) if self.keeps_suffix and "suffix" in body else None,
            created=100 + len(self.jobs),
        )
        self.jobs[job.id], self.born[job.id] = job, self.listings
        return job

    def _moved(self, id: str) -> Job:
        self._known(id)
        self.looks[id] += 1
        status = self.life[min(self.looks[id], len(self.life) - 1)]
        if self.jobs[id].has_ended:
            return self.jobs[id]
        ended = status == "succeeded"
        self.jobs[id] = replace(
            self.jobs[id],
            status=status,
            tuned_model=f"ft:{self.jobs[id].model}:org::{id}" if ended else None,
            failure=self.failure if status == "failed" else None,
            result_files=("file-results",) if ended else (),
            trained_tokens=360 if ended else None,
            finished=200 if ended else None,
        )
        return self.jobs[id]

    def _events(self, id: str) -> tuple[Event, ...]:
        done = min(self.looks[id], 2)
        return tuple(
            Event(
                f"e{k}", f"Step {k}/2: training loss={3.0 - k}", data={"step": k, "total_steps": 2}, created=k
            )
            for k in range(1, done + 1)
        )


def tuned(
    order: Order,
    service: FakeService,
    bar: Bar | None = None,
    patience_s: float = HOUR_S,
    today: date = TODAY,
    pacing: Pacing = NO_WAITING,
    machine: Machine | None = None,
) -> Tuned:
    machine = machine or Machine()
    steps = tune(order, today, patience_s, machine.known)
    return drive(steps, service, bar or SilentBar(), pacing, beside=machine.beside)


@dataclass
class Machine:
    """What one machine remembers of a job, and what was said there."""

    known: Remembered = NOTHING
    said: list[str] = field(default_factory=list)

    @property
    def beside(self) -> Beside:
        return Beside(remember=self._remember, say=self.said.append)

    def _remember(self, known: Remembered) -> None:
        self.known = known


class Killed(BaseException):
    """The process is gone."""


class Killing:
    """A service whose client is killed before or after its ``at``-th request has been carried out."""

    def __init__(self, service: Callable[[AnyRequest], object], at: int, *, after: bool) -> None:
        self._reply, self._left, self._after = service, at, after

    def reply(self, request: AnyRequest) -> object:
        if self._left == 0 and not self._after:
            raise Killed
        reply = self._reply(request)
        if self._left == 0:
            raise Killed
        self._left -= 1
        return reply
