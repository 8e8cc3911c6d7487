"""Fine-tunes that are made at Together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from harness.candidates.downloaded import DownloadedTuning
from harness.candidates.hosted_base import Auto
from harness.candidates.hosted_tuning import RATE_BELOW
from harness.errors import UsageError
from harness.fields import Count, Positive, Span
from harness.records import Json
from harness.training.hosted.provider import Capabilities
from harness.training.hosted.request import JobSettings
from harness.training.hosted.together import TogetherProvider


@dataclass(frozen=True, kw_only=True)
class TogetherTuning(DownloadedTuning):
    """Supervised fine-tuning at Together. Its price is asked for before it is begun.

    Args (see ``DownloadedTuning`` and ``BaseHostedTuning`` for the others):
        learning_rate: the peak learning rate; ``"auto"``: the SDK's 1e-5.
        lora_rank, lora_alpha, lora_dropout, lora_modules: of the adapter; the modules are names of layers
            with commas between. Without a rank the service's own; alpha is twice the rank if it is None.
        full: all weights are tuned. Such a model is not fetched: name its ``deployment``.
        train_on_inputs: prompts are learned, too; by default replies alone are.
        packing: short rows share a sequence (None: as the service does).
        context_length: tokens of the longest row (None: the base's own).
        evaluations: how often the development rows are measured.
        checkpoints: models kept on the way, for ``checkpoint``; evenly spaced.
    """

    kind: ClassVar[str] = "together"

    learning_rate: Positive | Auto = "auto"
    lora_rank: Count | None = None
    lora_alpha: Count | None = None
    lora_dropout: Annotated[float, Span(0, below=1)] | None = None
    lora_modules: str | None = None
    full: bool = False
    train_on_inputs: bool = False
    packing: bool | None = None
    context_length: Count | None = None
    evaluations: Count = 3
    checkpoints: Count = 1

    def service(self) -> TogetherProvider:
        """See ``BaseHostedTuning``."""
        return TogetherProvider(self.base_url, self.api_key_env)

    def settings(self) -> JobSettings:
        """See ``BaseHostedTuning``."""
        rank, alpha = self.lora_rank, self.lora_alpha
        if alpha is None and rank is not None:
            alpha = 2 * rank
        adapter = {
            "lora_r": rank,
            "lora_alpha": alpha,
            "lora_dropout": self.lora_dropout,
            "lora_trainable_modules": self.lora_modules,
        }
        own: dict[str, Json] = {
            "n_epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            **adapter,
            "full": self.full or None,
            "train_on_inputs": self.train_on_inputs or None,
            "packing": self.packing,
            "max_seq_length": self.context_length,
            "n_evals": self.evaluations if self.dev else None,
            "n_checkpoints": self.checkpoints,
        }
        given = {name: value for name, value in own.items() if value not in ("auto", None)}
        return JobSettings(self.base, given, self.suffix)

    def require_fit(self, service: Capabilities) -> None:
        """See ``BaseHostedTuning``."""
        super().require_fit(service)
        rate, shaped = self.learning_rate, (self.lora_alpha, self.lora_dropout, self.lora_modules)
        problem, hint = "", ""
        if isinstance(rate, float | int) and rate >= RATE_BELOW:
            problem = f"learning_rate={rate:g} is the rate itself, not a factor of the service's."
            hint = "give one such as 1e-5, or 'auto'."
        elif self.full and (self.lora_rank is not None or any(one is not None for one in shaped)):
            problem, hint = "full=True tunes all weights, and lora_…= says of what shape.", "leave one out."
        elif self.full and self.local_base is not None:
            problem = "full=True makes a whole model, and local_base= takes an adapter."
            hint = "leave full= out; or name the endpoint that will answer: deployment='…'."
        elif self.lora_rank is None and any(one is not None for one in shaped):
            problem, hint = "the adapter has a shape and no rank.", "give one: lora_rank=16."
        elif self.checkpoint != "last" and self.checkpoints == 1:
            problem = f"checkpoint={self.checkpoint!r} of one checkpoint, which is the last."
            hint = "have more made: checkpoints=4."
        if problem:
            raise UsageError(f"TogetherTuning: {problem}\n  hint: {hint}")
