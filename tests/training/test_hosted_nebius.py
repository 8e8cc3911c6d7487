"""Nebius: a job that succeeds names no model; one is published of it, and that one answers.

The stand-in takes and gives what the service's reference documents (OpenAPI version 20260506), refuses any
field that is not in it, and does as its guides tell: a model is checked, then answers under a longer name.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hosted_builders import Killed, killing

from harness import NebiusTuning, OpenAITuning
from harness.candidates.base import Variant
from harness.candidates.lab import Lab
from harness.errors import HostedTrainingError, UsageError
from harness.models.progress import Silent
from harness.store.adapters import AdapterStore
from harness.training.hosted.jobs import Environment
from harness.training.hosted.provider import TuningProvider

TUNED = "meta-llama/Llama-3.1-8B-Instruct"
ANSWERS = "meta-llama/Meta-Llama-3.1-8B-Instruct"
JOB = {
    "model",
    "training_file",
    "validation_file",
    "hyperparameters",
    "seed",
    "suffix",
    "integrations",
    "tags",
}
SETTINGS = {
    *("batch_size", "learning_rate", "n_epochs", "warmup_ratio", "weight_decay", "packing", "max_grad_norm"),
    *("context_length", "lora", "lora_r", "lora_alpha", "lora_dropout"),
}
PUBLISHED = {"name", "base_model", "source", "description"}


@dataclass
class Service:
    """Nebius in memory. A job, and a published model, move through their lives a look at a time."""

    life: tuple[str, ...] = ("validating_files", "queued", "running", "succeeded")
    checked: tuple[str, ...] = ("validating", "validating", "active")
    reason: str | None = None
    lists_job: bool = True
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    models: list[dict[str, Any]] = field(default_factory=list)
    looks: dict[str, int] = field(default_factory=dict)
    posted: list[str] = field(default_factory=list)

    def look(self, id: str, life: tuple[str, ...]) -> str:
        self.looks[id] = self.looks.get(id, -1) + 1
        return life[min(self.looks[id], len(life) - 1)]

    def get(self, path: str) -> tuple[int, Any]:
        if path == "/v0/models":
            return 200, [{**model, "status": self.look(model["name"], self.checked)} for model in self.models]
        if path.startswith("/v1/models/"):
            return 200, {
                "id": path.removeprefix("/v1/models/"),
                "object": "model",
                "created": 1,
                "owned_by": "",
            }
        if path == "/v1/files":
            return 200, {"object": "list", "data": list(self.files.values()), "has_more": False}
        if path == "/v1/fine_tuning/jobs":
            return 200, {"object": "list", "data": list(self.jobs.values()), "has_more": False}
        job = self.jobs.get(path.removeprefix("/v1/fine_tuning/jobs/").partition("/")[0])
        if job is None:
            return 404, {"detail": "Not found"}
        if path.endswith("/checkpoints"):
            step = {"object": "fine_tuning.job.checkpoint", "created_at": 5, "result_files": []}
            made = [{**step, "id": f"ftckpt_{n}", "step_number": n, "metrics": {}} for n in (3, 9, 6)]
            return 200, {"object": "list", "data": made, "has_more": False}
        if path.endswith("/events"):
            return 200, {"object": "list", "data": [], "has_more": False}
        job["status"] = self.look(job["id"], self.life)
        return 200, job

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        self.posted.append(path)
        if path == "/v1/fine_tuning/jobs":
            unknown = [*set(body) - JOB, *set(body.get("hyperparameters", {})) - SETTINGS]
            if unknown or not {"model", "training_file"} <= set(body):
                return 422, {
                    "detail": [{"loc": ["body", *unknown], "msg": "extra fields", "type": "value_error"}]
                }
            id = f"ftjob-{len(self.jobs):04d}"
            documented = {
                "error": None,
                "finished_at": None,
                "object": "fine_tuning.job",
                "organization_id": "",
            }
            told = {"result_files": [], "trained_tokens": 2400, "trained_steps": 9, "total_steps": 9}
            self.jobs[id] = {
                **body,
                "id": id,
                "created_at": 7,
                "status": "validating_files",
                **documented,
                **told,
            }
            return 200, self.jobs[id]
        if path == "/v0/models":
            job, _, checkpoint = str(body["source"]).partition(":")
            is_known = job in self.jobs and self.jobs[job]["status"] == "succeeded"
            if set(body) - PUBLISHED or body["base_model"] != ANSWERS or not is_known:
                return 422, {
                    "detail": [{"loc": ["body"], "msg": "no such base or source", "type": "value_error"}]
                }
            name = f"{ANSWERS}-LoRa:{body['name']}-udpd"
            self.models.append(
                {
                    "type": "text2text",
                    "name": name,
                    "vendor": "meta-llama",
                    "job_id": job if self.lists_job else None,
                    "checkpoint_id": checkpoint,
                    "status_reason": self.reason,
                }
            )
            return 200, {**body, "name": name, "created_at": 9, "status": "validating"}
        raise AssertionError(path)

    def upload(self, name: str, size: int) -> tuple[int, Any]:
        id = f"file-{len(self.files)}"
        told = {"object": "file", "purpose": "fine-tune", "status": "processed", "created_at": 1}
        self.files[id] = {"id": id, "filename": name, "bytes": size, **told}
        return 200, self.files[id]


@pytest.fixture
def nebius() -> Iterator[tuple[Service, str]]:
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None: ...

        def do_GET(self) -> None:
            self._answer(service.get(self.path.partition("?")[0]))

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/files":
                name = raw.split(b'filename="')[1].split(b'"')[0].decode()
                sent = next(part for part in raw.split(b"\r\n\r\n") if part.startswith(b'{"messages"'))
                self._answer(service.upload(name, len(sent.partition(b"\r\n--")[0])))
            else:
                self._answer(service.post(self.path, json.loads(raw)))

        def _answer(self, told: tuple[int, Any]) -> None:
            body = json.dumps(told[1]).encode()
            self.send_response(told[0])
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield service, f"http://127.0.0.1:{server.server_port}/v1/"
        server.shutdown()


@dataclass(frozen=True, kw_only=True)
class Quick(NebiusTuning):
    """The candidate, which does not wait, and which a test can kill."""

    killed_at: int | None = None

    def environment(self, lab: Lab) -> Environment:
        return replace(super().environment(lab), sleep=lambda seconds: None)

    def service(self) -> TuningProvider:  # type: ignore[override]
        own = super().service()
        return own if self.killed_at is None else killing(own, self.killed_at, after=True)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("NEBIUS_API_KEY", "nb-secret-0123456789")
    lines = [
        json.dumps(
            {"messages": [{"role": "user", "content": f"q{k}"}, {"role": "assistant", "content": f"a{k}"}]}
        )
        for k in range(8)
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return Lab(tmp_path, AdapterStore(tmp_path / "store"), Silent())


def spec(url: str, **fields: Any) -> Quick:  # noqa: ANN401 - any field of the candidate
    return Quick(base=TUNED, train="train.jsonl", base_url=url, learning_rate=1e-5, lora_rank=16, **fields)


def fresh(lab: Lab) -> Lab:
    return Lab(lab.root, lab.adapters, Silent())


@pytest.mark.parametrize("lists_job", [True, False])
def test_a_job_ends_in_a_model_that_answers_under_the_name_that_the_service_gave_it(
    nebius: tuple[Service, str], lab: Lab, lists_job: bool
) -> None:
    service, url = nebius
    service.lists_job = lists_job
    candidate = spec(url)
    candidate.preflight(lab, Variant("n", candidate, 6))
    made = candidate.prepare(lab, Variant("n", candidate, 6))
    assert made.training is not None
    asked = candidate.estimate(lab, Variant("n", candidate, 6)).asked_as
    assert asked is not None
    assert asked.model == service.models[0]["name"]
    assert service.models[0]["checkpoint_id"] == "ftckpt_9"  # the last one
    (job,) = service.jobs.values()
    assert job["hyperparameters"] == {"lora": True, "lora_r": 16, "learning_rate": 1e-5, "n_epochs": 3}
    assert candidate.remote(TUNED).model == ANSWERS  # the baseline's
    clone = Lab(lab.root, AdapterStore(lab.root / "elsewhere"), Silent())  # another machine
    assert candidate.prepare(clone, Variant("n", candidate, 6)).identity == made.identity
    assert [service.posted.count(path) for path in ("/v1/fine_tuning/jobs", "/v0/models")] == [1, 1]


def test_killed_after_each_call_one_job_is_begun_and_it_ends_in_one_model(
    nebius: tuple[Service, str], lab: Lab
) -> None:
    service, url = nebius
    for at in range(30):
        killed = spec(url, killed_at=at)
        with suppress(Killed):
            killed.prepare(fresh(lab), Variant("n", killed))
            break
    else:
        raise AssertionError("it never came through")
    assert at > 3
    assert [len(service.jobs), len(service.models)] == [1, 1]


def test_a_model_that_cannot_be_published_leads_out_and_nothing_is_paid_twice(
    nebius: tuple[Service, str], lab: Lab
) -> None:
    service, url = nebius
    service.checked, service.reason = ("validating", "error"), "adapter rank 16 is above 8"
    candidate = spec(url)
    for _ in range(2):
        with pytest.raises(HostedTrainingError, match="adapter rank 16 is above 8") as caught:
            candidate.prepare(fresh(lab), Variant("n", candidate))
        assert "nothing is tuned twice" in str(caught.value)
    service.models.clear()  # as the hint says
    service.checked = ("active",)
    assert candidate.prepare(fresh(lab), Variant("n", candidate)).training is not None
    assert len(service.jobs) == 1


def test_a_base_that_takes_no_adapter_is_told_and_nothing_is_paid_twice(
    nebius: tuple[Service, str], lab: Lab
) -> None:
    service, url = nebius
    wrong = spec(url, served_as="meta-llama/another")
    with pytest.raises(HostedTrainingError, match=r"did not publish its model.*no such base") as caught:
        wrong.prepare(lab, Variant("n", wrong))
    assert "served_as=" in str(caught.value)
    assert spec(url).prepare(fresh(lab), Variant("n", spec(url))).training is not None
    assert len(service.jobs) == 1


def test_the_general_kind_reaches_it_too_by_its_address(nebius: tuple[Service, str], lab: Lab) -> None:
    service, url = nebius

    @dataclass(frozen=True, kw_only=True)
    class Plain(OpenAITuning):
        def environment(self, lab: Lab) -> Environment:
            return replace(super().environment(lab), sleep=lambda seconds: None)

        def __hash__(self) -> int:
            return super().__hash__()

    candidate = Plain(
        base=TUNED, train="train.jsonl", base_url=url, profile="nebius", learning_rate_multiplier=1e-5
    )
    assert candidate.prepare(lab, Variant("n", candidate)).training is not None
    (job,) = service.jobs.values()
    assert job["hyperparameters"] == {"lora": True, "learning_rate": 1e-5, "n_epochs": 3}


def test_a_factor_is_no_rate_and_a_rehearsal_leaves_the_service(lab: Lab) -> None:
    candidate = NebiusTuning(base=TUNED, train="train.jsonl", learning_rate=2.0)
    with pytest.raises(UsageError, match="the rate itself"):
        candidate.job(lab, Variant("n", candidate))
    there = replace(candidate, learning_rate="auto", suffix="s").redirected("http://127.0.0.1:9/v1")
    assert (there.base, there.suffix, there.base_url) == (TUNED, "s", "http://127.0.0.1:9/v1")
    there.require_fit(there.service().capabilities)
