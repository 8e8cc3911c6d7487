"""Checkpoints of jobs: the models at the ends of the last epochs, each of which can be asked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from harness.testing.fake_openai.backend import Step
from harness.testing.fake_openai.job_results import tuned_name
from harness.testing.fake_openai.records import Checkpoint, Job, TunedModel
from harness.testing.fake_openai.store import Store

KEPT_CHECKPOINTS = 3  # the service keeps those of the last three epochs


class Checkpoints:
    """Keeps them, and lets go of the oldest.

    Args:
        store: where they are kept.
        weights: the folder below which the weights lie.
        clock: seconds since 1970.
    """

    def __init__(self, store: Store, weights: Path, clock: Callable[[], float]) -> None:
        self._store, self._weights, self._clock = store, weights, clock

    def keep(self, job: Job, step: Step) -> None:
        """One before the end of the training."""
        self.add(job, step, f"{tuned_name(job)}:ckpt-step-{step.number}")
        before = [c for c in self._store.newest_first(Checkpoint, job.id) if c.step <= step.number]
        for old in before[KEPT_CHECKPOINTS - 1 :]:  # the end is one too
            self._store.delete(Checkpoint, old.id)
            self._store.delete(TunedModel, old.model)
            shutil.rmtree(self._weights / job.id / f"step-{old.step}", ignore_errors=True)

    def add(self, job: Job, step: Step, name: str) -> None:
        """One that answers under ``name``."""
        now = int(self._clock())
        self._store.put(TunedModel(name, now, job.model, f"{job.id}/{step.weights}"))
        measured = {
            "step": step.number,
            "train_loss": step.train_loss,
            "train_mean_token_accuracy": step.train_accuracy,
            "valid_loss": step.dev_loss,
            "valid_mean_token_accuracy": step.dev_accuracy,
            "full_valid_loss": step.dev_loss,
            "full_valid_mean_token_accuracy": step.dev_accuracy,
        }
        identity = f"ftckpt_{job.id[6:]}{step.number}"
        self._store.put(Checkpoint(identity, job.id, now, step.number, name, measured), job.id)
