"""Azure OpenAI's dated interface, as the specification of 2024-10-21 has it: half of OpenAI's fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from openai.types import FileObject, Model
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from pydantic import BaseModel

from harness.candidates.base import Candidate
from harness.candidates.hosted_tuning import OpenAITuning
from harness.training.hosted.services import services
from stand_ins import hurried
from stand_ins.loopback import Asked, Reply, of_shape, unknown_in
from stand_ins.openai import OpenAIStand

VERSION = "2024-10-21"
SHAPES: Mapping[type[BaseModel], str] = {
    FineTuningJob: "FineTuningJob",
    FineTuningJobEvent: "FineTuningJobEvent",
    FineTuningJobCheckpoint: "FineTuningJobCheckpoint",
    FileObject: "File",
    Model: "Model",
}
FILE_LIFE = ("pending", "running", "processed")


class AzureStand(OpenAIStand):
    """A resource. A tuned model answers once the user has deployed it."""

    service: ClassVar[str] = "azure"
    keys: ClassVar[Mapping[str, str]] = {
        "AZURE_OPENAI_API_KEY": "azure-planted-0123456789",
        "OPENAI_API_VERSION": VERSION,
    }
    usual: ClassVar[tuple[str, ...]] = ("pending", "running")
    path: ClassVar[str] = "/openai"
    begins_at: ClassVar[str] = "/openai/fine_tuning/jobs"
    essential: ClassVar[frozenset[str]] = frozenset({"id", "status", "fine_tuned_model", "model"})
    deployed: str | None = None  # the job whose model answers under "support"

    def candidate(self, train: str, dev: str | None) -> Candidate:
        return hurried(OpenAITuning)(
            base=self.base,
            train=train,
            dev=dev,
            base_url=self.url,
            profile="azure",
            deployment="support" if self.deployed else None,
            base_deployment="mini",
        )

    def user_acts(self) -> None:
        """The user deploys what the error named."""
        self.deployed = next((id for id in self.mine if self.status(id) == self.success), None)

    @property
    def answering(self) -> dict[str, str]:
        return {**super().answering, **({"support": self.deployed} if self.deployed else {})}

    def is_known(self, asked: Asked) -> bool:
        return asked.headers.get("api-key") == self.keys["AZURE_OPENAI_API_KEY"]

    def wire(self, asked: Asked) -> Reply:
        if asked.query.get("api-version") != VERSION:
            return no(404, "notFound", "Resource not found")
        head, _, rest = asked.path.removeprefix("/openai/").partition("/")
        if head == "chat":
            return no(404, "notFound", "Resource not found")
        if head == "deployments":
            name, _, _ = rest.partition("/")
            if name not in ("support", "mini") or (name == "support" and not self.deployed):
                return no(404, "DeploymentNotFound", "The API deployment for this resource does not exist.")
            return self.on_chat(asked, self.base if name == "mini" else name)
        if (head, rest, asked.method) == ("fine_tuning", "jobs", "POST") and (
            unknown := unknown_in(services()["azure"].shapes["FineTuningJobCreation"], asked.body)
        ):
            return no(400, "invalidPayload", f"Unrecognized request argument supplied: {unknown}")
        if (head, rest, asked.method) == ("files", "", "GET"):  # no pages there
            self.listings += 1
            return Reply({"object": "list", "data": list(self.files.values())})
        if head == "files" and rest in self.files:
            at = self.looks[rest] = min(self.looks.get(rest, 0) + 1, len(FILE_LIFE) - 1)
            self.files[rest] = {**self.files[rest], "status": FILE_LIFE[at]}
        told = super().wire(asked)
        is_new = asked.method == "POST" and told.status == 200
        return Reply(told.body, 201) if is_new else told

    def shown(self, kind: type[BaseModel], /, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
        shape = services()["azure"].shapes[SHAPES[kind]]
        if kind is FileObject:
            fields["status"] = FILE_LIFE[0]
        if kind is Model:
            fields |= {
                "capabilities": {},
                "lifecycle_status": "generally-available",
                "deprecation": {"inference": 1_900_000_000},
            }
        left = {name: value for name, value in fields.items() if name in shape and value is not None}
        return of_shape(shape, left, self.scenario.omit, dict(self.scenario.extra))


def no(status: int, code: str, message: str) -> Reply:
    """An error as Azure words it."""
    return Reply({"error": {"code": code, "message": message}}, status)
