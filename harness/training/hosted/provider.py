"""A tuning service as the harness sees it: one protocol, the values it speaks in, and how a call can fail.

A new service is one class, in one file of the project, that has the members of ``TuningProvider``; a
candidate names it: ``HostedTuning(base=…, train=…, provider=MyService())``. ``openai.OpenAIProvider`` is the
one for services that speak OpenAI's API. What has to hold whoever the service is (one upload a file, one job,
the cap on spending, resuming after a crash) is in ``jobs`` and ``budget``, not in providers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from harness.models.remote import RemoteModel
from harness.records import Json
from harness.training.hosted.request import JobRequest, Upload

SUCCEEDED = "succeeded"
RUNNING = frozenset({"running", "resuming"})
PAUSED = frozenset({"pausing", "paused"})
FAILED = frozenset({"failed", "error"})
CANCELLED = frozenset({"cancelled", "canceled", "cancelling"})  # both spellings are in use


# --------------------------------------------------------------------------- how a call fails
class ServiceError(Exception):
    """A call to a service that gave no result. Providers raise its subclasses, with no secret in the text."""


class RequestRejected(ServiceError):  # noqa: N818 - an answer, not a defect
    """The service refused, and would again; nothing was done.

    Args:
        message: the service's own words.
        status: as in HTTP. 400, 404 and 410 to a question about a job or a file mean that there is none.
        code, param: the service's own words for the kind of problem and the setting concerned.
    """

    def __init__(
        self, message: str, *, status: int = 400, code: str | None = None, param: str | None = None
    ) -> None:
        self.message, self.status, self.code, self.param = message, status, code, param
        super().__init__(message)


class RateLimited(ServiceError):  # noqa: N818
    """Nothing was done, because there are too many calls or jobs; the same call may succeed later.

    Args:
        message: the service's own words.
        retry_after_s: the pause that it asks for; None where it does not say.
        code, param: as in ``RequestRejected``.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        self.message, self.retry_after_s, self.code, self.param = message, retry_after_s, code, param
        super().__init__(message)


class OutcomeUnknown(ServiceError):  # noqa: N818
    """The connection broke, the service failed, or its answer cannot be read: it may be done, or not."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


# --------------------------------------------------------------------------- values
@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a service can do."""

    name: str  # of the service, for messages
    minimum_rows: int = 1  # training rows below which it refuses a file
    suffix_characters: int = 40  # longest suffix of a tuned model's name
    # what it takes: the learning rate itself, or a factor of its own choice
    learning_rate: Literal["multiplier", "absolute"] = "absolute"
    # jobs carry metadata of the user's. Where they do not, the training file is named after its job, so
    # that the job can be found by it
    metadata: bool = False
    wandb: bool = False  # jobs can send their metrics to Weights & Biases
    checkpoints: bool = False  # models from the middle of a job are listed and can be asked
    must_deploy: bool = False  # a tuned model answers only under the name of a deployment that the user makes
    lifetimes: bool = False  # OpenAI's published dates of closure hold for it
    poll_s: float = 10.0  # seconds between two looks at a job
    # the command that acts on a job, for hints; ``{action}`` (follow, cancel, resume or list) and
    # ``{job}`` stand in it. Empty: there is none, and hints name the job alone
    command: str = ""
    package: str = ""  # the Python package that talks to the service; its version goes into the record

    def command_for(self, action: str, job: str = "") -> str:
        """The command in backquotes, ready for a hint; empty where there is none."""
        return f"`{' '.join(self.command.format(action=action, job=job).split())}`" if self.command else ""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file at the service."""

    id: str  # its name there
    # whether it can be used; a service that checks no files says ``ready``
    state: Literal["checking", "ready", "unusable"] = "ready"
    problem: str = ""  # what is wrong with one that is ``unusable``, in the service's words


@dataclass(frozen=True, slots=True)
class JobFailure:
    """Why a job failed, in the service's words."""

    code: str | None = None
    message: str | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True)
