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

NEAREST = 1  # training rows that a row is compared with; see docs/rungs.md
PENALTY = 1.0  # on squared weights of the head, which sees vectors of length 1


@dataclass(frozen=True, kw_only=True)
class ByLikeness:
    """By sentence embeddings of questions: rows like the training rows go to the fine-tune.

    A row's value is its cosine to the nearest training row; with ``general`` rows, the log-odds of a logistic
    head that tells training rows from those.

    Args:
        dev: development rows of the task. ``keep`` of them go to the fine-tune: that sets the threshold.
        general: rows of anything else.
        encoder: the built-in one, or a folder that sentence-transformers saved.
    """

    dev: str
    general: str | None = None
    keep: Annotated[float, Span(above=0, most=1)] = 0.95
    encoder: str = BUILTIN_EMBEDDER

    def __post_init__(self) -> None:
        require_fields(self)


@dataclass(frozen=True, kw_only=True)
class ByConfidence:
    """By the fine-tune's own confidence: its answer's mean log-probability a token.

    It answers every row, and the other model those that it is less sure of. The service has to give
    log-probabilities: ``RemoteModel(logprobs=True)``.

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

    return float(np.quantile(np.asarray(values, float), 1 - keep, method="lower"))


def nearness(texts: Vectors, train: Vectors) -> Numbers:
    """Mean cosine of each text to the ``NEAREST`` training rows; vectors have length 1."""
    import numpy as np

    cosines = (texts @ train.T).astype(float)
    nearest = min(NEAREST, len(train))
    means: Numbers = np.partition(cosines, -nearest, axis=1)[:, -nearest:].mean(axis=1)
    return means


def head_log_odds(texts: Vectors, train: Vectors, general: Vectors) -> Numbers:
    """Log-odds of each text under a logistic head of training rows against general ones.

    Both kinds weigh the same, whatever their numbers.
    """
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import expit

    x = np.concatenate([train, general]).astype(float)
    y = np.repeat([1.0, 0.0], [len(train), len(general)])
    weight = np.where(y == 1, len(y) / (2 * len(train)), len(y) / (2 * len(general)))

    def loss(parameters: Numbers) -> tuple[float, Numbers]:
        u = x @ parameters[:-1] + parameters[-1]
        residual = weight * (expit(u) - y)
        value = np.sum(weight * (np.logaddexp(0, u) - y * u)) + PENALTY / 2 * np.sum(parameters[:-1] ** 2)
        slope = x.T @ residual + PENALTY * parameters[:-1]
        return float(value), np.append(slope, residual.sum())

    found = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B").x
    log_odds: Numbers = texts.astype(float) @ found[:-1] + found[-1]
    return log_odds
