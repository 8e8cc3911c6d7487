"""A fine-tune at a service, as users write it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import ClassVar, Literal, TypeAlias

from harness.candidates.specs import Candidate, Prompted
from harness.errors import UsageError
from harness.models.profiles import REHEARSAL_KEY, TWIN, Profile
from harness.models.remote import RemoteModel
from harness.records import Json

Auto: TypeAlias = Literal["auto"]

METADATA_KEYS, METADATA_KEY_CHARACTERS, METADATA_VALUE_CHARACTERS = 15, 64, 512  # the 16th is the harness's
MOST_EPOCHS = 50
RATE_BELOW = 0.01  # a learning rate is below it, a sensible multiplier is not


@dataclass(frozen=True, kw_only=True)
class WandB:
    """Where a job sends its metrics at Weights & Biases; the service holds that key, not this project."""

    project: str
    name: str | None = None
    entity: str | None = None
    tags: tuple[str, ...] = ()

    def described(self) -> dict[str, Json]:
        """What is sent: what is not said is left out."""
        said: dict[str, Json] = {key: value for key, value in asdict(self).items() if value}
        return {**said, "tags": list(self.tags)} if self.tags else said


@dataclass(frozen=True, kw_only=True)
class OpenAITuning(Candidate):
    """Supervised fine-tuning at OpenAI, Azure OpenAI, or any service that speaks the same.

    The same rows, base and settings are one job: a second run finds it and pays nothing.

    Args:
        base: the model to tune, best a dated snapshot: ``gpt-4o-mini-2024-07-18``.
        train: training rows (chat JSONL or prompt/completion). Only the conversations are sent, no metadata.
        dev: development rows, sent as the validation file; for the loss curves and ``checkpoint="best"``.
        replay: a file of general rows mixed in against forgetting, added to every size.
        stratify: metadata field whose proportions every subset keeps.
        epochs, batch_size, learning_rate_multiplier: ``"auto"`` leaves them to the service. Some services
            take the multiplier for the learning rate itself: see their profile.
        suffix: stands in the tuned model's name.
        metadata: kept with the job, at most 15 pairs of text.
        wandb: Weights & Biases, where the service has that integration.
        checkpoint: which of the job's models is evaluated: the last, the one with the lowest validation
            loss (its development rows have chosen it), or the one of that step.
        completions: it takes prompts and completions, not messages (None: known for babbage-002 and
            davinci-002).
        base_url: the service's address. None: what ``OPENAI_BASE_URL`` says, else OpenAI's own.
        api_key_env: the environment variable that holds the key; see ``RemoteModel``.
        profile: ``openai``, ``azure``, ``nebius``, ``compatible`` or ``twin``. None: by the address.
        deployment: the name that the tuned model answers to, where it must be deployed first (Azure);
            ``{size}`` and ``{seed}`` in it stand for the training's.
        base_deployment: the name that the base answers to there, for the baseline.
        concurrency, batch: how its answers and its baseline's are asked for; see ``RemoteModel``. They are no
            part of the job.
        patience_hours: longest time without any news of the job. The job goes on, and the next run finds it.
    """

    kind: ClassVar[str] = "openai"
    cost_rank: ClassVar[int] = 4

    base: str
    train: str
    dev: str | None = None
    replay: str | None = None
    stratify: str | None = None
    epochs: int | Auto = 3
    batch_size: int | Auto = "auto"
    learning_rate_multiplier: float | Auto = "auto"
    suffix: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    wandb: WandB | None = None
    checkpoint: Literal["last", "best"] | int = "last"
    completions: bool | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    profile: str | None = None
    deployment: str | None = None
    base_deployment: str | None = None
    concurrency: int | None = None
    batch: bool = False
    patience_hours: float = 6.0

    def __post_init__(self) -> None:
        _require_whole("epochs", self.epochs, MOST_EPOCHS)
        _require_whole("batch_size", self.batch_size, None)
        rate = self.learning_rate_multiplier
        if rate != "auto" and not (isinstance(rate, float | int) and 0 < rate < math.inf):
            raise UsageError(
                f"OpenAITuning(learning_rate_multiplier={rate!r}): use a number above 0, or 'auto'."
            )
        _require_metadata(self.metadata)
        if isinstance(self.checkpoint, int):
            if self.checkpoint < 1:
                raise UsageError(f"OpenAITuning(checkpoint={self.checkpoint}): a step is at least 1.")
        elif self.checkpoint not in ("last", "best"):
            raise UsageError(
                f"OpenAITuning(checkpoint={self.checkpoint!r}): use 'last', 'best' or a step's number;"
                " `harness jobs follow ID` lists the steps of a job."
            )
        if self.checkpoint == "best" and self.dev is None:
            raise UsageError(
                "OpenAITuning(checkpoint='best') needs development rows to choose by.\n"
                "  hint: name them: dev='dev.jsonl'. Never the held-out rows."
            )
        if not self.patience_hours > 0:
            raise UsageError(f"OpenAITuning(patience_hours={self.patience_hours}): must be above 0.")

    def __hash__(self) -> int:
        return hash((type(self), self.base, self.train, self.epochs, self.base_url))  # metadata has no hash

    @property
    def model_name(self) -> str:
        """See ``Candidate``."""
        return self.base

    @property
    def provider(self) -> Profile:
        """What is known of the service."""
        return self.remote(self.base).provider

    @property
    def takes_prompt(self) -> bool:
        """Whether training rows are sent as prompt and completion."""
        return self.remote(self.base).takes_prompt

    def remote(self, model: str) -> RemoteModel:
        """A model of the same service: the base, or what was made of it."""
        completions = self.completions if model == self.base else self.takes_prompt
        return RemoteModel(
            model,
            self.base_url,
            self.api_key_env,
            self.profile,
            concurrency=self.concurrency,
            batch=self.batch,
            completions=completions,
        )

    def own_baseline(self) -> Candidate:
        """See ``Candidate``: the base at the same service, with the full prompt.

        Raises:
            UsageError: the base must be deployed there, and its deployment is not named.
        """
        if self.provider.must_deploy and self.base_deployment is None:
            raise UsageError(
                f"OpenAITuning at a {self.provider.name!r} service: the baseline is {self.base} with the full"
                " prompt, and a model answers there only under the name of its deployment.\n"
                f"  hint: deploy {self.base} there and give base_deployment='ITS NAME'; or name another"
                " baseline: --baseline=NAME."
            )
        return Prompted(model=self.remote(self.base_deployment or self.base), decoding=self.decoding)

    def described(self) -> dict[str, Json]:
        """See ``Candidate``; how many answers are asked for at once shapes nothing."""
        fields = super().described()
        del fields["concurrency"]
        return fields

    def rehearsed(self, base_url: str) -> OpenAITuning:
        """The same at a local twin of the service: no key, no money, no deployment."""
        rate = self.learning_rate_multiplier if self.provider.learning_rate == "multiplier" else "auto"
        return replace(
            self,
            base_url=base_url,
            profile=TWIN.name,
            api_key_env=REHEARSAL_KEY,
            deployment=None,
            base_deployment=None,
            learning_rate_multiplier=rate,
            completions=self.takes_prompt,
        )

    def require_fit(self, profile: Profile) -> None:
        """Check the settings against what the provider can do.

        Raises:
            UsageError: a setting that it would refuse, drop, or take for something else.
        """
        who = f"OpenAITuning at a {profile.name!r} service"
        rate = self.learning_rate_multiplier
        if isinstance(rate, float | int) and (profile.learning_rate == "absolute") != (rate < RATE_BELOW):
            raise UsageError(_wrong_rate(who, rate, profile))
        longest = profile.suffix_characters
        if self.suffix is not None and len(self.suffix) > longest:
            raise UsageError(f"{who}: the suffix has {len(self.suffix)} characters; use at most {longest}.")
        for name, value, can in (
            ("metadata", self.metadata, profile.metadata),
            ("wandb", self.wandb, profile.wandb),
            ("checkpoint", self.checkpoint != "last", profile.checkpoints),
            ("base_deployment", self.base_deployment, profile.must_deploy),
        ):
            if value and not can:
                raise UsageError(f"{who}: there is no {name} there.\n  hint: leave {name}= out.")


def _wrong_rate(who: str, rate: float, profile: Profile) -> str:
    if profile.learning_rate == "absolute":
        return (
            f"{who}: learning_rate_multiplier={rate:g} is taken for the learning rate itself there.\n"
            "  hint: give a learning rate such as 1e-5, or 'auto'."
        )
    return (
        f"{who}: learning_rate_multiplier={rate:g} is a factor of the service's own rate there; this small,"
        " the model would learn nothing.\n  hint: give a factor such as 0.5 or 2, or 'auto'."
    )


def _require_whole(name: str, value: int | str, most: int | None) -> None:
    if value == "auto":
        return
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or int(value) < 1 or (most is not None and int(value) > most):
        up_to = f"1 to {most}" if most else "1 or more"
        raise UsageError(f"OpenAITuning({name}={value!r}): use a whole number, {up_to}, or 'auto'.")


def _require_metadata(metadata: Mapping[str, str]) -> None:
    if len(metadata) > METADATA_KEYS:
        raise UsageError(f"OpenAITuning: {len(metadata)} pairs of metadata; use at most {METADATA_KEYS}.")
    for key, value in metadata.items():
        texts = isinstance(key, str) and isinstance(value, str)
        if not texts or len(key) > METADATA_KEY_CHARACTERS or len(value) > METADATA_VALUE_CHARACTERS:
            raise UsageError(
                f"OpenAITuning: metadata {key!r} must be text of up to {METADATA_KEY_CHARACTERS} characters"
                f" with text of up to {METADATA_VALUE_CHARACTERS}."
            )
        if key.startswith("harness_"):
            raise UsageError(f"OpenAITuning: metadata {key!r}: names that begin with harness_ are taken.")
