"""The official client as the protocol sees it: one request in, one plain value out."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from harness.models.endpoint import Endpoint
from harness.training.hosted.failures import SPENT
from harness.training.hosted.replies import Garbled, Reader, retry_after_s, said_no
from harness.training.hosted.requests import (
    AnyRequest,
    CancelJob,
    CreateJob,
    GetContent,
    GetFile,
    GetJob,
    GetModel,
    ListCheckpoints,
    ListEvents,
    ListFiles,
    ListJobs,
    Refused,
    ResumeJob,
    Unsure,
    UploadFile,
)

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAI

T = TypeVar("T")
PAGE = 100
MESSAGE_CHARACTERS = 1_000
_KEYLIKE = re.compile(r"\b(sk|key|pat)-[\w*.\-]{6,}")


class Busy(Exception):  # noqa: N818 - an answer, not a defect
    """Nothing was done; later it may be. ``retry_after_s`` is what the service asks for."""

    def __init__(
        self,
        problem: str,
        retry_after_s: float | None = None,
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        self.retry_after_s, self.code, self.param = retry_after_s, code, param
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


class OpenAIService:
    """A service behind the official client; nothing that it says leaves here with the key in it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._client: OpenAI = endpoint.client()
        self._read = Reader(self._clean)

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
            raise self._no(error, changes) from None  # the client's own holds the request's headers
        except (openai.APIConnectionError, openai.APIResponseValidationError, json.JSONDecodeError) as error:
            problem = self._clean(str(error) or type(error).__name__)
        except Garbled as error:
            problem = str(error)
        raise Unsure(problem) if changes else Busy(problem)

    def _no(self, error: APIStatusError, changes: bool) -> Exception:
        code, message, param = said_no(error.body)
        text = self._clean(message or str(error))
        busy = Busy(text, retry_after_s(error.response.headers), code, param)
        if error.status_code in (425, 429) and code not in SPENT:
            return busy
        if error.status_code in (408, 409) or error.status_code >= 500:
            return Unsure(text) if changes else busy
        return Refused(error.status_code, code, text, param)

    def _reply(self, request: AnyRequest) -> object:
        client = self._client
        match request:
            case GetModel(model):
                return self._read.offering(client.models.retrieve(model))
            case ListFiles():
                return self._read.all(client.files.list(purpose="fine-tune", limit=1000), self._read.file)
            case UploadFile(name, content):
                return self._read.file(client.files.create(file=(name, content), purpose="fine-tune"))
            case GetFile(id):
                return self._read.file(client.files.retrieve(id))
            case GetContent(id):
                return client.files.content(id).content
        return self._reply_about_jobs(request)

    def _reply_about_jobs(self, request: AnyRequest) -> object:
        client = self._client
        match request:
            case ListJobs(metadata) if metadata:
                marked = client.fine_tuning.jobs.list(limit=PAGE, metadata=dict(metadata))
                return self._read.all(marked, self._read.job)
            case ListJobs():
                return self._read.all(client.fine_tuning.jobs.list(limit=PAGE), self._read.job)
            case CreateJob(body):
                rest = {key: value for key, value in body.items() if key not in ("model", "training_file")}
                model, file = str(body["model"]), str(body["training_file"])
                return self._read.job(
                    client.fine_tuning.jobs.create(model=model, training_file=file, extra_body=rest)
                )
            case GetJob(id):
                return self._read.job(client.fine_tuning.jobs.retrieve(id))
            case CancelJob(id):
                return self._read.job(client.fine_tuning.jobs.cancel(id))
            case ResumeJob(id):
                return self._read.job(client.fine_tuning.jobs.resume(id))
            case ListEvents(job, known):
                return self._read.events(client.fine_tuning.jobs.list_events(job, limit=PAGE), known)
            case ListCheckpoints(job):
                page = client.fine_tuning.jobs.checkpoints.list(job, limit=PAGE)
                return self._read.all(page, self._read.checkpoint)
        raise AssertionError(f"no reply to {type(request).__name__}")

    def _clean(self, text: str) -> str:
        return _KEYLIKE.sub("[key]", self._endpoint.scrub(text))[:MESSAGE_CHARACTERS]
