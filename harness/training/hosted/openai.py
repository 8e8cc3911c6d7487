"""The tuning API of OpenAI behind the official SDK: OpenAI itself, Azure, Nebius and whoever speaks the same.

Services leave fields out, add their own, and answer with half of what the SDK's types promise. So every
object is read as a mapping, and a field that is missing is None.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, TypeVar

from harness.errors import HostedTrainingError
from harness.models.endpoint import Endpoint
from harness.models.profiles import REHEARSAL_KEY, TWIN, Profile, profile_of
from harness.models.remote import RemoteModel
from harness.models.retry import TOO_MANY, verdict_of
from harness.records import Json
from harness.training.hosted.provider import (
    Capabilities,
    JobCheckpoint,
    JobEvent,
    JobFailure,
    MalformedResponse,
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

T = TypeVar("T")

FINGERPRINT_KEY = "harness_fingerprint"  # in a job's metadata
MARK_DIGITS = 12  # of the fingerprint in a suffix
PAGE, MOST_PAGES = 100, 100
MESSAGE_CHARACTERS = 1_000
FILE_UNUSABLE = frozenset({"error", "failed", "deleted", "deleting"})
FILE_CHECKING = frozenset({"pending", "running", "notRunning", "uploading", "importing", "processing"})
_TOO_EARLY = 425
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
            name=facts.name,
            minimum_rows=facts.minimum_rows,
            suffix_characters=facts.suffix_characters,
            learning_rate=facts.learning_rate,
            metadata=facts.metadata,
            wandb=facts.wandb,
            checkpoints=facts.checkpoints,
            must_deploy=facts.must_deploy,
            lifetimes=facts.lifetimes,
            poll_s=facts.poll_s,
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

    def redirected(self, url: str) -> OpenAIProvider:
        """See ``TuningProvider``; the stand-in is shown no real key."""
        return replace(self, base_url=url, api_key_env=REHEARSAL_KEY, profile=TWIN.name)

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
            return _text(_fields(client.models.retrieve(model)), "shutdown_date")

    def find_file(self, sent: Upload) -> RemoteFile | None:
        """See ``TuningProvider``."""
        with self._calling() as client:
            return next(iter(self._same_files(client, sent)), None)

    def upload(self, sent: Upload) -> RemoteFile:
        """See ``TuningProvider``."""
        with self._calling() as client:
            return self._file(client.files.create(file=(sent.name, sent.content), purpose="fine-tune"))

    def file_state(self, id: str) -> RemoteFile:
        """See ``TuningProvider``."""
        with self._calling() as client:
            return self._file(client.files.retrieve(id))

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
                jobs = self._all(client.fine_tuning.jobs.list(limit=PAGE, metadata=wanted), self.read_job)
                # some services ignore the filter
                return tuple(job for job in jobs if wanted.items() <= dict(job.metadata).items())
            sent = {file.id for file in self._same_files(client, request.training)}
            sent |= {id for name, id in files.items() if name == request.training.name}
            mark = self.mark(request)
            return tuple(
                job
                for job in self._all(client.fine_tuning.jobs.list(limit=PAGE), self.read_job)
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
            return self.read_job(client.fine_tuning.jobs.retrieve(job))

    def cancel(self, job: str) -> TuningJob:
        """See ``TuningProvider``."""
        with self._calling() as client:
            return self.read_job(client.fine_tuning.jobs.cancel(job))

    def resume(self, job: str) -> TuningJob:
        """Let a paused job go on."""
        with self._calling() as client:
            return self.read_job(client.fine_tuning.jobs.resume(job))

    def jobs(self) -> tuple[TuningJob, ...]:
        """All jobs there, in any order."""
        with self._calling() as client:
            return self._all(client.fine_tuning.jobs.list(limit=PAGE), self.read_job)

    def events(self, job: str, known: str | None) -> Sequence[JobEvent]:
        """See ``TuningProvider``."""
        with self._calling() as client:
            return self.read_events(client.fine_tuning.jobs.list_events(job, limit=PAGE), known)

    def checkpoints(self, job: str) -> Sequence[JobCheckpoint]:
        """See ``TuningProvider``."""
        with self._calling() as client:
            return self._all(client.fine_tuning.jobs.checkpoints.list(job, limit=PAGE), _checkpoint)

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
            return self.read_job(
                client.fine_tuning.jobs.create(model=model, training_file=file, extra_body=rest)
            )

    # ----------------------------------------------------------------------- calls
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
        except (openai.APIConnectionError, openai.APIResponseValidationError, json.JSONDecodeError) as error:
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

    # ----------------------------------------------------------------------- answers
    def _same_files(self, client: OpenAI, sent: Upload) -> list[RemoteFile]:
        """Usable files of the same name, which holds a digest, and of the same size where it is known."""
        listed = self._all(client.files.list(purpose="fine-tune", limit=1000), _fields)
        same = [
            found
            for found in listed
            if _text(found, "filename") == sent.name
            and _whole(found, "bytes") in (None, 0, len(sent.content))
            and _text(found, "status") not in FILE_UNUSABLE
        ]
        same.sort(key=lambda found: (_whole(found, "created_at") or 0, _text(found, "id") or ""))
        return [self._file(found) for found in same]

    def _file(self, item: object) -> RemoteFile:
        found = _fields(item)
        status = _text(found, "status") or ""
        return RemoteFile(
            id=_required(found, "id"),
            state="unusable"
            if status in FILE_UNUSABLE
            else "checking"
            if status in FILE_CHECKING
            else "ready",
            problem=self._clean(_text(found, "status_details") or ""),
        )

    def read_job(self, item: object) -> TuningJob:
        """A job object of the SDK.

        Raises:
            MalformedResponse: it is none, or has no id.
        """
        found = _fields(item)
        files = found.get("result_files")
        # settings stand under the method, or beside it, or in both places
        method = _mapping(_mapping(found.get("method")).get("supervised"))
        applied = {**_mapping(method.get("hyperparameters")), **_present(found.get("hyperparameters"))}
        error = found.get("error")
        words = {"message": error} if isinstance(error, str) else _mapping(error)
        code, message, param = (_text(words, name) for name in ("code", "message", "param"))
        failure = JobFailure(code, self._clean(message) if message else None, param)
        return TuningJob(
            id=_required(found, "id"),
            status=_text(found, "status") or "",
            model=_text(found, "model") or "",
            training_file=_text(found, "training_file") or "",
            validation_file=_text(found, "validation_file"),
            tuned_model=_text(found, "fine_tuned_model"),
            suffix=_text(found, "suffix") or _text(found, "user_provided_suffix"),
            hyperparameters=_present(applied),
            seed=_whole(found, "seed"),
            metadata={key: str(value) for key, value in _mapping(found.get("metadata")).items()},
            failure=failure if code or message else None,  # some send an empty error with every job
            result_files=tuple(
                _text(file, "id") or "" if isinstance(file, Mapping) else str(file)
                for file in (files if isinstance(files, list) else ())
            ),
            trained_tokens=_whole(found, "trained_tokens"),
            created=_whole(found, "created_at") or 0,
            finished=_whole(found, "finished_at"),
        )

    def read_events(self, page: Page, known: str | None) -> tuple[JobEvent, ...]:
        """Events of all pages, oldest first. Most services list the newest first."""
        events: list[JobEvent] = []
        for item in _items(page, whole=False):
            found = _fields(item)
            if _text(found, "id") == known and known is not None:
                break
            events.append(
                JobEvent(
                    id=_text(found, "id") or "",
                    message=self._clean(_text(found, "message") or ""),
                    level=_text(found, "level") or "info",
                    data=_mapping(found.get("data")),
                    created=_whole(found, "created_at") or 0,
                )
            )
        is_newest_first = len(events) < 2 or events[0].created >= events[-1].created
        return tuple(reversed(events)) if is_newest_first else tuple(events)

    def _all(self, page: Page, read: Callable[[object], T]) -> tuple[T, ...]:
        return tuple(read(item) for item in _items(page, whole=True))


class Page(Protocol):
    """A page of a listing, as the SDK gives it."""

    @property
    def data(self) -> Sequence[object]:
        """Its items."""

    def has_next_page(self) -> bool:
        """Whether another follows."""

    def get_next_page(self) -> Page:
        """The next one."""


def error_fields(body: object) -> tuple[str | None, str | None, str | None]:
    """Code, message and parameter in the body of an error, in any of the forms that services give it."""
    found = _mapping(body)
    found = _mapping(found.get("error")) or found
    message = found.get("message") or found.get("detail")
    return _text(found, "code"), None if message is None else str(message), _text(found, "param")


def _items(page: Page, *, whole: bool) -> Iterator[object]:
    """The items of all pages. A service that cannot page may give the same page for ever: it is read once.

    Raises:
        HostedTrainingError: ``whole``, and there are too many pages: an item that was not seen is not known
            to be missing, and another job would be begun for it.
    """
    seen: set[str] = set()
    for _ in range(MOST_PAGES):
        data = getattr(page, "data", None)
        if not isinstance(data, list):
            raise MalformedResponse("the service answered with no list")
        new = {str(_fields(item).get("id")): item for item in data}
        if not new.keys() - seen:
            return
        yield from (item for id, item in new.items() if id not in seen)
        seen |= new.keys()
        if not page.has_next_page():
            return
        page = page.get_next_page()
    if whole:
        raise HostedTrainingError(
            f"the service lists more than {MOST_PAGES} pages ({len(seen):,} files or jobs): whether the one"
            " looked for is on a later one is not known.",
            "delete old files there, or use another of the provider's projects; then run again.",
        )


def _checkpoint(item: object) -> JobCheckpoint:
    found = _fields(item)
    return JobCheckpoint(
        id=_text(found, "id") or "",
        step=_whole(found, "step_number") or 0,
        model=_text(found, "fine_tuned_model_checkpoint") or "",
        metrics=_mapping(found.get("metrics")),
    )


def _fields(item: object) -> Mapping[str, Json]:
    from openai import BaseModel

    if isinstance(item, Mapping):
        return item
    if not isinstance(item, BaseModel):
        raise MalformedResponse("the service answered with something that is no JSON object")
    return item.model_dump(warnings=False)


def _present(value: object) -> dict[str, Json]:
    """The settings that are given: not empty, and not left to the service."""
    return {name: set_to for name, set_to in _mapping(value).items() if set_to not in (None, "auto")}


def _mapping(value: object) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _required(found: Mapping[str, Json], name: str) -> str:
    text = _text(found, name)
    if not text:
        raise MalformedResponse(f"the service's answer has no {name}")
    return text


def _text(found: Mapping[str, Json], name: str) -> str | None:
    value = found.get(name)
    return None if value is None or value == "" else str(value)


def _whole(found: Mapping[str, Json], name: str) -> int | None:
    value = found.get(name)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
