"""What the twin keeps (files, jobs, events, checkpoints, models, batches), as the service shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal, TypeAlias

from harness.records import Json

JobStatus: TypeAlias = Literal[
    "validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"
]
BatchStatus: TypeAlias = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "cancelling", "cancelled"
]
Auto: TypeAlias = Literal["auto"]
ENDED = ("succeeded", "failed", "cancelled")
ORGANISATION = "org-twin"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An uploaded or a made file; its content is kept beside it."""

    id: str
    created_at: int
    filename: str
    purpose: str
    bytes: int
    sha256: str

    def shown(self) -> dict[str, Json]:
        """As ``/v1/files`` gives it."""
        return {
            "object": "file",
            "id": self.id,
            "bytes": self.bytes,
            "created_at": self.created_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
            "expires_at": None,
        }


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """As asked, or, once the job runs, as taken."""

    n_epochs: int | Auto = "auto"
    batch_size: int | Auto = "auto"
    learning_rate_multiplier: float | Auto = "auto"


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed."""

    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A fine-tuning job."""

    id: str
    created_at: int
    model: str
    training_file: str
    seed: int
    validation_file: str | None = None
    suffix: str | None = None
    hyperparameters: Hyperparameters = Hyperparameters()
    metadata: Mapping[str, str] | None = None
    integrations: tuple[Mapping[str, Json], ...] = ()
    status: JobStatus = "validating_files"
    error: JobError | None = None
    fine_tuned_model: str | None = None
    finished_at: int | None = None
    estimated_finish: int | None = None
    result_files: tuple[str, ...] = ()
    trained_tokens: int | None = None

    def shown(self) -> dict[str, Json]:
        """As ``/v1/fine_tuning/jobs`` gives it."""
        kept = asdict(self)
        suffix = kept.pop("suffix")
        return {
            "object": "fine_tuning.job",
            **kept,
            "error": kept["error"] or {},
            "organization_id": ORGANISATION,
            "user_provided_suffix": suffix,
            "method": {
                "type": "supervised",
                "supervised": {"hyperparameters": asdict(self.hyperparameters)},
            },
        }


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job."""

    id: str
    job_id: str
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    data: Mapping[str, Json] | None = None

    def shown(self) -> dict[str, Json]:
        """As ``/v1/fine_tuning/jobs/ID/events`` gives it."""
        return {
            "object": "fine_tuning.job.event",
            "id": self.id,
            "created_at": self.created_at,
            "level": self.level,
            "message": self.message,
            "data": dict(self.data or {}),
            "type": "metrics" if self.data else "message",
        }


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model as it was at the end of an epoch, ready to be asked."""

    id: str
    job_id: str
    created_at: int
    step: int
    model: str
    metrics: Mapping[str, Json]

    def shown(self) -> dict[str, Json]:
        """As ``/v1/fine_tuning/jobs/ID/checkpoints`` gives it."""
        return {
            "object": "fine_tuning.job.checkpoint",
            "id": self.id,
            "created_at": self.created_at,
            "fine_tuned_model_checkpoint": self.model,
            "fine_tuning_job_id": self.job_id,
            "metrics": dict(self.metrics),
            "step_number": self.step,
        }


@dataclass(frozen=True, slots=True)
class TunedModel:
    """A tuned model or a checkpoint: whose weights answer under that name."""

    id: str
    created_at: int
    base: str
    weights: str  # below the folder of all weights


@dataclass(frozen=True, slots=True)
class BatchError:
    """A line of a batch that cannot be taken."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True)
class BatchTimes:
    """When a batch came to each status."""

    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """How many requests a batch has, and how many of them are done."""

    total: int = 0
    completed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests sent as a file."""

    id: str
    created_at: int
    endpoint: str
    input_file_id: str
    completion_window: str
    metadata: Mapping[str, str] | None = None
    status: BatchStatus = "validating"
    errors: tuple[BatchError, ...] = ()
    output_file_id: str | None = None
    error_file_id: str | None = None
    counts: BatchCounts = BatchCounts()
    times: BatchTimes = field(default_factory=BatchTimes)

    def shown(self) -> dict[str, Json]:
        """As ``/v1/batches`` gives it."""
        errors = [asdict(error) for error in self.errors]
        return {
            "object": "batch",
            "id": self.id,
            "created_at": self.created_at,
            "endpoint": self.endpoint,
            "input_file_id": self.input_file_id,
            "completion_window": self.completion_window,
            "metadata": self.metadata,
            "status": self.status,
            "errors": {"object": "list", "data": errors} if errors else None,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "request_counts": asdict(self.counts),
            "expires_at": self.created_at + 24 * 3600,
            "expired_at": None,
            **asdict(self.times),
        }
