"""Supervised fine-tuning at Fireworks, behind its official SDK (``fireworks-ai``).

A job's id is chosen here, from its fingerprint, and the service makes no two jobs of one id: a job that was
begun by anybody under that id is the job. One that failed keeps its id, so the next attempt has the next of
``harness-D``, ``harness-D-2``, and so on.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HostedTrainingError, ModelError
from harness.extras import require_extra
from harness.models.profiles import FIREWORKS
from harness.models.remote import RemoteModel
from harness.records import Json
from harness.training.hosted.fireworks_account import ACCOUNT, Taken, unless_gone
from harness.training.hosted.fireworks_models import MOST_PAGES, PAGE, FireworksModels
from harness.training.hosted.fireworks_objects import (
    PUBLISHING,
    is_id,
    read,
    read_dataset,
    read_job,
    resource,
    trouble,
)
from harness.training.hosted.openai import OpenAIProvider
from harness.training.hosted.provider import (
    SUCCEEDED,
    Capabilities,
    JobCheckpoint,
    JobEvent,
    OutcomeUnknown,
    RemoteFile,
    RequestRejected,
    TuningJob,
)
from harness.training.hosted.request import JobRequest, Upload

if TYPE_CHECKING:
    pass

LIBRARY = "fireworks"  # the account that owns the base models that everybody sees
MARK_DIGITS = 24  # of the fingerprint in a job's id
ATTEMPTS = 50  # ids that are tried for one job
MOST_BYTES_AT_ONCE = 150_000_000  # larger files go to a signed address
UPLOAD_TIMEOUT_S = 600.0
# after a job's end, and at how many looks: a model that is missing for longer was deleted
PUBLISHED_WITHIN_S, MODEL_LOOKS = 3600.0, 30
LOADED_WITHIN_S, LOAD_POLL_S = 1800.0, 10.0  # as the service's own command waits


@dataclass(frozen=True)
class FireworksProvider(FireworksModels):
    """Fireworks' tuning service; see ``FireworksAccount`` for its arguments."""

    @property
    def capabilities(self) -> Capabilities:
        """See ``TuningProvider``."""
        facts = FIREWORKS
        given = {name: getattr(facts, name) for name in Capabilities.__slots__ if hasattr(facts, name)}
        return Capabilities(**given, package="fireworks-ai")

    def identity(self) -> Json:
        """See ``TuningProvider``: what one account has tuned is nothing to another."""
        return {"url": self.url, "account": self.account_id}

    def redirected(self, url: str) -> OpenAIProvider:
        """See ``TuningProvider``."""
        return OpenAIProvider().redirected(url, FIREWORKS.name)

    def model(self, name: str) -> RemoteModel:
        """See ``TuningProvider``. ``MODEL#DEPLOYMENT`` is a model on one deployment."""
        return RemoteModel(name, f"{self.url}/inference/v1", self.api_key_env, FIREWORKS.name)

    def require_ready(self) -> None:
        """See ``TuningProvider``.

        Raises:
            UsageError: the SDK is not installed.
        """
        require_extra("fireworks", "tuning at Fireworks")
        self.endpoint.require_key()
        if not self.account_id:
            raise ModelError(
                f"Fireworks' addresses name the account, and {ACCOUNT} is not set.\n"
                f"  hint: export {ACCOUNT}=… (`firectl account list` shows it), or give account=."
            )
        if not is_id(self.account_id):
            raise ModelError(
                f"{self.account_id!r} is no account at Fireworks: an id holds a-z, 0-9 and '-' alone.\n"
                f"  hint: correct {'account=' if self.account else ACCOUNT}."
            )

    # ----------------------------------------------------------------------- files
    def shutdown_date(self, model: str) -> str | None:
        """See ``TuningProvider``: none is told of dedicated deployments."""
        return None

    def find_file(self, sent: Upload) -> RemoteFile | None:
        """See ``TuningProvider``. A dataset that was made and not filled is filled by ``upload``."""
        found = unless_gone(lambda: self.file_state(Path(sent.name).stem))
        return found if found is not None and found.state == "ready" else None

    def upload(self, sent: Upload) -> RemoteFile:
        """See ``TuningProvider``. The id holds a digest of the content, so filling it twice is harmless."""
        id = Path(sent.name).stem
        with suppress(Taken), self._calling() as client:
            client.datasets.create(
                dataset_id=id, dataset={"user_uploaded": {}, "example_count": str(len(sent.places))}
            )
        try:
            self._fill(id, sent)
        except RequestRejected:
            found = self.file_state(id)  # another machine has filled it
            if found.state != "ready":
                raise
            return found
        return self.file_state(id)

    def _fill(self, id: str, sent: Upload) -> None:
        if len(sent.content) <= MOST_BYTES_AT_ONCE:
            with self._calling() as client:
                file = (sent.name, sent.content)
                # whatever is no object, a proxy has said: the dataset may be empty
                read(client.datasets.upload(id, file=file, timeout=UPLOAD_TIMEOUT_S))
            return
        import httpx

        with tempfile.TemporaryDirectory() as folder, self._calling() as client:
            from fireworks.lib.dataset_upload import DatasetUploadError, upload_dataset_shards

            path = Path(folder, sent.name)
            path.write_bytes(sent.content)
            try:
                upload_dataset_shards(client, id, str(path))
            except DatasetUploadError as no:
                raise RequestRejected(self._clean(str(no))) from None
            except httpx.HTTPError as error:  # its words hold the signed address
                raise OutcomeUnknown(f"the upload broke off ({type(error).__name__})") from None

    def file_state(self, id: str) -> RemoteFile:
        """See ``TuningProvider``."""
        with self._calling() as client:
            return read_dataset(client.datasets.get(id), self._clean)

    def content(self, file: str) -> bytes:
        """See ``TuningProvider``: the service documents no form of its metrics, so jobs name no such file."""
        raise RequestRejected(f"there is no file {file}", status=404)

    # ----------------------------------------------------------------------- jobs
    def find(self, request: JobRequest, files: Mapping[str, str]) -> Sequence[TuningJob]:
        """See ``TuningProvider``: jobs by their ids; a model whose job was deleted is found as well."""
        own = re.compile(rf"{self.job_id(request, 1)}(-\d+)?")
        found = tuple(self._settled(job) for job in self._jobs() if own.fullmatch(job.id))
        if found:
            return found
        name = resource(self._output(request, 1), "models", self.account_id)
        model = unless_gone(partial(self._model, name))
        if model is None or model.get("state") != "READY":
            return ()
        return (TuningJob(self.job_id(request, 1), SUCCEEDED, request.base, tuned_model=name),)

    def submit(self, request: JobRequest, training_file: str, validation_file: str | None) -> TuningJob:
        """See ``TuningProvider``: begun under the first id that no job has, or the living job of an id."""
        for attempt in range(1, ATTEMPTS + 1):
            id = self.job_id(request, attempt)
            try:
                with self._calling() as client:
                    return self._job(
                        client.supervised_fine_tuning_jobs.create(
                            supervised_fine_tuning_job_id=id,
                            **self.body(request, training_file, validation_file, attempt),  # type: ignore[arg-type]
                        )
                    )
            except Taken as taken:
                there = unless_gone(partial(self.get, id))
                if there is not None and there.is_alive:
                    return there
                self._missing[id] += there is None
                # one that was just begun may not be shown yet; after a second look it was deleted
                if there is None and (not taken.exists or self._missing[id] < 2):
                    raise OutcomeUnknown(taken.message) from None
        raise RequestRejected(f"{ATTEMPTS} jobs of this content have failed there", status=409)

    def get(self, job: str) -> TuningJob:
        """See ``TuningProvider``."""
        with self._calling() as client:
            found = self._job(client.supervised_fine_tuning_jobs.get(job))
        return self._settled(found)

    def cancel(self, job: str) -> TuningJob:
        """See ``TuningProvider``."""
        with self._calling() as client:
            client.supervised_fine_tuning_jobs.cancel(job, body={})
        return self.get(job)

    def resume(self, job: str) -> TuningJob:
        """Let a paused job go on."""
        with self._calling() as client:
            client.supervised_fine_tuning_jobs.resume(job, body={})
        return self.get(job)

    def events(self, job: str, known: str | None) -> Sequence[JobEvent]:
        """See ``TuningProvider``: there are none, so each new percentage at the last look counts as one."""
        at = self._progress.get(job)
        return () if at is None or at == known else (JobEvent(at, at),)

    def checkpoints(self, job: str) -> Sequence[JobCheckpoint]:
        """See ``TuningProvider``: none can be asked before it is promoted."""
        return ()

    # ----------------------------------------------------------------------- the request
    def job_id(self, request: JobRequest, attempt: int) -> str:
        """The id of a job of this content, for the first, second, … attempt."""
        return f"harness-{request.fingerprint[:MARK_DIGITS]}" + (f"-{attempt}" if attempt > 1 else "")

    def body(
        self, request: JobRequest, training_file: str, validation_file: str | None, attempt: int
    ) -> dict[str, Json]:
        """The request that begins the job, under the SDK's names.

        Sizes are compared, so nothing may stop one of them early or take rows away unless the user says so.
        """
        own: dict[str, Json] = dict(request.settings.hyperparameters)
        renamed = {"n_epochs": "epochs", "batch_size": "batch_size_samples"}
        given = {renamed.get(name, name): value for name, value in own.items()}
        body: dict[str, Json] = {
            "base_model": request.base,
            "dataset": self._dataset(training_file),
            "output_model": self._output(request, attempt),
            "early_stop": False,
            "eval_auto_carveout": False,
            **given,
        }
        return {**body, "evaluation_dataset": self._dataset(validation_file)} if validation_file else body

    def _dataset(self, id: str) -> str:
        return resource(id, "datasets", self.account_id)

    def _output(self, request: JobRequest, attempt: int) -> str:
        return "-".join(filter(None, (request.settings.suffix, self.job_id(request, attempt))))

    # ----------------------------------------------------------------------- calls
    def _job(self, item: object) -> TuningJob:
        job, progress = read_job(item, self.account_id, self._clean), read(item).get("jobProgress")
        if isinstance(progress, Mapping) and progress.get("percent") is not None:
            self._progress[job.id] = f"epoch {progress.get('epoch') or 0}, {progress['percent']}%"
        return job

    @cached_property
    def _progress(self) -> dict[str, str]:
        return {}

    @cached_property
    def _missing(self) -> Counter[str]:
        """Looks at which a job or a model was not there."""
        return Counter()

    def _jobs(self) -> Iterator[TuningJob]:
        seen: set[str] = set()
        with self._calling() as client:
            pages = client.supervised_fine_tuning_jobs.list(page_size=PAGE).iter_pages()
            for number, page in enumerate(pages):
                jobs = [self._job(item) for item in page.supervised_fine_tuning_jobs or ()]
                if jobs and seen.issuperset(job.id for job in jobs):
                    return  # a service that cannot page gives the same page for ever
                yield from (job for job in jobs if job.id not in seen)
                seen.update(job.id for job in jobs)
                if number >= MOST_PAGES:
                    break
            else:
                return
        raise HostedTrainingError(
            f"the service lists more than {MOST_PAGES} pages ({len(seen):,} jobs): whether the one looked for"
            " is on a later one is not known.",
            "delete old jobs there, then run again.",
        )

    def _settled(self, job: TuningJob) -> TuningJob:
        """A job that has ended well, as under way until its model can be loaded.

        Raises:
            HostedTrainingError: its model is in trouble, or was deleted.
        """
        if job.status != SUCCEEDED or job.tuned_model is None:
            return job
        model = unless_gone(partial(self._model, job.tuned_model))
        if model is not None and model.get("state") == "READY":
            return job
        problem = "" if model is None else trouble(model, self._clean)
        self._missing[job.tuned_model] += model is None
        is_old = job.finished is not None and time.time() - job.finished > PUBLISHED_WITHIN_S
        # the clock here may be wrong: what has just ended is looked for again
        if model is None and is_old and self._missing[job.tuned_model] > MODEL_LOOKS:
            problem = "it is not there any more"
        if problem:
            raise HostedTrainingError(
                f"the tuning job {job.id} of {job.model} succeeded, but its model {job.tuned_model} cannot be"
                f" used: {problem}.",
                "nothing is tuned twice without your word. To tune, and pay, anew delete that job there"
                f" (`firectl supervised-fine-tuning-job delete {job.id}`), then run again.",
                job=job.id,
            )
        return replace(job, status=PUBLISHING, tuned_model=None)
