"""What goes wrong with requests, for tests of clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from harness.records import Json

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: An HTTP status with its body and seconds of Retry-After, or a connection that breaks, before or after the
#: effect.
Fault: TypeAlias = 'tuple[int, Json, float | None] | Literal["drop before", "drop after"]'
BACKGROUND = ("session_heartbeat", "telemetry", "client/config", "client/dynamic_config")


@dataclass(frozen=True, kw_only=True)
class TinkerFaults:
    """Faults of the n-th request, counted from 1 over those whose path ends in ``path``.

    What the SDK sends on its own, in the background, is not counted. ``polls``: how often the result of a
    request is "try again" first; ``extra``: fields that no SDK knows, in every object of JSON.
    """

    at: Mapping[int, Fault] = field(default_factory=dict)
    path: str = ""
    polls: int = 0
    extra: bool = False


class TinkerFaultInjector:
    """ASGI middleware; ``note`` hears of every request that is counted."""

    def __init__(self, app: ASGIApp, faults: TinkerFaults, note: Callable[[str, str], None]) -> None:
        self._app, self._note = app, note
        self.switch(faults)

    def switch(self, faults: TinkerFaults) -> None:
        """From now on these go wrong."""
        self.faults, self._seen = faults, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        from starlette.responses import JSONResponse

        fault: Fault | None = None
        path = str(scope["path"])
        if scope["type"] == "http" and not path.endswith(BACKGROUND):
            self._note(str(scope["method"]), path)
            if path.endswith(self.faults.path):
                self._seen += 1
                fault = self.faults.at.get(self._seen)
        if fault is None:
            await self._app(scope, receive, send)
            return
        if fault == "drop after":

            async def swallow(message: Message) -> None:
                pass

            await self._app(scope, receive, swallow)
        else:  # read the request to its end: a client that is still sending would see a broken pipe
            while (await receive()).get("more_body"):
                pass
        if isinstance(fault, str):
            # a body is promised and none is sent: uvicorn then closes the connection
            promised = [(b"content-length", b"100")]
            await send({"type": "http.response.start", "status": 200, "headers": promised})
            return
        status, body, retry_after_s = fault
        headers = {} if retry_after_s is None else {"retry-after": f"{retry_after_s:g}"}
        await JSONResponse(body, status, headers)(scope, receive, send)
