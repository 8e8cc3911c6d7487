"""The service as an ASGI app: paths, keys, lists in pages, and what only the twin has, under ``/twin/``."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from harness.errors import UsageError
from harness.records import Json
from harness.testing.fake_openai.catalogue import CREATED, TwinModel, stand_ins
from harness.testing.fake_openai.faults import FaultyDoor, parse_faults
from harness.testing.fake_openai.job_requests import job_of
from harness.testing.fake_openai.pages import page
from harness.testing.fake_openai.parameters import Body, array
from harness.testing.fake_openai.records import Batch, Checkpoint, Event, Job, StoredFile, TunedModel
from harness.testing.fake_openai.refusals import (
    Refusal,
    no_key,
    no_such_path,
    not_json,
    server_error,
    wrong_key,
)
from harness.testing.fake_openai.service import Service
from harness.testing.fake_openai.store import new_id

if TYPE_CHECKING:
    from starlette.types import ASGIApp

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
MOST_REPLIES_AT_ONCE = 256


def faulty_app(service: Service) -> ASGIApp:
    """The whole service, behind the door where its faults stand."""
    endpoints = _Endpoints(service)
    get, post, delete = ["GET"], ["POST"], ["DELETE"]
    jobs = "/v1/fine_tuning/jobs"
    routes: Sequence[tuple[str, list[str], Handler]] = (
        ("/v1/files", post, endpoints.upload),
        ("/v1/files", get, endpoints.files),
        ("/v1/files/{id}", get, endpoints.file),
        ("/v1/files/{id}", delete, endpoints.delete_file),
        ("/v1/files/{id}/content", get, endpoints.content),
        (jobs, post, endpoints.create_job),
        (jobs, get, endpoints.jobs),
        (jobs + "/{id}", get, endpoints.job),
        (jobs + "/{id}/cancel", post, endpoints.cancel_job),
        (jobs + "/{id}/pause", post, endpoints.pause_job),
        (jobs + "/{id}/resume", post, endpoints.resume_job),
        (jobs + "/{id}/events", get, endpoints.events),
        (jobs + "/{id}/checkpoints", get, endpoints.checkpoints),
        ("/v1/chat/completions", post, endpoints.chat),
        ("/v1/completions", post, endpoints.completion),
        ("/v1/models", get, endpoints.models),
        ("/v1/models/{id}", get, endpoints.model),
        ("/v1/models/{id}", delete, endpoints.delete_model),
        ("/v1/batches", post, endpoints.create_batch),
        ("/v1/batches", get, endpoints.batches),
        ("/v1/batches/{id}", get, endpoints.batch),
        ("/v1/batches/{id}/cancel", post, endpoints.cancel_batch),
    )
    app = Starlette(
        routes=[
            *(Route(path, _guarded(service, path, handler), methods=m) for path, m, handler in routes),
            Route("/twin/stats", endpoints.stats, methods=get),
            Route("/twin/faults", endpoints.faults, methods=get),
            Route("/twin/faults", endpoints.set_faults, methods=["PUT"]),
            Route("/twin/stand-ins", endpoints.stand_in, methods=["PUT"]),
        ],
        exception_handlers={Refusal: _refused, HTTPException: _no_path, Exception: _broken},
    )
    service.door = FaultyDoor(app, service.faults, service.store.count)
    return service.door


def _guarded(service: Service, path: str, handler: Handler) -> Handler:
    """Count the call, and ask for the key."""

    async def guarded(request: Request) -> Response:
        service.store.count(f"{request.method} {path}")
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        key = bearer or request.headers.get("api-key", "")
        if not key:
            raise no_key()
        if service.api_key is not None and key != service.api_key:
            raise wrong_key(key)
        response = await handler(request)
        response.headers["x-request-id"] = new_id("req_")
        return response

    return guarded


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return JSONResponse(error.body(), error.status, dict(error.headers))


async def _no_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code in (404, 405):
        return await _refused(request, no_such_path(request.method, request.url.path))
    return await _refused(request, Refusal(error.status_code, str(error.detail)))


async def _broken(request: Request, error: Exception) -> Response:
    return await _refused(request, server_error())


class _Endpoints:
    """One method a path."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._replies = CapacityLimiter(MOST_REPLIES_AT_ONCE)

    # ------------------------------------------------------------------ files
    async def upload(self, request: Request) -> Response:
        async with request.form(max_files=1, max_fields=10) as form:
            file, purpose = form.get("file"), form.get("purpose")
            content = None if file is None or isinstance(file, str) else await file.read()
            name = "" if file is None or isinstance(file, str) else file.filename or ""
        purpose = purpose if isinstance(purpose, str) else None
        stored = await to_thread.run_sync(self._service.files.upload, name, purpose, content)
        return JSONResponse(stored.shown())

    async def files(self, request: Request) -> Response:
        found = self._service.store.newest_first(StoredFile)
        purpose = request.query_params.get("purpose")
        if purpose:
            found = [file for file in found if file.purpose == purpose]
        if request.query_params.get("order") == "asc":
            found.reverse()
        return page(request, found, default=10_000, most=10_000)

    async def file(self, request: Request) -> Response:
        return JSONResponse(self._service.files.get(_id(request)).shown())

    async def delete_file(self, request: Request) -> Response:
        self._service.files.delete(_id(request))
        return JSONResponse({"id": _id(request), "object": "file", "deleted": True})

    async def content(self, request: Request) -> Response:
        content = self._service.files.content(_id(request))
        return Response(content, media_type="application/octet-stream")

    # ------------------------------------------------------------------ jobs
    async def create_job(self, request: Request) -> Response:
        body, service = await _body(request), self._service
        job = job_of(body, service.catalogue, service.files, service.clock())
        return JSONResponse(service.jobs.submit(job).shown())

    async def jobs(self, request: Request) -> Response:
        wanted = {
            key[len("metadata[") : -1]: value
            for key, value in request.query_params.items()
            if key.startswith("metadata[") and key.endswith("]")
        }
        found = self._service.store.newest_first(Job)
        if request.query_params.get("metadata") == "null":
            found = [job for job in found if not job.metadata]
        found = [job for job in found if wanted.items() <= dict(job.metadata or {}).items()]
        return page(request, found, default=20)

    async def job(self, request: Request) -> Response:
        return JSONResponse(self._service.jobs.get(_id(request)).shown())

    async def cancel_job(self, request: Request) -> Response:
        return JSONResponse(self._service.jobs.cancel(_id(request)).shown())

    async def pause_job(self, request: Request) -> Response:
        return JSONResponse(self._service.jobs.pause(_id(request)).shown())

    async def resume_job(self, request: Request) -> Response:
        return JSONResponse(self._service.jobs.resume(_id(request)).shown())

    async def events(self, request: Request) -> Response:
        job = self._service.jobs.get(_id(request))
        return page(request, self._service.store.newest_first(Event, job.id), default=20)

    async def checkpoints(self, request: Request) -> Response:
        job = self._service.jobs.get(_id(request))
        return page(request, self._service.store.newest_first(Checkpoint, job.id), default=10)

    # ------------------------------------------------------------------ models and answers
    async def chat(self, request: Request) -> Response:
        return await self._answered(self._service.completions.chat, await _body(request))

    async def completion(self, request: Request) -> Response:
        return await self._answered(self._service.completions.completion, await _body(request))

    async def _answered(self, answer: Callable[[Body], dict[str, Json]], body: Body) -> Response:
        return JSONResponse(await to_thread.run_sync(partial(answer, body), limiter=self._replies))

    async def models(self, request: Request) -> Response:
        own = [_model(model, CREATED, "twin") for model in self._service.catalogue.listed()]
        tuned = [self._tuned(found) for found in self._service.store.newest_first(TunedModel)]
        return JSONResponse({"object": "list", "data": [*own, *tuned]})

    async def model(self, request: Request) -> Response:
        model, tuned = self._service.completions.model(_id(request))
        return JSONResponse(_model(model, CREATED, "twin") if tuned is None else self._tuned(tuned))

    async def delete_model(self, request: Request) -> Response:
        _, tuned = self._service.completions.model(_id(request))
        if tuned is None:
            raise Refusal(403, "You have insufficient permissions for this operation.")
        self._service.store.delete(TunedModel, tuned.id)
        return JSONResponse({"id": tuned.id, "object": "model", "deleted": True})

    def _tuned(self, found: TunedModel) -> dict[str, Json]:
        model = self._service.catalogue.tuned(found.id, found.base)
        return _model(model, found.created_at, "org-twin")

    # ------------------------------------------------------------------ batches
    async def create_batch(self, request: Request) -> Response:
        return JSONResponse(self._service.batches.create(await _body(request)).shown())

    async def batches(self, request: Request) -> Response:
        return page(request, self._service.store.newest_first(Batch), default=20)

    async def batch(self, request: Request) -> Response:
        return JSONResponse(self._service.batches.get(_id(request)).shown())

    async def cancel_batch(self, request: Request) -> Response:
        return JSONResponse(self._service.batches.cancel(_id(request)).shown())

    # ------------------------------------------------------------------ of the twin alone
    async def stats(self, request: Request) -> Response:
        return JSONResponse(self._service.stats())

    async def faults(self, request: Request) -> Response:
        return JSONResponse(asdict(self._service.faults))

    async def set_faults(self, request: Request) -> Response:
        given = {name: str(value) for name, value in (await _body(request)).items() if value is not None}
        try:
            self._service.set_faults(parse_faults(given))
        except UsageError as error:
            raise Refusal(400, str(error)) from error
        return await self.faults(request)

    async def stand_in(self, request: Request) -> Response:
        names = [str(name) for name in array(await _body(request), "models")]
        self._service.catalogue.add(stand_ins(names))
        return JSONResponse({"models": names})


def _id(request: Request) -> str:
    return str(request.path_params["id"])


async def _body(request: Request) -> dict[str, Json]:
    try:
        value: Json = json.loads(await request.body())
    except (ValueError, RecursionError, ClientDisconnect) as error:
        raise not_json() from error
    if not isinstance(value, dict):
        raise not_json()
    return value


def _model(model: TwinModel, created: int, owner: str) -> dict[str, Json]:
    return {
        "id": model.name,
        "object": "model",
        "created": created,
        "owned_by": owner,
        "shutdown_date": model.shutdown.isoformat() if model.shutdown else None,
    }
