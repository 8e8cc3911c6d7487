"""OpenAI's tuning API behind the official SDK: OpenAI itself, Azure, Nebius and whoever speaks the same."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from harness.models.endpoint import Endpoint
from harness.models.profiles import REHEARSAL_KEY, Profile, profile_of, twin_of
from harness.models.remote import RemoteModel
from harness.models.retry import TOO_MANY, verdict_of
from harness.records import Json
from harness.training.hosted.openai_objects import (
    error_fields,
    items,
    read_checkpoint,
    read_events,
    read_file,
    read_job,
    read_shutdown_date,
    same_files,
)
from harness.training.hosted.provider import (
    Capabilities,
    JobCheckpoint,
    JobEvent,
    OutcomeUnknown,
    RateLimited,
    RemoteFile,
    RequestRejected,
    ServiceError,
    TuningJob,
)
from harness.training.hosted.request import JobRequest, Upload

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAI

FINGERPRINT_KEY = "harness_fingerprint"  # in a job's metadata
MARK_DIGITS = 12  # of the fingerprint in a suffix
PAGE = 100
MESSAGE_CHARACTERS = 1_000
_TOO_EARLY = 425
# of the SDK: no JSON, no UTF-8 or a number of thousands of digits; JSON too deep; a text in place of a page
UNREADABLE = (ValueError, RecursionError, AttributeError)
_KEYLIKE = re.compile(r"\b(sk|key|pat)-[\w*.\-]{6,}")


@dataclass(frozen=True)
class OpenAIProvider:
    """A service that speaks OpenAI's tuning API. No text of it is returned or raised with the key in it.

    Args:
        base_url: its address (None: ``OPENAI_BASE_URL``, else OpenAI's own).
        api_key_env: the environment variable that holds the key; see ``RemoteModel``.
        profile: which service it is, where its address does not tell.
    """

    base_url: str | None = None
    api_key_env: str | None = None
    profile: str | None = None

    @property
    def facts(self) -> Profile:
        """What is known of the service."""
        return profile_of(self.profile, Endpoint(self.base_url).url)

    @property
    def endpoint(self) -> Endpoint:
        """Where it is asked, and with which key."""
        return self.facts.endpoint(self.base_url, self.api_key_env)

    @property
    def capabilities(self) -> Capabilities:
        """See ``TuningProvider``."""
        facts = self.facts
        given = {"base-url": self.base_url, "api-key-env": self.api_key_env, "profile": self.profile}
        flags = " ".join(f"--{flag}={value}" for flag, value in given.items() if value)
        return Capabilities(
            **{name: getattr(facts, name) for name in Capabilities.__slots__ if hasattr(facts, name)},
            command="harness jobs {action} {job} " + flags.replace("{", "{{").replace("}", "}}"),
            package="openai",
        )

    @property
    def url(self) -> str:
        """See ``TuningProvider``."""
        return self.endpoint.url

    def identity(self) -> str:
        """See ``TuningProvider``: the address alone, whatever profile or key it is used with."""
        return self.url

    def redirected(self, url: str, service: str = "") -> OpenAIProvider:
        """See ``TuningProvider``; the stand-in, of another ``service`` too, is shown no real key."""
        profile = twin_of(service or self.facts.seller)
        return replace(self, base_url=url, api_key_env=REHEARSAL_KEY, profile=profile)

    def model(self, name: str) -> RemoteModel:
        """See ``TuningProvider``."""
        return RemoteModel(name, self.base_url, self.api_key_env, self.profile)

    def require_ready(self) -> None:
        """See ``TuningProvider``."""
        self.endpoint.require_key()

    def close(self) -> None:
        """See ``TuningProvider``."""
        client: OpenAI | None = self.__dict__.pop("_client", None)
        if client is not None:
            client.close()

    # ----------------------------------------------------------------------- models and files
    def shutdown_date(self, model: str) -> str | None:
        """See ``TuningProvider``."""
        with self._calling() as client:
            return read_shutdown_date(client.models.retrieve(model))

    def find_file(self, sent: Upload) -> RemoteFile | None:
        """See ``TuningProvider``."""
        with self._calling() as client:
            return next(iter(self._same(client, sent)), None)

    def upload(self, sent: Upload) -> RemoteFile:
        """See ``TuningProvider``."""
        with self._calling() as client:
            return read_file(
                client.files.create(file=(sent.name, sent.content), purpose="fine-tune"), self._clean
            )

    def file_state(self, id: str) -> RemoteFile:
        """See ``TuningProvider``."""
        with self._calling() as client:
            return read_file(client.files.retrieve(id), self._clean)

    def content(self, file: str) -> bytes:
        """See ``TuningProvider``."""
        with self._calling() as client:
            return client.files.content(file).content

    # ----------------------------------------------------------------------- jobs
    def find(self, request: JobRequest, files: Mapping[str, str]) -> Sequence[TuningJob]:
        """See ``TuningProvider``.

        Without metadata a job is known by its training file, which is named after it, and by the end of its
        suffix or of its model's name. Some services give a file as an address that ends in its id.
        """
        with self._calling() as client:
            if self.facts.metadata:
                wanted = {FINGERPRINT_KEY: request.fingerprint}
                jobs = self._jobs(client, wanted)
                # some services ignore the filter
                return tuple(job for job in jobs if wanted.items() <= dict(job.metadata).items())
            sent = {file.id for file in self._same(client, request.training)}
            sent |= {id for name, id in files.items() if name == request.training.name}
            mark = self.mark(request)
            return tuple(
                job
                for job in self._jobs(client)
                if job.training_file.rpartition("/")[2] in sent
                or (mark and any(mark in (name or "") for name in (job.suffix, job.tuned_model)))
            )

    def submit(self, request: JobRequest, training_file: str, validation_file: str | None) -> TuningJob:
        """See ``TuningProvider``. A service that takes no suffix gets none."""
        marked = self.body(request, training_file, validation_file)
        plain = self.body(request, training_file, validation_file, marked=False)
        try:
            return self._submit(marked)
        except RequestRejected as no:
            if marked == plain or "suffix" not in f"{no.param} {no.message}".lower():
                raise
        return self._submit(plain)

    def get(self, job: str) -> TuningJob:
        """See ``TuningProvider``."""
        with self._calling() as client:
            return self._job(client.fine_tuning.jobs.retrieve(job))

    def cancel(self, job: str) -> TuningJob:
        """See ``TuningProvider``."""
        with self._calling() as client:
            return self._job(client.fine_tuning.jobs.cancel(job))

    def resume(self, job: str) -> TuningJob:
        """Let a paused job go on."""
        with self._calling() as client:
            return self._job(client.fine_tuning.jobs.resume(job))

    def jobs(self) -> tuple[TuningJob, ...]:
        """All jobs there, in any order."""
        with self._calling() as client:
            return self._jobs(client)

    def events(self, job: str, known: str | None) -> Sequence[JobEvent]:
        """See ``TuningProvider``."""
        with self._calling() as client:
            return read_events(client.fine_tuning.jobs.list_events(job, limit=PAGE), known, self._clean)

    def checkpoints(self, job: str) -> Sequence[JobCheckpoint]:
        """See ``TuningProvider``."""
        with self._calling() as client:
            page = client.fine_tuning.jobs.checkpoints.list(job, limit=PAGE)
            return [read_checkpoint(item) for item in items(page)]

    # ----------------------------------------------------------------------- the request
    def mark(self, request: JobRequest) -> str | None:
        """What the suffix ends in where jobs carry no metadata; None where there is no room for it."""
        suffix, mark = request.settings.suffix, request.fingerprint[:MARK_DIGITS]
        fits = len(f"{suffix}-{mark}" if suffix else mark) <= self.facts.suffix_characters
        return mark if fits and not self.facts.metadata else None

    def body(
        self, request: JobRequest, training_file: str, validation_file: str | None, *, marked: bool = True
    ) -> dict[str, Json]:
        """The request that begins the job, for files that are at the service; ``marked``: see ``mark``."""
        facts, settings = self.facts, request.settings
        body: dict[str, Json] = {"model": settings.base, "training_file": training_file}
        if validation_file is not None:
            body["validation_file"] = validation_file
        given: dict[str, Json] = (
            {"hyperparameters": dict(settings.hyperparameters)} if settings.hyperparameters else {}
        )
        body |= {"method": {"type": "supervised", "supervised": given}} if facts.nested_method else given
        if facts.seed:
            body["seed"] = request.seed
        mark = self.mark(request) if marked else None
        suffix = "-".join(part for part in (settings.suffix, mark) if part)
        if suffix:
            body["suffix"] = suffix
        if facts.metadata:
            body["metadata"] = {**settings.metadata, FINGERPRINT_KEY: request.fingerprint}
        if settings.wandb is not None and facts.wandb:
            body["integrations"] = [{"type": "wandb", "wandb": dict(settings.wandb)}]
        return body

    def _submit(self, body: Mapping[str, Json]) -> TuningJob:
        rest = {name: value for name, value in body.items() if name not in ("model", "training_file")}
        model, file = str(body["model"]), str(body["training_file"])
        with self._calling() as client:  # not by the SDK's own arguments: services differ from its types
            return self._job(client.fine_tuning.jobs.create(model=model, training_file=file, extra_body=rest))

    # ----------------------------------------------------------------------- calls
    def _job(self, item: object) -> TuningJob:
        """A job of the service's, as this provider reports it."""
        return read_job(item, self._clean)

    def _same(self, client: OpenAI, sent: Upload) -> list[RemoteFile]:
        return same_files(client.files.list(purpose="fine-tune", limit=1000), sent, self._clean)

    def _jobs(self, client: OpenAI, wanted: dict[str, str] | None = None) -> tuple[TuningJob, ...]:
        jobs = client.fine_tuning.jobs
        page = jobs.list(limit=PAGE, metadata=wanted) if wanted else jobs.list(limit=PAGE)
        return tuple(map(self._job, items(page)))

    @cached_property
    def _client(self) -> OpenAI:
        return self.endpoint.client()

    @contextmanager
    def _calling(self) -> Iterator[OpenAI]:
        """The client, whose errors leave here as those of ``provider``."""
        import openai

        failure: ServiceError
        try:
            yield self._client
            return
        except openai.APIStatusError as error:
            failure = self._failure(error)
        except (openai.APIConnectionError, openai.APIResponseValidationError, *UNREADABLE) as error:
            failure = OutcomeUnknown(self._clean(str(error) or type(error).__name__))
        raise failure from None  # the client's own error holds the request's headers, and so the key

    def _failure(self, error: APIStatusError) -> ServiceError:
        code, message, param = error_fields(error.body)
        text, status, verdict = self._clean(message or str(error)), error.status_code, verdict_of(error)
        if status in (_TOO_EARLY, TOO_MANY) and verdict.retry:
            return RateLimited(text, retry_after_s=verdict.retry_after_s, code=code, param=param)
        # a 503 is no word of the service but often a proxy's: behind it a job may have begun
        if status in (408, 409) or status >= 500:
            return OutcomeUnknown(text, retry_after_s=verdict.retry_after_s)
        return RequestRejected(text, status=status, code=code, param=param)

    def _clean(self, text: str) -> str:
        return _KEYLIKE.sub("[key]", self.endpoint.scrub(text))[:MESSAGE_CHARACTERS]
