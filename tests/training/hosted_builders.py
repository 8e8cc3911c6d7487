"""A tuning service in memory behind the official SDK's client, rows for it, and no waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from types import SimpleNamespace
from typing import Any, cast

from openai import BaseModel
from openai.types import FileObject, Model
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from harness.candidates.base import Variant
from harness.candidates.hosted_tuning import OpenAITuning
from harness.candidates.lab import Lab
from harness.data.fingerprints import bytes_digest
from harness.models.profiles import TWIN, Profile
from harness.models.progress import Bar, SilentBar
from harness.models.retry import RetryPolicy
from harness.records import Message, Row
from harness.training.hosted.jobs import RETRY, Environment, tune
from harness.training.hosted.openai import OpenAIProvider
from harness.training.hosted.provider import JobFailure, RequestRejected, TuningProvider
from harness.training.hosted.record import JobState, TunedModel
from harness.training.hosted.request import JobRequest, JobSettings, make_request

BASE = "gpt-4o-mini-2024-07-18"
TODAY = date(2026, 11, 21)
HOUR_S = 3600.0
SETTINGS = JobSettings(BASE, {"n_epochs": 3})
NO_WAITING = Environment(sleep=lambda seconds: None, uniform=lambda low, high: high, today=TODAY)
RESULTS = (
    b"step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,2.0,0.4,,\n2,1.0,0.6,1.2,0.5\n"
)
# the calls that a provider sends to its service
CALLS = frozenset(
    [
        "shutdown_date",
        "find_file",
        "upload",
        "file_state",
        "find",
        "submit",
        "get",
        "cancel",
        "events",
        "checkpoints",
        "content",
        "quote",
        "fetch_adapter",
    ]
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


def request_of(
    settings: JobSettings = SETTINGS, n: int = 12, seed: int = 0, profile: Profile = TWIN, first: int = 0
) -> JobRequest:
    return make_request(settings, rows(n, first=first), rows(3, "dev"), seed, names_job=not profile.metadata)


class Pages:
    """A listing of one page."""

    def __init__(self, items: Sequence[BaseModel]) -> None:
        self.data = list(items)

    def has_next_page(self) -> bool:
        return False

    def get_next_page(self) -> Pages:
        raise AssertionError("there is one page")


@dataclass(eq=False)
class FakeService:
    """Files and jobs in memory, as the SDK's client shows them. A job moves through ``life``, a state a look.

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
    files: dict[str, FileObject] = field(default_factory=dict)
    jobs: dict[str, FineTuningJob] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    refuses: Mapping[str, Exception] = field(default_factory=dict)
    looks: Counter[str] = field(default_factory=Counter)
    listings: int = 0  # of jobs, asked for
    born: Counter[str] = field(default_factory=Counter)  # by job: the listings before it

    def client(self) -> Any:  # noqa: ANN401 - stands in for the SDK's client
        def call(name: str, function: Callable[..., object]) -> Callable[..., object]:
            def called(*args: object, **kwargs: object) -> object:
                self.asked.append(name)
                if name in self.refuses:
                    raise self.refuses[name]
                return function(*args, **kwargs)

            return called

        jobs: dict[str, Callable[..., object]] = {
            "list": self._list_jobs,
            "create": self._create,
            "retrieve": self._moved,
            "cancel": self._cancelled,
            "list_events": self._events,
        }
        files: dict[str, Callable[..., object]] = {
            "list": lambda purpose, limit: Pages([self._as_listed(file) for file in self.files.values()]),
            "create": self._upload,
            "retrieve": self._file,
            "content": lambda id: SimpleNamespace(content=self.results),
        }
        checkpoints = SimpleNamespace(list=call("checkpoints.list", self._checkpoints))
        job_calls = {name: call(f"jobs.{name}", function) for name, function in jobs.items()}
        return SimpleNamespace(
            models=SimpleNamespace(retrieve=call("models.retrieve", self._model)),
            files=SimpleNamespace(**{k: call(f"files.{k}", function) for k, function in files.items()}),
            fine_tuning=SimpleNamespace(jobs=SimpleNamespace(**job_calls, checkpoints=checkpoints)),
        )

    def uploads(self) -> Counter[str]:
        """How often each content was sent."""
        return Counter(bytes_digest(content) for content in self.contents.values())

    def change(self, id: str, **changes: object) -> None:
        """What the service says of a job from now on."""
        self.jobs[id] = self.jobs[id].model_copy(update=changes)

    def _model(self, model: str) -> Model:
        return Model.construct(id=model, shutdown_date=self.shutdown_date)

    def _upload(self, file: tuple[str, bytes], purpose: str) -> FileObject:
        id, (name, content) = f"file-{len(self.files)}", file
        self.contents[id] = content
        self.files[id] = FileObject.construct(
            id=id,
            filename=name,
            bytes=len(content),
            purpose=purpose,
            status=self.file_status[0],
            created_at=1,
        )
        return self._as_listed(self._file(id))

    def _as_listed(self, file: FileObject) -> FileObject:
        name = file.filename if self.lists_names else f"{file.id}.jsonl"
        return file.model_copy(update={"filename": name, "bytes": file.bytes if self.lists_bytes else 0})

    def _known(self, id: str) -> FineTuningJob:
        if id not in self.jobs:
            raise RequestRejected(f"no job {id}", status=404, code="not_found")
        return self.jobs[id]

    def _file(self, id: str) -> FileObject:
        if id not in self.files:
            raise RequestRejected(f"no file {id}", status=404, code="not_found")
        status = self.file_status[min(self.looks[id], len(self.file_status) - 1)]
        self.looks[id] += 1
        self.files[id] = self.files[id].model_copy(
            update={"status": status, "status_details": self.file_problem}
        )
        return self.files[id]

    def _list_jobs(self, limit: int, metadata: Mapping[str, str] | None = None) -> Pages:
        self.listings += 1
        return Pages(
            [
                job.model_copy(update={"training_file": self.names_files_by + job.training_file})
                for job in self.jobs.values()
                if (metadata or {}).items() <= dict(job.metadata or {}).items()
                and self.listings - self.born[job.id] > self.lag
            ]
        )

    def _create(self, model: str, training_file: str, extra_body: Mapping[str, Any]) -> FineTuningJob:
        id = f"ftjob-{len(self.jobs)}"
        self.jobs[id] = FineTuningJob.construct(
            id=id,
            status=self.life[0],
            model=model,
            training_file=training_file,
            validation_file=extra_body.get("validation_file"),
            metadata=extra_body.get("metadata") if self.keeps_metadata else None,
            seed=extra_body.get("seed"),
            suffix=extra_body.get("suffix") if self.keeps_suffix else None,
            created_at=100 + len(self.jobs),
        )
        self.born[id] = self.listings
        return self.jobs[id]

    def _cancelled(self, id: str) -> FineTuningJob:
        self._known(id)
        self.change(id, status="cancelled")
        return self.jobs[id]

    def _moved(self, id: str) -> FineTuningJob:
        self._known(id)
        self.looks[id] += 1
        status = self.life[min(self.looks[id], len(self.life) - 1)]
        if self.jobs[id].status in ("succeeded", "failed", "cancelled"):
            return self.jobs[id]
        self.change(id, status=status)
        if status == "failed" and self.failure is not None:
            words = {name: getattr(self.failure, name) for name in ("code", "message", "param")}
            self.change(id, error=words)
        if status == "succeeded":
            model = f"ft:{self.jobs[id].model}:org::{id}"
            ended = {"result_files": ["file-results"], "trained_tokens": 360, "finished_at": 200}
            self.change(id, fine_tuned_model=model, **ended)
        return self.jobs[id]

    def _events(self, id: str, limit: int) -> Pages:
        done = min(self.looks[id], 2)
        return Pages(
            [
                FineTuningJobEvent.construct(
                    id=f"e{k}",
                    message=f"Step {k}/2: training loss={3.0 - k}",
                    data={"step": k, "total_steps": 2},
                    created_at=k,
                )
                for k in range(done, 0, -1)
            ]
        )

    def _checkpoints(self, id: str, limit: int) -> Pages:
        return Pages(
            [
                FineTuningJobCheckpoint.construct(
                    id=f"c{k}",
                    step_number=k,
                    fine_tuned_model_checkpoint=f"ft:{id}:step-{k}",
                    metrics={"full_valid_loss": abs(k - 2) + 1.0},
                )
                for k in (1, 2, 3)
            ]
        )


