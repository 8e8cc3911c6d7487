"""Faults that can be switched on, and the door that they stand in: an ASGI app around the service."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.records import Json
from harness.testing.fake_openai.refusals import Refusal, no_key, rate_limited, server_error

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
        dropped: the connection breaks before the request is looked at.
        lost: the request is carried out, and the connection breaks before its answer.
        malformed: the request is carried out, and half of its answer's JSON is sent as if it were all.
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
    """Faults from texts, as a command line or a request has them.

    Raises:
        UsageError: an unknown fault or a value that is none.
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


class FaultyDoor:
    """Lets requests in, late, or not at all. ``faults`` may be changed at any time."""

    def __init__(self, inside: ASGIApp, faults: Faults, count: Callable[[str], int]) -> None:
        self._inside, self._count = inside, count
        self._under_way = 0
        self.faults = faults

    @property
    def faults(self) -> Faults:
        """What goes wrong now."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        self._chance = random.Random(faults.seed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or not str(scope["path"]).startswith(self.faults.path):
            await self._inside(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._admit(scope, receive, send)
        finally:
            self._under_way -= 1

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        faults, fault = self.faults, self._drawn()
        if fault:
            self._count(f"fault {fault}")
        await asyncio.sleep(faults.latency_s + (faults.slow_s if fault == "slow" else 0))
        refusals = {
            "unauthorized": no_key(),
            "rate_limited": rate_limited(faults.retry_after_s),
            "server_error": server_error(),
        }
        if fault in refusals:
            await _refuse(refusals[fault], receive, send)
        elif fault == "dropped":
            await _drain(receive)
            await _break_off(send)
        elif fault in ("lost", "malformed"):
            answer = await _carried_out(self._inside, scope, receive)
            await (_break_off(send) if fault == "lost" else _half(answer, send))
        else:
            await self._inside(scope, receive, send)

    def _drawn(self) -> str | None:
        """Which fault hits this request."""
        most = self.faults.most_at_once
        if most is not None and self._under_way > most:
            return "rate_limited"
        chance = self._chance.random()
        for name in SHARES:
            chance -= getattr(self.faults, name)
            if chance < 0:
                return name
        return None


async def _refuse(refusal: Refusal, receive: Receive, send: Send) -> None:
    await _drain(receive)
    await _answer(refusal.status, json.dumps(refusal.body()).encode(), send, refusal.headers)


async def _drain(receive: Receive) -> None:
    """Read the request to its end: a client that is still sending would see a broken pipe."""
    while (await receive()).get("more_body"):
        pass


async def _break_off(send: Send) -> None:
    """Promise a body and send none: the server then closes the connection."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})


async def _carried_out(inside: ASGIApp, scope: Scope, receive: Receive) -> bytes:
    body = bytearray()

    async def keep(message: Message) -> None:
        body.extend(message.get("body", b""))

    await inside(scope, receive, keep)
    return bytes(body)


async def _half(answer: bytes, send: Send) -> None:
    await _answer(200, answer[: len(answer) // 2], send, {})


async def _answer(status: int, body: bytes, send: Send, headers: Mapping[str, str]) -> None:
    named = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    encoded = [(name.encode(), value.encode()) for name, value in named.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
