"""What the protocol asks its driver for, and what it is told: plain values, whoever the provider is.

Every request names the type of its reply. Two replies are raised instead: ``Refused``, where the service
said no, and ``Unsure``, where nobody knows whether it did what it was asked.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar, cast

from harness.records import Json

T = TypeVar("T")
Reply = TypeVar("Reply")
Reply_co = TypeVar("Reply_co", covariant=True)

WAITING = frozenset({"validating_files", "queued", "pending", "notRunning", "created"})
RUNNING = frozenset({"running", "resuming"})
PAUSED = frozenset({"pausing", "paused"})
SUCCEEDED = "succeeded"
FAILED = frozenset({"failed", "error"})
CANCELLED = frozenset({"cancelled", "canceled", "cancelling"})  # both spellings are in use


# --------------------------------------------------------------------------- what is told
@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file at the service. ``status`` is the provider's word."""

    id: str
    name: str
    bytes: int
    purpose: str
    status: str
    problem: str = ""
    created: int = 0  # Unix seconds, as everywhere here


@dataclass(frozen=True, slots=True)
class JobFailure:
    """Why a job failed, in the service's words."""

    code: str | None
    message: str | None
    param: str | None


@dataclass(frozen=True, slots=True)
class Job:
    """A fine-tuning job. None: the service does not say."""

    id: str
    status: str
    model: str
    training_file: str
    validation_file: str | None = None
    tuned_model: str | None = None
    suffix: str | None = None
    hyperparameters: Mapping[str, Json] = field(default_factory=dict)
    seed: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    failure: JobFailure | None = None
    result_files: tuple[str, ...] = ()
    trained_tokens: int | None = None
    created: int = 0
    finished: int | None = None

    @property
    def is_alive(self) -> bool:
        """Whether it ended well or still may."""
        return self.status not in FAILED and self.status not in CANCELLED

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status == SUCCEEDED or not self.is_alive


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job. ``data`` holds metrics where it has any."""

    id: str
    message: str
    level: str = "info"
    data: Mapping[str, Json] = field(default_factory=dict)
    created: int = 0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model from the middle of a job, ready to be asked."""

    id: str
    step: int
    model: str
    metrics: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Offering:
    """A model of the service. ``shutdown_date`` is ISO 8601."""

    id: str
    shutdown_date: str | None = None


@dataclass(frozen=True, slots=True)
class Remembered:
    """What this machine knows of a job that it has begun, so that it needs no listing to find it again.

    Args:
        files: ids at the service, by the name under which each file was sent.
        job: its id.
        ends: the first shutdown date that the service gave for the base, in ISO 8601.
        notes: sentences for the report.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    job: str | None = None
    ends: str | None = None
    notes: tuple[str, ...] = ()


class Refused(Exception):  # noqa: N818 - an answer, not a defect
    """The service said no, and would again."""

    def __init__(self, status: int, code: str | None, message: str, param: str | None) -> None:
        self.status, self.code, self.message, self.param = status, code, message, param
        super().__init__(message)


class Unsure(Exception):  # noqa: N818
    """What was sent may have been done: the connection broke, or the answer could not be read."""


# --------------------------------------------------------------------------- what is asked for
class Request(Generic[Reply_co]):
    """One thing to do, and the type of what comes back."""

    __slots__ = ()


AnyRequest: TypeAlias = Request[object]
Steps: TypeAlias = Generator[AnyRequest, object, T]


@dataclass(frozen=True)
class GetModel(Request[Offering]):
    """Look at a model."""

    model: str


@dataclass(frozen=True)
class ListFiles(Request[tuple[RemoteFile, ...]]):
    """All files for tuning, in any order."""


@dataclass(frozen=True)
class UploadFile(Request[RemoteFile]):
    """Send a file for tuning. Not repeated by the driver: it may have arrived."""

    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class GetFile(Request[RemoteFile]):
    """Look at a file."""

    id: str


@dataclass(frozen=True)
class GetContent(Request[bytes]):
    """What stands in a file."""

    id: str


@dataclass(frozen=True)
class ListJobs(Request[tuple[Job, ...]]):
    """All jobs, or (where the service can tell) those that carry the metadata, in any order."""

    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SetMoneyAside(Request[None]):
    """A job is about to be begun, or was found: see that what it will be billed can be paid."""

    found: Job | None = None


@dataclass(frozen=True)
class CreateJob(Request[Job]):
    """Begin a job: this is what costs money. Not repeated by the driver: it may have begun."""

    body: Mapping[str, Json]


@dataclass(frozen=True)
class GetJob(Request[Job]):
    """Look at a job."""

    id: str


@dataclass(frozen=True)
class CancelJob(Request[Job]):
    """End a job."""

    id: str


@dataclass(frozen=True)
class ResumeJob(Request[Job]):
    """Let a paused job go on."""

    id: str


@dataclass(frozen=True)
class ListEvents(Request[tuple[Event, ...]]):
    """What happened to a job, oldest first; what came before ``known`` may be left out."""

    job: str
    known: str | None = None


@dataclass(frozen=True)
class ListCheckpoints(Request[tuple[Checkpoint, ...]]):
    """Models from the middle of a job, in any order."""

    job: str


@dataclass(frozen=True)
class Sleep(Request[None]):
    """Wait."""

    seconds: float


@dataclass(frozen=True)
class Show(Request[None]):
    """Tell people how far it is: steps done, of how many, and a note."""

    done: float
    total: float | None
    note: str


@dataclass(frozen=True)
class Note(Request[None]):
    """Tell people what they should know; ``job`` is the one that is begun or followed from here on."""

    text: str
    job: Job | None = None


@dataclass(frozen=True)
class Remember(Request[None]):
    """Keep what is known of the job on this machine, in place of what was kept before."""

    known: Remembered


def ask(request: Request[Reply]) -> Generator[AnyRequest, object, Reply]:
    """``reply = yield from ask(request)``, with the reply's own type."""
    reply = yield request
    return cast(Reply, reply)
