"""Starting and stopping the service: a real HTTP server on loopback, in a thread of this process."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import httpx2

from harness.errors import UsageError
from harness.extras import require_extra
from harness.records import Json
from harness.testing.fake_openai.backend import Backend
from harness.testing.fake_openai.faults import Faults

HOST = "127.0.0.1"
ENDS_WITHIN_S = 5  # for requests under way


@contextmanager
def running_fake_openai(
    state: Path | None = None,
    port: int = 0,
    aliases: Sequence[str] = (),
    train: bool = False,
    faults: Faults | None = None,
    *,
    backend: Backend | None = None,
    api_key: str | None = None,
) -> Iterator[str]:
    """The service in a thread of this process; yields the ``base_url`` for the SDK.

    Args:
        state: a folder that outlives the server; None: everything is forgotten at the end.
        port: 0 takes a free one.
        aliases: names of other models, offered with the same model behind them.
        train: the built-in model, really trained and really answering, and not the scripted backend.
        backend: the models, in place of those that ``train`` chooses.
        api_key: the only accepted key; None: any.

    Raises:
        UsageError: the packages of the extra are not installed, or the port is taken.
    """
    require_extra("twin", "the local twin")
    from harness.testing.fake_openai.app import FakeOpenAI

    with ExitStack() as stack:
        if backend is None:
            if train:
                from harness.testing.fake_openai.real import RealBackend

                backend = RealBackend()
            else:
                from harness.testing.fake_openai.scripted_backend import ScriptedBackend

                backend = ScriptedBackend(script=None)
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="fake-openai-"))
        service = FakeOpenAI(state or Path(scratch), backend, aliases, faults or Faults(), api_key)
        stack.callback(service.close)
        yield f"{stack.enter_context(served(service.app, port))}/v1"


@contextmanager
def served(app: Callable[..., Awaitable[None]], port: int) -> Iterator[str]:
    """An app behind a port of this machine; yields its address.

    Raises:
        UsageError: the port is taken.
    """
    import uvicorn

    # asyncio turns Nagle's delay of 40 ms off only if the protocol is named
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
        except OSError as error:
            raise UsageError(
                f"port {port} is taken ({error.strerror}).\n  hint: give another with --port."
            ) from error
        config = uvicorn.Config(
            app,
            http="h11",
            lifespan="off",
            log_level="critical",
            timeout_graceful_shutdown=ENDS_WITHIN_S,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), name="fake-service", daemon=True)
        thread.start()
        try:
            while not server.started:
                if not thread.is_alive():
                    raise UsageError("the local service did not start.")
                time.sleep(0.005)
            yield f"http://{HOST}:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def twin_stats(base_url: str) -> dict[str, Json]:
    """What a running service has counted: uploads, jobs, calls, faults."""
    return _control(base_url, "stats", None)


def set_twin_faults(base_url: str, faults: Faults) -> None:
    """Change what goes wrong in a running service."""
    _control(base_url, "faults", asdict(faults))


def add_aliases(base_url: str, models: Sequence[str]) -> None:
    """Have a running service offer models under these names too; existing ones stay as they are."""
    _control(base_url, "aliases", {"models": list(models)})


def _control(base_url: str, path: str, body: dict[str, Json] | None) -> dict[str, Json]:
    url = f"{base_url.removesuffix('/v1')}/twin/{path}"
    method = "GET" if body is None else "PUT"
    response = httpx2.request(method, url, json=body, timeout=30, trust_env=False).raise_for_status()
    answer: dict[str, Json] = response.json()
    return answer
