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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from harness.errors import UsageError
from harness.extras import require_extra
from harness.records import Json, Row, Score
from harness.scoring.calibration import Platt, calibrated_on_labels
from harness.scoring.frame import CalibratedForm, LocalJudge
from harness.scoring.judges import BUILTIN_EMBEDDER, Embedder, Oracle, embedder_of
from harness.scoring.labels import label_material
from harness.scoring.rubric_prompt import Case


@dataclass(frozen=True)
class Similarity(LocalJudge):
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

    model: str = dataclasses.field(default=BUILTIN_EMBEDDER, kw_only=True)
    threshold: float = dataclasses.field(default=0.5, kw_only=True)

    default_name: ClassVar[str] = "similarity"

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise UsageError(f"Similarity: the threshold is a probability, not {self.threshold}")
        super().__post_init__()
        object.__setattr__(self, "model", str(self.model))  # a Path is no JSON

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

    def require_ready(self, oracle: Oracle) -> None:
        """HarnessError where the extra ``local`` is not installed, or the encoder cannot be read."""
        require_extra("local", f"the judge {self.name!r} compares texts with a local encoder, which")
        embedder_of(oracle, self.model)

    def calibrated(self, oracle: Oracle) -> CalibratedSimilarity:
        """Fit the calibration on one half of the labels and test for admission on the other.

        Raises:
            UsageError: it is not bound.
            DataError: a half without good or without bad labels, or an encoder that gave no direction.
            HarnessError: the encoder cannot be had.
        """
        embedder = embedder_of(oracle, self.model)
        platt, admission = calibrated_on_labels(self, lambda pairs: cosines(pairs, embedder))
        return CalibratedSimilarity(self, admission, platt)


@dataclass(frozen=True)
class CalibratedSimilarity(CalibratedForm[Similarity]):
    """A ``Similarity`` with its calibration."""

    platt: Platt

    def scores(self, cases: Sequence[Case], rows: Sequence[Row], oracle: Oracle) -> Iterable[Score]:
        """See ``CalibratedForm``."""
        pairs = [(case.reference, case.answer) for case in cases]
        return map(self._score, cosines(pairs, embedder_of(oracle, self.judge.model)))

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
