"""Nebius Token Factory: OpenAI's tuning API up to the end of a job, then a model that has to be made of it.

Shapes of ``/v0/models`` are those of the service's own reference (OpenAPI version 20260506). A job names no
model: one of its checkpoints is published under a short name, checked, and then answers under a full name
that the service gives it. The name that a base is tuned under need not be the name that it answers under.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit, urlunsplit

from harness.data.fingerprints import bytes_digest
from harness.errors import HostedTrainingError
from harness.models.remote import RemoteModel
from harness.records import Json
from harness.training.hosted.openai import OpenAIProvider
from harness.training.hosted.openai_objects import fields_of, items
from harness.training.hosted.provider import SUCCEEDED, OutcomeUnknown, RequestRejected, TuningJob
from harness.training.hosted.request import JobRequest

URL = "https://api.tokenfactory.nebius.com/v1/"
PUBLISHING = "publishing"  # a status of ours: the job has succeeded, and its model does not answer yet
# names that are tuned, and the names that the same weights answer under
SERVED_AS: Mapping[str, str] = {"meta-llama/Llama-3.1-8B-Instruct": "meta-llama/Meta-Llama-3.1-8B-Instruct"}


@dataclass(frozen=True)
class NebiusProvider(OpenAIProvider):
    """Nebius. A job that has succeeded is reported as under way until a model that answers is made of it.

    Args (see ``OpenAIProvider`` for the others):
        served_as: the name that the base answers under (None: known for some, else its own).
    """

    served_as: str | None = None

    def redirected(self, url: str, service: str = "") -> OpenAIProvider:
        """See ``TuningProvider``: the stand-in publishes its models by itself."""
        return OpenAIProvider().redirected(url, service or self.facts.seller)

    def model(self, name: str) -> RemoteModel:
        """See ``TuningProvider``."""
        return super().model(SERVED_AS.get(name, name))

    def get(self, job: str) -> TuningJob:
        """See ``TuningProvider``; makes the model of a job that has succeeded."""
        found = super().get(job)
        return self._published(found) if found.status == PUBLISHING else found

    def body(
        self, request: JobRequest, training_file: str, validation_file: str | None, *, marked: bool = True
    ) -> dict[str, Json]:
        """See ``OpenAIProvider``. The rate has its own name; only adapters answer by the token."""
        body = super().body(request, training_file, validation_file, marked=marked)
        given = dict(request.settings.hyperparameters)
        if "learning_rate_multiplier" in given:
            given["learning_rate"] = given.pop("learning_rate_multiplier")
        return {**body, "hyperparameters": {"lora": True, **given}}

    # ----------------------------------------------------------------------- the model
    def _job(self, item: object) -> TuningJob:
        job = super()._job(item)
        is_made = job.status != SUCCEEDED or job.tuned_model
        return job if is_made else replace(job, status=PUBLISHING)

    def _published(self, job: TuningJob) -> TuningJob:
        """The job with its model's name once that answers; publishes it where nobody has.

        Raises:
            HostedTrainingError: the service could not make a model of it.
        """
        name = f"harness-{bytes_digest(job.id.encode())[:12]}"
        problems = []
        for model in self._models():
            mine = model.get("job_id") == job.id or f":{name}" in str(model.get("name"))
            if not mine or model.get("status") == "deleted":
                continue
            if model.get("status") == "active":
                return replace(job, status=SUCCEEDED, tuned_model=str(model["name"]))
            if model.get("status") != "error":
                return job
            why = self._clean(str(model.get("status_reason") or "no reason was given"))
            problems.append(f"{model.get('name')} is in error: {why}")
        if problems:
            raise _unpublished(job, problems[0], "delete that model there and run again")
        try:
            self._publish(job, name)
        except RequestRejected as no:
            again = "run again when that is mended, with served_as= where the base answers under another name"
            raise _unpublished(job, no.message, again) from None
        return job

    def _models(self) -> list[Mapping[str, Json]]:
        with self._calling() as client:
            found: object = client.get(self._models_url, cast_to=object)
        if not isinstance(found, list):
            raise OutcomeUnknown("the service's list of models is none")
        return [fields_of(item) for item in found]

    def _publish(self, job: TuningJob, name: str) -> None:
        with self._calling() as client:
            page = client.fine_tuning.jobs.checkpoints.list(job.id)
            steps = [fields_of(item) for item in items(page)]
            if not steps:
                raise OutcomeUnknown(f"the service lists no checkpoint of {job.id}")
            last = max(steps, key=lambda step: (step.get("step_number") or 0, step.get("created_at") or 0))
            client.post(
                self._models_url,
                cast_to=object,
                body={
                    "name": name,
                    "base_model": self.served_as or SERVED_AS.get(job.model, job.model),
                    "source": f"{job.id}:{last.get('id')}",
                },
            )

    @property
    def _models_url(self) -> str:
        parts = urlsplit(self.url)
        path = parts.path.rstrip("/").removesuffix("/v1")
        return urlunsplit(parts._replace(path=f"{path}/v0/models"))


def _unpublished(job: TuningJob, problem: str, mend: str) -> HostedTrainingError:
    return HostedTrainingError(
        f"the tuning job {job.id} of {job.model} succeeded, but Nebius did not publish its model: {problem}",
        f"{mend}: it is published anew, and nothing is tuned twice. A base without serverless adapters cannot"
        " be asked by the token: choose another.",
        job=job.id,
    )
