"""Vectors, trials and suites of the smallest size that a test of the decision room needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from harness.records import Answer, Kind, Score, ScoreInfo, ScoreVector, SuiteInfo, SuiteRow, Trial


def vector(
    values: Iterable[float | None],
    *,
    subject: str = "tuned",
    kind: Kind = Kind.GRADED,
    groups: Sequence[str | None] | None = None,
    reasons: tuple[str, ...] = (),
    score: str = "intent",
) -> ScoreVector:
    seen = tuple(values)
    return ScoreVector(
        subject=subject,
        score=score,
        kind=kind,
        row_ids=tuple(f"r{at}" for at in range(len(seen))),
        values=seen,
        groups=tuple(groups) if groups is not None else (None,) * len(seen),
        reasons=reasons,
    )


def binary_pair(
    gained: int, lost: int, n: int, groups: Sequence[str | None] | None = None
) -> tuple[ScoreVector, ScoreVector]:
    """Candidate and baseline with these discordant rows; both are right on all the others."""
    candidate = [1.0] * gained + [0.0] * lost + [1.0] * (n - gained - lost)
    baseline = [0.0] * gained + [1.0] * lost + [1.0] * (n - gained - lost)
    return (
        vector(candidate, subject="tuned", kind=Kind.BINARY, groups=groups),
        vector(baseline, subject="base", kind=Kind.BINARY, groups=groups),
    )


def graded_pair(
    differences: Iterable[float], groups: Sequence[str] | None = None
) -> tuple[ScoreVector, ScoreVector]:
    """Graded scores around 0.5 with these differences (each in [-0.5, 0.5])."""
    seen = np.clip(np.asarray(list(differences), dtype=float), -0.5, 0.5)
    base = vector([0.5] * len(seen), subject="base", groups=groups)
    return vector((0.5 + seen).tolist(), subject="tuned", groups=groups), base


def suite_of(slices: Sequence[str], kind: Kind = Kind.BINARY) -> SuiteInfo:
    """One row for each slice value of the key ``language``."""
    return SuiteInfo(
        name="support",
        heldout="heldout.jsonl",
        heldout_digest="d",
        rows=tuple(
            SuiteRow(f"r{at}", "question", "reference", {"language": value} if value else {}, group=None)
            for at, value in enumerate(slices)
        ),
        scores=(ScoreInfo("intent", kind, "the intent is right"),),
        slices=("language",),
        prompt_digest=None,
    )


def trial_of(name: str, scores: Sequence[Score], row_ids: Sequence[str] | None = None) -> Trial:
    ids = row_ids or [f"r{at}" for at in range(len(scores))]
    return Trial(
        candidate=name,
        size=None,
        seed=None,
        suite="support",
        answers=tuple(Answer(row_id, "text", 10, 5, 1.0) for row_id in ids),
        scores={"intent": tuple(scores)},
        seconds=1.0,
        numeric_config="float32",
    )
