"""Candidates as users write them: frozen, hashable, and complete.

Everything that shapes a candidate's answers stands in its fields, so that a fingerprint of them is the
name of what it produced. Paths are relative to the conftest that names them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import ClassVar, Literal

from harness.errors import UsageError
from harness.models.protocol import Decoding
from harness.models.remote import RemoteModel
from harness.records import Json
from harness.training.local.recipe import AdapterShape, Recipe
from harness.training.local.self_generated import SelfGenerated as SelfGenerated

# fields that change what is asked of a trained model, not what is trained
NOT_SHAPING = ("decoding", "train", "dev", "replay", "base", "trust_remote_code", "ship")
ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to do the job."""

    kind: ClassVar[str] = ""
    cost_rank: ClassVar[int] = 0  # the order of cost: prompt 0, few-shot 1, ..., fine-tune 4

    decoding: Decoding = field(default_factory=Decoding)
    trust_remote_code: bool = False

    @property
    def model_name(self) -> str:
        """The model that answers (before any tuning)."""
        raise NotImplementedError

    def described(self) -> dict[str, Json]:
        """The fields, for the record."""
        return {"kind": self.kind, **asdict(self)}

    def own_baseline(self) -> Candidate:
        """What it is compared with unless the user names another: its own base with the full prompt."""
        return Prompted(
            model=self.model_name, decoding=self.decoding, trust_remote_code=self.trust_remote_code
        )


@dataclass(frozen=True, kw_only=True)
class Untuned(Candidate):
    """What is asked as it is.

    Args:
        model: the built-in name, a Hugging Face id, a local folder, a GGUF file; or one behind a service.
    """

    model: str | RemoteModel

    @property
    def model_name(self) -> str:
        """See ``Candidate``."""
        return self.model.model if isinstance(self.model, RemoteModel) else self.model

    def described(self) -> dict[str, Json]:
        """See ``Candidate``."""
        model = self.model.described() if isinstance(self.model, RemoteModel) else self.model
        return {**super().described(), "model": model}

    def own_baseline(self) -> Candidate:
        """See ``Candidate``."""
        return Prompted(model=self.model, decoding=self.decoding, trust_remote_code=self.trust_remote_code)


@dataclass(frozen=True, kw_only=True)
class Prompted(Untuned):
    """A model with the suite's full prompt."""

    kind: ClassVar[str] = "prompted"
    cost_rank: ClassVar[int] = 0


@dataclass(frozen=True, kw_only=True)
class FewShot(Untuned):
    """A model with the suite's full prompt and ``shots`` training rows as examples before the question.

    The examples are the first ``shots`` of the nested order of the training rows, stratified like the
    subsets that a fine-tune sees. A suite without a prompt is another task: it is asked without examples.
    """

    kind: ClassVar[str] = "few-shot"
    cost_rank: ClassVar[int] = 1

    train: str
    shots: int = 5
    stratify: str | None = None

    def __post_init__(self) -> None:
        if self.shots < 1:
            raise UsageError(f"FewShot(shots={self.shots}): use at least 1, or Prompted for none.")


@dataclass(frozen=True, kw_only=True)
class Tuned(Candidate):
    """What all fine-tunes share.

    Args:
        base: the model to tune: the built-in name, a Hugging Face id, a local folder or a GGUF file.
        train: training rows (chat JSONL or prompt/completion).
        dev: development rows, for the loss curves and the overfitting flag; never trained on.
        replay: general rows mixed in against forgetting, a file's or ``SelfGenerated()`` by the base itself;
            added to every size, not counted in it.
        stratify: metadata field whose proportions every subset keeps.
        learning_rate: peak, reached after ``warmup`` (share of all steps), then a cosine to zero.
        batch_rows: rows an optimiser step, over all devices.
        max_tokens: longest row; a longer one is an error, never truncated.
        dev_evaluations: how many times the development rows are measured, evenly spaced, the end included.
        ship: the artifact that is evaluated and shipped.
    """

    cost_rank: ClassVar[int] = 4

    base: str
    train: str
    dev: str | None = None
    replay: str | SelfGenerated | None = None
    stratify: str | None = None
    epochs: float = 3
    learning_rate: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.0
    batch_rows: int = 8
    max_tokens: int = 2048
    dev_evaluations: int = 3
    ship: Literal["adapter", "merged"] = "adapter"

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate", "batch_rows", "max_tokens"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{type(self).__name__}({name}={getattr(self, name)}): must be above 0.")
        if self.ship not in ("adapter", "merged"):
            raise UsageError(f"ship={self.ship!r}: use 'adapter' (base plus adapter) or 'merged'.")

    @property
    def model_name(self) -> str:
        """See ``Candidate``."""
        return self.base

    @property
    def nf4(self) -> bool:
        """Whether the base is quantised to 4-bit NormalFloat."""
        return False

    @property
    def adapter(self) -> AdapterShape | None:
        """The adapters that are trained; None: all weights are."""
        return None

    def recipe(self) -> Recipe:
        """How it is trained, without names and paths."""
        return Recipe(
            kind=self.kind,
            shape={name: value for name, value in self.described().items() if name not in NOT_SHAPING},
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            batch_rows=self.batch_rows,
            max_tokens=self.max_tokens,
            dev_evaluations=self.dev_evaluations,
            nf4=self.nf4,
            adapter=self.adapter,
        )


@dataclass(frozen=True, kw_only=True)
class LoRA(Tuned):
    """Low-rank adapters (Hu et al. 2021) on a base in its working precision.

    Args:
        r: rank of every adapter.
        alpha: scale; the adapter's output is multiplied by alpha / r.
        dropout: on the adapter's input. 0 by default: it costs an eighth of the time on a CPU.
        targets: names of the linear layers that get an adapter.
        top_layers: adapt only the last so many transformer blocks (None: all). Nothing flows back below
            them, which saves up to half of the backward pass.
    """

    kind: ClassVar[str] = "lora"

    r: int = 16
    alpha: float = 32
    dropout: float = 0.0
    targets: tuple[str, ...] = ALL_LINEAR
    top_layers: int | None = None

    @property
    def adapter(self) -> AdapterShape:
        """See ``Tuned``."""
        return AdapterShape(self.r, self.alpha, self.dropout, self.targets, self.top_layers)


@dataclass(frozen=True, kw_only=True)
class QLoRA(LoRA):
    """LoRA on a base quantised to nf4 with double quantisation (Dettmers et al. 2023)."""

    kind: ClassVar[str] = "qlora"

    @property
    def nf4(self) -> bool:
        """See ``Tuned``."""
        return True


@dataclass(frozen=True, kw_only=True)
class Full(Tuned):
    """All weights are trained, in float32 with bfloat16 products; what ships is the whole model."""

    kind: ClassVar[str] = "full"

    learning_rate: float = 5e-5
    ship: Literal["adapter", "merged"] = "merged"
