"""A judge for free text by nearness to the reference: the cosine of two sentence embeddings.

An encoder makes a vector of the reference and one of the reply; texts about the same have vectors of nearly
one direction (Reimers and Gurevych 2019). The cosine is calibrated to the probability that people would
call the reply good (``harness.scoring.calibration``). The encoder comes in as an ``Embedder``. The judge
votes only if it is admitted.

It sees what a reply is about. It does not see one changed digit, name or "not": the directions differ little.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.errors import UsageError
from harness.extras import require_extra
from harness.records import Admission, Answer, Json, Kind, Row, Score
from harness.scoring.calibration import Platt, calibrated_on_labels
from harness.scoring.judges import (
    BUILTIN_EMBEDDER,
    Embedder,
    JudgeEstimate,
    Oracle,
    Trust,
    embedder_of,
    readable,
    require_trust,
)
from harness.scoring.labels import Label, label_material, read_labels


@dataclass(frozen=True)
class Similarity:
    """How near the reply is to the reference by sentence embeddings. Not yet calibrated.

    Args:
        field: judge this field of JSON answers and references; default the whole text.
        labels: JSONL of labelled replies (see ``parse_labels``), relative to the suite's file. The
            reply stands under ``field``, or under "reply" where the judge has none.
        model: the encoder: the built-in ``all-minilm-l6-v2``, which knows English best, or a folder that
            sentence-transformers saved, relative to where pytest is started.
        name: the label in a report.
        threshold: the calibrated probability from which a reply counts as good.
        seed: of the split into calibration and test half.
        trust: as a ``LikelihoodJudge``'s.
    """

    field: str | None = None
    labels: str = dataclasses.field(kw_only=True)
    model: str = dataclasses.field(default=BUILTIN_EMBEDDER, kw_only=True)
    name: str = dataclasses.field(default="", kw_only=True)
    threshold: float = dataclasses.field(default=0.5, kw_only=True)
    seed: int = dataclasses.field(default=0, kw_only=True)
    trust: Trust = dataclasses.field(default="run-labels", kw_only=True)
    # left out of equality, so that a suite's bound judge is found under the user's module constant
    known: tuple[Label, ...] | None = dataclasses.field(default=None, compare=False, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise UsageError(f"Similarity: the threshold is a probability, not {self.threshold}")
        require_trust("Similarity", self.trust)
        object.__setattr__(self, "model", str(self.model))  # a Path is no JSON
        if not self.name:
            object.__setattr__(self, "name", self.field or "similarity")

    kind = Kind.GRADED

    def spec(self) -> Mapping[str, Json]:
        """Everything that shapes the score but the encoder's content; the labels by theirs, once bound."""
        return {
            "check": "Similarity",
            "field": self.field,
            "labels": label_material(self.known, self.labels, self.seed),
            "model": self.model,
            "threshold": self.threshold,
            "seed": self.seed,
        }

    def bind(self, read: Callable[[str], str]) -> Similarity:
        """Itself with its labels read; DataError if the file is missing or holds a line that is no label."""
        return dataclasses.replace(self, known=read_labels(read, self.labels, self.field or "reply"))

    def require_ready(self, oracle: Oracle) -> None:
        """HarnessError where the extra ``local`` is not installed, or the encoder cannot be read."""
        require_extra("local", f"the judge {self.name!r} compares texts with a local encoder, which")
        embedder_of(oracle, self.model)

    def estimate(self, rows: Sequence[Row]) -> JudgeEstimate | None:
        """See ``Judge``: nothing is hosted."""
        return None

    def redirected(self, url: str) -> Similarity:
        """See ``Judge``: nothing is hosted."""
        return self

    def calibrated(self, oracle: Oracle) -> CalibratedSimilarity:
        """Fit the calibration on one half of the labels and test for admission on the other.

        Raises:
            UsageError: it is not bound.
            DataError: a half without good or without bad labels, or an encoder that gave no direction.
            HarnessError: the encoder cannot be had.
        """
        embedder = embedder_of(oracle, self.model)
        platt, admission = calibrated_on_labels(self, lambda pairs: cosines(pairs, embedder))
        return CalibratedSimilarity(self, platt, admission)


@dataclass(frozen=True)
class CalibratedSimilarity:
    """A ``Similarity`` with its calibration."""

    judge: Similarity
    platt: Platt
    admission: Admission

    @property
    def name(self) -> str:
        """The judge's."""
        return self.judge.name

    def score_many(self, rows: Sequence[Row], answers: Sequence[Answer], oracle: Oracle) -> tuple[Score, ...]:
        """One score a row, in order; the encoder reads all of them at once."""
        found = readable(self.name, self.judge.field, rows, answers)
        pairs = [pair for pair in found if not isinstance(pair, Score)]
        statistics = iter(cosines(pairs, embedder_of(oracle, self.judge.model)))
        return tuple(pair if isinstance(pair, Score) else self._score(next(statistics)) for pair in found)

    def _score(self, cosine: float) -> Score:
        if not math.isfinite(cosine):
            return Score(None, failure=f"the encoder gave no direction: cosine {cosine}")
        return Score(self.platt.probability(cosine), f"cosine {cosine:.2f} with the reference")


def cosines(pairs: Sequence[tuple[str, str]], embedder: Embedder) -> list[float]:
    """The cosine of each pair's vectors; NaN where one has no length. Each distinct text is read once."""
    import numpy as np

    texts = list(dict.fromkeys(text for pair in pairs for text in pair))
    if not texts:
        return []
    vectors = np.asarray(embedder.embed(texts), np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions = dict(zip(texts, vectors / np.where(lengths > 0, lengths, math.nan), strict=True))
    return [float(directions[reference] @ directions[reply]) for reference, reply in pairs]
