"""A stub of the chat API in a process of its own: every answer takes a fixed time, some calls may fail.

``python -m benchmarks.api_stub DELAY_S [--faults]`` prints its address and serves until it is ended.
"""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

ANSWER = (
    b'{"id":"c","object":"chat.completion","created":0,"model":"stub","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"{\\"intent\\": \\"refund\\"}"},"finish_reason":"stop","logprobs":null}],'
    b'"usage":{"prompt_tokens":120,"completion_tokens":9,"total_tokens":129}}'
)
ERROR = b'{"error":{"message":"stub","type":"stub","param":null,"code":null}}'
JSON = (b"content-type", b"application/json")


@contextmanager
def stub(delay_s: float, *, faults: bool = False) -> Iterator[str]:
    """The stub running in its own process; gives its address."""
    flags = ["--faults"] if faults else []
    command = [sys.executable, "-m", "benchmarks.api_stub", str(delay_s), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


class Stub:
    """ASGI, bare: what a framework would add is not to be measured. Counts its calls at ``GET``."""

    def __init__(self, delay_s: float, faults: bool) -> None:
        self._delay_s, self._faults = delay_s, faults
        self._rng = random.Random(0)
        self.calls = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["method"] == "GET":
            return await self._respond(send, 200, str(self.calls).encode())
        while (await receive()).get("more_body"):
            pass
        self.calls += 1
        await asyncio.sleep(self._delay_s)
        await self._answer(send)

    async def _answer(self, send: Send) -> None:
        """5% 429, 2% 500, 1% dropped, 1% garbage where faults are on; else an answer."""
        drawn = self._rng.random() if self._faults else 1.0
        if drawn < 0.05:
            await self._respond(send, 429, ERROR, (b"retry-after-ms", b"100"))
        elif drawn < 0.07:
            await self._respond(send, 500, ERROR)
        elif drawn < 0.08:
            send.__self__.transport.abort()  # type: ignore[attr-defined]  # uvicorn's protocol
        else:
            await self._respond(send, 200, ANSWER if drawn >= 0.09 else ANSWER[: len(ANSWER) // 2])

    async def _respond(self, send: Send, status: int, body: bytes, *more: tuple[bytes, bytes]) -> None:
        headers = [JSON, (b"content-length", str(len(body)).encode()), *more]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve on a free port of loopback."""
    import uvicorn

    # asyncio turns Nagle's delay of 40 ms off only where the protocol is named
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", flush=True)
    app = Stub(float(sys.argv[1]), "--faults" in sys.argv)
    uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off")).run([listening])


if __name__ == "__main__":
    main()
