"""A whole job and its answers at Azure's dated interface: its paths, its header, its deployments."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx2
import pytest
import uvicorn
from hosted_builders import rows
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from harness.candidates.base import Variant
from harness.candidates.hosted_tuning import OpenAITuning
from harness.candidates.lab import Lab
from harness.data.convert import to_json
from harness.errors import HostedTrainingError
from harness.models.progress import Silent
from harness.models.protocol import Decoding, Prompt
from harness.store.adapters import AdapterStore
from harness.testing.fake_openai import CHAT, ScriptedBackend, running_fake_openai, twin_stats
from harness.training.hosted.jobs import Environment

VERSION, KEY = "2024-10-21", "azure-planted-0123456789"
NOT_THERE = ("metadata", "method", "integrations")  # what Azure's reference of that version does not name


@dataclass
class Azure:
    """A resource: the twin behind Azure's paths. ``deployments`` are models by the names that answer."""

    twin: str
    url: str = ""
    deployments: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def handle(self, request: Request) -> Response:
        body, path = await request.body(), request.url.path.removeprefix("/openai")
        self.asked.append(f"{request.method} {path}")
        if request.headers.get("api-key") != KEY:
            return _no(401, "Access denied due to invalid subscription key.")
        if request.query_params.get("api-version") != VERSION:
            return _no(404, "Resource not found")
        headers = {k: v for k, v in request.headers.items() if k in ("content-type", "accept")}
        headers["authorization"] = "Bearer any"
        if path.startswith("/deployments/"):
            name, _, path = path.removeprefix("/deployments/").partition("/")
            if name not in self.deployments:
                return _no(404, "The API deployment for this resource does not exist.")
            body, path = (
                json.dumps({**json.loads(body), "model": self.deployments[name]}).encode(),
                f"/{path}",
            )
        elif path.startswith(("/chat", "/completions")):
            return _no(404, "Resource not found")
        elif path == "/fine_tuning/jobs" and body and set(json.loads(body)) & set(NOT_THERE):
            return _no(400, "Unrecognized request argument supplied")
        return await self._forwarded(request, path, headers, body)

    async def _forwarded(self, request: Request, path: str, headers: dict[str, str], body: bytes) -> Response:
        left = {k: v for k, v in request.query_params.items() if k != "api-version"}
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
            said = await client.request(
                request.method, self.twin + path, params=left, headers=headers, content=body
            )
        return Response(said.content, said.status_code, media_type=said.headers.get("content-type"))


def _no(status: int, message: str) -> Response:
    return JSONResponse({"error": {"code": str(status), "message": message}}, status)


@contextmanager
def serving(azure: Azure) -> Iterator[Azure]:
    app = Starlette(routes=[Route("/openai/{path:path}", azure.handle, methods=["GET", "POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    azure.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield azure
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Azure]:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_VERSION", VERSION)

    with (
        running_fake_openai(backend=ScriptedBackend(lambda question: "the base")) as twin,
        serving(Azure(twin)) as stub,
    ):
        yield stub


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lines = (json.dumps(to_json(row)) for row in rows(12))
    (tmp_path / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return Lab(tmp_path, AdapterStore(tmp_path / "store"), Silent())


@dataclass(frozen=True, kw_only=True)
class Quick(OpenAITuning):
    """The candidate, which hardly waits."""

    def __hash__(self) -> int:
        return super().__hash__()

    def environment(self, lab: Lab) -> Environment:
        return replace(super().environment(lab), sleep=lambda s: time.sleep(min(s, 0.01)))


def test_a_job_is_begun_deployed_asked_and_found_again_at_the_dated_interface(
    azure: Azure, lab: Lab, tmp_path: Path
) -> None:
    spec = Quick(
        base=CHAT,
        train="train.jsonl",
        base_url=azure.url,
        profile="azure",
        suffix="support",
        deployment="support-{size}",
        base_deployment="mini",
    )
    with pytest.raises(
        HostedTrainingError, match=r"made ft:.*; at this service it must be deployed"
    ) as caught:
        replace(spec, deployment=None).prepare(lab, Variant("azure", spec, 12))
    tuned = str(caught.value).partition("made ")[2].partition(";")[0]
    azure.deployments |= {"support-12": tuned, "mini": CHAT}

    another = Lab(lab.root, AdapterStore(tmp_path / "another"), Silent())
    for place in (lab, another):
        made = spec.prepare(place, Variant("azure", spec, 12))
        row = place.rows("train.jsonl")[0]
        prompts = [Prompt(row.id, made.ask(row, None))]
        (answer,) = made.load().answer(prompts, Decoding(), frozenset())
        assert (answer.failure, answer.text) == (None, row.reference)
        base = spec.own_baseline()
        baseline = base.prepare(place, Variant("base", base))
        (answer,) = baseline.load().answer(prompts, Decoding(), frozenset())
        assert (answer.failure, answer.text) == (None, "the base")
    assert twin_stats(azure.twin)["jobs"] == 1
    assert azure.asked.count("POST /fine_tuning/jobs") == 1
    assert "POST /deployments/support-12/chat/completions" in azure.asked
    assert "POST /deployments/mini/chat/completions" in azure.asked
