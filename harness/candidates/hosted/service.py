"""The official client as the protocol sees it: one request in, one plain value out.

Providers leave fields out, add their own and answer with half of what the types promise; everything is read
as a mapping, and what is not there is None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from harness.candidates.hosted.requests import (
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
    RemoteFile,
    ResumeJob,
    Unsure,
    UploadFile,
)
from harness.models.endpoint import Endpoint
from harness.records import Json

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAI

T = TypeVar("T")
PAGE = 100
MOST_PAGES = 100
SPENT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})  # a 429 that no waiting mends
MESSAGE_CHARACTERS = 1_000
_KEYLIKE = re.compile(r"\b(sk|key|pat)-[\w*.\-]{6,}")


class Busy(Exception):  # noqa: N818 - an answer, not a defect
    """Nothing was done; later it may be. ``retry_after_s`` is what the service asks for."""

    def __init__(self, problem: str, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(problem)


class Service(Protocol):
    """Where requests go."""

    def reply(self, request: AnyRequest) -> object:
        """What the service answers.

        Raises:
            Refused: it said no.
            Unsure: it may have done it.
            Busy: it did nothing, and may later.
        """


class _Page(Protocol):
    @property
    def data(self) -> Sequence[object]: ...

    def has_next_page(self) -> bool: ...

    def get_next_page(self) -> _Page: ...


class OpenAIService:
    """A service behind the official client; nothing that it says leaves here with the key in it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._client: OpenAI = endpoint.client()

    def __enter__(self) -> OpenAIService:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def reply(self, request: AnyRequest) -> object:
        """See ``Service``."""
        changes = isinstance(request, UploadFile | CreateJob)
        return self.called(lambda: self._reply(request), changes=changes)

    def called(self, call: Callable[[], T], *, changes: bool) -> T:
        """What ``call`` gives, the client's errors told apart; ``changes``: it is no mere look."""
        import json

        import openai

        try:
            return call()
        except openai.APIStatusError as error:
            raise self._no(
                error, changes
            ) from None  # the client's own error holds the request and its headers
        except (openai.APIConnectionError, openai.APIResponseValidationError, json.JSONDecodeError) as error:
            problem = self._clean(str(error) or type(error).__name__)
        except _Garbled as error:
            problem = str(error)
        raise Unsure(problem) if changes else Busy(problem)

    def _no(self, error: APIStatusError, changes: bool) -> Exception:
        code, message, param = _said(error.body)
        text = self._clean(message or str(error))
        busy = Busy(text, _retry_after_s(error.response.headers))
        if error.status_code in (425, 429) and code not in SPENT:
            return busy
        if error.status_code in (408, 409) or error.status_code >= 500:
            return Unsure(text) if changes else busy
        return Refused(error.status_code, code, text, param)

    def _reply(self, request: AnyRequest) -> object:
        client = self._client
        match request:
            case GetModel(model):
                found = _fields(client.models.retrieve(model))
                return Offering(_text(found, "id") or model, _text(found, "shutdown_date"))
            case ListFiles():
                return self._all(client.files.list(purpose="fine-tune", limit=1000), self._file)
            case UploadFile(name, content):
                return self._file(client.files.create(file=(name, content), purpose="fine-tune"))
            case GetFile(id):
                return self._file(client.files.retrieve(id))
            case GetContent(id):
                return client.files.content(id).content
        return self._reply_about_jobs(request)

    def _reply_about_jobs(self, request: AnyRequest) -> object:
        client = self._client
        match request:
            case ListJobs(metadata) if metadata:
                marked = client.fine_tuning.jobs.list(limit=PAGE, metadata=dict(metadata))
                return self._all(marked, self._job)
            case ListJobs():
                return self._all(client.fine_tuning.jobs.list(limit=PAGE), self._job)
            case CreateJob(body):
                rest = {key: value for key, value in body.items() if key not in ("model", "training_file")}
                model, file = str(body["model"]), str(body["training_file"])
                return self._job(
                    client.fine_tuning.jobs.create(model=model, training_file=file, extra_body=rest)
                )
            case GetJob(id):
                return self._job(client.fine_tuning.jobs.retrieve(id))
            case CancelJob(id):
                return self._job(client.fine_tuning.jobs.cancel(id))
            case ResumeJob(id):
                return self._job(client.fine_tuning.jobs.resume(id))
            case ListEvents(job, known):
                return self._events(client.fine_tuning.jobs.list_events(job, limit=PAGE), known)
            case ListCheckpoints(job):
                page = client.fine_tuning.jobs.checkpoints.list(job, limit=PAGE)
                return self._all(page, _checkpoint)
        raise AssertionError(f"no reply to {type(request).__name__}")

    def _all(self, page: _Page, read: Callable[[object], T]) -> tuple[T, ...]:
        return tuple(read(item) for item in _items(page))

    def _events(self, page: _Page, known: str | None) -> tuple[Event, ...]:
        """Oldest first. Services list the newest first; pages are read until one that is known."""
        found: list[Event] = []
        for item in _items(page):
            event = self._event(item)
            if event.id == known:
                break
            found.append(event)
        descending = len(found) < 2 or found[0].created >= found[-1].created
        return tuple(reversed(found)) if descending else tuple(found)

    def _event(self, item: object) -> Event:
        found = _fields(item)
        return Event(
            id=_text(found, "id") or "",
            message=self._clean(_text(found, "message") or ""),
            level=_text(found, "level") or "info",
            data=_mapping(found.get("data")),
            created=_whole(found, "created_at") or 0,
        )

    def _file(self, item: object) -> RemoteFile:
        found = _fields(item)
        return RemoteFile(
            id=_required(found, "id"),
            name=_text(found, "filename") or "",
            bytes=_whole(found, "bytes") or 0,
            purpose=_text(found, "purpose") or "",
            status=_text(found, "status") or "",
            problem=self._clean(_text(found, "status_details") or ""),
            created=_whole(found, "created_at") or 0,
        )

    def _job(self, item: object) -> Job:
        found = _fields(item)
        files = found.get("result_files")
        return Job(
            id=_required(found, "id"),
            status=_text(found, "status") or "",
            model=_text(found, "model") or "",
            training_file=_text(found, "training_file") or "",
            validation_file=_text(found, "validation_file"),
            tuned_model=_text(found, "fine_tuned_model"),
            suffix=_text(found, "suffix") or _text(found, "user_provided_suffix"),
            hyperparameters=_hyperparameters(found),
            seed=_whole(found, "seed"),
            metadata={key: str(value) for key, value in _mapping(found.get("metadata")).items()},
            failure=self._failure(found.get("error")),
            result_files=tuple(map(_file_id, files)) if isinstance(files, list) else (),
            trained_tokens=_whole(found, "trained_tokens"),
            created=_whole(found, "created_at") or 0,
            finished=_whole(found, "finished_at"),
        )

    def _failure(self, error: Json) -> JobFailure | None:
        if isinstance(error, str) and error:
            return JobFailure(None, self._clean(error), None)
        found = _mapping(error)
        code, message, param = (_text(found, name) for name in ("code", "message", "param"))
        if not (code or message):  # some services send an empty error with every job
            return None
        return JobFailure(code, self._clean(message) if message else None, param)

    def _clean(self, text: str) -> str:
        return _KEYLIKE.sub("[key]", self._endpoint.scrub(text))[:MESSAGE_CHARACTERS]


