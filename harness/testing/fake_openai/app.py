"""The service as an ASGI app: paths, keys, lists in pages, and its own controls under ``/twin/``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

from anyio import CapacityLimiter, to_thread
from openai import BaseModel
from openai.types import Batch, FileDeleted, FileObject, Model, ModelDeleted
from openai.types.fine_tuning import FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from harness.errors import UsageError
from harness.records import Json
from harness.testing.fake_openai.backend import Backend
from harness.testing.fake_openai.catalogue import Catalogue, FakeModel
from harness.testing.fake_openai.completions import Completions
from harness.testing.fake_openai.faults import FaultInjector, Faults, parse_faults
from harness.testing.fake_openai.refusals import HTTPRefusal, no_key, server_error
from harness.testing.fake_openai.request_batches import RequestBatches
from harness.testing.fake_openai.store import FakeJob, FakeStore, FakeTunedModel, R, new_id
from harness.testing.fake_openai.tuning_jobs import TuningJobs

DATABASE = "fake_openai.sqlite"
MOST_AT_ONCE = 256  # requests that may wait for a model
CREATED = 1_767_225_600  # 1 January 2026, of models that are not tuned


@dataclass(frozen=True, slots=True)
class APICall:
    """A request: the ``{id}`` of its path, its query, its body or its form."""

    id: str
    query: Mapping[str, str]
    content: bytes
    purpose: str | None = None
    filename: str = ""
    upload: bytes | None = None

    def body(self) -> dict[str, Json]:
        """The JSON body, which has to be an object.

        Raises:
            HTTPRefusal: it is none.
        """
        try:
            value: Json = json.loads(self.content)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise HTTPRefusal(400, "We could not parse the JSON body of your request.")
        return value


Handler: TypeAlias = Callable[[APICall], "BaseModel | Response | dict[str, Json]"]


class FakeOpenAI:
    """The service's state, and the threads that work on it until ``close``. ``app`` is its ASGI app.

    ``folder`` stores weights and, if ``persistent``, everything else too, for the next start.
    """

    def __init__(
        self,
        folder: Path,
        backend: Backend,
        *,
        persistent: bool,
        aliases: Sequence[str],
        faults: Faults,
        api_key: str | None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        weights = folder / "weights"
        self._api_key, self._limiter = api_key, CapacityLimiter(MOST_AT_ONCE)
        self._store = FakeStore(folder / DATABASE if persistent else None)
        self._catalogue = Catalogue(aliases)
        self._completions = Completions(self._store, backend, self._catalogue, weights)
        refuse = {Exception: _refuse, HTTPException: _refuse, HTTPRefusal: _refuse}
        routes = [self._route(name, handler) for name, handler in self._handlers().items()]
        app = Starlette(routes=routes, exception_handlers=refuse)
        self.app = FaultInjector(app, faults, self._store.count)
        self._jobs = TuningJobs(self._store, backend, self._catalogue, weights, lambda: self.app.faults)
        chat, complete = self._completions.chat, self._completions.complete
        endpoints = {"/v1/chat/completions": chat, "/v1/completions": complete}
        self._batches = RequestBatches(self._store, endpoints)

    def close(self) -> None:
        """End the threads and close the store."""
        self._jobs.close()
        self._batches.close()
        self._store.close()

    def _handlers(self) -> dict[str, Handler]:
        """What answers each method and path."""
        store, job, batch = self._store, "/v1/fine_tuning/jobs", "/v1/batches"
        return {
            "POST /v1/files": lambda call: store.upload(call.filename, call.purpose, call.upload),
            "GET /v1/files": lambda call: self._page(call, FileObject, 10_000, 10_000),
            "GET /v1/files/{id}": lambda call: store.get(FileObject, call.id),
            "GET /v1/files/{id}/content": lambda call: Response(store.content(call.id)),
            "DELETE /v1/files/{id}": self._delete_file,
            f"POST {job}": lambda call: self._jobs.create(call.body()),
            f"GET {job}": lambda call: self._page(call, FakeJob),
            f"GET {job}/{{id}}": lambda call: store.get(FakeJob, call.id),
            f"POST {job}/{{id}}/cancel": lambda call: self._jobs.move(call.id, "cancelled"),
            f"POST {job}/{{id}}/pause": lambda call: self._jobs.move(call.id, "paused"),
            f"POST {job}/{{id}}/resume": lambda call: self._jobs.move(call.id, "queued"),
            f"GET {job}/{{id}}/events": lambda call: self._page(call, FineTuningJobEvent),
            f"GET {job}/{{id}}/checkpoints": lambda call: self._page(call, FineTuningJobCheckpoint, 10),
            "POST /v1/chat/completions": lambda call: self._completions.chat(call.body()),
            "POST /v1/completions": lambda call: self._completions.complete(call.body()),
            "GET /v1/models": self._models,
            "GET /v1/models/{id:path}": lambda call: _model(*self._completions.model(call.id)),
            "DELETE /v1/models/{id:path}": self._delete_model,
            f"POST {batch}": lambda call: self._batches.create(call.body()),
            f"GET {batch}": lambda call: self._page(call, Batch),
            f"GET {batch}/{{id}}": lambda call: store.get(Batch, call.id),
            f"POST {batch}/{{id}}/cancel": lambda call: self._batches.cancel(call.id),
            # controls that the real service does not have
            "GET /twin/stats": self._stats,
            "GET /twin/faults": lambda call: asdict(self.app.faults),
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
            message = (
                f"Incorrect API key provided: {shown}. Find yours at https://platform.openai.com/account."
            )
            raise HTTPRefusal(401, message, None, "invalid_api_key")

    def _page(self, call: APICall, kind: type[R], default: int = 20, most: int = 100) -> dict[str, Json]:
        """The part of a list, newest first, that the query selects."""
        if call.id:
            self._store.get(FakeJob, call.id)
        query, limit = call.query, call.query.get("limit", str(default))
        if not limit.isdecimal() or int(limit) < 1:
            message = f"Invalid 'limit': expected an integer >= 1, but got {limit} instead."
            raise HTTPRefusal(400, message, "limit", "integer_below_min_value")
        found = [item.model_dump(mode="json") for item in self._store.newest_first(kind, call.id)]
        if query.get("order") == "asc":
            found.reverse()
        if "purpose" in query:
            found = [item for item in found if item["purpose"] == query["purpose"]]
        if query.get("metadata") == "null":
            found = [item for item in found if not item["metadata"]]
        wanted = {key[9:-1]: value for key, value in query.items() if key.startswith("metadata[")}
        if wanted:
            found = [item for item in found if wanted.items() <= (item["metadata"] or {}).items()]
        after, start = query.get("after"), 0
        if after is not None:
            start = next((k for k, item in enumerate(found, start=1) if item["id"] == after), 0)
            if not start:
                raise HTTPRefusal(404, f"No object found with id '{after}'.", "after")
        data = found[start : start + min(int(limit), most)]
        return {
            "object": "list",
            "data": data,
            "has_more": start + len(data) < len(found),
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
        }

    def _delete_file(self, call: APICall) -> FileDeleted:
        self._store.delete(FileObject, self._store.get(FileObject, call.id).id)
        return FileDeleted(id=call.id, deleted=True, object="file")

    def _models(self, call: APICall) -> dict[str, Json]:
        found = {model.name: _model(model, None) for model in self._catalogue.offered()}
        for tuned in self._store.newest_first(FakeTunedModel):
            if tuned.base in found:  # a tuned model is retired with its base
                found[tuned.id] = _model(*self._completions.model(tuned.id))
        return {"object": "list", "data": [model.model_dump(mode="json") for model in found.values()]}

    def _delete_model(self, call: APICall) -> ModelDeleted:
        _, tuned = self._completions.model(call.id)
        if tuned is None:
            raise HTTPRefusal(403, "You have insufficient permissions for this operation.")
        self._store.delete(FakeTunedModel, tuned.id)
        return ModelDeleted(id=tuned.id, object="model", deleted=True)

    def _stats(self, call: APICall) -> dict[str, Json]:
        """What was uploaded, trained and called, for tests of clients."""
        counts = self._store.counts()

        def counted(prefix: str) -> dict[str, Json]:
            return {name[len(prefix) :]: n for name, n in counts.items() if name.startswith(prefix)}

        return {
            "uploads": counts.get("uploads", 0),
            "uploads_by_sha256": counted("upload "),
            "files": {
                file.id: {"sha256": sha256(self._store.content(file.id)).hexdigest(), "purpose": file.purpose}
                for file in self._store.newest_first(FileObject)
            },
            "jobs": counts.get("jobs", 0),
            "batches": counts.get("batches", 0),
            "batch_requests": counts.get("batch requests", 0),
            "calls": {name: n for name, n in counts.items() if "/v1/" in name},
            "faults": counted("fault "),
        }

    def _set_faults(self, call: APICall) -> dict[str, Json]:
        given = {name: str(value) for name, value in call.body().items() if value is not None}
        try:
            self.app.faults = parse_faults(given)
        except UsageError as error:
            raise HTTPRefusal(400, str(error)) from error
        return asdict(self.app.faults)

    def _add_aliases(self, call: APICall) -> dict[str, Json]:
        names = call.body().get("models")
        self._catalogue.add_aliases(map(str, names if isinstance(names, list) else ()))
        return {"models": names}


async def _call(request: Request) -> APICall:
    name, query = str(request.path_params.get("id", "")), request.query_params
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return APICall(name, query, await request.body())
    async with request.form(max_files=1, max_fields=10) as form:
        purpose, file = form.get("purpose"), form.get("file")
        purpose = purpose if isinstance(purpose, str) else None
        if not isinstance(file, UploadFile):
            return APICall(name, query, b"", purpose)
        return APICall(name, query, b"", purpose, file.filename or "", await file.read())


async def _refuse(request: Request, error: Exception) -> Response:
    """The error's body and status, as the service words them."""
    if isinstance(error, HTTPRefusal):
        refusal = error
    elif isinstance(error, HTTPException) and error.status_code in (404, 405):
        refusal = HTTPRefusal(404, f"Invalid URL ({request.method} {request.url.path})")
    elif isinstance(error, HTTPException):
        refusal = HTTPRefusal(error.status_code, str(error.detail))
    else:
        refusal = server_error()
    return JSONResponse(refusal.body(), refusal.status, dict(refusal.headers))


def _model(model: FakeModel, tuned: FakeTunedModel | None) -> Model:
    return Model(
        id=model.name,
        object="model",
        created=tuned.created_at if tuned else CREATED,
        owned_by="org-fake" if tuned else "fake",
        shutdown_date=model.shutdown.isoformat() if model.shutdown else None,
    )
