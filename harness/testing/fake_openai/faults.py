"""Faults that can be switched on, and the ASGI middleware that injects them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.records import Json
from harness.testing.fake_openai.refusals import HTTPRefusal, no_key, server_error

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SHARES = ("unauthorized", "rate_limited", "server_error", "dropped", "lost", "malformed", "slow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong, and how often. Shares are of requests under ``path``, in [0, 1].

    Attributes:
        unauthorized: answered 401, whatever the key.
        rate_limited: answered 429 with ``retry_after_s``.
        most_at_once: more requests than that under way are answered 429 too.
        server_error: answered 500.
        dropped: the connection breaks before the request is processed.
        lost: the request is processed, and the connection breaks before its answer.
        malformed: the request is processed, and half of its answer's JSON is sent as if it were all.
        slow: answered ``slow_s`` later.
        latency_s: of every request.
        path: only requests whose path begins so.
        job_fails_at_step: jobs fail after this training step.
        job_stalls_at_step: jobs stop moving at this step, until they are cancelled; 0: they stay queued.
        seed: which requests are hit.
    """

    unauthorized: float = 0.0
    rate_limited: float = 0.0
    retry_after_s: float = 1.0
    most_at_once: int | None = None
    server_error: float = 0.0
    dropped: float = 0.0
    lost: float = 0.0
    malformed: float = 0.0
    slow: float = 0.0
    slow_s: float = 2.0
    latency_s: float = 0.0
    path: str = "/v1/"
    job_fails_at_step: int | None = None
    job_stalls_at_step: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        shares = [getattr(self, name) for name in SHARES]
        if min(shares) < 0 or sum(shares) > 1:
            raise UsageError(
                f"faults {', '.join(SHARES)}: each is a share from 0 to 1, and all together too."
            )


def parse_faults(given: Mapping[str, str]) -> Faults:
    """Faults from texts, as they come from a command line or a request.

    Raises:
        UsageError: an unknown fault or a value of the wrong type.
    """
    kinds = {field.name: str(field.type) for field in fields(Faults)}
    changes: dict[str, Json] = {}
    for name, value in given.items():
        kind = kinds.get(name)
        if kind is None:
            raise UsageError(f"unknown fault {name!r}. There are: {', '.join(kinds)}.")
        try:
            changes[name] = value if kind == "str" else int(value) if "int" in kind else float(value)
        except ValueError as error:
            raise UsageError(f"fault {name}={value}: give a number.") from error
    return replace(Faults(), **changes)  # type: ignore[arg-type]  # each has its field's type


class FaultInjector:
    """ASGI middleware: lets requests through, late, or not at all. ``faults`` may be replaced at any time."""

    def __init__(self, app: ASGIApp, faults: Faults, count: Callable[[str], int]) -> None:
        self._app, self._count = app, count
        self._under_way = 0
        self.faults = faults

    @property
    def faults(self) -> Faults:
        """What goes wrong now."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        self._random = random.Random(faults.seed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or not str(scope["path"]).startswith(self.faults.path):
            await self._app(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._inject(self._draw(), scope, receive, send)
        finally:
            self._under_way -= 1

    def _draw(self) -> str | None:
        """The fault that hits this request."""
        most = self.faults.most_at_once
        if most is not None and self._under_way > most:
            return "rate_limited"
        drawn = self._random.random()
        for name in SHARES:
            drawn -= getattr(self.faults, name)
            if drawn < 0:
                return name
        return None

    async def _inject(self, fault: str | None, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.responses import JSONResponse, Response  # of the extra, which ``Faults`` does not need

        faults = self.faults
        if fault:
            self._count(f"fault {fault}")
        await asyncio.sleep(faults.latency_s + (faults.slow_s if fault == "slow" else 0))
        if fault in (None, "slow"):
            await self._app(scope, receive, send)
            return
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
        wait = f"{faults.retry_after_s:g}", f"{faults.retry_after_s * 1000:g}"
        limited = HTTPRefusal(
            status=429,
            message=f"Rate limit reached for requests. Please try again in {wait[0]}s.",
            code="rate_limit_exceeded",
            kind="requests",
            headers={"retry-after": wait[0], "retry-after-ms": wait[1]},
        )
        refusals = {"unauthorized": no_key(), "rate_limited": limited, "server_error": server_error()}
        response = Response(bytes(body[: len(body) // 2]), media_type="application/json")
        if fault in refusals:
            refusal = refusals[fault]
            response = JSONResponse(refusal.body(), refusal.status, dict(refusal.headers))
        await response(scope, receive, send)
