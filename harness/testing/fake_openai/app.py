"""The service as an ASGI app: paths, keys, lists in pages, and its own controls under ``/twin/``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

from anyio import CapacityLimiter, to_thread
from openai import BaseModel
from openai.types import Batch, FileObject, Model
from openai.types.fine_tuning import FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from harness.extras import require_extra
from harness.records import Json
from harness.testing.fake_openai.backend import Backend
from harness.testing.fake_openai.completions import ServedModels
from harness.testing.fake_openai.faults import FaultInjector, Faults, parse_faults
from harness.testing.fake_openai.refusals import HTTPRefusal, no_key, server_error
from harness.testing.fake_openai.request_batches import RequestBatches
from harness.testing.fake_openai.store import FakeJob, FakeStore, FakeTunedModel, R, new_id
from harness.testing.fake_openai.tuning_jobs import TuningJobs

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from harness.testing.fake_tinker.app import FakeTinker

TINKER = ("/api/v1/", "/oai/api/v1/")  # its paths, as its SDK puts them behind this service's address
MOST_AT_ONCE = 256  # requests that may wait for a model
CREATED = 1_767_225_600  # 1 January 2026, of models that are not tuned


@dataclass(frozen=True, slots=True)
class APICall:
    """A request: the ``{id}`` of its path, its query, its JSON or form, its file's name and content."""

    id: str
    query: Mapping[str, str]
    body: dict[str, Json]
    upload: tuple[str, bytes] | None = None


Handler: TypeAlias = Callable[[APICall], "BaseModel | Response | dict[str, Json]"]


