"""What is trained, here or at a service: it has sizes, seeds, and rows that no suite may hold."""

from __future__ import annotations

from typing import TypeAlias

from harness.candidates.prepare import Lab
from harness.candidates.specs import Tuned
from harness.records import Row
from harness.training.hosted.spec import OpenAITuning

Trained: TypeAlias = Tuned | OpenAITuning


def known_replay(candidate: Trained, lab: Lab) -> tuple[Row, ...]:
    """The candidate's general rows, as far as they are known before anything is trained."""
    if isinstance(candidate, Tuned):
        return lab.known_replay(candidate)
    return lab.rows(candidate.replay) if candidate.replay else ()
