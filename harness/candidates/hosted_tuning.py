"""Fine-tunes that a service makes: OpenAI, whoever speaks its API, or a service of the project's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import ClassVar

from harness.candidates.hosted_base import Auto, BaseHostedTuning
from harness.errors import UsageError
from harness.fields import Count, Positive, require_fields
from harness.models.profiles import NEBIUS
from harness.models.remote import RemoteModel
from harness.records import Json
from harness.training.hosted.nebius import URL, NebiusProvider
from harness.training.hosted.openai import OpenAIProvider
from harness.training.hosted.provider import Capabilities, TuningProvider
from harness.training.hosted.request import JobSettings

METADATA_KEYS, METADATA_KEY_CHARACTERS, METADATA_VALUE_CHARACTERS = 15, 64, 512  # the 16th is the harness's
RATE_BELOW = 0.01  # a learning rate is below it, a sensible multiplier is not


@dataclass(frozen=True, kw_only=True)
class WandB:
    """Where a job sends its metrics at Weights & Biases; the service holds that key, not this project."""

    project: str
    name: str | None = None
    entity: str | None = None
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_fields(self)

    def described(self) -> dict[str, Json]:
        """The fields that are sent: those that are set."""
        given: dict[str, Json] = {key: value for key, value in asdict(self).items() if value}
        return {**given, "tags": list(self.tags)} if self.tags else given


@dataclass(frozen=True, kw_only=True)
class OpenAITuning(BaseHostedTuning):
    """Supervised fine-tuning at OpenAI, Azure OpenAI, or any service that speaks the same API.

    Args (see ``BaseHostedTuning`` for the others):
        learning_rate_multiplier: ``"auto"`` leaves it to the service. Some services take it for the learning
            rate itself: see their profile.
        metadata: stored with the job, at most 15 pairs of text.
        wandb: Weights & Biases, where the service has that integration.
        completions: it takes prompts and completions, not messages (None: known for babbage-002 and
            davinci-002).
        base_url: the service's address. None: what ``OPENAI_BASE_URL`` says, else OpenAI's own.
        api_key_env: the environment variable that holds the key; see ``RemoteModel``.
        profile: ``openai``, ``azure``, ``nebius``, ``compatible`` or ``twin``. None: by the address.
        concurrency, batch: how its answers and its baseline's are asked for; see ``RemoteModel``. They are no
            part of the job.
    """

    kind: ClassVar[str] = "openai"

    learning_rate_multiplier: Positive | Auto = "auto"
    metadata: Mapping[str, str] = field(default_factory=dict)
    wandb: WandB | None = None
    completions: bool | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    profile: str | None = None
    concurrency: Count | None = None
    batch: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.metadata) > METADATA_KEYS:
            raise UsageError(
                f"OpenAITuning: {len(self.metadata)} pairs of metadata; use at most {METADATA_KEYS}."
            )
        for key, value in self.metadata.items():
            texts = isinstance(key, str) and isinstance(value, str)
            if not texts or len(key) > METADATA_KEY_CHARACTERS or len(value) > METADATA_VALUE_CHARACTERS:
                raise UsageError(
                    f"OpenAITuning: metadata {key!r} must be text of up to {METADATA_KEY_CHARACTERS}"
                    f" characters with text of up to {METADATA_VALUE_CHARACTERS}."
                )
            if key.startswith("harness_"):
                raise UsageError(f"OpenAITuning: metadata {key!r}: names that begin with harness_ are taken.")

    def __hash__(self) -> int:
        return hash((type(self), self.base, self.train, self.epochs, self.base_url))  # metadata has no hash

    def service(self) -> OpenAIProvider:
        """See ``BaseHostedTuning``."""
        plain = OpenAIProvider(self.base_url, self.api_key_env, self.profile)
        is_nebius = plain.facts == NEBIUS
        return NebiusProvider(self.base_url, self.api_key_env, self.profile) if is_nebius else plain

    def settings(self) -> JobSettings:
        """See ``BaseHostedTuning``."""
        hyperparameters = {
            "n_epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate_multiplier": self.learning_rate_multiplier,
        }
        return JobSettings(
            base=self.base,
            hyperparameters={name: value for name, value in hyperparameters.items() if value != "auto"},
            suffix=self.suffix,
            metadata=dict(self.metadata),
            wandb=self.wandb.described() if self.wandb else None,
            completions=self.remote(self.base).takes_prompt,
        )

    def remote(self, model: str) -> RemoteModel:
        """See ``BaseHostedTuning``; what was made of a completion model is one, too."""
        completions = self.completions if model == self.base else self.remote(self.base).takes_prompt
        return replace(
            self.service().model(model),
            concurrency=self.concurrency,
            batch=self.batch,
            completions=completions,
        )

    def described(self) -> dict[str, Json]:
        """See ``Candidate``; how many answers are asked for at once shapes nothing."""
        fields = super().described()
        del fields["concurrency"]
        return fields

    def redirected(self, url: str) -> OpenAITuning:
        """See ``Candidate``: no key, no money, no deployment."""
        there = self.service().redirected(url)
        is_factor = self.service().capabilities.learning_rate == "multiplier"
        return replace(
            self,
            base_url=there.base_url,
            profile=there.profile,
            api_key_env=there.api_key_env,
            deployment=None,
            base_deployment=None,
            learning_rate_multiplier=self.learning_rate_multiplier if is_factor else "auto",
            completions=self.remote(self.base).takes_prompt,
        )

    def require_fit(self, service: Capabilities) -> None:
        """See ``BaseHostedTuning``."""
        super().require_fit(service)
        rate = self.learning_rate_multiplier
        if isinstance(rate, float | int) and (service.learning_rate == "absolute") != (rate < RATE_BELOW):
            if service.learning_rate == "absolute":
                problem = f"learning_rate_multiplier={rate:g} is taken for the learning rate itself there."
                hint = "give a learning rate such as 1e-5, or 'auto'."
            else:
                problem = (
                    f"learning_rate_multiplier={rate:g} is a factor of the service's own rate there; this"
                    " small, the model would learn nothing."
                )
                hint = "give a factor such as 0.5 or 2, or 'auto'."
            raise UsageError(f"OpenAITuning at a {service.name!r} service: {problem}\n  hint: {hint}")


@dataclass(frozen=True, kw_only=True)
class NebiusTuning(BaseHostedTuning):
    """Supervised fine-tuning of an adapter at Nebius Token Factory, which answers by the token.

    Args (see ``BaseHostedTuning`` for the others):
        learning_rate: the peak learning rate; ``"auto"`` leaves it to the service.
        lora_rank, lora_alpha: of the adapter (None: the service's own).
        context_length: tokens of the longest row (None: the service's own).
        packing: short rows share a sequence (None: as the service does).
        served_as: the name that the base answers under, where it is another one than ``base`` (None: known
            for some bases).
        base_url, api_key_env: where the service is, and the environment variable with its key.
        concurrency, batch: how its answers and its baseline's are asked for; see ``RemoteModel``.
    """

    kind: ClassVar[str] = "nebius"

    learning_rate: Positive | Auto = "auto"
    lora_rank: Count | None = None
    lora_alpha: Count | None = None
    context_length: Count | None = None
    packing: bool | None = None
    served_as: str | None = None
    base_url: str = URL
    api_key_env: str | None = None
    concurrency: Count | None = None
    batch: bool = False

    def service(self) -> NebiusProvider:
        """See ``BaseHostedTuning``."""
        return NebiusProvider(self.base_url, self.api_key_env, NEBIUS.name, self.served_as)

    def settings(self) -> JobSettings:
        """See ``BaseHostedTuning``."""
        own = {
            "n_epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "lora_r": self.lora_rank,
            "lora_alpha": self.lora_alpha,
            "context_length": self.context_length,
            "packing": self.packing,
        }
        given = {name: value for name, value in own.items() if value not in ("auto", None)}
        return JobSettings(self.base, {"lora": True, **given}, self.suffix)

    def remote(self, model: str) -> RemoteModel:
        """See ``BaseHostedTuning``; the base may answer under another name."""
        name = self.served_as if self.served_as and model == self.base else model
        return replace(self.service().model(name), concurrency=self.concurrency, batch=self.batch)

    def described(self) -> dict[str, Json]:
        """See ``Candidate``; how many answers are asked for at once shapes nothing."""
        given = super().described()
        del given["concurrency"]
        return given

    def redirected(self, url: str) -> OpenAITuning:
        """See ``Candidate``. The stand-in takes none of the service's own settings."""
        there = self.service().redirected(url)
        shared = {each.name: getattr(self, each.name) for each in fields(BaseHostedTuning)}
        return OpenAITuning(
            **shared,
            base_url=there.base_url,
            profile=there.profile,
            api_key_env=there.api_key_env,
            concurrency=self.concurrency,
        )

    def require_fit(self, service: Capabilities) -> None:
        """See ``BaseHostedTuning``."""
        super().require_fit(service)
        rate = self.learning_rate
        if isinstance(rate, float | int) and rate >= RATE_BELOW:
            raise UsageError(
                f"NebiusTuning: learning_rate={rate:g} is the rate itself, not a factor of the service's.\n"
                "  hint: give one such as 1e-5, or 'auto'."
            )


@dataclass(frozen=True, kw_only=True)
class HostedTuning(BaseHostedTuning):
    """Supervised fine-tuning at a service of the project's own: one class with ``TuningProvider``'s members.

    Args (see ``BaseHostedTuning`` for the others):
        provider: the service.
        learning_rate: the peak learning rate; ``"auto"`` leaves it to the service.
        hyperparameters: other settings of the job, under the names that the provider takes.
    """

    kind: ClassVar[str] = "hosted"

    provider: TuningProvider
    learning_rate: Positive | Auto = "auto"
    hyperparameters: Mapping[str, Json] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((type(self), self.base, self.train, self.epochs, self.provider))

    def service(self) -> TuningProvider:
        """See ``BaseHostedTuning``."""
        return self.provider

    def settings(self) -> JobSettings:
        """See ``BaseHostedTuning``."""
        own = {
            "n_epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
        }
        given = {name: value for name, value in own.items() if value != "auto"}
        return JobSettings(self.base, {**self.hyperparameters, **given}, self.suffix)

    def described(self) -> dict[str, Json]:
        """See ``Candidate``; of the provider its identity alone, which holds no secret."""
        fields: dict[str, Json] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        if self.schema is None:
            del fields["schema"]
        return {
            "kind": self.kind,
            **fields,
            "decoding": self.decoding.settings(),
            "provider": self.provider.identity(),
        }

    def redirected(self, url: str) -> HostedTuning:
        """See ``Candidate``. A stand-in takes neither an absolute rate nor the service's own settings."""
        return replace(
            self,
            provider=self.provider.redirected(url),
            deployment=None,
            base_deployment=None,
            learning_rate="auto",
            hyperparameters={},
        )
