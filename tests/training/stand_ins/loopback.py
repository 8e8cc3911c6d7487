"""A server on loopback that speaks JSON, breaks as it is told, and holds bodies to the SDK's own types."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, NotRequired, Required, get_args, get_origin, get_type_hints
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import BaseModel, ValidationError
from typing_extensions import is_typeddict

from harness.records import Json


@dataclass(frozen=True)
class Fault:
    """What becomes of a request instead of its answer.

    Args:
        status: of HTTP; None: the connection is broken and nothing is said.
        body: what is sent with it, JSON or not.
        retry_after_s: the ``Retry-After`` header; None: there is none.
        after: the request has had its effect all the same.
        to: the ``Location`` header: the answer is said to lie there.
    """

    status: int | None = None
    body: str = '{"error": {"message": "no", "type": "error", "param": null, "code": null}}'
    retry_after_s: float | None = None
    after: bool = False
    to: str | None = None


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in small letters
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        """Its JSON object; empty where there is none."""
        return dict(json.loads(self.raw)) if self.raw else {}

    @property
    def parts(self) -> dict[str, tuple[str | None, bytes]]:
        """The parts of a form with a file, by name: the file's name, if it is one, and the content."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        found: dict[str, tuple[str | None, bytes]] = {}
        for part in BytesParser(policy=HTTP).parsebytes(head + self.raw).iter_parts():
            name = part.get_param("name", header="content-disposition")
            content = part.get_payload(decode=True)
            found[str(name)] = part.get_filename(), content if isinstance(content, bytes) else b""
        return found


