"""Faults that can be switched on, and the ASGI middleware that injects them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from harness.errors import UsageError
from harness.testing.fake_openai.refusals import HTTPRefusal, no_key, server_error

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SHARES = ("unauthorized", "rate_limited", "server_error", "dropped", "lost", "malformed")
FaultShare = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What goes wrong. Shares are of requests, from 0 to 1 each and together; ``seed`` chooses those hit."""

    unauthorized: FaultShare = 0.0  # answered 401, whatever the key
    rate_limited: FaultShare = 0.0  # answered 429 with ``retry_after_s``
    retry_after_s: float = 1.0
    server_error: FaultShare = 0.0  # answered 500
    dropped: FaultShare = 0.0  # the connection breaks before the request is processed
    lost: FaultShare = 0.0  # it breaks after that, before the answer
    malformed: FaultShare = 0.0  # half of the answer's JSON is sent as if it were all
    path: str = "/v1/"  # only requests whose path begins so
    job_fails_at_step: int | None = None
    job_stalls_at_step: int | None = None  # jobs stop moving until they are cancelled; at 0 they stay queued
    seed: int = 0

    def __post_init__(self) -> None:
        if sum(getattr(self, name) for name in SHARES) > 1:
            raise ValueError(f"{', '.join(SHARES)} are shares, and at most 1 together")


def parse_faults(given: Mapping[str, object]) -> Faults:
    """Faults from texts or numbers, as they come from a command line or a request."""
    known = [field.name for field in fields(Faults)]
    for name in given.keys() - known:
        raise UsageError(f"unknown fault {name!r}. There are: {', '.join(known)}.")
    try:
        return TypeAdapter(Faults).validate_python(given)
    except ValidationError as error:
        problem = error.errors()[0]
        where = "".join(f" {name}={problem['input']}" for name in problem["loc"])
        raise UsageError(f"fault{where}: {problem['msg']}.") from error


class FaultInjector:
    """ASGI middleware: lets requests through or not; ``switch`` replaces ``faults`` at any time."""

    def __init__(self, app: ASGIApp, faults: Faults, count: Callable[[str], None]) -> None:
        self._app, self._count = app, count
        self.switch(faults)

    def switch(self, faults: Faults) -> None:
        """From now on these go wrong."""
        self.faults, self._random = faults, random.Random(faults.seed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        from starlette.responses import JSONResponse, Response  # of the extra, which ``Faults`` does not need

        fault, faults = None, self.faults
        if scope["type"] == "http" and str(scope["path"]).startswith(faults.path):
            shares = [getattr(faults, name) for name in SHARES]
            (fault,) = self._random.choices((*SHARES, None), (*shares, max(0.0, 1 - sum(shares))))
        if fault is None:
            await self._app(scope, receive, send)
            return
        self._count(f"fault {fault}")
        body = bytearray()
        if fault in ("lost", "malformed"):

            async def collect(message: Message) -> None:
                body.extend(message.get("body", b""))

            await self._app(scope, receive, collect)
        else:  # read the request to its end: a client that is still sending would see a broken pipe
            while (await receive()).get("more_body"):
                pass
        if fault in ("dropped", "lost"):
            # a body is promised and none is sent: uvicorn then closes the connection
            promised = [(b"content-length", b"100")]
            await send({"type": "http.response.start", "status": 200, "headers": promised})
            return
        wait_s = faults.retry_after_s
        limited = HTTPRefusal(
            status=429,
            message=f"Rate limit reached for requests. Please try again in {wait_s:g}s.",
            code="rate_limit_exceeded",
            kind="requests",
            headers={"retry-after": f"{wait_s:g}", "retry-after-ms": f"{wait_s * 1000:g}"},
        )
        refusals = {"unauthorized": no_key(), "rate_limited": limited, "server_error": server_error()}
        refusal = refusals.get(fault)
        response = Response(bytes(body[: len(body) // 2]), media_type="application/json")
        if refusal is not None:
            response = JSONResponse(refusal.body(), refusal.status, dict(refusal.headers))
        await response(scope, receive, send)
