"""Starting and stopping the twin: a real server on loopback, in a thread of this process or in front."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.extras import require_extra
from harness.records import Json
from harness.testing.fake_openai.backend import Backend
from harness.testing.fake_openai.catalogue import TwinModel
from harness.testing.fake_openai.faults import Faults

if TYPE_CHECKING:
    import uvicorn

HOST = "127.0.0.1"
STARTS_WITHIN_S = 30.0
ENDS_WITHIN_S = 5  # for requests under way


@contextmanager
def running_twin(
    *,
    backend: Backend | None = None,
    state: Path | None = None,
    port: int = 0,
    faults: Faults | None = None,
    models: Sequence[TwinModel] | None = None,
    stands_in_for: Sequence[str] = (),
    api_key: str | None = None,
    clock: Callable[[], float] = time.time,
) -> Iterator[str]:
    """A twin in a thread of this process; yields the ``base_url`` for the SDK.

        with running_twin(backend=ScriptedBackend()) as base_url:
            client = OpenAI(base_url=base_url, api_key="any")

    Args:
        backend: the models; None: the built-in model, really trained and really answering.
        state: a folder that outlives the twin; None: everything is forgotten at the end.
        port: 0 takes a free one.
        faults: what goes wrong.
        models: the offered models; None: the twin's own (see ``catalogue``).
        stands_in_for: names of other models, offered with the same weights behind them.
        api_key: the only key that is taken; None: any.
        clock: seconds since 1970.

    Raises:
        UsageError: the packages of the extra are not installed, or the port is taken.
    """
    require_installed()
    with ExitStack() as stack:
        if backend is None:
            from harness.testing.fake_openai.real import RealBackend

            backend = RealBackend()
            stack.callback(backend.close)
        server, listening = stack.enter_context(
            _prepared(backend, state, port, faults, models, stands_in_for, api_key, clock)
        )
        stack.enter_context(_in_thread(server, listening))
        yield base_url_of(listening)


@contextmanager
def _prepared(
    backend: Backend,
    state: Path | None,
    port: int,
    faults: Faults | None,
    models: Sequence[TwinModel] | None,
    stands_in_for: Sequence[str],
    api_key: str | None,
    clock: Callable[[], float],
) -> Iterator[tuple[uvicorn.Server, socket.socket]]:
    """A server that is not running yet, and the socket that it will listen on."""
    import uvicorn

    from harness.testing.fake_openai.app import faulty_app
    from harness.testing.fake_openai.service import Service

    with ExitStack() as stack:
        listening = stack.enter_context(_listening(port))
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="twin-"))
        service = Service(
            state or Path(scratch),
            backend,
            keep=state is not None,
            models=models,
            stands_in_for=stands_in_for,
            faults=faults or Faults(),
            api_key=api_key,
            clock=clock,
        )
        stack.callback(service.close)
        config = uvicorn.Config(
            faulty_app(service),
            http="h11",
            ws="none",
            lifespan="off",
            log_level="critical",
            access_log=False,
            timeout_graceful_shutdown=ENDS_WITHIN_S,
        )
        yield uvicorn.Server(config), listening


@contextmanager
def _in_thread(server: uvicorn.Server, listening: socket.socket) -> Iterator[None]:
    thread = threading.Thread(target=server.run, args=([listening],), name="twin", daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + STARTS_WITHIN_S
        while not server.started:
            if time.monotonic() > deadline or not thread.is_alive():
                raise UsageError("the twin did not start.")
            time.sleep(0.005)
        yield
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    # asyncio turns Nagle's delay of 40 ms off only where the protocol is named
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
        except OSError as error:
            raise UsageError(
                f"port {port} is taken ({error.strerror}).\n  hint: give another with --port."
            ) from error
        yield listening


def base_url_of(listening: socket.socket) -> str:
    """What the SDK is pointed at."""
    return f"http://{HOST}:{listening.getsockname()[1]}/v1"


def require_installed() -> None:
    """Check that the extra's packages are there.

    Raises:
        UsageError: one is missing.
    """
    require_extra("twin", "the local twin")


def twin_stats(base_url: str) -> dict[str, Json]:
    """What a running twin has counted: uploads, jobs, calls, faults."""
    return _asked(base_url, "stats", None)


def set_twin_faults(base_url: str, faults: Faults) -> None:
    """Change what goes wrong in a running twin."""
    _asked(base_url, "faults", asdict(faults))


def stand_in(base_url: str, names: Sequence[str]) -> None:
    """Have a running twin offer models under these names, too; one that it has stays as it is."""
    _asked(base_url, "stand-ins", {"models": list(names)})


def _asked(base_url: str, path: str, body: dict[str, Json] | None) -> dict[str, Json]:
    url = f"{base_url.removesuffix('/v1')}/twin/{path}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, method="GET" if body is None else "PUT")
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: dict[str, Json] = json.load(response)
    return answer
