"""Tinker's wire as an ASGI app: its paths and its keys. What they do is in ``service``."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pydantic
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from tinker import types
from tinker.types.client_config_request import ClientConfigRequest
from tinker.types.client_config_response import ClientConfigResponse
from tinker.types.client_dynamic_config_response import ClientDynamicConfigResponse
from tinker.types.telemetry_send_request import TelemetrySendRequest

from harness.models.endpoint import NO_KEY
from harness.records import Json
from harness.testing.fake_openai.refusals import HTTPRefusal
from harness.testing.fake_tinker.backend import TinkerBackend
from harness.testing.fake_tinker.faults import TinkerFaultInjector, TinkerFaults
from harness.testing.fake_tinker.lookups import Call, Lookups, path_of
from harness.testing.fake_tinker.records import BillingKind, Run
from harness.testing.fake_tinker.service import TinkerService
from harness.testing.fake_tinker.wire import PROTOBUF, Refused, forward_request, parsed
from harness.testing.fake_tinker.work import TRAINING

MOST_AT_ONCE = 256  # requests that may wait for a result
WAIT_S = 20.0  # how long a question for a result is held; the SDK gives up after 45
MAPS = ("metrics", "sessions", "urls", "user_metadata")  # whose keys are no fields
KEY = "tml-"  # what every key begins with
AT = ("/api/v1", "/v1/api/v1")  # the second one below the address of the stand-in of OpenAI's API
CHAT = "/chat/completions"
CHAT_AT = ("/oai/api/v1", "/v1/oai/api/v1")


Handler: TypeAlias = Callable[[Call], "pydantic.BaseModel | Response | dict[str, Json] | None"]


class PathBody(pydantic.BaseModel, extra="forbid"):
    """The body of ``weights_info``, for which the SDK has no type."""

    tinker_path: str


class TtlBody(pydantic.BaseModel, extra="forbid"):
    """The body of ``ttl``."""

    ttl_seconds: int | None = None


class FakeTinker:
    """The service behind an ASGI ``app``, until ``close``.

    ``folder`` stores everything for the next start. ``requests`` lists what was asked, with its method.
    """

    def __init__(
        self,
        folder: Path,
        backend: TinkerBackend,
        offered: Callable[[], Sequence[str]],
        faults: TinkerFaults | None = None,
    ) -> None:
        self.url = ""  # where it answers
        self.requests: list[tuple[str, str]] = []
        self._service = TinkerService(folder, backend, offered)
        self._look = Lookups(self._service)
        self._limiter, self._polls = CapacityLimiter(MOST_AT_ONCE), dict[str, int]()
        routes = [self._route(name, handler) for name, handler in self._handlers().items()]
        mounts = [Mount(at, routes=routes) for at in AT]
        chat = Route(CHAT, self._chat, methods=["POST"])
        mounts += [Mount(at, routes=[chat]) for at in CHAT_AT]
        refuse = {Exception: _refuse, HTTPException: _refuse, Refused: _refuse}
        app = Starlette(routes=mounts, exception_handlers=refuse)
        self.app = TinkerFaultInjector(app, faults or TinkerFaults(), self._note)

    def close(self) -> None:
        """End the threads and close the store."""
        self._service.close()

    @property
    def billed_tokens(self) -> dict[BillingKind, int]:
        """All tokens that were billed, by kind."""
        return self._service.billed()

    def _note(self, method: str, path: str) -> None:
        self.requests.append((method, path.removeprefix("/v1")))

    def _handlers(self) -> dict[str, Handler]:
        service, run = self._service, "/training_runs/{run}"
        checkpoint = f"{run}/checkpoints/{{checkpoint:path}}"
        training: dict[str, Handler] = {
            f"POST /{kind}": lambda call, kind=kind: service.train(kind, call.body)  # type: ignore[misc]
            for kind in TRAINING
        }
        return {
            "GET /healthz": lambda call: types.HealthResponse(status="ok"),
            "POST /client/config": lambda call: _config(call, ClientConfigResponse(**CONFIG)),
            "POST /client/dynamic_config": lambda call: _config(call, ClientDynamicConfigResponse()),
            "POST /telemetry": _telemetry,
            "GET /get_server_capabilities": lambda call: service.capabilities(),
            "POST /create_session": lambda call: service.begin_session(
                parsed(types.CreateSessionRequest, call.body)
            ),
            "POST /session_heartbeat": self._look.heartbeat,
            "POST /create_model": lambda call: service.create_model(call.body),
            "POST /load_weights": lambda call: service.load_weights(call.body),
            "POST /forward_backward": self._forward_backward,
            **training,
            "POST /get_info": lambda call: service.info(parsed(types.GetInfoRequest, call.body)),
            "POST /retrieve_future": self._retrieve,
            "POST /create_sampling_session": lambda call: service.begin_sampler(
                parsed(types.CreateSamplingSessionRequest, call.body)
            ),
            "POST /asample": lambda call: service.sample(call.body),
            "POST /cancel_future": lambda call: None,
            "GET /samplers/{sampler}": self._look.sampler,
            "POST /weights_info": lambda call: service.weights_info(parsed(PathBody, call.body).tinker_path),
            "GET /training_runs": self._look.runs,
            f"GET {run}": lambda call: self._look.run(service.find(Run, call.at["run"])),
            f"GET {run}/checkpoints": lambda call: self._look.checkpoints(call, call.at["run"]),
            f"GET {checkpoint}/external_weights_urls": self._look.urls,
            f"GET {checkpoint}/files/{{file}}": self._look.file,
            f"PUT {checkpoint}/ttl": lambda call: service.expire(
                path_of(call), parsed(TtlBody, call.body).ttl_seconds
            ),
            f"DELETE {checkpoint}": lambda call: service.delete(path_of(call)),
            "GET /checkpoints": lambda call: self._look.checkpoints(call, ""),
            "GET /sessions": self._look.sessions,
            "POST /sessions/search": self._look.search,
            "GET /sessions/{session}": self._look.session,
            "POST /sessions/{session}/finish": self._look.finish,
            "GET /billing/usage/events": lambda call: service.usage(
                types.GetBillingUsageRequest.model_validate(dict(call.query))
            ),
        }

    def _route(self, name: str, handler: Handler) -> Route:
        method, path = name.split()

        async def endpoint(request: HTTPRequest) -> Response:
            key = request.headers.get("x-api-key", "")
            if not key.startswith(KEY) and "/files/" not in path:
                raise Refused(401, "Missing or invalid API key")
            call = Call(request.path_params, request.query_params, await request.body(), request.headers)
            answer = await to_thread.run_sync(handler, call, limiter=self._limiter)
            if isinstance(answer, Response):
                return answer
            if answer is None:
                return Response(status_code=204)
            shown = answer.model_dump(mode="json") if isinstance(answer, pydantic.BaseModel) else answer
            # the SDK asks for its configuration over a connection that it never closes
            ends = {"connection": "close"} if path == "/client/config" else {}
            return JSONResponse(self._with_extra(shown), headers=ends)

        return Route(path, endpoint, methods=[method])

    def _with_extra(self, shown: Json) -> Json:
        if not self.app.faults.extra:
            return shown
        if isinstance(shown, list):
            return [self._with_extra(one) for one in shown]
        if isinstance(shown, dict):
            kept = {key: one if key in MAPS else self._with_extra(one) for key, one in shown.items()}
            return {**kept, "added_in_a_later_version": {"of": ["the", "wire"]}}
        return shown

    async def _chat(self, request: HTTPRequest) -> Response:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        # a rehearsal has no key to show
        if not (bearer or request.headers.get("x-api-key", "")).startswith((KEY, NO_KEY)):
            raise Refused(401, "Missing or invalid API key")
        try:
            body = json.loads(await request.body())
        except (ValueError, RecursionError) as error:
            raise Refused(400, "The body is no JSON.") from error
        try:
            answer = await to_thread.run_sync(self._service.chat, body, limiter=self._limiter)
        except HTTPRefusal as refusal:
            return JSONResponse(refusal.body(), refusal.status, dict(refusal.headers))
        return JSONResponse(answer)

    # ------------------------------------------------------------------- requests and their results
    def _forward_backward(self, call: Call) -> types.UntypedAPIFuture:
        asked = forward_request(call.body, call.headers)
        return self._service.forward_backward(asked.SerializeToString(deterministic=True))

    def _retrieve(self, call: Call) -> Response | dict[str, Json]:
        asked = parsed(types.FutureRetrieveRequest, call.body)
        polls = self._polls[asked.request_id] = self._polls.get(asked.request_id, 0) + 1
        done = None
        if polls > self.app.faults.polls:
            done = self._service.requests.answer(asked.request_id, WAIT_S)
        if done is None:
            again = {"type": "try_again", "request_id": asked.request_id, "queue_state": "active"}
            # the service says it in both ways
            return JSONResponse(again, 408 if polls % 2 else 200)
        if not done.proto:
            answer: dict[str, Json] = json.loads(done.answer)
            return answer
        content = base64.b64decode(done.answer)
        if PROTOBUF not in call.headers.get("accept", ""):
            raise Refused(406, f"this result is {PROTOBUF}")
        return Response(content, media_type=PROTOBUF)


# what the SDK is told at its start; its other transport is for the address of the real service
CONFIG: dict[str, Any] = {"use_pyqwest_transport": False, "proto_compress_fwdbwd": True}


def _config(call: Call, answer: pydantic.BaseModel) -> pydantic.BaseModel:
    parsed(ClientConfigRequest, call.body)
    return answer


def _telemetry(call: Call) -> dict[str, Json]:
    parsed(TelemetrySendRequest, call.body)
    return {"status": "accepted"}


async def _refuse(request: HTTPRequest, error: Exception) -> Response:
    refused = error if isinstance(error, Refused) else Refused(500, f"{type(error).__name__}: {error}")
    if isinstance(error, HTTPException):
        refused = Refused(error.status_code, error.detail)
    return JSONResponse({"detail": refused.detail}, refused.status)
