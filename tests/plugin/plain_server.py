"""A server on loopback that gives one answer to whatever it is asked, and keeps what it was sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Plain:
    """Its answer, and the request lines that came."""

    status: int
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    base_url: str = ""


@contextmanager
def answering(plain: Plain) -> Iterator[Plain]:
    """The server on a free port, in a thread."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            plain.asked.append(f"{self.command} {self.path}")
            plain.keys.append(self.headers.get("authorization", ""))
            self.send_response(plain.status)
            sent = {"content-type": "application/json", "content-length": str(len(plain.body))}
            for name, value in {**sent, **plain.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(plain.body)

        do_GET = do_POST = answer  # noqa: N815 - names of the standard library

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is said on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        plain.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        try:
            yield plain
        finally:
            server.shutdown()
            thread.join()
