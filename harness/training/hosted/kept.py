"""What is kept of a finished job beside its record, so that a later run asks the service for nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import HostedTrainingError, StoreError
from harness.records import Json
from harness.training.hosted.protocol import Tuned
from harness.training.hosted.requests import Checkpoint
from harness.training.hosted.results import best_checkpoint
from harness.training.hosted.spec import OpenAITuning

FILE = "hosted.json"


@dataclass(frozen=True, slots=True)
class Kept:
    """A job that succeeded. ``ends`` is the first shutdown date that the service gave."""

    job: str
    model: str
    url: str
    checkpoints: tuple[Checkpoint, ...]
    ends: str | None
    notes: tuple[str, ...]

    @classmethod
    def of(cls, tuned: Tuned, url: str) -> Kept:
        """What is kept of a job's outcome."""
        return cls(tuned.job.id, tuned.job.tuned_model or "", url, tuned.checkpoints, tuned.ends, tuned.notes)

    def write(self, folder: Path) -> None:
        """Keep it in an artifact's folder."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


def read_kept(folder: Path) -> Kept:
    """What was kept.

    Raises:
        StoreError: it cannot be read.
    """
    file = folder / FILE
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        checkpoints = tuple(_checkpoint(item) for item in found["checkpoints"])
        return Kept(
            found["job"], found["model"], found["url"], checkpoints, found["ends"], tuple(found["notes"])
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{file} cannot be read: delete {folder}; the job is found again at the service."
        ) from error


def _checkpoint(item: Mapping[str, Json]) -> Checkpoint:
    metrics = item["metrics"]
    return Checkpoint(
        str(item["id"]),
        int(str(item["step"])),
        str(item["model"]),
        metrics if isinstance(metrics, Mapping) else {},
    )


def chosen_model(spec: OpenAITuning, kept: Kept) -> str:
    """The name of the model that the candidate asks for: the job's last, its best, or that of a step.

    Raises:
        HostedTrainingError: the job has no such checkpoint.
    """
    if spec.checkpoint == "last":
        return kept.model
    if spec.checkpoint == "best":
        best = best_checkpoint(kept.checkpoints)
        if best is not None:
            return best.model
        problem = f"the service gives no validation loss for any checkpoint of the job {kept.job}."
        raise HostedTrainingError(problem, "use checkpoint='last'.", job=kept.job)
    for checkpoint in kept.checkpoints:
        if checkpoint.step == spec.checkpoint:
            return checkpoint.model
    there = ", ".join(str(checkpoint.step) for checkpoint in kept.checkpoints) or "none"
    raise HostedTrainingError(
        f"the job {kept.job} has no checkpoint at step {spec.checkpoint}; it has: {there}.",
        "use one of those steps, 'best' or 'last'.",
        job=kept.job,
    )