class TuningJob:
    """A job at the service. Every field but the first two may be left out.

    Args:
        id: its name there.
        status: ``succeeded``, ``failed``, ``cancelled``, ``paused``; any other word means that it goes on.
        model: the base.
        tuned_model: the name of what it made, which ``TuningProvider.model`` takes. A job that has succeeded
            must have one: a provider whose service has yet to publish the model reports ``running``.
        hyperparameters: as the service applies them; ``n_epochs`` bounds the bill of a job under way.
        failure: why it failed.
        result_files: ids of files with its metrics, which ``TuningProvider.content`` takes.
        trained_tokens: what is billed, all epochs together. None: the upper bound counts as billed.
        estimated_usd: its cost as the service itself puts it, where it does.
        created, finished: seconds since 1970. Of several jobs of one content the oldest is followed, so
            ``created`` must be the service's own time.
        training_file, validation_file, suffix, seed, metadata: what it was made from.
    """

    id: str
    status: str
    model: str = ""
    training_file: str = ""
    validation_file: str | None = None
    tuned_model: str | None = None
    suffix: str | None = None
    hyperparameters: Mapping[str, Json] = field(default_factory=dict)
    seed: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    failure: JobFailure | None = None
    result_files: tuple[str, ...] = ()
    trained_tokens: int | None = None
    estimated_usd: float | None = None
    created: int = 0
    finished: int | None = None

    @property
    def is_alive(self) -> bool:
        """Whether it has succeeded or still may."""
        return self.status not in FAILED and self.status not in CANCELLED

    @property
    def has_ended(self) -> bool:
        """Whether it will not change any more."""
        return self.status == SUCCEEDED or not self.is_alive

    @property
    def epochs(self) -> float | None:
        """How often it sees every row; None where the service does not say."""
        applied = self.hyperparameters.get("n_epochs")
        if isinstance(applied, bool) or not isinstance(applied, int | float) or applied <= 0:
            return None
        return float(applied)

    @property
    def age_key(self) -> tuple[int, str]:
        """Sorts older jobs first, in the same order on every machine."""
        return self.created, self.id


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Something that happened to a job. ``data`` holds its metrics by name, if it has any."""

    id: str
    message: str
    level: str = "info"
    data: Mapping[str, Json] = field(default_factory=dict)
    created: int = 0


@dataclass(frozen=True, slots=True)
class JobCheckpoint:
    """A model from the middle of a job. ``model`` is the name that it is asked by."""

    id: str
    step: int
    model: str
    metrics: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Quote:
    """What the service says that a job will cost, before it is begun."""

    usd: float
    tokens: int | None = None  # to train on, where it counts them
    is_allowed: bool = True  # whether it would let this account begin the job
    limit_usd: float | None = None  # what the account may spend, where it says so


# --------------------------------------------------------------------------- the service
class TuningProvider(Protocol):
    """A tuning service. A provider is a field of a candidate: it must be immutable and hashable.

    Every method that asks the service may raise ``RequestRejected``, ``RateLimited`` or ``OutcomeUnknown``,
    and must not repeat a call by itself: what may be repeated, and when, is decided by its caller.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What the service can do."""

    @property
    def url(self) -> str:
        """Where it is, for the record."""

    def identity(self) -> Json:
        """Everything that tells this service from another, its address included; without secrets.

        It is part of the name that a finished job has in the store: another identity is another training.
        """

    def redirected(self, url: str) -> TuningProvider:
        """The provider to rehearse with: at ``url``, on this machine, a stand-in speaks OpenAI's API."""

    def model(self, name: str) -> RemoteModel:
        """How the base, a tuned model or a checkpoint of that name is asked for answers."""

    def require_ready(self) -> None:
        """See that the service can be asked; sends nothing.

        Raises:
            ModelError: there is no key.
        """

    def close(self) -> None:
        """Give connections back. A later call may open them again."""

    def shutdown_date(self, model: str) -> str | None:
        """The day in ISO 8601 on which a model stops answering; None where none is known."""

    def find_file(self, sent: Upload) -> RemoteFile | None:
        """The oldest usable file there with the same name and size; None where there is none."""

    def upload(self, sent: Upload) -> RemoteFile:
        """Send a file. A service without files returns one that is ready, and sends the rows with the job."""

    def file_state(self, id: str) -> RemoteFile:
        """The file as it is now: asked until it is ``ready`` or ``unusable``."""

    def find(self, request: JobRequest, files: Mapping[str, str]) -> Sequence[TuningJob]:
        """All jobs of this request that the service knows, whatever became of them.

        A job is recognised by ``request.fingerprint``, which ``submit`` left with it in some way: in its
        metadata, its name, its suffix, or the name of its training file.

        Args:
            request: the job.
            files: ids of files that this machine has sent, by ``Upload.name``.
        """

    def submit(self, request: JobRequest, training_file: str, validation_file: str | None) -> TuningJob:
        """Begin the job: the one call that costs money.

        ``RequestRejected`` and ``RateLimited`` say that no job was begun; in doubt raise ``OutcomeUnknown``.
        """

    def get(self, job: str) -> TuningJob:
        """The job of that id as it is now."""

    def cancel(self, job: str) -> TuningJob:
        """End the job."""

    def events(self, job: str, known: str | None) -> Sequence[JobEvent]:
        """What happened to a job, oldest first; events up to the one of the id ``known`` may be left out."""

    def checkpoints(self, job: str) -> Sequence[JobCheckpoint]:
        """Models from the middle of a job, in any order."""

    def content(self, file: str) -> bytes:
        """The content of a file of ``TuningJob.result_files``: CSV with a column ``step``."""


@runtime_checkable
class Quotes(Protocol):
    """A provider whose service names the price of a job before it is begun: one more member."""

    def quote(self, request: JobRequest, training_file: str, validation_file: str | None) -> Quote | None:
        """The price of a job whose files are there; None where the service has none for it."""
