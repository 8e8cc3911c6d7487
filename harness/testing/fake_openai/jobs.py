"""Fine-tuning jobs: validated, queued, trained one at a time, and ended, as the service does it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

from harness.records import Json, Row
from harness.testing.fake_openai.backend import Backend, Order, Step, Trained
from harness.testing.fake_openai.catalogue import Catalogue
from harness.testing.fake_openai.checkpoints import Checkpoints
from harness.testing.fake_openai.faults import Faults
from harness.testing.fake_openai.files import Files
from harness.testing.fake_openai.job_results import (
    as_job_error,
    decided,
    metrics,
    results_file,
    sentence,
    tuned_name,
)
from harness.testing.fake_openai.records import (
    ENDED,
    Event,
    Job,
    JobError,
    JobStatus,
)
from harness.testing.fake_openai.refusals import Refusal, no_such_job
from harness.testing.fake_openai.store import Store, new_id
from harness.testing.fake_openai.training_rows import BadFile, training_rows

LOOK_S = 0.02


class _Stopped(Exception):  # noqa: N818 - the job is taken up again when the server comes back
    """The server goes down."""


class _Cancelled(Exception):  # noqa: N818 - what the client asked for
    """The job was cancelled."""


class _Failed(Exception):  # noqa: N818 - a fault that was switched on
    """The job is to fail."""


class Jobs:
    """All jobs, and the two threads that work on them: one reads files, one trains.

    Args:
        store: where jobs are kept.
        files: training files, and where result files go.
        backend: what trains.
        catalogue: the models.
        weights: the folder below which checkpoints are kept.
        faults: gives what goes wrong now.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        files: Files,
        backend: Backend,
        catalogue: Catalogue,
        weights: Path,
        faults: Callable[[], Faults],
        clock: Callable[[], float],
    ) -> None:
        self._store, self._files, self._backend, self._catalogue = store, files, backend, catalogue
        self._weights, self._faults, self._clock = weights, faults, clock
        self._checkpoints = Checkpoints(store, weights, clock)
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="twin-files")
        self._training = ThreadPoolExecutor(1, thread_name_prefix="twin-training")
        self._stopping = threading.Event()
        self._take_up()

    def close(self) -> None:
        """Stop working, and wait for the threads to end. Unfinished jobs are taken up by the next server."""
        self._stopping.set()
        self._reading.shutdown(cancel_futures=True)
        self._training.shutdown(cancel_futures=True)

    def get(self, job_id: str) -> Job:
        """The job of that id."""
        job = self._store.find(Job, job_id)
        if job is None:
            raise no_such_job(job_id)
        return job

    def submit(self, job: Job) -> Job:
        """Take a new job whose request was checked."""
        self._store.put(job)
        self._store.count("jobs")
        self._say(job.id, f"Created fine-tuning job: {job.id}")
        self._say(job.id, f"Validating training file: {job.training_file}")
        self._reading.submit(self._read, job.id)
        return job

    def cancel(self, job_id: str) -> Job:
        """Cancel a job that has not ended."""
        job = self._move(job_id, "cancelled")
        self._say(job_id, "Fine-tuning job cancelled")
        return job

    def pause(self, job_id: str) -> Job:
        """Pause a job that is queued or running."""
        job = self._move(job_id, "paused", unless=("validating_files", "paused"))
        self._say(job_id, "Fine-tuning job paused")
        return job

    def resume(self, job_id: str) -> Job:
        """Let a paused job go on."""
        job = self._move(job_id, "queued", unless=("validating_files", "queued", "running"))
        self._say(job_id, "Fine-tuning job resumed")
        return job

    def _move(self, job_id: str, status: JobStatus, unless: tuple[str, ...] = ()) -> Job:
        def moved(job: Job) -> Job:
            if job.status in ENDED:
                raise Refusal(400, f"Job has already completed: {job_id}")
            if job.status in unless:
                raise Refusal(400, f"Job {job_id} cannot become {status}: its status is {job.status}.")
            finished = int(self._clock()) if status in ENDED else None
            return replace(job, status=status, finished_at=finished)

        self.get(job_id)
        return self._store.update(Job, job_id, moved)

    def _take_up(self) -> None:
        """What an earlier server left unfinished, oldest first."""
        for job in reversed(self._store.newest_first(Job)):
            if job.status == "validating_files":
                self._reading.submit(self._read, job.id)
            elif job.status not in ENDED:
                self._store.update(Job, job.id, lambda job: replace(job, status=_left(job.status)))
                self._training.submit(self._work, job.id)

    # ------------------------------------------------------------------ validating
    def _read(self, job_id: str) -> None:
        """Check both files; then the job is queued, or it has failed."""
        try:
            self._rows(self.get(job_id))
        except BadFile as error:
            self._end(job_id, "failed", as_job_error(error))
            return
        except Exception as error:  # noqa: BLE001 - the job fails with it, and the server goes on
            self._end(job_id, "failed", JobError("server_error", f"{type(error).__name__}: {error}"))
            return
        job = self._store.update(
            Job,
            job_id,
            lambda job: replace(job, status="queued") if job.status == "validating_files" else job,
        )
        if job.status == "queued":
            self._say(job_id, "Files validated, moving job to queued state")
            if not self._stopping.is_set():
                self._training.submit(self._work, job_id)

    def _rows(self, job: Job) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
        """Training and validation rows.

        Raises:
            BadFile: in one of the two.
        """
        model = self._catalogue.tunable(job.model)
        given = ((job.training_file, "training"), (job.validation_file, "validation"))
        found: list[tuple[Row, ...]] = []
        for file, which in given:
            if file is None:
                found.append(())
                continue
            least = {"training": 10, "validation": 1}[which]
            content = self._files.content(file)
            try:
                found.append(
                    training_rows(
                        content, model.completions, model.context_tokens, self._backend.count, least
                    )
                )
            except BadFile as error:
                raise BadFile(error.code, error.message, which) from error
        return found[0], found[1]

    # ------------------------------------------------------------------ training
    def _work(self, job_id: str) -> None:
        """Train, from queued to the end."""
        try:
            self._go_on(job_id, 0)
            trained, tokens = self._train(job_id)
            self._succeed(job_id, trained, tokens)
        except (_Stopped, _Cancelled):
            return
        except _Failed:
            self._end(job_id, "failed", JobError("server_error", "The job failed due to an internal error."))
        except Exception as error:  # noqa: BLE001 - the job fails with it, and the server goes on
            self._end(job_id, "failed", JobError("server_error", f"{type(error).__name__}: {error}"))

    def _train(self, job_id: str) -> tuple[Trained, int]:
        """The training, and how many tokens it is billed."""
        job = self.get(job_id)
        rows, dev = self._rows(job)
        taken = decided(job.hyperparameters, len(rows))
        self._store.update(
            Job, job_id, lambda job: replace(job, hyperparameters=taken) if job.status == "running" else job
        )
        self._say(job_id, "Fine-tuning job started")
        assert isinstance(taken.n_epochs, int)
        assert isinstance(taken.batch_size, int)
        assert not isinstance(taken.learning_rate_multiplier, str)
        order = Order(
            job_id=job_id,
            base=job.model,
            rows=rows,
            dev=dev,
            epochs=taken.n_epochs,
            batch_rows=taken.batch_size,
            learning_rate_multiplier=taken.learning_rate_multiplier,
            seed=job.seed,
        )
        tokens = sum(map(self._backend.count, rows)) * taken.n_epochs
        folder = self._weights / job_id
        return self._backend.train(order, folder, lambda step: self._watch(job_id, step)), tokens

    def _watch(self, job_id: str, step: Step) -> None:
        """After each step: tell it, keep its checkpoint, and wait or stop where that is asked."""
        self._say(job_id, sentence(step), data=metrics(step), name=f"ftevent-{job_id[6:]}-{step.number}")
        if step.weights and step.number < step.total:
            self._checkpoints.keep(self.get(job_id), step)
            told = f"Checkpoint created at step {step.number}"
            self._say(job_id, told, name=f"ftevent-{job_id[6:]}-c{step.number}")
        if self._faults().job_fails_at_step == step.number:
            raise _Failed
        self._go_on(job_id, step.number)

    def _go_on(self, job_id: str, step: int) -> None:
        """Return when the job may go on after ``step``; 0: when it may begin."""
        while not self._stopping.is_set():
            job = self.get(job_id)
            if job.status in ENDED:
                raise _Cancelled
            stalled = self._faults().job_stalls_at_step == step
            if job.status == "queued" and not stalled:
                self._store.update(
                    Job, job_id, lambda job: replace(job, status="running") if job.status == "queued" else job
                )
            elif job.status == "running" and not stalled:
                return
            else:
                self._stopping.wait(LOOK_S)
        raise _Stopped

    def _succeed(self, job_id: str, trained: Trained, tokens: int) -> None:
        job = self.get(job_id)
        if job.status in ENDED:
            return
        name, last = tuned_name(job), trained.steps[-1]
        self._checkpoints.add(job, replace(last, weights=trained.weights), name)
        results = self._files.add("step_metrics.csv", "fine-tune-results", results_file(trained), made=True)
        self._say(job_id, f"New fine-tuned model created: {name}")
        ended = self._end(
            job_id,
            "succeeded",
            None,
            fine_tuned_model=name,
            result_files=(results.id,),
            trained_tokens=tokens,
        )
        if ended:
            self._say(job_id, "The job has successfully completed")

    def _end(
        self,
        job_id: str,
        status: JobStatus,
        error: JobError | None,
        fine_tuned_model: str | None = None,
        result_files: tuple[str, ...] = (),
        trained_tokens: int | None = None,
    ) -> bool:
        """The job's last status, unless it has one; whether it was given."""
        before = self.get(job_id).status
        after = self._store.update(
            Job,
            job_id,
            lambda job: (
                job
                if job.status in ENDED
                else replace(
                    job,
                    status=status,
                    error=error,
                    finished_at=int(self._clock()),
                    fine_tuned_model=fine_tuned_model,
                    result_files=result_files,
                    trained_tokens=trained_tokens,
                )
            ),
        )
        if error and after.error == error:
            self._say(job_id, error.message, "error")
        return before not in ENDED and after.status == status

    def _say(
        self,
        job_id: str,
        message: str,
        level: Literal["info", "warn", "error"] = "info",
        data: Mapping[str, Json] | None = None,
        name: str | None = None,
    ) -> None:
        event = Event(name or new_id("ftevent-"), job_id, int(self._clock()), level, message, data)
        self._store.put(event, job_id)


def _left(status: JobStatus) -> JobStatus:
    return "paused" if status == "paused" else "queued"
