"""A small OpenAI-compatible server on loopback whose faults are scripted; no model stands behind it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Body = dict[str, object]
#: (the request's body, the number of this call for the same prompt) -> a fault, or None for an answer
Script = Callable[[Body, int], "Response | str | None"]
DROP = "drop the connection"
GARBAGE = Response(b'{"choices": [{"mess', media_type="application/json")


def error(status: int, message: str = "no", headers: dict[str, str] | None = None, **named: str) -> Response:
    """An error as OpenAI words it."""
    body = {"error": {"message": message, "type": "error", "param": None, "code": None, **named}}
    return JSONResponse(body, status, headers)


def said(text: str, *, prompt_tokens: int = 10, completion_tokens: int = 3, **usage: object) -> Body:
    """The body of a chat answer."""
    tokens = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": 0}
    message = {"role": "assistant", "content": text}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {**tokens, **usage},
    }


def never(body: Body, number: int) -> None:
    """No faults."""


@dataclass
class Service:
    """What the server saw. ``reply`` makes the answer's body; ``script`` may put a fault in its place."""

    script: Script = never
    delay_s: float = 0.0
    reply: Callable[[Body], Body] = field(default=lambda body: said(f"re: {asked(body)}"))
    bodies: list[Body] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    most_at_once: int = 0
    base_url: str = ""
    _now: int = 0
    _seen: dict[str, int] = field(default_factory=dict)

    async def handle(self, request: Request) -> Response:
        """Any request."""
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            return await self._answered(request)
        finally:
            self._now -= 1

    async def _answered(self, request: Request) -> Response:
        body = read(await request.body())
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        self.paths.append(request.url.path)
        number = self._seen[asked(body)] = self._seen.get(asked(body), 0) + 1
        await asyncio.sleep(self.delay_s)
        fault = self.script(body, number)
        if fault == DROP:
            request.scope["drop"]()
            return Response(b"")
        return fault if isinstance(fault, Response) else JSONResponse(self.reply(body))


def read(content: bytes) -> Body:
    """The body, where it is a JSON object; uploads and requests without a body give none."""
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def asked(body: Body) -> str:
    """The last turn, or the prompt."""
    messages = body.get("messages")
    if isinstance(messages, list):
        return str(messages[-1]["content"])
    return str(body.get("prompt", ""))


@contextmanager
def serving(service: Service) -> Iterator[Service]:
    """The service on a free port of loopback, in a thread; its address is ``base_url``."""
    app = Starlette(routes=[Route("/v1/{path:path}", service.handle, methods=["GET", "POST"])])

    async def with_drop(scope, receive, send):  # type: ignore[no-untyped-def]
        if scope["type"] == "http":
            protocol = getattr(send, "__self__", None)
            scope["drop"] = protocol.transport.abort if protocol is not None else None
        await app(scope, receive, send)

    server = uvicorn.Server(
        uvicorn.Config(with_drop, port=0, log_level="critical", lifespan="off", access_log=False)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    service.base_url = f"http://127.0.0.1:{port}/v1"
    try:
        yield service
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join()
