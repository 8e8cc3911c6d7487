"""Fine-tuning jobs: validated, queued, trained one at a time, and ended, as the service does it."""

from __future__ import annotations

import csv
import io
import secrets
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from openai.types.fine_tuning import FineTuningJobEvent
from openai.types.fine_tuning.fine_tuning_job import Error, Hyperparameters, Method
from openai.types.fine_tuning.job_create_params import JobCreateParams
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from openai.types.fine_tuning.jobs.fine_tuning_job_checkpoint import Metrics

from harness.data.hosted import service_epochs
from harness.records import Json, Row
from harness.testing.fake_openai.backend import Backend, Step, TuningTask
from harness.testing.fake_openai.completions import ServedModels
from harness.testing.fake_openai.faults import Faults
from harness.testing.fake_openai.refusals import HTTPRefusal, checked, unsupported
from harness.testing.fake_openai.store import FakeJob, FakeStore, FakeTunedModel, JobStatus, new_id, now
from harness.testing.fake_openai.training_rows import training_rows

POLL_S = 0.02  # how often a waiting job looks at its status
SAVED_CHECKPOINTS = 3  # the service has those of the last three epochs
ALIVE: tuple[JobStatus, ...] = ("validating_files", "queued", "running", "paused")
# by the status that a request asks for: the statuses from which a job can change to it
SOURCES: dict[JobStatus, tuple[JobStatus, ...]] = {
    "cancelled": ALIVE,
    "paused": ("queued", "running"),
    "queued": ("paused",),
}
RESULT_COLUMNS = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")


class _Interrupted(Exception):  # noqa: N818 - ends a training without an error
    """The job was cancelled, or the server shuts down."""


