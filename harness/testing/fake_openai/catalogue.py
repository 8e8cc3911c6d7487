"""The models on offer, each with a lifetime of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from harness.testing.fake_openai.refusals import HTTPRefusal

CHAT = "smollm2-135m-2026-01-01"
CLOSING = "smollm2-135m-2025-07-01"
CLOSED_TO_TUNING = "smollm2-135m-2025-01-01"
RETIRED = "smollm2-135m-2024-07-01"
COMPLETIONS = "smollm2-135m-completion-2026-01-01"
ALIAS = "smollm2-135m"
CLOSES_WITHIN_DAYS = 30
CONTEXT_TOKENS = 8_192  # of prompt and reply together, and of a training row
MAX_OUTPUT_TOKENS = 4_096


@dataclass(frozen=True, slots=True)
class FakeModel:
    """A model, which takes messages or (``completions``) prompts, until the day ``shutdown``."""

    name: str
    completions: bool = False
    tunable: bool = True
    shutdown: date | None = None

    @property
    def is_retired(self) -> bool:
        """Whether its last day has passed."""
        return self.shutdown is not None and self.shutdown <= datetime.now(UTC).date()


class Catalogue:
    """Models by name: one current, one that closes soon, one closed to tuning, one retired, and aliases."""

    def __init__(self, aliases: Iterable[str]) -> None:
        today = datetime.now(UTC).date()
        chat = FakeModel(CHAT, shutdown=date(2036, 1, 1))
        self._models = {
            CHAT: chat,
            ALIAS: chat,
            COMPLETIONS: replace(chat, name=COMPLETIONS, completions=True),
            CLOSING: replace(chat, name=CLOSING, shutdown=today + timedelta(days=CLOSES_WITHIN_DAYS)),
            CLOSED_TO_TUNING: replace(chat, name=CLOSED_TO_TUNING, tunable=False),
            RETIRED: replace(chat, name=RETIRED, shutdown=date(2025, 7, 1)),
        }
        self.add_aliases(aliases)

    def add_aliases(self, names: Iterable[str]) -> None:
        """Offer models under these names too; ``babbage-`` and ``davinci-`` take prompts, others messages."""
        for name in names:
            takes_prompts = name.startswith(("babbage-", "davinci-"))
            self._models.setdefault(name, FakeModel(name, completions=takes_prompts))

    def offered(self) -> list[str]:
        """All names of those that are not retired."""
        return [name for name, model in self._models.items() if not model.is_retired]

    def find(self, name: str) -> FakeModel:
        """The model of that name; an alias of a snapshot gives the snapshot."""
        model = self._models.get(name)
        if model is None or model.is_retired:
            reason = "does not exist or you do not have access to it"
            if model is not None:
                reason = "has been deprecated: https://platform.openai.com/docs/deprecations"
            raise HTTPRefusal(404, f"The model `{name}` {reason}.", "model", "model_not_found")
        return model

    def tunable(self, name: str) -> FakeModel:
        """The model of that name, if it accepts new jobs."""
        model = self._models.get(name)
        if model is None or not model.tunable or model.is_retired:
            message = f"Model {name} is not available for fine-tuning or does not exist."
            raise HTTPRefusal(400, message, "model", "model_not_available")
        return model
