"""Which rows are a fine-tune's own: like its training rows, or answered by it with confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeAlias

from harness.fields import Span, require_fields
from harness.scoring.judges import BUILTIN_EMBEDDER

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors: TypeAlias = npt.NDArray[np.float32]
    Numbers: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ByLikeness:
    """By sentence embeddings of questions: rows like the training rows go to the fine-tune.

    A row's value is its cosine to the nearest training row.

    Args:
        dev: development rows of the task. ``keep`` of them go to the fine-tune: that sets the threshold.
        encoder: the built-in one, or a folder that sentence-transformers saved.
    """

    dev: str
    keep: Annotated[float, Span(above=0, most=1)] = 0.95
    encoder: str = BUILTIN_EMBEDDER

    def __post_init__(self) -> None:
        require_fields(self)


@dataclass(frozen=True, kw_only=True)
class ByConfidence:
    """By the fine-tune's own confidence: its answer's mean log-probability a token.

    It answers every row, and the other model those that it is less sure of, or whose answer was cut off.
    Local models give log-probabilities; a service has to: ``RemoteModel(logprobs=True)``.

    Args:
        dev: development rows of the task, which the fine-tune is asked too. ``keep`` of its answers stay.
    """

    dev: str
    keep: Annotated[float, Span(above=0, most=1)] = 0.8

    def __post_init__(self) -> None:
        require_fields(self)


def threshold(values: Sequence[float] | Numbers, keep: float) -> float:
    """The value that ``keep`` of the development rows reach."""
    import numpy as np

    ordered = np.sort(np.asarray(values, float))  # np.quantile takes no infinite ones
    return float(ordered[int((len(ordered) - 1) * (1 - keep))])


def nearness(texts: Vectors, train: Vectors) -> Numbers:
    """Cosine of each text to its nearest training row; vectors have length 1."""
    nearest: Numbers = (texts @ train.T).astype(float).max(axis=1)
    return nearest
