"""Fireworks as its SDK (``fireworks-ai`` 1.2.30) has it: datasets, jobs under ids of the client's, models,
deployments with adapters on them, and answers. A field that the SDK's types do not name is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from harness.candidates.fireworks_tuning import FireworksTuning
from harness.training.hosted.fireworks_objects import is_id
from stand_ins import BY_BASE, BY_TUNED, Asked, Reply, Scenario, Stand, hurried
from stand_ins.loopback import shown, unknown_fields

ACCOUNT, DEPLOYMENT = "acme", "support"
BASE = "accounts/fireworks/models/llama-v3p1-8b-instruct"
SUCCEEDED = frozenset({"JOB_STATE_COMPLETED", "JOB_STATE_EARLY_STOPPED"})
CODES = {"INVALID_ARGUMENT": (3, 400), "NOT_FOUND": (5, 404), "ALREADY_EXISTS": (6, 409)}
RENAMED = re.compile(r"(?!^)([A-Z])")


def refused(word: str, message: str) -> Reply:
    """An error as the service's gateway writes them: gRPC's code, and words."""
    code, status = CODES[word]
    return Reply({"code": code, "message": message, "details": []}, status)


class FireworksStand(Stand):
    """Fireworks."""

    service = "fireworks"
    keys: ClassVar[Mapping[str, str]] = {
        "FIREWORKS_API_KEY": "fw_secret0123456789",
        "FIREWORKS_ACCOUNT_ID": ACCOUNT,
    }
    usual = ("JOB_STATE_CREATING", "JOB_STATE_VALIDATING", "JOB_STATE_RUNNING", "JOB_STATE_WRITING_RESULTS")
    success = "JOB_STATE_COMPLETED"
    essential: ClassVar[frozenset[str]] = frozenset({"name", "state", "enableAddons"})

    def __init__(self, scenario: Scenario) -> None:
        self.datasets: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.begun: list[str] = []  # ids, in order; those that were deleted, too
        self.models: dict[str, str] = {}  # states of tuned models, by full name
        self.deployments: dict[str, dict[str, Any]] = {
            self.full("deployments", DEPLOYMENT): {
                "baseModel": BASE,
                "enableAddons": True,
                "state": "READY",
            }
        }
        self.loaded: dict[tuple[str, str], int] = {}  # looks, by model and deployment
        self.contents: dict[str, bytes] = {}
        self.files: dict[str, bytes] = {}  # of every tuned model, by name
        self.most_a_part = 0  # bytes after which a download breaks; 0: none does
        self.downloads: list[tuple[str, str]] = []  # a file, and the range of it that was asked for
        self._looks: dict[str, int] = {}
        super().__init__(scenario)

    def __enter__(self) -> FireworksStand:
        super().__enter__()
        return self

    def candidate(self, train: str, dev: str | None, **fields: Any) -> FireworksTuning:  # noqa: ANN401
        """See ``Stand``."""
        own = {"deployment": DEPLOYMENT, "learning_rate": 1e-4, "lora_rank": 8, **fields}
        return hurried(FireworksTuning)(base=BASE, train=train, dev=dev, base_url=self.url, **own)

    @property
    def billed(self) -> int:
        """See ``Stand``."""
        return sum(self.jobs.get(id, {}).get("state") != "JOB_STATE_FAILED" for id in self.begun)

    def full(self, kind: str, id: str) -> str:
        """The full name of something of this account."""
        return f"accounts/{ACCOUNT}/{kind}/{id}"

    # ----------------------------------------------------------------------- the wire
    def wire(self, asked: Asked) -> Reply:
        """See ``Stand``."""
        if asked.path.startswith("/storage/"):
            return self._part(asked)
        if asked.headers.get("authorization") != f"Bearer {self.keys['FIREWORKS_API_KEY']}":
            return Reply({"code": 16, "message": "who is it?", "details": []}, 401)
        if asked.path == "/inference/v1/chat/completions":
            return self._answers(asked.body)
        match = re.fullmatch(r"/v1/accounts/([^/]+)/(\w+)(?:/([^/:]+))?(?::(\w+))?", asked.path)
        if match is None:
            return refused("NOT_FOUND", f"no such path {asked.path}")
        account, kind, id, verb = match.groups()
        if account != ACCOUNT and kind != "models":
            return refused("NOT_FOUND", f"account {account} not found")
        ways: dict[tuple[str, str, bool, str | None], Callable[[Asked, str], Reply]] = {
            ("POST", "datasets", False, None): self._make_dataset,
            ("GET", "datasets", True, None): self._show_dataset,
            ("POST", "datasets", True, "upload"): self._fill_dataset,
            ("POST", "supervisedFineTuningJobs", False, None): self._begin,
            ("GET", "supervisedFineTuningJobs", False, None): self._list_jobs,
            ("GET", "supervisedFineTuningJobs", True, None): self._show_job,
            ("POST", "supervisedFineTuningJobs", True, "cancel"): self._cancel,
            ("POST", "supervisedFineTuningJobs", True, "resume"): self._resume,
            ("GET", "models", True, None): self._show_model,
            ("GET", "models", True, "getDownloadEndpoint"): self._show_files,
            ("GET", "deployments", True, None): self._show_deployment,
            ("POST", "deployedModels", False, None): self._load,
            ("GET", "deployedModels", False, None): self._list_loaded,
        }
        way = ways.get((asked.method, kind, id is not None, verb))
        if way is None:
            return refused("NOT_FOUND", f"no such call {asked.method} {asked.path}")
        return way(asked, id or "")

    def _make_dataset(self, asked: Asked, _: str) -> Reply:
        from fireworks.types import dataset_create_params

        body = asked.body
        wrong = list(unknown_fields(dataset_create_params.DatasetCreateParams, body))
        id = str(body.get("datasetId"))
        if wrong or not is_id(id):
            return refused("INVALID_ARGUMENT", f"{wrong} {id}")
        if id in self.datasets:
            return refused("ALREADY_EXISTS", f"dataset {id} already exists")
        self.datasets[id] = {**body["dataset"], "name": self.full("datasets", id), "state": "UPLOADING"}
        return self._show_dataset(asked, id)

    def _show_dataset(self, _: Asked, id: str) -> Reply:
        from fireworks.types import Dataset

        if id not in self.datasets:
            return refused("NOT_FOUND", f"dataset {id} not found")
        told = shown(Dataset, dict(self.datasets[id]), self._omitted("name", "state"), self.scenario.extra)
        if id in self.contents:
            self.datasets[id]["state"] = "READY"  # at the next look
        return Reply(told)

    def _fill_dataset(self, asked: Asked, id: str) -> Reply:
        if id not in self.datasets or set(asked.parts) != {"file"}:
            return refused("NOT_FOUND", f"dataset {id} not found")
        if self.datasets[id]["state"] != "UPLOADING":
            return refused("INVALID_ARGUMENT", f"dataset {id} is not waiting for a file")
        name, content = asked.parts["file"]
        lines = content.decode().splitlines()
        if str(len(lines)) != self.datasets[id]["exampleCount"] or not all(map(json.loads, lines)):
            return refused("INVALID_ARGUMENT", "the dataset has other rows than it said")
        self.contents[id] = content
        return Reply({"id": id, "bytes": len(content), "filename": name, "object": "file"})

    def _begin(self, asked: Asked, _: str) -> Reply:
        from fireworks.types import supervised_fine_tuning_job_create_params as params

        body, id = asked.body, asked.query.get("supervisedFineTuningJobId", "")
        wrong = list(unknown_fields(params.SupervisedFineTuningJobCreateParams, body))
        datasets = [body.get("dataset"), body.get("evaluationDataset")]
        absent = [
            name
            for name in datasets
            if name and self.datasets.get(name.rpartition("/")[2], {}).get("state") != "READY"
        ]
        output = self.full("models", str(body.get("outputModel")))
        if wrong or not is_id(id) or not is_id(str(body.get("outputModel"))) or body.get("baseModel") != BASE:
            return refused("INVALID_ARGUMENT", f"{wrong} {id} {body}")
        if id in self.jobs:
            return refused("ALREADY_EXISTS", f"job {id} already exists")
        if absent:
            return refused("INVALID_ARGUMENT", f"not ready: {absent}")
        if output in self.models:
            return refused("ALREADY_EXISTS", f"model {output} already exists")
        name = body["outputModel"] if self.scenario.renamed else output
        self.jobs[id] = {
            **body,
            "name": self.full("supervisedFineTuningJobs", id),
            "outputModel": name,
            "createTime": f"2026-11-29T03:00:{len(self.begun):02d}.123456789Z",
            "estimatedCost": {"currencyCode": "USD", "units": "1", "nanos": 250_000_000},
            "state": "JOB_STATE_CREATING",
        }
        self.begun.append(id)
        return Reply(self._job(id))

    def _list_jobs(self, asked: Asked, _: str) -> Reply:
        ids = sorted(self.jobs)
        size = min(self.scenario.page, int(asked.query.get("pageSize", 50)))
        first = int(asked.query.get("pageToken") or 0)
        told: dict[str, Any] = {}
        if page := [self._job(id) for id in ids[first : first + size]]:  # empty lists are left out
            told["supervisedFineTuningJobs"] = page
        if first + size < len(ids):
            told["nextPageToken"] = str(first + size)
        return Reply(told)

    def _show_job(self, _: Asked, id: str) -> Reply:
        if id not in self.jobs:
            return refused("NOT_FOUND", f"job {id} not found")
        return Reply(self._job(id, look=True))

    def _job(self, id: str, *, look: bool = False) -> dict[str, Any]:
        from fireworks.types import SupervisedFineTuningJob

        job = self.jobs[id]
        if look and job["state"] not in ("JOB_STATE_CANCELLED", "JOB_STATE_PAUSED"):
            self._looks[id] = self._looks.get(id, -1) + 1
            job["state"] = self.life[min(self._looks[id], len(self.life) - 1)]
            job["jobProgress"] = {"epoch": 0, "percent": min(100, 10 * self._looks[id])}
            if job["state"] in SUCCEEDED:
                job["completedTime"] = "2026-11-29T04:00:00Z"
                self.models.setdefault(self._output(job), "UPLOADING")
            if job["state"] == "JOB_STATE_FAILED":
                word, _, why = self.scenario.failure.rpartition(": ")
                job["status"] = {"code": word or "INTERNAL", "message": why}
        names = SupervisedFineTuningJob.model_fields
        known = {found.alias or name for name, found in names.items()}
        told = {name: value for name, value in job.items() if name in known and name != "state"}
        omitted = self._omitted("name")  # a state may be one of tomorrow, that the SDK's types have not
        return {**shown(SupervisedFineTuningJob, told, omitted, self.scenario.extra), "state": job["state"]}

    def _output(self, job: Mapping[str, Any]) -> str:
        return self.full("models", str(job["outputModel"]).rpartition("/")[2])

    def _cancel(self, _: Asked, id: str) -> Reply:
        if id in self.jobs:
            self.jobs[id]["state"] = "JOB_STATE_CANCELLED"
        return Reply({}) if id in self.jobs else refused("NOT_FOUND", f"job {id} not found")

    def _resume(self, _: Asked, id: str) -> Reply:
        self.jobs[id]["state"] = "JOB_STATE_RUNNING"
        return Reply(self._job(id))

    def _show_model(self, asked: Asked, id: str) -> Reply:
        from fireworks.types import Model

        name = asked.path.removeprefix("/v1/")
        if name not in self.models:
            return refused("NOT_FOUND", f"model {name} not found")
        told = shown(
            Model,
            {"name": name, "state": self.models[name], "kind": "HF_PEFT_ADDON"},
            self._omitted("name", "state"),
            self.scenario.extra,
        )
        self.models[name] = "READY"  # at the next look
        return Reply(told)

    def _show_files(self, asked: Asked, id: str) -> Reply:
        from fireworks.types import ModelGetDownloadEndpointResponse

        name = asked.path.removeprefix("/v1/").partition(":")[0]
        if name not in self.models:
            return refused("NOT_FOUND", f"model {name} not found")
        told = {
            "filenameToSignedUrls": {file: f"{self.url}/storage/{file}?signed=secret" for file in self.files}
        }
        return Reply(shown(ModelGetDownloadEndpointResponse, told, frozenset(), self.scenario.extra))

    def _part(self, asked: Asked) -> Reply:
        """A file, from the byte on that is asked for."""
        assert "authorization" not in asked.headers, "a signed address is shown no key"
        name, wanted = asked.path.removeprefix("/storage/"), asked.headers.get("range", "")
        whole = self.files[name]
        first = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
        self.downloads.append((name, wanted))
        if first >= len(whole):
            return Reply(b"", 416)
        rest = whole[first:]
        sent = rest[: self.most_a_part or len(rest)]
        headers = {"Content-Length": str(len(rest)), **({"Connection": "close"} if sent != rest else {})}
        return Reply(sent, 206 if wanted else 200, headers)

    def _show_deployment(self, _: Asked, id: str) -> Reply:
        from fireworks.types import Deployment

        name = self.full("deployments", id)
        if name not in self.deployments:
            return refused("NOT_FOUND", f"deployment {id} not found")
        told = {"name": name, **self.deployments[name]}
        return Reply(shown(Deployment, told, self._omitted("enableAddons"), self.scenario.extra))

    def _load(self, asked: Asked, _: str) -> Reply:
        from fireworks.types import lora_load_params

        body = asked.body
        model, deployment = str(body.get("model")), str(body.get("deployment"))
        found = self.deployments.get(deployment, {})
        if list(unknown_fields(lora_load_params.LoraLoadParams, body)) or not found.get("enableAddons"):
            return refused("INVALID_ARGUMENT", "addons are not enabled")
        if self.models.get(model) != "READY":
            return refused("NOT_FOUND", f"model {model} not found")
        if (model, deployment) in self.loaded:
            return refused("ALREADY_EXISTS", "it is loaded")
        self.loaded[model, deployment] = 0
        return Reply({"model": model, "deployment": deployment, "state": "DEPLOYING"})

    def _list_loaded(self, asked: Asked, _: str) -> Reply:
        from fireworks.types.shared import DeployedModel

        told = []
        for (model, deployment), looks in self.loaded.items():
            self.loaded[model, deployment] += 1
            state = "DEPLOYED" if looks else "DEPLOYING"
            fields = {"model": model, "deployment": deployment, "state": state}
            told.append(shown(DeployedModel, fields, frozenset(), self.scenario.extra))
        return Reply({"deployedModels": told} if told else {})

    def _answers(self, body: dict[str, Any]) -> Reply:
        from fireworks.types.chat import completion_create_params

        wrong = list(unknown_fields(completion_create_params.CompletionCreateParamsNonStreaming, body))
        if wrong:
            return Reply({"error": {"message": f"{wrong}", "type": "invalid_request_error"}}, 400)
        model, _, deployment = str(body["model"]).partition("#")
        if deployment not in self.deployments:
            return Reply({"error": {"message": "Model not found, inaccessible, and/or not deployed"}}, 404)
        is_loaded = self.loaded.get((model, deployment), 0) > 1
        if model != BASE and not is_loaded and self.deployments[deployment]["baseModel"] != model:
            return Reply({"error": {"message": "Model not found, inaccessible"}}, 404)
        said = BY_BASE if model == BASE else BY_TUNED
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
        usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        told = {"id": "c", "object": "chat.completion", "created": 1, "model": body["model"]}
        return Reply({**told, "choices": [choice], "usage": usage})

    def _omitted(self, *needed: str) -> frozenset[str]:
        return self.scenario.omit - set(needed)
