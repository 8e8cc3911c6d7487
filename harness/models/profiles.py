"""The differences between services, as data: one profile for each, chosen by name or by the address.

As known in November 2026, from the providers' own reference pages. A service that is not here is taken as
``compatible``, which asks it for nothing that is not common to all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from harness.decision.prices import LISTED
from harness.errors import UnknownName
from harness.models.endpoint import ClientKind, Endpoint, host_of

#: The variable that would hold the key of a local stand-in. Nobody sets it, so no real key is sent there.
REHEARSAL_KEY = "HARNESS_REHEARSAL_KEY"


@dataclass(frozen=True, slots=True)
class Profile:
    """One provider's way with the fine-tuning API, and with answers."""

    name: str  # the value of ``profile=`` that chooses it
    speaks: ClientKind = "compatible"  # which of the official clients talks to it
    key_variable: str | None = None  # usually holds its key (None: see ``Endpoint``)
    #: How it reads ``learning_rate_multiplier``: as a factor of its own choice, or as the rate itself.
    learning_rate: Literal["multiplier", "absolute"] = "multiplier"
    minimum_rows: int = 1  # training rows below which it refuses a file
    suffix_characters: int = 40  # longest suffix of a tuned model's name
    metadata: bool = False  # jobs carry metadata, and are found by it
    nested_method: bool = False  # hyperparameters go under ``method``; else they stand in the request itself
    seed: bool = True  # jobs take a seed
    checkpoints: bool = True  # intermediate models are listed and can be asked
    batch_api: bool = False  # answers can be had through the Batch API
    structured_outputs: bool = False  # answers can be bound to a JSON schema
    wandb: bool = False  # jobs can send their metrics to Weights & Biases
    must_deploy: bool = False  # a tuned model answers only under the name of a deployment that the user makes
    lifetimes: bool = False  # the dated table of closures holds for it
    poll_s: float = 10.0  # between two looks at a job
    concurrency: int = 32  # calls on their way at once, where the model does not say
    timeout_s: float = 60.0  # longest wait for one answer, where the model does not say
    stands_for: str = ""  # of a stand-in, the service whose price list holds

    @property
    def seller(self) -> str:
        """The service whose prices hold."""
        return self.stands_for or self.name

    def endpoint(self, url: str | None, key_env: str | None, timeout_s: float | None = None) -> Endpoint:
        """Where it is asked, with the key of the named variable, else of its usual one."""
        return Endpoint(url, key_env or self.key_variable, self.speaks, timeout_s or self.timeout_s)


OPENAI = Profile(
    "openai",
    speaks="openai",
    minimum_rows=10,
    suffix_characters=64,
    metadata=True,
    nested_method=True,
    batch_api=True,
    structured_outputs=True,
    wandb=True,
    lifetimes=True,
)
# Azure's reference of 2024-10-21: a suffix of up to 40 characters; neither metadata nor method are named
AZURE = Profile(
    "azure", speaks="azure", minimum_rows=10, batch_api=True, structured_outputs=True, must_deploy=True
)
NEBIUS = Profile(
    "nebius",
    key_variable="NEBIUS_API_KEY",
    learning_rate="absolute",
    suffix_characters=64,
    checkpoints=False,  # they are listed, but none answers before it is published
    batch_api=True,
    structured_outputs=True,
)
TOGETHER = Profile(
    "together",
    key_variable="TOGETHER_API_KEY",
    learning_rate="absolute",
    suffix_characters=27,  # of 40: the rest marks the job as the harness's
    structured_outputs=True,
    must_deploy=True,
)
FIREWORKS = Profile(  # chosen by name alone: answers that are kept of its address have another profile
    "fireworks",
    key_variable="FIREWORKS_API_KEY",
    learning_rate="absolute",
    minimum_rows=3,
    suffix_characters=24,
    seed=False,
    checkpoints=False,
    structured_outputs=True,
    must_deploy=True,
    timeout_s=300.0,
)
TINKER = Profile("tinker", key_variable="TINKER_API_KEY", learning_rate="absolute", timeout_s=300.0)
COMPATIBLE = Profile("compatible", timeout_s=300.0)  # often a small machine of one's own
TWIN = Profile(
    "twin",
    minimum_rows=10,
    suffix_characters=64,
    metadata=True,
    nested_method=True,
    batch_api=True,
    structured_outputs=True,
    wandb=True,
    poll_s=0.2,
    concurrency=256,  # it gathers questions that come together, and answers them as one batch
    timeout_s=1_800.0,
)

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (OPENAI, AZURE, NEBIUS, TOGETHER, FIREWORKS, TINKER, COMPATIBLE, TWIN)
    }
)
_HOSTS: tuple[tuple[str, Profile], ...] = (
    ("api.openai.com", OPENAI),
    ("openai.azure.com", AZURE),
    ("cognitiveservices.azure.com", AZURE),
    ("services.ai.azure.com", AZURE),
    ("nebius.com", NEBIUS),
    ("thinkingmachines.dev", TINKER),
)


def twin_of(service: str) -> str:
    """The profile of a stand-in for a service, at whose prices it is rehearsed."""
    return f"{TWIN.name}/{service}" if service in LISTED else TWIN.name


def profile_of(name: str | None, url: str) -> Profile:
    """The profile of that name, ``twin/NAME`` for a service's stand-in; without one, that of the host.

    Raises:
        UnknownName: no such profile.
    """
    if name is not None:
        own, _, service = name.partition("/")
        if own not in PROFILES or (service and own != TWIN.name):
            raise UnknownName("profile", name, PROFILES, "Leave it out to have it chosen by base_url.")
        return replace(PROFILES[own], stands_for=service) if service else PROFILES[own]
    host = host_of(url)
    for known, profile in _HOSTS:
        if host == known or host.endswith(f".{known}"):
            return profile
    return COMPATIBLE
