"""One tuning job before anything is sent: its settings, its files as they are sent, and its fingerprint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.data.convert import to_json, to_prompt_completion
from harness.data.fingerprints import bytes_digest, fingerprint
from harness.records import Json, Row

# Raised when a change here makes the same inputs another job. Jobs at services carry the fingerprint, so a
# raise means that every one of them is begun and paid again.
RECIPE = 1
NAME_DIGITS = 32  # of the SHA-256 in a file's name


@dataclass(frozen=True, slots=True)
class JobSettings:
    """The settings of a job."""

    base: str  # the model to tune
    # under OpenAI's names (``n_epochs``, ``batch_size``, ``learning_rate_multiplier``) and
    # ``learning_rate``; a provider translates them. Those left to the service are left out
    hyperparameters: Mapping[str, Json] = field(default_factory=dict)
    suffix: str | None = None  # part of the tuned model's name
    metadata: Mapping[str, str] = field(default_factory=dict)  # stored with the job
    wandb: Mapping[str, Json] | None = None  # where metrics are sent at Weights & Biases
    completions: bool = False  # rows are sent as prompt and completion, not as messages

    @property
    def epochs(self) -> int | None:
        """How often every row is seen; None where that is left to the service."""
        epochs = self.hyperparameters.get("n_epochs")
        return epochs if isinstance(epochs, int) else None


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it is sent."""

    name: str  # holds a digest of the content, or of the job
    content: bytes = field(repr=False)  # JSON Lines
    places: tuple[str, ...] = field(repr=False)  # for each line, the user's ``file:line`` that it came from

    @property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return bytes_digest(self.content)


@dataclass(frozen=True, slots=True)
class JobRequest:
    """One job. The same rows, base and settings have the same ``fingerprint``, whoever asks for them."""

    settings: JobSettings
    training: Upload
    validation: Upload | None
    seed: int
    fingerprint: str

    @property
    def base(self) -> str:
        """The model to tune."""
        return self.settings.base

    def param(self, sent: Upload) -> str:
        """What services call one of its files in their messages."""
        return "training_file" if sent is self.training else "validation_file"


def make_request(
    settings: JobSettings, train: Sequence[Row], dev: Sequence[Row], seed: int, *, names_job: bool
) -> JobRequest:
    """The job of these settings on these rows.

    Rows are written without their ids and metadata: the service has no use for them. A file is named after
    its content, and sent once; with ``names_job`` the training file is named after the job instead, which is
    then found by it.

    Raises:
        DataError: a row that the model's format cannot hold.
    """
    training = _upload(train, settings.completions)
    validation = _upload(dev, settings.completions) if dev else None
    name = fingerprint(
        {
            "recipe": RECIPE,
            "base": settings.base,
            "training": training.digest,
            "validation": validation.digest if validation else None,
            "hyperparameters": dict(settings.hyperparameters),
            "seed": seed,
            "suffix": settings.suffix,
        }
    )
    if names_job:
        training = replace(training, name=_file_name(name))
    return JobRequest(settings, training, validation, seed, name)


def _upload(rows: Sequence[Row], completions: bool) -> Upload:
    write = to_prompt_completion if completions else to_json
    lines = [
        json.dumps(write(row, metadata=False), ensure_ascii=False, separators=(",", ":")) for row in rows
    ]
    content = "".join(f"{line}\n" for line in lines).encode("utf-8")
    return Upload(_file_name(bytes_digest(content)), content, tuple(row.where or row.id for row in rows))


def _file_name(digest: str) -> str:
    return f"harness-{digest[:NAME_DIGITS]}.jsonl"
