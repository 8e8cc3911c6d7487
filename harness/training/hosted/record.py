"""A job on disk: what this machine remembers of one under way, and the records of one that has succeeded."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from harness.atomic import write_atomically
from harness.data.fingerprints import rows_fingerprint
from harness.data.hosted import DEFAULT_ENCODING, hosted_counter, hosted_model, service_epochs, text_counter
from harness.errors import HostedTrainingError, StoreError
from harness.records import Training
from harness.training.hosted.metrics import Metrics, best_checkpoint, training_points
from harness.training.hosted.provider import JobCheckpoint, TuningJob, TuningProvider
from harness.training.hosted.request import JobRequest
from harness.training.rows import TrainingRows

RECORD = "hosted.json"
NOTED_RISE = 1.02  # a validation loss this much above its minimum is noted


# --------------------------------------------------------------------------- a job under way
@dataclass(frozen=True, slots=True)
class JobState:
    """What this machine knows of a job, so that it is found again without a listing."""

    # ids at the service, by the name under which each file was sent
    files: Mapping[str, str] = field(default_factory=dict)
    job: str | None = None  # its id
    ends: str | None = None  # the first shutdown date that the service gave for the base, in ISO 8601
    notes: tuple[str, ...] = ()  # sentences for the report


def state_file(artifact: Path) -> Path:
    """Where the state of a job lies: beside the folder that its artifact will have in the store."""
    return artifact.with_name(f"{artifact.name}.job.json")


def read_state(artifact: Path) -> JobState:
    """The state of a job; an empty one where nothing was begun.

    Raises:
        StoreError: it cannot be read.
    """
    from pydantic import TypeAdapter

    file = state_file(artifact)
    if not file.is_file():
        return JobState()
    try:
        return TypeAdapter(JobState).validate_python(json.loads(file.read_bytes()))
    except (OSError, ValueError) as error:  # pydantic's errors are ValueErrors
        raise StoreError(
            f"{file} cannot be read: delete it; the job is then looked for at the service."
        ) from error


def write_state(artifact: Path, state: JobState) -> None:
    """Replace the state of a job. What it names costs money: it survives a crash of the machine, too."""
    write_atomically(state_file(artifact), json.dumps(asdict(state), indent=1))


# --------------------------------------------------------------------------- a job that has succeeded
@dataclass(frozen=True, slots=True)
class TunedModel:
    """The outcome of a job."""

    job: TuningJob  # as it ended
    checkpoints: tuple[JobCheckpoint, ...] = ()  # in order of step
    metrics: tuple[Metrics, ...] = ()  # in order of step
    # the first shutdown date that the service gave for the base or the tuned model, in ISO 8601
    ends: str | None = None
    notes: tuple[str, ...] = ()  # sentences for the report


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A finished job beside its artifact's record, so that a later run asks the service for nothing."""

    job: str
    model: str
    url: str
    checkpoints: tuple[JobCheckpoint, ...]
    ends: str | None
    notes: tuple[str, ...]

    @classmethod
    def of(cls, tuned: TunedModel, url: str) -> JobRecord:
        """The record of a job's outcome."""
        return cls(tuned.job.id, tuned.job.tuned_model or "", url, tuned.checkpoints, tuned.ends, tuned.notes)

    @classmethod
    def read(cls, artifact: Path) -> JobRecord:
        """The record in an artifact's folder.

        Raises:
            StoreError: it cannot be read.
        """
        from pydantic import TypeAdapter

        file = artifact / RECORD
        try:
            return TypeAdapter(cls).validate_python(json.loads(file.read_bytes()))
        except (OSError, ValueError) as error:  # pydantic's errors are ValueErrors
            raise StoreError(
                f"{file} cannot be read: delete {artifact}; the job is found again at the service."
            ) from error

    def write(self, artifact: Path) -> None:
        """Write it into an artifact's folder."""
        (artifact / RECORD).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    def model_at(self, checkpoint: Literal["last", "best"] | int) -> str:
        """The name of one of the job's models: its last, the one with the lowest loss, or that of a step.

        Raises:
            HostedTrainingError: the job has no such checkpoint.
        """
        if checkpoint == "last":
            return self.model
        if checkpoint == "best":
            best = best_checkpoint(self.checkpoints)
            if best is not None:
                return best.model
            problem = f"the service gives no validation loss for any checkpoint of the job {self.job}."
            raise HostedTrainingError(problem, "use checkpoint='last'.", job=self.job)
        for found in self.checkpoints:
            if found.step == checkpoint:
                return found.model
        there = ", ".join(str(found.step) for found in self.checkpoints) or "none"
        raise HostedTrainingError(
            f"the job {self.job} has no checkpoint at step {checkpoint}; it has: {there}.",
            "use one of those steps, 'best' or 'last'.",
            job=self.job,
        )


def training_record(
    request: JobRequest, rows: TrainingRows, artifact: str, tuned: TunedModel, provider: TuningProvider
) -> Training:
    """How the model came to be, as far as the service tells.

    ``tokens`` are the billed tokens (``trained_tokens``) of one epoch; where the service does not bill by
    tokens they are counted here, as ``supervised_tokens`` always are. ``seconds`` include the queue.
    """
    from importlib.metadata import version

    job, sent = tuned.job, (*rows.own, *rows.replay)
    known = hosted_model(request.base)
    encoding = known.encoding if known else DEFAULT_ENCODING
    count = text_counter(encoding)
    epochs = job.epochs or float(request.settings.epochs or service_epochs(len(sent)))
    billed = job.trained_tokens
    tokens = round(billed / epochs) if billed else sum(hosted_counter(encoding)(sent))
    seconds = float(max(0, job.finished - job.created)) if job.finished else 0.0
    package = provider.capabilities.package
    counted = "billed by the service" if billed else f"counted with {encoding}"
    return Training(
        fingerprint=artifact,
        rows=len(rows.own),
        replay_rows=len(rows.replay),
        epochs=epochs,
        steps=_steps(tuned, len(sent), epochs),
        tokens=tokens,
        supervised_tokens=sum(
            count(m.content) for row in sent for m in row.messages if m.role == "assistant" and m.weight
        ),
        seconds=seconds,
        tokens_per_second=tokens * epochs / seconds if seconds else 0.0,
        points=training_points(tuned.metrics, epochs),
        overfitting=_rise(tuned.metrics),
        device=f"hosted: {job.id} at {provider.url}",
        numeric_config=f"the service's own; tokens {counted}, queue included in the time",
        row_ids=tuple(row.id for row in rows.own),
        versions={package: version(package)} if package else {},
        row_digest=rows_fingerprint(rows.own),
    )


def _steps(tuned: TunedModel, rows: int, epochs: float) -> int:
    seen = [item.step for item in tuned.metrics] + [item.total or 0 for item in tuned.metrics]
    seen += [checkpoint.step for checkpoint in tuned.checkpoints]
    if seen:
        return max(seen)
    batch = tuned.job.hyperparameters.get("batch_size")
    return math.ceil(rows / batch) * round(epochs) if isinstance(batch, int) and batch > 0 else 0


def _rise(metrics: tuple[Metrics, ...]) -> str | None:
    """A sentence where the loss over all validation rows ended above its minimum."""
    whole = [(item.full_loss, item.step) for item in metrics if item.full_loss is not None]
    if len(whole) < 2:
        return None
    (least, step), (last, _) = min(whole), whole[-1]
    if last <= least * NOTED_RISE:
        return None
    return (
        f"validation loss ended at {last:.3f}, above its minimum {least:.3f} at step {step} (without a"
        " standard error): train for fewer epochs, or use checkpoint='best'"
    )