class _Garbled(Exception):  # noqa: N818
    """An answer that is none."""


def _items(page: _Page) -> Iterator[object]:
    """The items of all pages; a service that gives the same page again and again is believed once."""
    seen: set[str] = set()
    for _ in range(MOST_PAGES):
        data = getattr(page, "data", None)
        if not isinstance(data, list):
            raise _Garbled("the service answered with no list")
        ids = {str(_fields(item).get("id")) for item in data}
        if not ids - seen:
            return
        yield from (item for item in data if str(_fields(item).get("id")) not in seen)
        seen |= ids
        if not page.has_next_page():
            return
        page = page.get_next_page()


def _fields(item: object) -> Mapping[str, Json]:
    from openai import BaseModel

    if not isinstance(item, BaseModel):
        raise _Garbled("the service answered with something that is no JSON object")
    return item.model_dump(warnings=False)


def _checkpoint(item: object) -> Checkpoint:
    found = _fields(item)
    return Checkpoint(
        id=_text(found, "id") or "",
        step=_whole(found, "step_number") or 0,
        model=_text(found, "fine_tuned_model_checkpoint") or "",
        metrics=_mapping(found.get("metrics")),
    )


def _hyperparameters(found: Mapping[str, Json]) -> Mapping[str, Json]:
    """What the job says of its settings, wherever it says so; "auto" and empty ones left out."""
    method = _mapping(found.get("method"))
    nested = _mapping(_mapping(method.get("supervised")).get("hyperparameters"))
    said = {**nested, **_mapping(found.get("hyperparameters"))}
    return {key: value for key, value in said.items() if value is not None and value != "auto"}


def _file_id(item: Json) -> str:
    return _text(item, "id") or "" if isinstance(item, Mapping) else str(item)


def _said(body: object) -> tuple[str | None, str | None, str | None]:
    found = _mapping(body)
    found = _mapping(found.get("error")) or found
    message = found.get("message") or found.get("detail")
    return _text(found, "code"), None if message is None else str(message), _text(found, "param")


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) / unit)
        except (KeyError, ValueError):
            continue
    return None


def _mapping(value: object) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _required(found: Mapping[str, Json], name: str) -> str:
    text = _text(found, name)
    if not text:
        raise _Garbled(f"the service's answer has no {name}")
    return text


def _text(found: Mapping[str, Json], name: str) -> str | None:
    value = found.get(name)
    return None if value is None or value == "" else str(value)


def _whole(found: Mapping[str, Json], name: str) -> int | None:
    value = found.get(name)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
