"""What a job is made from: its files as they are sent, its settings, and the fingerprint that names it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.data.convert import to_json, to_prompt_completion
from harness.data.fingerprints import bytes_digest, fingerprint
from harness.models.profiles import Profile
from harness.records import Json, Row
from harness.training.hosted.spec import OpenAITuning

# raised when a change here makes the same inputs another job
RECIPE = 1
FINGERPRINT_KEY = "harness_fingerprint"
NAME_DIGITS = 32  # of the SHA-256 in a file's name
MARK_DIGITS = 12  # of the fingerprint in a suffix


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it is sent. ``places`` says for each line which ``file:line`` of the user's it came from."""

    name: str
    content: bytes = field(repr=False)
    places: tuple[str, ...] = field(repr=False)

    @property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return bytes_digest(self.content)


@dataclass(frozen=True, slots=True)
class Order:
    """One job, before anything is sent. ``hyperparameters`` are as asked for, "auto" left out."""

    base: str
    training: Upload
    validation: Upload | None
    hyperparameters: Mapping[str, Json]
    seed: int
    suffix: str | None
    metadata: Mapping[str, str]
    wandb: Mapping[str, Json] | None
    fingerprint: str
    profile: Profile

    @property
    def mark(self) -> str | None:
        """What the suffix ends in where jobs carry no metadata, to find the job by; None: no room for it."""
        if self.profile.metadata:
            return None
        mark = self.fingerprint[:MARK_DIGITS]
        fits = len(f"{self.suffix}-{mark}" if self.suffix else mark) <= self.profile.suffix_characters
        return mark if fits else None

    def body(
        self, training_file: str, validation_file: str | None, *, marked: bool = True
    ) -> dict[str, Json]:
        """The request that begins the job, for files that are at the service; ``marked`` as ``mark`` says."""
        profile = self.profile
        body: dict[str, Json] = {"model": self.base, "training_file": training_file}
        if validation_file is not None:
            body["validation_file"] = validation_file
        if profile.nested_method:
            supervised = {"hyperparameters": dict(self.hyperparameters)} if self.hyperparameters else {}
            body["method"] = {"type": "supervised", "supervised": supervised}
        elif self.hyperparameters:
            body["hyperparameters"] = dict(self.hyperparameters)
        if profile.seed:
            body["seed"] = self.seed
        suffix = "-".join(part for part in (self.suffix, self.mark if marked else None) if part)
        if suffix:
            body["suffix"] = suffix
        if profile.metadata:
            body["metadata"] = {**self.metadata, FINGERPRINT_KEY: self.fingerprint}
        if self.wandb is not None and profile.wandb:
            body["integrations"] = [{"type": "wandb", "wandb": dict(self.wandb)}]
        return body


def make_order(
    spec: OpenAITuning, train: Sequence[Row], dev: Sequence[Row], seed: int, profile: Profile
) -> Order:
    """The job of a candidate on these rows.

    Rows are written without their ids and metadata: the service has no use for them. A file is named after
    its content, and sent once; where jobs carry no metadata the training file is named after the job, which
    is then found by it.

    Raises:
        DataError: a row that the model's format cannot hold.
    """
    training = upload(train, spec.takes_prompt)
    validation = upload(dev, spec.takes_prompt) if dev else None
    hyperparameters: dict[str, Json] = {
        name: value
        for name, value in (
            ("n_epochs", spec.epochs),
            ("batch_size", spec.batch_size),
            ("learning_rate_multiplier", spec.learning_rate_multiplier),
        )
        if value != "auto"
    }
    name = fingerprint(
        {
            "recipe": RECIPE,
            "base": spec.base,
            "training": training.digest,
            "validation": validation.digest if validation else None,
            "hyperparameters": hyperparameters,
            "seed": seed,
            "suffix": spec.suffix,
        }
    )
    return Order(
        base=spec.base,
        training=training if profile.metadata else replace(training, name=_file_name(name)),
        validation=validation,
        hyperparameters=hyperparameters,
        seed=seed,
        suffix=spec.suffix,
        metadata=dict(spec.metadata),
        wandb=spec.wandb.described() if spec.wandb else None,
        fingerprint=name,
        profile=profile,
    )


def upload(rows: Sequence[Row], completions: bool) -> Upload:
    """The rows as JSON Lines in the model's own format, under a name that says what is in it.

    Raises:
        DataError: ``completions``, and a row that is more than a prompt and its completion.
    """
    write = to_prompt_completion if completions else to_json
    lines = [
        json.dumps(write(row, metadata=False), ensure_ascii=False, separators=(",", ":")) for row in rows
    ]
    content = "".join(f"{line}\n" for line in lines).encode("utf-8")
    name = _file_name(bytes_digest(content))
    return Upload(name, content, tuple(row.where or row.id for row in rows))


def _file_name(digest: str) -> str:
    return f"harness-{digest[:NAME_DIGITS]}.jsonl"
