"""Fine-tunes that Fireworks makes, which answer on a deployment that the user has named."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import ClassVar

from harness.candidates.base import Prepared, Variant
from harness.candidates.downloaded import DownloadedTuning
from harness.candidates.hosted_base import Auto
from harness.candidates.hosted_tuning import RATE_BELOW
from harness.candidates.lab import Lab
from harness.candidates.prompted import Prompted
from harness.errors import HostedTrainingError, UsageError
from harness.fields import Count, Positive
from harness.models.protocol import Model
from harness.training.hosted import errors
from harness.training.hosted.fireworks import (
    LIBRARY,
    LOAD_POLL_S,
    LOADED_WITHIN_S,
    FireworksProvider,
)
from harness.training.hosted.fireworks_account import URL
from harness.training.hosted.fireworks_objects import is_id, resource, text, trouble
from harness.training.hosted.provider import Capabilities, RequestRejected, ServiceError
from harness.training.hosted.record import JobRecord
from harness.training.hosted.request import JobSettings

GONE = frozenset({"DELETING", "DELETED", "FAILED"})  # states of a deployment that will not answer


@dataclass(frozen=True, kw_only=True)
class FireworksTuning(DownloadedTuning):
    """Supervised fine-tuning of an adapter at Fireworks, which answers on a deployment of yours, or here.

    Fireworks has no serverless adapters. Nothing is tuned before ``deployment`` names a deployment of the
    base with ``--enable-addons``, where every size and seed is loaded and the base answers as well, or
    ``local_base`` the base's weights here, on which the fetched adapter answers.

    Args (see ``DownloadedTuning`` and ``BaseHostedTuning`` for the others):
        base: the model to tune: ``accounts/fireworks/models/ID``, or ``ID`` alone.
        deployment: the deployment's name, or its id. One that holds a single tuned model is taken, too, once
            that is tuned; ``{size}`` and ``{seed}`` in it stand for the training's.
        base_deployment: where the base answers (None: on ``deployment``). ``"serverless"``: by the token,
            where Fireworks offers that for this base.
        learning_rate: the peak learning rate; ``"auto"`` leaves it to the service.
        lora_rank: of the adapter (None: the service's own).
        batch_size: rows of one step.
        max_context_length: tokens of the longest row (None: the service's own).
        early_stop: let the service end a job when the loss on ``dev`` rises no more. Off, so that sizes can
            be compared.
        account: the account's id (None: what ``FIREWORKS_ACCOUNT_ID`` says).
    """

    kind: ClassVar[str] = "fireworks"

    learning_rate: Positive | Auto = "auto"
    lora_rank: Count | None = None
    max_context_length: Count | None = None
    early_stop: bool = False
    account: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        # prices, keys and names of one model, however it was written
        object.__setattr__(self, "base", resource(self.base, "models", LIBRARY))
        if self.early_stop and self.dev is None:
            raise UsageError(
                "FireworksTuning(early_stop=True) needs development rows to stop by.\n"
                "  hint: name them: dev='dev.jsonl'. Never the held-out rows."
            )

    # ----------------------------------------------------------------------- of a kind
    def service(self) -> FireworksProvider:
        """See ``BaseHostedTuning``."""
        return FireworksProvider(self.base_url or URL, self.api_key_env, self.account)

    def settings(self) -> JobSettings:
        """See ``BaseHostedTuning``."""
        own = {
            "n_epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "lora_rank": self.lora_rank,
            "max_context_length": self.max_context_length,
            "early_stop": self.early_stop or None,
        }
        given = {name: value for name, value in own.items() if value not in ("auto", None)}
        return JobSettings(self.base, given, self.suffix)

    @property
    def how_to_deploy(self) -> str:
        """See ``DownloadedTuning``."""
        return (
            "deployment='…', one that takes adapters, which is billed by the hour:"
            f" `firectl deployment create {self.base} --enable-addons`"
        )

    def require_fit(self, service: Capabilities) -> None:
        """See ``BaseHostedTuning``."""
        super().require_fit(service)
        rate = self.learning_rate
        if isinstance(rate, float | int) and rate >= RATE_BELOW:
            raise UsageError(
                f"FireworksTuning: learning_rate={rate:g} is the rate itself, no factor of the service's.\n"
                "  hint: give one such as 1e-4, or 'auto'."
            )
        if self.suffix is not None and not is_id(self.suffix):
            raise UsageError(
                f"FireworksTuning(suffix={self.suffix!r}): it begins a model's id, which holds a-z, 0-9 and"
                f" '-' alone.\n  hint: suffix='{_as_id(self.suffix)}'."
            )

    # ----------------------------------------------------------------------- where it answers
    def own_baseline(self) -> Prompted:
        """See ``Candidate``: the base on the deployment that is named."""
        if self.local_base is not None:
            return super().own_baseline()
        where = self.base_deployment or self.deployment
        if where is None or ("{" in where and self.base_deployment is None):
            raise UsageError(
                f"FireworksTuning: the baseline is {self.base} with the full prompt, and no deployment of it"
                " is named.\n  hint: base_deployment='ITS NAME', or 'serverless' where Fireworks offers this"
                " base by the token; or name another baseline: --baseline=NAME."
            )
        name = self.base if where == "serverless" else f"{self.base}#{self._full(where)}"
        return Prompted(model=self.remote(name), decoding=self.decoding, schema=self.schema)

    def preflight(self, lab: Lab, variant: Variant) -> None:
        """See ``Candidate``: nothing is tuned that could not answer afterwards."""
        super().preflight(lab, variant)
        deployment = self._deployment(variant)
        if lab.is_offline or deployment is None:
            return
        artifact = self.job(lab, variant).artifact
        made = lab.adapters.find(artifact) is not None
        model = JobRecord.read(lab.adapters.folder(artifact)).model if made else None
        with closing(self.service()) as service:
            self._holds_itself(lab, service, deployment, model)

    def prepare(self, lab: Lab, variant: Variant) -> Prepared:
        """See ``Candidate``: before it is first asked it is loaded on its deployment."""
        prepared = super().prepare(lab, variant)
        if self.local_base is not None:
            return prepared
        model = JobRecord.read(lab.adapters.folder(self.job(lab, variant).artifact)).model
        deployment, load, mutable = self._deployment(variant) or "", prepared.load, prepared.mutable

        def loaded() -> Model:
            self._load(lab, model, deployment)
            return load()

        def opened() -> Model:
            assert mutable is not None
            self._load(lab, model, deployment)
            return mutable.open()

        return replace(prepared, load=loaded, mutable=mutable and replace(mutable, open=opened))

    def _name_that_answers(self, record: JobRecord, variant: Variant) -> str:
        return f"{record.model_at(self.checkpoint)}#{self._deployment(variant)}"

    def _deployment(self, variant: Variant) -> str | None:
        name = super()._deployment(variant)
        return None if name is None else self._full(name)

    def _full(self, deployment: str) -> str:
        return resource(deployment, "deployments", self.service().account_id or "-")

    def _holds_itself(self, lab: Lab, service: FireworksProvider, deployment: str, model: str | None) -> bool:
        """Whether the deployment holds the tuned ``model`` itself, and not the base with adapters.

        Raises:
            HostedTrainingError: it can hold neither.
        """
        base = self.base
        make = f"`firectl deployment create {base} --enable-addons`; it is billed by the hour"
        try:
            found = self.environment(lab).ask(service.deployment, deployment)
        except RequestRejected as no:
            if no.status != 404:
                raise errors.from_service(no) from None
            raise HostedTrainingError(
                f"there is no deployment {deployment}; nothing was tuned.", f"make it: {make}."
            ) from None
        except ServiceError as error:
            raise errors.from_service(error) from None
        holds, state = text(found, "baseModel"), text(found, "state")
        if state in GONE:
            why = trouble(found, str) or "nothing answers there"
            raise HostedTrainingError(
                f"the deployment {deployment} is {state.lower()}: {why}.", f"make one: {make}."
            )
        if model is not None and holds == model:
            return True
        if holds != base:
            raise HostedTrainingError(
                f"the deployment {deployment} holds {holds or 'another model'}, and {base} is tuned.",
                f"name a deployment of {base}; or make one: {make}.",
            )
        if not found.get("enableAddons"):
            raise HostedTrainingError(
                f"the deployment {deployment} takes no adapters.",
                f"make one that does, and name it: {make}.",
            )
        return False

    def _load(self, lab: Lab, model: str, deployment: str) -> None:
        """Load the adapter on its deployment, and wait until it is there.

        Raises:
            HostedTrainingError: it could not be loaded.
        """
        environment, waited_s = self.environment(lab), 0.0
        with closing(self.service()) as service:
            if self._holds_itself(lab, service, deployment, model):
                return
            try:
                while True:
                    found = environment.ask(service.loaded, model, deployment)
                    state = "" if found is None else text(found, "state")
                    problem = "" if found is None else trouble(found, str)
                    if state == "DEPLOYED":
                        return
                    if problem or waited_s > LOADED_WITHIN_S:
                        break
                    if found is None:
                        environment.ask(service.load, model, deployment)
                    environment.sleep(LOAD_POLL_S)
                    waited_s += LOAD_POLL_S
            except RequestRejected as no:
                problem = no.message
            except ServiceError as error:
                raise errors.from_service(error) from None
        raise HostedTrainingError(
            f"{model} could not be loaded on {deployment}:"
            f" {problem or f'it is not there after {waited_s / 60:.0f} minutes'}.",
            f"load it yourself (`firectl model load-lora {model} --deployment {deployment}`), or deploy it by"
            f" itself (`firectl deployment create {model}`) and name that deployment; then run again: nothing"
            " is tuned twice.",
        )


def _as_id(suffix: str) -> str:
    plain = "".join(sign if is_id(sign) else "-" for sign in suffix.lower()).strip("-")
    return plain or "support"
