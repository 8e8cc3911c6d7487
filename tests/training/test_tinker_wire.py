"""The SDK's requests go to the configured address alone, and reach a server of an earlier wire."""

from __future__ import annotations

import gc
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from tinker_builders import BASE, Killed, job_of

from harness.errors import HostedTrainingError
from harness.testing.fake_openai.serving import served
from harness.testing.fake_tinker.app import FakeTinker
from harness.testing.fake_tinker.faults import TinkerFaults
from harness.testing.fake_tinker.scripted_backend import STATE, ScriptedTinker
from harness.training.tinker.loop import Surroundings, TinkerState, tune
from harness.training.tinker.service import TinkerService

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # the SDK leaves connections open
JOB = job_of(save_every=2)
#: what servers that were built for version 0.25 of the SDK refuse, TuFT among them
LATER_FIELDS = ("display_name", "kind", "optimizer_config")
CHECKPOINTS = ("/save_weights", "/save_weights_for_sampler")


class Earlier:
    """ASGI middleware: the wire of version 0.25; redirects alone once ``leads`` is set."""

    def __init__(self, app: ASGIApp) -> None:
        self._app, self.leads = app, ""
        self.seen: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.responses import JSONResponse, RedirectResponse, Response

        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        path = str(scope["path"])
        self.seen.append(path)
        answer: Response | None = None
        if self.leads:
            answer = RedirectResponse(self.leads + path, 307)
        elif path.endswith(("/sessions/search", "/finish")):
            answer = JSONResponse({"detail": "Method Not Allowed"}, 405)
        elif path.endswith("/client/dynamic_config"):
            answer = JSONResponse({"detail": "Not Found"}, 404)
        elif body[:1] == b"{":
            answer = _refusal(path, json.loads(body))

        async def again() -> Any:  # noqa: ANN401 - a message of ASGI
            return {"type": "http.request", "body": body}

        await (self._app if answer is None else answer)(scope, again, send)


def _refusal(path: str, asked: dict[str, Any]) -> Any:  # noqa: ANN401
    from starlette.responses import JSONResponse

    later = (*LATER_FIELDS, "user_metadata") if path.endswith(CHECKPOINTS) else LATER_FIELDS
    extra = [
        {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra"} for name in later if name in asked
    ]
    if extra:
        return JSONResponse({"detail": extra}, 422)
    if path.endswith("/load_weights") and asked.get("model_id") is None:
        return JSONResponse({"detail": "Missing model_id"}, 400)
    return None


@pytest.fixture
def earlier(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FakeTinker, Earlier, TinkerService]]:
    monkeypatch.setenv("TINKER_API_KEY", "tml-secret")
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
    with TemporaryDirectory() as folder:
        fake = FakeTinker(Path(folder), ScriptedTinker(), lambda: [BASE], TinkerFaults())
        wire = Earlier(fake.app)
        with served(wire, 0) as url:
            yield fake, wire, TinkerService(url)
        fake.close()
    with warnings.catch_warnings(action="ignore"):
        gc.collect()  # connections that the SDK forgets to close


def test_at_a_server_of_an_earlier_wire_a_killed_training_goes_on(
    earlier: tuple[FakeTinker, Earlier, TinkerService],
) -> None:
    fake, _, service = earlier
    states = [TinkerState()]

    class Stops:
        def at(self, done: float, total: float | None, note: str = "") -> None:
            if done == 5:
                raise Killed

    with pytest.raises(Killed):
        tune(JOB, service, Surroundings(remember=states.append, bar=Stops()), states[-1])  # type: ignore[arg-type]
    paid = fake.billed_tokens["training"]
    tuned = tune(JOB, service, Surroundings(remember=states.append), states[-1])
    assert fake.billed_tokens["training"] - paid == JOB.plan.tokens(4)
    (final,) = [one for one in fake._service.all_saved() if one.kind == "sampler"]
    assert final.id == tuned.model
    assert json.loads((fake._service.weights / final.folder / STATE).read_text()) == len(JOB.plan.steps)
    assert any("cannot search" in note for note in tuned.notes)


def test_a_redirect_is_not_followed_and_no_key_leaves(
    earlier: tuple[FakeTinker, Earlier, TinkerService],
) -> None:
    _, wire, service = earlier
    elsewhere = Earlier(wire)
    with served(elsewhere, 0) as url:
        wire.leads = url
        with pytest.raises(HostedTrainingError, match="sends requests on to another address") as refused:
            tune(JOB, service, Surroundings(), TinkerState())
    assert "give base_url the address" in str(refused.value)
    assert wire.seen
    assert elsewhere.seen == []