class FakeOpenAI:
    """The service's state, and the threads that work on it until ``close``. ``app`` is its ASGI app.

    ``folder`` stores everything for the next start.
    """

    def __init__(
        self, folder: Path, backend: Backend, aliases: Sequence[str], faults: Faults, api_key: str | None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        weights = folder / "weights"
        self._api_key, self._limiter = api_key, CapacityLimiter(MOST_AT_ONCE)
        self._store = FakeStore(folder / "fake_openai.sqlite")
        self._models = ServedModels(self._store, backend, aliases, weights)
        refuse = {Exception: _refuse, HTTPException: _refuse, HTTPRefusal: _refuse}
        routes = [self._route(name, handler) for name, handler in self._handlers().items()]
        app = Starlette(routes=routes, exception_handlers=refuse)
        self._tinker: FakeTinker | None = None
        self._folder, self._backend, self._beginning = folder, backend, Lock()

        async def both(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"].removeprefix("/v1").startswith(TINKER):
                service = await to_thread.run_sync(self._for_tinker)
                await service.app(scope, receive, send)
                return
            await app(scope, receive, send)

        self.app = FaultInjector(both, faults, self._store.count)
        self._jobs = TuningJobs(self._store, backend, self._models, weights, lambda: self.app.faults)
        endpoints = {"/v1/chat/completions": self._models.chat, "/v1/completions": self._models.complete}
        self._batches = RequestBatches(self._store, endpoints)

    def close(self) -> None:
        """End the threads and close the store."""
        self._jobs.close()
        self._batches.close()
        self._store.close()
        if self._tinker is not None:
            self._tinker.close()

    def _for_tinker(self) -> FakeTinker:
        """Tinker's wire, from its first request on: its SDK takes a second to import."""
        with self._beginning:
            if self._tinker is None:
                require_extra("tinker", "the local twin of Tinker")
                from harness.testing.fake_tinker.app import FakeTinker

                models = self._backend.tinker()
                self._tinker = FakeTinker(self._folder / "tinker", models, self._models.offered)
            return self._tinker

    def _handlers(self) -> dict[str, Handler]:
        store, job, batch = self._store, "/v1/fine_tuning/jobs", "/v1/batches"
        return {
            "POST /v1/files": lambda call: store.upload(call.body.get("purpose"), call.upload),
            "GET /v1/files": lambda call: self._page(call, FileObject, 10_000, 10_000),
            "GET /v1/files/{id}": lambda call: store.get(FileObject, call.id),
            "GET /v1/files/{id}/content": lambda call: Response(store.content(call.id)),
            "DELETE /v1/files/{id}": lambda call: store.delete(store.get(FileObject, call.id), "file"),
            f"POST {job}": lambda call: self._jobs.create(call.body),
            f"GET {job}": lambda call: self._page(call, FakeJob),
            f"GET {job}/{{id}}": lambda call: store.get(FakeJob, call.id),
            f"POST {job}/{{id}}/cancel": lambda call: self._jobs.move(call.id, "cancelled"),
            f"POST {job}/{{id}}/pause": lambda call: self._jobs.move(call.id, "paused"),
            f"POST {job}/{{id}}/resume": lambda call: self._jobs.move(call.id, "queued"),
            f"GET {job}/{{id}}/events": lambda call: self._page(call, FineTuningJobEvent),
            f"GET {job}/{{id}}/checkpoints": lambda call: self._page(call, FineTuningJobCheckpoint, 10),
            "POST /v1/chat/completions": lambda call: self._models.chat(call.body),
            "POST /v1/completions": lambda call: self._models.complete(call.body),
            "GET /v1/models": self._list_models,
            "GET /v1/models/{id:path}": lambda call: self._model(call.id),
            "DELETE /v1/models/{id:path}": lambda call: store.delete(
                store.get(FakeTunedModel, call.id), "model"
            ),
            f"POST {batch}": lambda call: self._batches.create(call.body),
            f"GET {batch}": lambda call: self._page(call, Batch),
            f"GET {batch}/{{id}}": lambda call: store.get(Batch, call.id),
            f"POST {batch}/{{id}}/cancel": lambda call: self._batches.cancel(call.id),
            # controls that the real service does not have
            "GET /twin/stats": self._stats,
            "PUT /twin/faults": self._set_faults,
            "PUT /twin/aliases": self._add_aliases,
        }

    def _route(self, name: str, handler: Handler) -> Route:
        method, path = name.split()

        async def endpoint(request: Request) -> Response:
            if path.startswith("/v1/"):
                self._store.count(name.replace(":path", ""))
                self._check_key(request.headers)
            answer = await to_thread.run_sync(handler, await _call(request), limiter=self._limiter)
            if isinstance(answer, BaseModel):
                answer = answer.model_dump(mode="json")
            response = answer if isinstance(answer, Response) else JSONResponse(answer)
            response.headers["x-request-id"] = new_id("req_")
            return response

        return Route(path, endpoint, methods=[method])

    def _check_key(self, headers: Mapping[str, str]) -> None:
        bearer = headers.get("authorization", "").removeprefix("Bearer ").strip()
        key = bearer or headers.get("api-key", "")
        if not key:
            raise no_key()
        if self._api_key not in (None, key):
            shown = f"{key[:4]}***{key[-4:]}" if len(key) > 12 else "***"
            message = f"Incorrect API key provided: {shown}."
            raise HTTPRefusal(401, message, None, "invalid_api_key")

    def _page(self, call: APICall, kind: type[R], default: int = 20, most: int = 100) -> dict[str, Json]:
        if call.id:
            self._store.get(FakeJob, call.id)
        found = [item.model_dump(mode="json") for item in self._store.newest_first(kind, call.id)]
        if "purpose" in call.query:
            found = [item for item in found if item["purpose"] == call.query["purpose"]]
        wanted = {key[9:-1]: value for key, value in call.query.items() if key.startswith("metadata[")}
        if wanted:
            found = [item for item in found if wanted.items() <= (item["metadata"] or {}).items()]
        start, after = 0, call.query.get("after")
        if after is not None:
            start = next((k for k, item in enumerate(found, start=1) if item["id"] == after), 0)
            if not start:
                raise HTTPRefusal(404, f"No object found with id '{after}'.", "after")
        end = start + min(int(call.query.get("limit", default)), most)
        return {"object": "list", "data": found[start:end], "has_more": end < len(found)}

    def _model(self, name: str) -> Model:
        model, tuned = self._models.find(name)
        return Model(
            id=name,
            object="model",
            created=tuned.created_at if tuned else CREATED,
            owned_by="org-fake" if tuned else "fake",
            shutdown_date=model.shutdown.isoformat() if model.shutdown else None,
        )

    def _list_models(self, call: APICall) -> dict[str, Json]:
        names = self._models.offered()
        # a tuned model is retired with its base
        names += [tuned.id for tuned in self._store.newest_first(FakeTunedModel) if tuned.base in names]
        return {"object": "list", "data": [self._model(name).model_dump(mode="json") for name in names]}

    def _stats(self, call: APICall) -> dict[str, Json]:
        counts = self._store.counts()

        def counted(prefix: str) -> dict[str, Json]:
            return {name[len(prefix) :]: n for name, n in counts.items() if name.startswith(prefix)}

        return {
            "uploads": counts.get("uploads", 0),
            "uploads_by_sha256": counted("upload "),
            "jobs": counts.get("jobs", 0),
            "batches": counts.get("batches", 0),
            "batch_requests": counts.get("batch requests", 0),
            "calls": {name: n for name, n in counts.items() if "/v1/" in name},
            "faults": counted("fault "),
            "tinker_tokens": dict(self._tinker.billed_tokens) if self._tinker else {},
        }

    def _set_faults(self, call: APICall) -> dict[str, Json]:
        self.app.switch(parse_faults(call.body))
        return call.body

    def _add_aliases(self, call: APICall) -> dict[str, Json]:
        names = call.body.get("models")
        self._models.add_aliases(map(str, names if isinstance(names, list) else ()))
        return call.body


async def _call(request: Request) -> APICall:
    name, query = str(request.path_params.get("id", "")), request.query_params
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with request.form(max_files=1, max_fields=10) as form:
            file = form.get("file")
            upload = (file.filename or "", await file.read()) if isinstance(file, UploadFile) else None
            return APICall(name, query, {"purpose": str(form.get("purpose"))}, upload)
    try:
        body: Json = json.loads(await request.body() or b"{}")
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise HTTPRefusal(400, "We could not parse the JSON body of your request.")
    return APICall(name, query, body)


async def _refuse(request: Request, error: Exception) -> Response:
    refusal = error if isinstance(error, HTTPRefusal) else server_error()
    if isinstance(error, HTTPException):
        refusal = HTTPRefusal(404, f"Invalid URL ({request.method} {request.url.path})")
    return JSONResponse(refusal.body(), refusal.status, dict(refusal.headers))