class TuningJobs:
    """All jobs, and the two threads that work on them: one validates files, one trains.

    ``weights`` is the folder of checkpoints, one folder a job; ``faults`` gives the faults that are on now.
    """

    def __init__(
        self,
        store: FakeStore,
        backend: Backend,
        models: ServedModels,
        weights: Path,
        faults: Callable[[], Faults],
    ) -> None:
        self._store, self._backend, self._models = store, backend, models
        self._weights, self._faults = weights, faults
        self._validating = ThreadPoolExecutor(1, thread_name_prefix="fake-openai-files")
        self._training = ThreadPoolExecutor(1, thread_name_prefix="fake-openai-training")
        self._stopping = threading.Event()
        for job in reversed(store.newest_first(FakeJob)):  # an earlier server left them unfinished
            if job.status == "validating_files":
                self._validating.submit(self._validate, job.id)
            elif job.status in ALIVE:
                self._change(job.id, ("running",), status="queued")
                self._training.submit(self._run, job.id)

    def close(self) -> None:
        """Stop working, and wait for the threads to end. Unfinished jobs go on with the next server."""
        self._stopping.set()
        self._validating.shutdown(cancel_futures=True)
        self._training.shutdown(cancel_futures=True)

    def create(self, body: Json) -> FakeJob:
        """Accept a job."""
        params = checked(JobCreateParams, body)
        model = self._models.tunable(params["model"])
        self._store.require_file(params["training_file"], "fine-tune", "training_file")
        validation_file = params.get("validation_file")
        if validation_file is not None:
            self._store.require_file(validation_file, "fine-tune", "validation_file")
        method, given = params.get("method"), params.get("hyperparameters", {})  # the latter are deprecated
        if method is not None and method["type"] != "supervised":
            raise unsupported("method.type")
        if method is not None and "supervised" in method:
            given = method["supervised"].get("hyperparameters", given)
        given = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto", **given}
        seed = params.get("seed")
        job = FakeJob.model_validate(
            {
                "object": "fine_tuning.job",
                "id": new_id("ftjob-"),
                "created_at": now(),
                "model": model.name,
                "training_file": params["training_file"],
                "validation_file": validation_file,
                "status": "validating_files",
                **_hyperparameters(given),
                "seed": secrets.randbelow(2**31) if seed is None else seed,
                "user_provided_suffix": params.get("suffix"),
                "metadata": params.get("metadata"),
                "integrations": params.get("integrations"),
                "organization_id": "org-fake",
                "result_files": [],
            }
        )
        self._store.put(job)
        self._store.count("jobs")
        self._log(job.id, f"Created fine-tuning job: {job.id}")
        self._validating.submit(self._validate, job.id)
        return job

    def move(self, job_id: str, status: JobStatus) -> FakeJob:
        """Cancel, pause or resume ("queued") a job."""
        before = self._store.get(FakeJob, job_id).status
        if before not in ALIVE:
            raise HTTPRefusal(400, f"Job has already completed: {job_id}")
        job = self._change(job_id, SOURCES[status], status=status)
        if before not in SOURCES[status] or job.status != status:
            raise HTTPRefusal(400, f"Job {job_id} cannot become {status}: its status is {job.status}.")
        self._log(job_id, f"Fine-tuning job {'resumed' if status == 'queued' else status}")
        return job

    def _validate(self, job_id: str) -> None:
        try:
            self._rows(self._store.get(FakeJob, job_id))
        except Exception as error:  # noqa: BLE001 - the job fails with it, and the server goes on
            self._fail(job_id, error)
            return
        if self._change(job_id, ("validating_files",), status="queued").status == "queued":
            self._log(job_id, "Files validated, moving job to queued state")
            if not self._stopping.is_set():
                self._training.submit(self._run, job_id)

    def _rows(self, job: FakeJob) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
        model, count = self._models.tunable(job.model), self._backend.count
        training = training_rows(self._store.content(job.training_file), model, count, "training")
        if job.validation_file is None:
            return training, ()
        return training, training_rows(self._store.content(job.validation_file), model, count, "validation")

    def _run(self, job_id: str) -> None:
        try:
            self._wait_until_running(job_id, 0)
            self._train(self._store.get(FakeJob, job_id))
        except _Interrupted:
            return
        except Exception as error:  # noqa: BLE001 - the job fails with it, and the server goes on
            self._fail(job_id, error)

    def _train(self, job: FakeJob) -> None:
        rows, dev = self._rows(job)
        # epochs as in OpenAI's cookbook; the learning rate is that of this package's own trainer
        auto: dict[str, Any] = {
            "n_epochs": service_epochs(len(rows)),
            "batch_size": min(8, len(rows)),
            "learning_rate_multiplier": 1.0,
        }
        given = job.hyperparameters.model_dump()
        taken = {name: value if given[name] == "auto" else given[name] for name, value in auto.items()}
        epochs, batch_rows, multiplier = taken.values()
        task = TuningTask(job.id, job.model, rows, dev, epochs, batch_rows, multiplier, job.seed)
        self._change(job.id, ("running",), **_hyperparameters(taken))
        self._log(job.id, "Fine-tuning job started")
        name = f"ft:{job.model}:twin:{(job.user_provided_suffix or '').lower()}:{job.id[-8:]}"
        steps: list[Step] = []

        def after_step(step: Step) -> None:
            steps.append(step)
            self._publish(job, step, name)
            if self._faults().job_fails_at_step == step.number:
                raise HTTPRefusal(500, "The job failed due to an internal error.", code="server_error")
            self._wait_until_running(job.id, step.number)

        self._backend.train(task, self._weights / job.id, after_step)
        if self._store.get(FakeJob, job.id).status not in ALIVE:
            return
        self._add_checkpoint(job, steps[-1], name)
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(RESULT_COLUMNS)
        for s in steps:
            measured = (s.train_loss, s.train_accuracy, s.dev_loss, s.dev_accuracy)
            writer.writerow([s.number, *("" if value is None else round(value, 5) for value in measured)])
        results = self._store.add_file("step_metrics.csv", "fine-tune-results", table.getvalue().encode())
        self._log(job.id, f"New fine-tuned model created: {name}")
        tokens = sum(map(self._backend.count, rows)) * task.epochs
        ended = {"fine_tuned_model": name, "result_files": [results.id], "trained_tokens": tokens}
        if self._change(job.id, ALIVE, status="succeeded", **ended).status == "succeeded":
            self._log(job.id, "The job has successfully completed")

    def _publish(self, job: FakeJob, step: Step, name: str) -> None:
        """The step's event, and its checkpoint, which replaces the oldest one."""
        message = f"Step {step.number}/{step.total}: training loss={step.train_loss:.2f}"
        if step.dev_loss is not None:
            message += f", validation loss={step.dev_loss:.2f}, full validation loss={step.dev_loss:.2f}"
        data = _metrics(step).model_dump(exclude_none=True)
        # ids are the same when a restarted server trains again, so that no step is listed twice
        self._log(
            job.id, message, False, f"ftevent-{job.id[6:]}-{step.number}", total_steps=step.total, **data
        )
        if not step.weights or step.number == step.total:
            return
        self._add_checkpoint(job, step, f"{name}:ckpt-step-{step.number}")
        message = f"Checkpoint created at step {step.number}"
        self._log(job.id, message, event_id=f"ftevent-{job.id[6:]}-c{step.number}")
        found = self._store.newest_first(FineTuningJobCheckpoint, job.id)
        earlier = [checkpoint for checkpoint in found if checkpoint.step_number <= step.number]
        for old in earlier[SAVED_CHECKPOINTS - 1 :]:  # the end of the training will be one too
            self._store.delete(old)
            tuned = self._store.find(FakeTunedModel, old.fine_tuned_model_checkpoint)
            if tuned is not None:
                self._store.delete(tuned)
                shutil.rmtree(self._weights / tuned.weights, ignore_errors=True)

    def _add_checkpoint(self, job: FakeJob, step: Step, name: str) -> None:
        """The model as it is after a step, which answers under ``name``."""
        weights = f"{job.id}/{step.weights}"
        self._store.put(FakeTunedModel(id=name, created_at=now(), base=job.model, weights=weights))
        checkpoint = FineTuningJobCheckpoint(
            object="fine_tuning.job.checkpoint",
            id=f"ftckpt_{job.id[6:]}{step.number}",
            created_at=now(),
            fine_tuned_model_checkpoint=name,
            fine_tuning_job_id=job.id,
            step_number=step.number,
            metrics=_metrics(step),
        )
        self._store.put(checkpoint, job.id)

    def _wait_until_running(self, job_id: str, step: int) -> None:
        """Return when the job may go on after ``step`` (0: when it may start)."""
        while not self._stopping.is_set():
            status = self._store.get(FakeJob, job_id).status
            if status not in ALIVE:
                break
            if self._faults().job_stalls_at_step == step or status == "paused":
                self._stopping.wait(POLL_S)
            elif status == "running":
                return
            else:
                self._change(job_id, ("queued",), status="running")
        raise _Interrupted

    def _fail(self, job_id: str, problem: Exception) -> None:
        error = Error(code="server_error", message=f"{type(problem).__name__}: {problem}")
        if isinstance(problem, HTTPRefusal):
            error = Error(code=problem.code or "invalid_value", message=problem.message, param=problem.param)
        if self._change(job_id, ALIVE, status="failed", error=error).error == error:
            self._log(job_id, error.message, is_error=True)

    def _change(self, job_id: str, sources: tuple[JobStatus, ...], **changes: object) -> FakeJob:
        """Change a job if its status is one of ``sources``; returns it as it then is."""
        if changes.get("status", "running") not in ALIVE:
            changes["finished_at"] = now()
        return self._store.update(
            FakeJob, job_id, lambda job: job.model_copy(update=changes) if job.status in sources else job
        )

    def _log(
        self, job_id: str, message: str, is_error: bool = False, event_id: str = "", **data: Json
    ) -> None:
        event = FineTuningJobEvent(
            object="fine_tuning.job.event",
            id=event_id or new_id("ftevent-"),
            created_at=now(),
            level="error" if is_error else "info",
            message=message,
            data=data,
            type="metrics" if data else "message",
        )
        self._store.put(event, job_id)


def _hyperparameters(given: Mapping[str, object]) -> dict[str, object]:
    """The two places where a job shows them."""
    return {
        "hyperparameters": Hyperparameters.model_validate(given),
        "method": Method.model_validate({"type": "supervised", "supervised": {"hyperparameters": given}}),
    }


def _metrics(step: Step) -> Metrics:
    return Metrics(
        step=step.number,
        train_loss=step.train_loss,
        train_mean_token_accuracy=step.train_accuracy,
        valid_loss=step.dev_loss,
        valid_mean_token_accuracy=step.dev_accuracy,
        full_valid_loss=step.dev_loss,
        full_valid_mean_token_accuracy=step.dev_accuracy,
    )
