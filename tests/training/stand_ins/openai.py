"""OpenAI's fine-tuning API, as the ``openai`` SDK's types have it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from openai.types import FileObject, Model
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent, JobCreateParams
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from pydantic import BaseModel

from harness.candidates.base import Candidate
from harness.candidates.hosted_tuning import OpenAITuning
from stand_ins import BY_BASE, BY_TUNED, Scenario, Stand, hurried
from stand_ins.loopback import Asked, Reply, shown, unknown_fields

BASE = "gpt-4o-mini-2024-07-18"
FAILED, CANCELLED = frozenset({"failed"}), frozenset({"cancelled"})
OTHERS = 3  # files and jobs of other people, where listings have several pages
TRAINED_TOKENS = 1_000


class OpenAIStand(Stand):
    """OpenAI in memory. A job moves through its life a look at a time."""

    service: ClassVar[str] = "openai"
    keys: ClassVar[Mapping[str, str]] = {"OPENAI_API_KEY": "sk-planted-0123456789abcdef"}
    usual: ClassVar[tuple[str, ...]] = ("validating_files", "queued", "running")
    success: ClassVar[str] = "succeeded"
    path: ClassVar[str] = "/v1"
    begins_at: ClassVar[str] = "/v1/fine_tuning/jobs"
    params: ClassVar[Any] = JobCreateParams
    base: ClassVar[str] = BASE
    essential: ClassVar[frozenset[str]] = frozenset({"id", "status", "fine_tuned_model", "metadata"})

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self.files: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.mine: list[str] = []  # jobs that the candidate began
        self.cancelled: list[str] = []  # that it asked to end
        self.looks: dict[str, int] = {}
        self.listings = 0
        self.born: dict[str, int] = {}  # by id: the listings before it
        if scenario.page < 100:
            for n in range(scenario.page * OTHERS):
                self.add_file(f"other-{n}.jsonl", 10, created=1)
                self.add_job({"model": self.base, "training_file": f"file-{n}"}, created=1)

    def candidate(self, train: str, dev: str | None) -> Candidate:
        return hurried(OpenAITuning)(
            base=self.base, train=train, dev=dev, base_url=f"{self.url}{self.path}", profile=self.service
        )

    @property
    def billed(self) -> int:
        left_alone = [id for id in self.mine if self.status(id) not in FAILED | CANCELLED]
        return len({*left_alone, *self.cancelled})

    # ----------------------------------------------------------------------- the wire
    def wire(self, asked: Asked) -> Reply:
        if not self.is_known(asked):
            return no(401, "Incorrect API key provided.", "invalid_api_key")
        path = asked.path.removeprefix(self.path)
        head, _, rest = path.strip("/").partition("/")
        handlers: dict[str, Callable[[Asked, str], Reply]] = {
            "models": self.on_models,
            "files": self.on_files,
            "fine_tuning": lambda asked, rest: self.on_jobs(asked, rest.removeprefix("jobs").strip("/")),
            "chat": lambda asked, rest: self.on_chat(asked, str(asked.body.get("model"))),
        }
        return handlers[head](asked, rest)

    def is_known(self, asked: Asked) -> bool:
        """Whether the key is the right one, in the right header."""
        return asked.headers.get("authorization") == f"Bearer {next(iter(self.keys.values()))}"

    def on_models(self, asked: Asked, id: str) -> Reply:
        if id != self.base and id not in self.answering:
            return no(404, f"The model '{id}' does not exist", "model_not_found", "model")
        return Reply(self.shown(Model, id=id, object="model", created=1, owned_by="org"))

    def on_files(self, asked: Asked, rest: str) -> Reply:
        id, _, rest = rest.partition("/")
        if asked.method == "POST":
            name, content = asked.parts["file"]
            rows = [json.loads(line) for line in content.splitlines()]
            assert all(set(row) == {"messages"} for row in rows), rows[0]
            if set(asked.parts) - {"file", "purpose", "expires_after"} or not name:
                return no(400, f"Unrecognized form fields: {sorted(asked.parts)}")
            return Reply(self.files[self.add_file(name, len(content))])
        if not id:
            return self.page(asked, self.files)
        if id not in self.files:
            return no(404, f"No such File object: {id}", None, "id")
        if rest == "content":
            return Reply(b"step,train_loss\n1,2.0\n2,1.0\n", headers={"Content-Type": "text/csv"})
        return Reply(self.files[id])

    def on_jobs(self, asked: Asked, rest: str) -> Reply:
        id, _, action = rest.partition("/")
        if not id and asked.method == "POST":
            unknown = [*unknown_fields(self.params, asked.body)]
            if unknown:
                return no(
                    400, f"Unrecognized request argument: {unknown[0]}", "unknown_parameter", unknown[0]
                )
            if asked.body["training_file"] not in self.files:
                return no(400, "invalid training_file", "file_not_found", "training_file")
            id = self.add_job(asked.body)
            self.mine.append(id)
            return Reply(self.job(id))
        if not id:
            wanted = {k[9:-1]: v for k, v in asked.query.items() if k.startswith("metadata[")}
            jobs = {id: self.job(id) for id in self.jobs}
            return self.page(
                asked,
                {
                    id: job
                    for id, job in jobs.items()
                    if wanted.items() <= (job.get("metadata") or {}).items()
                },
            )
        if id not in self.jobs:
            return no(404, f"Could not find fine tune: {id}", "fine_tune_not_found")
        if action == "events":
            return self.page(asked, self.events(id))
        if action == "checkpoints":
            return self.page(asked, self.checkpoints(id))
        if action == "cancel":
            self.cancelled.append(id)
            return Reply(self.job(id))
        if id in self.mine:
            self.looks[id] += 1
        return Reply(self.job(id))

    def on_chat(self, asked: Asked, model: str) -> Reply:
        """An answer of the model of that name; ``asked.body`` is as the client sent it."""
        unknown = [*unknown_fields(CompletionCreateParamsNonStreaming, asked.body)]
        if unknown:
            return no(400, f"Unrecognized request argument: {unknown[0]}", "unknown_parameter", unknown[0])
        if model != self.base and model not in self.answering:
            return no(404, f"The model `{model}` does not exist", "model_not_found", "model")
        text = BY_BASE if model == self.base else BY_TUNED
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "finish_reason": "stop", "message": message, "logprobs": None}
        usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
        told = shown(
            ChatCompletion,
            {
                "id": "c",
                "object": "chat.completion",
                "created": 1,
                "model": model,
                "choices": [choice],
                "usage": usage,
            },
            (),
            dict(self.scenario.extra),
        )
        return Reply(told)

    # ----------------------------------------------------------------------- what is there
    @property
    def answering(self) -> dict[str, str]:
        """Names that answer, and the jobs that made them."""
        return {self.tuned_name(id): id for id in self.mine if self.status(id) == self.success}

    def tuned_name(self, id: str) -> str:
        """What a job's model is called in the job."""
        return f"ft:{self.base}:org::{id}"

    @property
    def named_at(self) -> int:
        """The look from which a job of the candidate's names its model."""
        return len(self.life) - 1 + self.scenario.late

    def status(self, id: str) -> str:
        """The word that a job says now."""
        if id in self.cancelled:
            return "cancelled"
        life = self.life if id in self.mine else (self.success,)
        return life[min(self.looks[id], len(life) - 1)]

    def add_file(self, name: str, size: int, created: int = 5) -> str:
        id = f"file-{len(self.files)}"
        self.born[id] = self.listings
        self.files[id] = self.shown(
            FileObject,
            id=id,
            object="file",
            filename=name,
            bytes=size,
            created_at=created,
            purpose="fine-tune",
            status="processed",
            status_details=None,
            expires_at=None,
        )
        return id

    def add_job(self, body: Mapping[str, Any], created: int = 7) -> str:
        id = f"ftjob-{len(self.jobs)}"
        self.born[id] = self.listings
        self.jobs[id] = {**body, "id": id, "created_at": created + len(self.jobs)}
        self.looks[id] = 0
        return id

    def job(self, id: str) -> dict[str, Any]:
        """A job's object as it is now."""
        body, status = self.jobs[id], self.status(id)
        is_done = status == self.success
        problem = {"code": "server_error", "message": self.scenario.failure, "param": None}
        given = (body.get("method") or {}).get("supervised", {}).get("hyperparameters", {})
        given = body.get("hyperparameters") or given
        return self.shown(
            FineTuningJob,
            id=id,
            object="fine_tuning.job",
            created_at=body["created_at"],
            error=problem if status in FAILED else None,
            fine_tuned_model=self.tuned_name(id) if is_done and self.looks[id] >= self.named_at else None,
            finished_at=99 if is_done else None,
            hyperparameters={
                "batch_size": "auto",
                "learning_rate_multiplier": "auto",
                "n_epochs": 3,
                **given,
            },
            model=body["model"],
            organization_id="org",
            result_files=["file-0"] if is_done and self.files else [],
            seed=body.get("seed") or 0,
            status=status,
            trained_tokens=TRAINED_TOKENS if is_done else None,
            training_file=body["training_file"],
            validation_file=body.get("validation_file"),
            estimated_finish=None,
            integrations=[],
            metadata=body.get("metadata"),
            method=body.get("method"),
        )

    def events(self, id: str) -> dict[str, dict[str, Any]]:
        """What happened to a job, the newest first."""
        found = {}
        for n in range(min(self.looks[id], len(self.life)), -1, -1):
            found[f"ftevent-{id}-{n}"] = self.shown(
                FineTuningJobEvent,
                id=f"ftevent-{id}-{n}",
                object="fine_tuning.job.event",
                created_at=10 + n,
                level="info",
                message=f"Step {n}/9: training loss={9.0 - n}",
                data={"step": n, "total_steps": 9, "train_loss": 9.0 - n},
                type="metrics",
            )
        return found

    def checkpoints(self, id: str) -> dict[str, dict[str, Any]]:
        """Models from the middle of a job."""
        found = {}
        for step in (3, 9, 6) if self.status(id) == self.success else ():
            found[f"ftckpt-{step}"] = self.shown(
                FineTuningJobCheckpoint,
                id=f"ftckpt-{step}",
                object="fine_tuning.job.checkpoint",
                created_at=20 + step,
                fine_tuned_model_checkpoint=f"{self.tuned_name(id)}:ckpt-step-{step}",
                fine_tuning_job_id=id,
                metrics={"step": step, "train_loss": 1.0},
                step_number=step,
            )
        return found

    # ----------------------------------------------------------------------- how it is said
    def shown(self, kind: type[BaseModel], /, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
        return shown(kind, fields, self.scenario.omit, dict(self.scenario.extra))

    def page(self, asked: Asked, items: Mapping[str, dict[str, Any]]) -> Reply:
        """A page of a listing, by ``limit`` and ``after``; what was just made may not be in it yet."""
        self.listings += 1
        late = {id for id, n in self.born.items() if self.listings - n <= self.scenario.lag}
        ids = [id for id in items if id not in late]
        first = ids.index(asked.query["after"]) + 1 if "after" in asked.query else 0
        limit = min(int(asked.query.get("limit", 20)), self.scenario.page)
        data = [items[id] for id in ids[first : first + limit]]
        return Reply({"object": "list", "data": data, "has_more": first + limit < len(ids)})


def no(status: int, message: str, code: str | None = None, param: str | None = None) -> Reply:
    """An error as OpenAI words it."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return Reply({"error": error}, status)