@dataclass(frozen=True)
class FakeProvider(OpenAIProvider):
    """The provider for OpenAI's API, whose client is a fake."""

    fake: FakeService = field(default_factory=FakeService, compare=False)

    @property
    def _client(self) -> Any:  # noqa: ANN401
        return self.fake.client()


def provider_of(service: FakeService, profile: Profile = TWIN) -> FakeProvider:
    return FakeProvider("http://127.0.0.1:1/v1", profile=profile.name, fake=service)


Hook = Callable[[str, Callable[[], object]], object]


def hooked(provider: TuningProvider, hook: Hook) -> TuningProvider:
    """The provider, each of whose calls goes through ``hook(name, call)``."""

    class Hooked:
        def __getattr__(self, name: str) -> object:
            member = getattr(provider, name)
            if name not in CALLS:
                return member
            return lambda *args: hook(name, lambda: member(*args))

    return cast(TuningProvider, Hooked())


class Killed(BaseException):
    """The process is gone."""


def killing(provider: TuningProvider, at: int, *, after: bool) -> TuningProvider:
    """A provider whose process is killed before or after its ``at``-th call has been carried out."""
    left = at

    def hook(name: str, call: Callable[[], object]) -> object:
        nonlocal left
        left -= 1
        if left == -1 and not after:
            raise Killed
        result = call()
        if left == -1:
            raise Killed
        return result

    return hooked(provider, hook)


