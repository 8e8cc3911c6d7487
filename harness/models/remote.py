"""A hosted model as users write it: frozen, hashable, complete, and without a secret.

Prompted(model=RemoteModel("gpt-4o-mini"))
Prompted(model=RemoteModel("qwen3-4b", base_url="http://127.0.0.1:8000/v1", concurrency=64))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.data.hosted import hosted_model
from harness.errors import UsageError
from harness.models.endpoint import Endpoint
from harness.models.profiles import REHEARSAL_KEY, TWIN, Profile, profile_of
from harness.models.progress import Progress, Silent
from harness.records import Json

if TYPE_CHECKING:
    from harness.models.pricing import Spending
    from harness.models.remote_answers import OpenRemoteModel

LOADING_S = 300.0  # a tuned model may be unknown for minutes after its job


@dataclass(frozen=True)
class RemoteModel:
    """A model behind an OpenAI-compatible service: OpenAI, Azure, vLLM, Ollama, a llama.cpp server and so on.

    Args:
        model: its name there.
        base_url: the service's address (None: ``OPENAI_BASE_URL``, else OpenAI's own).
        api_key_env: the environment variable that holds the key. Without it, ``OPENAI_API_KEY`` is sent to
            OpenAI and this machine only, and a server in a private network is asked without one; Azure and
            Nebius have their usual variables, and any other service must have one named.
        profile: which provider it is, where its address does not tell.
        concurrency: calls on their way at once, at most; fewer while the service says that it is busy (None:
            the provider's usual number).
        batch: send everything through the Batch API: half the price, an answer within a day, no latencies.
        logprobs: ask for the log-probability of each answer.
        completions: it takes one prompt, not messages (None: known for babbage-002 and davinci-002).
        timeout_s: longest wait for one answer (None: the provider's usual).
        attempts: calls for one row that may end in a fault before the row counts as failed.

    Raises:
        UsageError: a value that cannot be.
    """

    model: str
    base_url: str | None = None
    api_key_env: str | None = None
    profile: str | None = None
    concurrency: int | None = None
    batch: bool = False
    logprobs: bool = False
    completions: bool | None = None
    timeout_s: float | None = None
    attempts: int = 5

    def __post_init__(self) -> None:
        if not self.model:
            raise UsageError("RemoteModel needs the model's name at the service.")
        for name in ("concurrency", "attempts"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise UsageError(f"RemoteModel({name}={number}): must be at least 1.")
        if self.batch and not self.provider.batch_api:
            raise UsageError(
                f"RemoteModel(batch=True): no Batch API is known of {self.endpoint.url}"
                f" (profile {self.provider.name}).\n  hint: leave batch out, or name the profile of one that"
                " has it."
            )

    @property
    def provider(self) -> Profile:
        """What is known of the service."""
        return profile_of(self.profile, Endpoint(self.base_url).url)

    @property
    def endpoint(self) -> Endpoint:
        """Where it is asked."""
        return self.provider.endpoint(self.base_url, self.api_key_env, self.longest_wait_s)

    @property
    def url(self) -> str:
        """The address that it is asked at."""
        return self.endpoint.url

    @property
    def calls_at_once(self) -> int:
        """Calls on their way, at most."""
        return self.provider.concurrency if self.concurrency is None else self.concurrency

    @property
    def longest_wait_s(self) -> float:
        """For one answer."""
        return self.provider.timeout_s if self.timeout_s is None else self.timeout_s

    @property
    def takes_prompt(self) -> bool:
        """Whether it is asked with one text and not with messages."""
        if self.completions is not None:
            return self.completions
        known = hosted_model(self.model)
        return known is not None and known.completions

    @property
    def is_tuned(self) -> bool:
        """Whether its name is that of a fine-tune."""
        return self.model.startswith("ft:")

    def redirected(self, url: str) -> RemoteModel:
        """The same model asked at a local stand-in for its service, which is shown no real key.

        Args:
            url: the stand-in's address.
        """
        return replace(self, base_url=url, profile=TWIN.name, api_key_env=REHEARSAL_KEY)

    def described(self) -> dict[str, Json]:
        """The fields, for the record."""
        return {
            **self.identity(),
            "concurrency": self.calls_at_once,
            "timeout_s": self.longest_wait_s,
            "attempts": self.attempts,
        }

    def identity(self) -> Mapping[str, Json]:
        """Everything that shapes an answer but the question and the decoding: the material of cache keys.

        ``batch`` is among it, for a batched answer has no latency to be scored by.
        """
        return {
            "model": self.model,
            "base_url": self.endpoint.url,
            "profile": self.provider.name,
            "prompt_form": self.takes_prompt,
            "batch": self.batch,
            "logprobs": self.logprobs,
        }

    @property
    def numeric_config(self) -> str:
        """What a record can say of how its numbers are computed."""
        return f"the service's own, at {self.endpoint.url}"

    def require_ready(self) -> None:
        """Everything that can be known to be wrong before a call; sends nothing.

        Raises:
            ModelError: there is no key.
        """
        self.endpoint.require_key()

    def open(
        self,
        spending: Spending | None = None,
        progress: Progress | None = None,
        schema: Mapping[str, Json] | None = None,
        *,
        just_tuned: bool = False,
    ) -> OpenRemoteModel:
        """The model, ready to answer.

        Args:
            spending: its price and the budget that calls are paid from; None: nothing is counted.
            progress: watches the wait for a batch.
            schema: JSON schema that answers are bound to, where the service offers that for such a model.
            just_tuned: the service may not have loaded it yet; so may it with any fine-tune (``ft:…``).

        Raises:
            ModelError: there is no key.
        """
        from harness.models.remote_answers import OpenRemoteModel

        self.require_ready()
        loading_s = LOADING_S if just_tuned or self.is_tuned else 0.0
        return OpenRemoteModel(self, spending, progress or Silent(), schema, loading_s=loading_s)
