"""The models that the twin offers, each with a lifetime of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta

from harness.testing.fake_openai.refusals import no_such_model, not_tunable, retired_model

CHAT = "smollm2-135m-2026-01-01"
CLOSING = "smollm2-135m-2025-07-01"
CLOSED_TO_TUNING = "smollm2-135m-2025-01-01"
RETIRED = "smollm2-135m-2024-07-01"
COMPLETIONS = "smollm2-135m-completion-2026-01-01"
ALIAS = "smollm2-135m"
CLOSES_WITHIN_DAYS = 30
CREATED = 1_767_225_600  # 1 January 2026


@dataclass(frozen=True, slots=True)
class TwinModel:
    """A model that can be asked, and tuned where ``tunable`` says so.

    Attributes:
        completions: takes prompts instead of messages.
        shutdown: from that day on it neither answers nor is tuned; None: not announced.
        context_tokens: longest prompt and reply together, and longest training row.
        max_output_tokens: longest reply that may be asked for.
        alias_of: the snapshot that the name stands for.
    """

    name: str
    completions: bool = False
    tunable: bool = True
    shutdown: date | None = None
    context_tokens: int = 8_192
    max_output_tokens: int = 4_096
    alias_of: str | None = None


def twin_models(today: date) -> tuple[TwinModel, ...]:
    """The twin's own models: one in its prime, one that closes soon, one closed to tuning, one retired."""
    return (
        TwinModel(CHAT, shutdown=date(2036, 1, 1)),
        TwinModel(ALIAS, alias_of=CHAT),
        TwinModel(COMPLETIONS, completions=True, shutdown=date(2036, 1, 1)),
        TwinModel(CLOSING, shutdown=today + timedelta(days=CLOSES_WITHIN_DAYS)),
        TwinModel(CLOSED_TO_TUNING, tunable=False, shutdown=today + timedelta(days=365)),
        TwinModel(RETIRED, shutdown=date(2025, 7, 1)),
    )


def stand_ins(names: Iterable[str]) -> tuple[TwinModel, ...]:
    """Models under the names of others, for rehearsing what is written for those.

    ``babbage-`` and ``davinci-`` take prompts, all others messages.
    """
    return tuple(TwinModel(name, completions=name.startswith(("babbage-", "davinci-"))) for name in names)


class Catalogue:
    """Looks models up by name and by today's date."""

    def __init__(self, models: Iterable[TwinModel], today: date) -> None:
        self._models = {model.name: model for model in models}
        self._today = today

    def add(self, models: Iterable[TwinModel]) -> None:
        """Offer these, too; a name that is there stays as it is."""
        self._models = {**{model.name: model for model in models}, **self._models}

    def listed(self) -> tuple[TwinModel, ...]:
        """Those that are not retired; an alias lives as long as its snapshot."""
        dated = (
            replace(model, shutdown=self._models[model.alias_of].shutdown) if model.alias_of else model
            for model in self._models.values()
        )
        return tuple(model for model in dated if not self._is_retired(model))

    def find(self, name: str) -> TwinModel:
        """The model of that name; an alias gives its snapshot.

        Raises:
            Refusal: there is none, or it is retired.
        """
        model = self._models.get(name)
        if model is None:
            raise no_such_model(name)
        if model.alias_of:
            return self.find(model.alias_of)
        if self._is_retired(model):
            raise retired_model(name)
        return model

    def tunable(self, name: str) -> TwinModel:
        """The model of that name, if it takes a new job.

        Raises:
            Refusal: there is none, or it takes none (any more).
        """
        model = self._models.get(name)
        if model is not None and model.alias_of:
            return self.tunable(model.alias_of)
        if model is None or not model.tunable or self._is_retired(model):
            raise not_tunable(name)
        return model

    def tuned(self, name: str, base: str) -> TwinModel:
        """A tuned model: it lives as long as its base.

        Raises:
            Refusal: its base is retired.
        """
        of_base = self._models.get(base)
        if of_base is None:
            raise no_such_model(name)
        if self._is_retired(of_base):
            raise retired_model(name)
        return replace(of_base, name=name)

    def _is_retired(self, model: TwinModel) -> bool:
        return model.shutdown is not None and model.shutdown <= self._today