@dataclass
class Machine:
    """One machine: what it remembers of a job, and what was said there."""

    known: JobState = field(default_factory=JobState)
    said: list[str] = field(default_factory=list)

    def _remember(self, known: JobState) -> None:
        self.known = known

    def environment(self, environment: Environment = NO_WAITING) -> Environment:
        return replace(environment, remember=self._remember, say=self.said.append)


def tuned(
    request: JobRequest,
    service: FakeService | TuningProvider,
    environment: Environment = NO_WAITING,
    *,
    profile: Profile = TWIN,
    machine: Machine | None = None,
    bar: Bar | None = None,
) -> TunedModel:
    machine = machine or Machine()
    provider = provider_of(service, profile) if isinstance(service, FakeService) else service
    environment = replace(machine.environment(environment), bar=bar or SilentBar())
    return tune(request, provider, environment, machine.known)


# --------------------------------------------------------------------------- as a candidate
@dataclass(frozen=True, kw_only=True)
class FakeTuning(OpenAITuning):
    """A candidate whose service is a fake, and that never waits."""

    provider: TuningProvider = field(default_factory=FakeProvider, compare=False)
    retry: RetryPolicy = RETRY

    def __hash__(self) -> int:
        return super().__hash__()

    def service(self) -> OpenAIProvider:
        return cast(OpenAIProvider, self.provider)

    def environment(self, lab: Lab) -> Environment:
        waits = NO_WAITING.sleep, NO_WAITING.uniform
        return replace(super().environment(lab), sleep=waits[0], uniform=waits[1], retry=self.retry)


def variant(candidate: OpenAITuning, size: int | None = None, seed: int = 0) -> Variant:
    return Variant("hosted", candidate, size, seed)
