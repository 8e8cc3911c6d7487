"""The comments of GitHub's and GitLab's REST APIs on loopback, in the shapes of their references."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

Comment = dict[str, object]

BOT: Comment = {"login": "github-actions[bot]", "id": 41898282, "type": "Bot"}
PERSON: Comment = {"login": "octocat", "id": 1, "type": "User"}
MOST = {"github": 65_536, "gitlab": 1_000_000}  # characters of a comment


@dataclass
class Forge:
    """What was posted, and what the server does with its caller."""

    kind: str  # "github" or "gitlab"
    url: str = ""
    comments: list[Comment] = field(default_factory=list)
    me: Comment = field(default_factory=lambda: dict(BOT))
    tells_user: bool = False  # a workflow's own token may not ask who it is
    may_write: bool = True
    per_page: int = 100  # at most
    calls: list[tuple[str, str]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    def add(self, body: str, by: Comment) -> Comment:
        """A comment of somebody."""
        author = "user" if self.kind == "github" else "author"
        number = 1 + max((int(str(one["id"])) for one in self.comments), default=0)
        made: Comment = {"id": number, "body": body, author: by, "created_at": "2026-11-28T00:00:00Z"}
        if self.kind == "github":
            made["html_url"] = f"https://github.com/o/r/pull/5#issuecomment-{number}"
        self.comments.append(made)
        return made


class _Handler(BaseHTTPRequestHandler):
    forge: Forge

    def handle_one(self, method: str) -> None:
        forge, parts = self.forge, urlsplit(self.path)
        forge.calls.append((method, self.path))
        forge.tokens.add(
            str(
                next(
                    filter(
                        None, (self.headers.get(n) for n in ("Authorization", "PRIVATE-TOKEN", "JOB-TOKEN"))
                    ),
                    "",
                )
            )
        )
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = str(json.loads(sent)["body"]) if sent else ""
        if len(body) > MOST[forge.kind]:
            return self.answer(422, {"message": "Validation Failed"})
        if parts.path == "/user":
            refused = {"message": "Resource not accessible by integration"}
            return self.answer(200, forge.me) if forge.tells_user else self.answer(403, refused)
        if method != "GET" and not forge.may_write:
            return self.answer(403, {"message": "Resource not accessible by integration"})
        every, one, update = {
            "github": ("/repos/o/r/issues/5/comments", r"/repos/o/r/issues/comments/(\d+)", "PATCH"),
            "gitlab": (
                "/projects/7/merge_requests/5/notes",
                r"/projects/7/merge_requests/5/notes/(\d+)",
                "PUT",
            ),
        }[forge.kind]
        if parts.path == every and method == "GET":
            return self.page(parse_qs(parts.query), every)
        if parts.path == every and method == "POST":
            return self.answer(201, forge.add(body, forge.me))
        found = re.fullmatch(one, parts.path)
        mine = [c for c in forge.comments if found and c["id"] == int(found[1])]
        if not mine or method not in (update, "DELETE"):
            return self.answer(404, {"message": "Not Found"})
        if method == "DELETE":
            forge.comments.remove(mine[0])
            return self.answer(204, None)
        mine[0]["body"] = body
        return self.answer(200, mine[0])

    def page(self, query: dict[str, list[str]], every: str) -> None:
        """The comments of one page, and in the header ``Link`` where the next one is."""
        forge = self.forge
        size = min(int(query.get("per_page", ["30"])[0]), forge.per_page)
        number = int(query.get("page", ["1"])[0])
        shown = forge.comments[(number - 1) * size : number * size]
        more = number * size < len(forge.comments)
        link = f'<{forge.url}{every}?per_page={size}&page={number + 1}>; rel="next"' if more else ""
        self.answer(200, shown, link)

    def answer(self, status: int, body: object, link: str = "") -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        if link:
            self.send_header("Link", link)
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self.handle_one("GET")

    def do_POST(self) -> None:
        self.handle_one("POST")

    def do_PUT(self) -> None:
        self.handle_one("PUT")

    def do_PATCH(self) -> None:
        self.handle_one("PATCH")

    def do_DELETE(self) -> None:
        self.handle_one("DELETE")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def running_forge(kind: str) -> Iterator[Forge]:
    """A server on loopback until the end of the block."""
    forge = Forge(kind)
    handler = type("Handler", (_Handler,), {"forge": forge})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        forge.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield forge
        server.shutdown()
        thread.join()
