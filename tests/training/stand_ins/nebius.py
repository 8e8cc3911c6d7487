"""Nebius Token Factory, as its reference has it (OpenAPI version 20260506).

A job that has succeeded names no model. One of its checkpoints is published under ``/v0/models``, is checked
a look at a time, and then answers under a longer name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from openai.types.fine_tuning import FineTuningJob
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from pydantic import BaseModel

from harness.candidates.base import Candidate
from harness.candidates.hosted_tuning import NebiusTuning
from harness.training.hosted.services import services
from stand_ins import Scenario, hurried
from stand_ins.loopback import Asked, Reply, of_shape, unknown_in
from stand_ins.openai import OpenAIStand

TUNED, ANSWERS = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Meta-Llama-3.1-8B-Instruct"


class NebiusStand(OpenAIStand):
    """Nebius in memory. ``models`` that were published move through ``checked``, a look at a time."""

    service: ClassVar[str] = "nebius"
    keys: ClassVar[Mapping[str, str]] = {"NEBIUS_API_KEY": "nb-secret-0123456789"}
    base: ClassVar[str] = TUNED
    essential: ClassVar[frozenset[str]] = frozenset({"id", "status", "name"})

    def __init__(self, scenario: Scenario) -> None:
        self.published: list[dict[str, Any]] = []
        self.checked: tuple[str, ...] = ("validating",) * (1 + scenario.late) + ("active",)
        self.reason: str | None = None
        self.lists_job = not scenario.renamed
        super().__init__(scenario)

    def candidate(self, train: str, dev: str | None) -> Candidate:
        return hurried(NebiusTuning)(
            base=TUNED, train=train, dev=dev, base_url=f"{self.url}/v1/", learning_rate=1e-5, lora_rank=16
        )

    @property
    def posted(self) -> list[str]:
        """Paths that were posted to."""
        return [path for method, path in self.requests if method == "POST"]

    @property
    def answering(self) -> dict[str, str]:
        active = (model for model in self.published if self.checked[-1] == "active" and model["seen"])
        return {ANSWERS: "", **{model["name"]: model["job_id"] for model in active}}

    def tuned_name(self, id: str) -> str:
        """None: a job never names a model."""
        return ""

    def wire(self, asked: Asked) -> Reply:
        if not self.is_known(asked):
            return no(401, "unauthorized")
        if asked.path == "/v0/models":
            return self.publish(asked.body) if asked.method == "POST" else self.list_models()
        shapes = services()["nebius"].shapes
        if asked.path == "/v1/fine_tuning/jobs" and asked.method == "POST":
            unknown = unknown_in(shapes["POST /v1/fine_tuning/jobs"], asked.body)
            unknown += unknown_in(shapes["hyperparameters"], asked.body.get("hyperparameters", {}))
            if unknown:
                return no(422, f"extra fields: {unknown}")
            if asked.body["training_file"] not in self.files:
                return no(400, "no such training file")
            id = self.add_job(asked.body)
            self.mine.append(id)
            return Reply(self.job(id))
        return super().wire(asked)

    def on_chat(self, asked: Asked, model: str) -> Reply:
        if model == TUNED:
            return no(404, f"The model `{TUNED}` does not exist")
        return super().on_chat(asked, TUNED if model == ANSWERS else model)

    # ----------------------------------------------------------------------- models
    def publish(self, body: Mapping[str, Any]) -> Reply:
        unknown = unknown_in(services()["nebius"].shapes["POST /v0/models"], body)
        job, _, checkpoint = str(body.get("source")).partition(":")
        is_known = job in self.mine and self.status(job) == "succeeded"
        if unknown or body["base_model"] != ANSWERS or not is_known:
            detail = [{"loc": ["body"], "msg": "no such base or source", "type": "value_error"}]
            return Reply({"detail": detail}, 422)
        name = f"{ANSWERS}-LoRa:{body['name']}-udpd"
        self.published.append(
            {"name": name, "job_id": job, "checkpoint_id": checkpoint, "seen": 0, "vendor": "meta-llama"}
        )
        return Reply({**body, "name": name, "created_at": 9, "status": "validating"})

    def list_models(self) -> Reply:
        shape, told = services()["nebius"].shapes["GET /v0/models"], []
        for model in self.published:
            at = min(model["seen"], len(self.checked) - 1)
            model["seen"] += 1
            fields = {**model, "status": self.checked[at], "status_reason": self.reason, "type": "text2text"}
            fields["job_id"] = model["job_id"] if self.lists_job else None
            del fields["seen"]
            told.append(of_shape(shape, fields, self.scenario.omit, dict(self.scenario.extra)))
        return Reply(told)

    def shown(self, kind: type[BaseModel], /, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
        if kind is FineTuningJobCheckpoint:  # there: no model, and files of its own
            del fields["fine_tuned_model_checkpoint"], fields["fine_tuning_job_id"]
            return {**fields, "result_files": []}
        if kind is not FineTuningJob:
            return super().shown(kind, **fields)
        shape = services()["nebius"].shapes["FineTuningJob"]
        left = {name: value for name, value in fields.items() if name in shape}
        left |= {"trained_steps": 9, "total_steps": 9}
        return of_shape(shape, left, self.scenario.omit, dict(self.scenario.extra))


def no(status: int, detail: str) -> Reply:
    """An error as Nebius words it."""
    return Reply({"detail": detail}, status)