@dataclass(frozen=True)
class Reply:
    """An answer: anything that JSON can hold, or bytes as they are."""

    body: Any = field(default_factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def raw(self) -> bytes:
        """The body as it is sent."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


Wire = Callable[[Asked], Reply]


class Loopback:
    """The server. ``wire`` answers one request at a time; ``faults`` by the number of the request,
    ``first`` by the path of the first POST."""

    def __init__(
        self, wire: Wire, faults: Mapping[int, Fault], first: Mapping[str, Fault] | None = None
    ) -> None:
        spoilt = dict(first or {})
        self.requests: list[tuple[str, str]] = []
        self.broken: list[BaseException] = []  # what went wrong in the stand-in itself
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(handler, format: str, *args: object) -> None: ...  # noqa: N805

            def do(handler) -> None:  # noqa: N805
                raw = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
                parts = urlsplit(handler.path)
                query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
                headers = {name.lower(): value for name, value in handler.headers.items()}
                asked = Asked(handler.command, unquote(parts.path), query, headers, raw)
                with lock:
                    fault = faults.get(len(self.requests))
                    if fault is None and asked.method == "POST":
                        fault = spoilt.pop(asked.path, None)
                    self.requests.append((asked.method, asked.path))
                    reply = Reply()
                    if fault is None or fault.after:
                        try:
                            reply = wire(asked)
                        except Exception as error:  # noqa: BLE001 - the test is told, not the client
                            self.broken.append(error)
                            reply = Reply({"error": {"message": repr(error)}}, 418)
                handler.answer(reply if fault is None else fault)

            def answer(handler, told: Reply | Fault) -> None:  # noqa: N805
                if told.status is None:
                    handler.close_connection = True
                    handler.connection.shutdown(socket.SHUT_RDWR)
                    return
                body = told.raw if isinstance(told, Reply) else told.body.encode()
                handler.send_response(told.status)
                headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
                if isinstance(told, Reply):
                    headers |= dict(told.headers)
                elif told.retry_after_s is not None:
                    headers["Retry-After"] = f"{told.retry_after_s:g}"
                if isinstance(told, Fault) and told.to is not None:
                    headers["Location"] = told.to
                for name, value in headers.items():
                    handler.send_header(name, value)
                handler.end_headers()
                handler.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=True)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def start(self) -> None:
        """Listen."""
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


# --------------------------------------------------------------------------- shapes of an SDK
def unknown_fields(params: Any, given: Mapping[str, Any], where: str = "") -> Iterator[str]:  # noqa: ANN401
    """Fields of a request that the SDK's ``TypedDict`` or model lacks, and required ones left out."""
    hints, required = shape_of(params)
    yield from (f"{where}{name}: unknown" for name in given if name not in hints)
    yield from (f"{where}{name}: required" for name in required if name not in given)
    for name, value in given.items():
        for kind in kinds_in(hints.get(name)) if isinstance(value, Mapping) else ():
            yield from unknown_fields(kind, value, f"{where}{name}.")


def shape_of(kind: Any) -> tuple[dict[str, Any], set[str]]:  # noqa: ANN401
    """The fields of a ``TypedDict`` or model of an SDK as they are called on the wire, and the required."""
    if is_typeddict(kind):
        hints = get_type_hints(kind, include_extras=True)
        named = {_alias(hint) or name: hint for name, hint in hints.items()}
        lone = {_alias(hints[name]) or name for name in kind.__required_keys__}
        return named, lone
    fields = kind.model_fields
    named = {found.alias or name: found.annotation for name, found in fields.items()}
    return named, {found.alias or name for name, found in fields.items() if found.is_required()}


def _alias(hint: Any) -> str | None:  # noqa: ANN401
    found = (getattr(each, "alias", None) for each in getattr(hint, "__metadata__", ()))
    own = next((alias for alias in found if alias), None)
    inner = next((each for each in get_args(hint) if get_origin(hint) in (Required, NotRequired)), None)
    return own or (None if inner is None else _alias(inner))


def kinds_in(hint: Any) -> list[Any]:  # noqa: ANN401
    """The one ``TypedDict`` or model in an annotation; none where several could be meant."""
    if is_typeddict(hint) or (isinstance(hint, type) and issubclass(hint, BaseModel)):
        return [hint]
    if get_origin(hint) in (dict, list, Literal):
        return []
    found = [kind for each in get_args(hint) for kind in kinds_in(each)]
    return found if len(found) == 1 else []


def shown(
    model: type[BaseModel], fields: Mapping[str, Any], omit: Sequence[str] | frozenset[str], extra: Json
) -> dict[str, Any]:
    """An object as the service shows it: it parses as the SDK's ``model``, without the optional in ``omit``.

    Raises:
        AssertionError: the stand-in would say what the SDK does not know.
    """
    named, required = shape_of(model)
    unknown = [name for name in fields if name not in named]
    assert not unknown, f"{model.__name__} has no {unknown}"
    left = {name: value for name, value in fields.items() if name in required or name not in omit}
    missing = required - set(left)
    assert not missing, f"{model.__name__} needs {missing}"
    try:
        model.model_validate(left)  # by its types, where `construct` would take anything
    except ValidationError as error:  # a word that the service has not documented is what a scenario may want
        if any(each["loc"] != ("status",) for each in error.errors()):
            raise
    return {**left, **(extra if isinstance(extra, dict) else {})}


def unknown_in(shape: Mapping[str, str], given: Mapping[str, Any]) -> list[str]:
    """Fields that a recorded shape does not name, and those that it requires and are left out."""
    lacking = [name for name, told in shape.items() if not told.endswith("?") and name not in given]
    return [*(name for name in given if name not in shape), *lacking]


def of_shape(
    shape: Mapping[str, str], fields: Mapping[str, Any], omit: frozenset[str], extra: Json
) -> dict[str, Any]:
    """An object of a recorded shape, without the optional in ``omit``.

    Raises:
        AssertionError: the stand-in would say what is not recorded.
    """
    left = {
        name: value
        for name, value in fields.items()
        if name not in omit or not shape.get(name, "?").endswith("?")
    }
    assert not unknown_in(shape, left), unknown_in(shape, left)
    return {**left, **(extra if isinstance(extra, dict) else {})}
