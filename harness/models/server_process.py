"""The life of a server that is started here: begun when it is needed, ended with the run."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from harness.errors import ModelError
from harness.models.progress import Progress
from harness.models.server import Server
from harness.records import Json

if TYPE_CHECKING:
    from httpx2 import Client, Response

GUARD = Path(__file__).with_name("server_guard.py")
LAST_LINES, LONGEST_LINE = 20, 160
LOOK_S = 0.2  # between two looks at whether it is ready
LISTENING = "0A"  # a socket's state in /proc/net/tcp
STARTS = 3  # another program may take the port between its choice and its use
_SECRET = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL)S?(?:_|\d|$)", re.IGNORECASE)
_TAKEN = re.compile(r"address already in use|errno 98", re.IGNORECASE)


@dataclass(frozen=True)
class Launch:
    """What a server is started with; another base, or another precision, is another process."""

    server: Server
    base: Path | None  # the folder of a model; None where it is sent the names of folders
    home: Path  # the folder that it is started in
    nf4: bool = False


class ServerProcess:
    """A server that runs on this machine. It ends with this process, whatever ends that.

    Raises:
        ModelError: it ends before it is ready, or is not ready in time, or listens to other machines; shows
            its last lines.
    """

    def __init__(self, launch: Launch, adapters: Mapping[str, Path], rank: int, progress: Progress) -> None:
        self.launch, self.adapters, self.rank = launch, dict(adapters), rank
        self.loaded: str | None = None  # the folder that it was told to load last
        for start in range(STARTS):
            try:
                self._start(progress)
                return
            except ModelError as error:
                self.end()
                if start + 1 == STARTS or not _TAKEN.search(str(error)):
                    raise

    def _start(self, progress: Progress) -> None:
        server = self.launch.server
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        argv = server.argv(self.port, self.launch.base, self.adapters, self.rank, nf4=self.launch.nf4)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process, see ``_ended``
        self._child = subprocess.Popen(
            [sys.executable, "-I", str(GUARD), *argv],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            cwd=self.launch.home,
            env=_environment(server),
            start_new_session=True,
        )
        self._end = weakref.finalize(self, _ended, self._child, self._log)
        with progress.task(f"starting {server.told}", unit="s") as bar:
            began = time.monotonic()
            while (status := self._child.poll()) is not None or not self._is_ready():
                waited = time.monotonic() - began
                bar.at(round(waited), None, next(iter(self.last_lines(1)), "")[:60])
                if status is not None:
                    raise self.failed(f"it ended with status {status} before it was ready")
                if waited > server.ready_s:
                    raise self.failed(f"it was not ready within {server.ready_s:g} s (ready_s)")
                time.sleep(LOOK_S)
        if (other := _listens_to_others(self.port)) is not None:
            self.end()
            raise ModelError(
                f"{server.told} listens on {other}, where other machines reach it: it was ended.\n"
                "  hint: give its command --host 127.0.0.1, or what it calls that."
            )

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._end.alive and self._child.poll() is None

    def end(self) -> None:
        """End it and all that it has started."""
        self._end()

    def last_lines(self, n: int = LAST_LINES) -> list[str]:
        """Of what it has written."""
        if self._log.closed:
            return []
        size = os.fstat(self._log.fileno()).st_size
        tail = os.pread(
            self._log.fileno(), 64_000, max(0, size - 64_000)
        )  # the child writes at its own place
        lines = re.split(r"[\r\n]+", tail.decode("utf-8", "replace").strip())
        return [line[:LONGEST_LINE] for line in lines if line][-n:]

    def failed(self, why: str) -> ModelError:
        """The error that says so, with its last lines."""
        said = "".join(f"\n  | {line}" for line in self.last_lines())
        return ModelError(f"{self.launch.server.told}: {why}.{said or ' It wrote nothing.'}")

    def get(self, path: str) -> Response:
        """Of the server's root; raises httpx2's errors."""
        with _client(10.0) as client:
            return client.get(f"http://127.0.0.1:{self.port}{path}")

    def post(self, path: str, body: Mapping[str, Json], timeout_s: float) -> Response:
        """To the server's root; raises httpx2's errors."""
        with _client(timeout_s) as client:
            return client.post(f"http://127.0.0.1:{self.port}{path}", json=dict(body))

    def _is_ready(self) -> bool:
        from httpx2 import HTTPError

        try:
            health = self.get("/health").status_code
            return health == 200 or (health in (404, 405) and self.get("/v1/models").status_code == 200)
        except HTTPError:
            return False


@dataclass
class Servers:
    """The server that runs, and what it is to know; one at a time, as one model is loaded at a time."""

    running: ServerProcess | None = None
    waiting: list[Callable[[], None]] = field(default_factory=list)  # each makes one more adapter known
    _known: dict[Launch, dict[str, tuple[Path, int]]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def know(self, launch: Launch, name: str, adapter: Path, rank: int) -> None:
        """An adapter that is there, to be loaded with the others."""
        with self._lock:
            self._known.setdefault(launch, {})[name] = (adapter, rank)

    def serving(self, launch: Launch, name: str, progress: Progress) -> ServerProcess:
        """The server that answers under ``name``, started where it is not there.

        Raises:
            ModelError: it does not start, or does not take the model.
        """
        with self._lock:
            known = self._known.get(launch, {})
            process = self.running
            if process is None or process.launch != launch or not process.is_alive:
                process = self._restarted(launch, progress)
            if launch.server.by_folder:
                _load_folder(process, name, progress)
            elif name in known and name not in process.adapters:
                adapter, rank = known[name]
                if not _load_adapter(process, name, adapter, rank):
                    process = self._restarted(launch, progress)
            return process

    def end(self) -> None:
        """End what runs: its memory is wanted, or the run is over."""
        with self._lock:
            if self.running is not None:
                self.running.end()
            self.running = None

    def _restarted(self, launch: Launch, progress: Progress) -> ServerProcess:
        self.end()
        known = self._known.get(launch, {})
        adapters = {} if launch.server.by_folder else {name: folder for name, (folder, _) in known.items()}
        rank = max((rank for _, rank in known.values()), default=1)
        self.running = ServerProcess(launch, adapters, rank, progress)
        return self.running


def _load_folder(process: ServerProcess, name: str, progress: Progress) -> None:
    """Have ``transformers serve`` load a folder, and nothing beside it."""
    from httpx2 import HTTPError

    if process.loaded == name:
        return
    with progress.task(f"{process.launch.server.told} loads {name}", unit="s"):
        try:
            process.post("/reset", {}, 60.0)
            came = process.post("/load_model", {"model": name}, process.launch.server.ready_s).text
        except HTTPError as error:
            raise process.failed(f"it does not load {name}: {error}") from error
    if '"status": "ready"' not in came:
        last = came.strip().splitlines()[-1:] or [""]
        raise process.failed(f"it does not load {process.launch.home / name}: {last[0][:500]}")
    process.loaded = name


def _load_adapter(process: ServerProcess, name: str, adapter: Path, rank: int) -> bool:
    """Have vLLM load one more adapter; False where it cannot, and has to be started again."""
    from httpx2 import HTTPError

    with suppress(HTTPError):
        body: dict[str, Json] = {"lora_name": name, "lora_path": str(adapter)}
        if rank <= process.rank and process.post("/v1/load_lora_adapter", body, 300.0).status_code == 200:
            process.adapters[name] = adapter
            return True
    return False


def _environment(server: Server) -> dict[str, str]:
    """Of this process, without what is secret: the server needs no key, and has weights that are here."""
    plain = {name: value for name, value in os.environ.items() if not _SECRET.search(name)}
    offline = {"HF_HUB_OFFLINE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "PYTHONUNBUFFERED": "1"}
    return {**plain, **offline, **server.env}


def _client(timeout_s: float) -> Client:
    from httpx2 import Client

    return Client(timeout=timeout_s, trust_env=False, follow_redirects=False)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return cast("int", probe.getsockname()[1])


def _listens_to_others(port: int) -> str | None:
    """The address beyond this machine that the port is open on; None where there is none."""
    for file in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(file).read_text("ascii").splitlines()[1:]:
                _, local, _, state = line.split()[:4]
                host, _, own = local.partition(":")
                raw = bytes.fromhex(host)  # words of four bytes, each in the machine's order
                words = [raw[k : k + 4] for k in range(0, len(raw), 4)]
                found = ip_address(b"".join(w[::-1] if sys.byteorder == "little" else w for w in words))
                inner = getattr(found, "ipv4_mapped", None) or found
                if state == LISTENING and int(own, 16) == port and not inner.is_loopback:
                    return str(found)
    return None


def _ended(child: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    if child.stdin is not None:
        with suppress(OSError):
            child.stdin.close()  # the guard ends it
    child.wait()
    log.close()
