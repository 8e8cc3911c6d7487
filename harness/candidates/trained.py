"""What is trained, here or at a service: it has sizes, seeds, and rows that no suite may hold."""

from __future__ import annotations

from typing import TypeAlias

from harness.candidates.hosted.spec import OpenAITuning
from harness.candidates.prepare import Workshop
from harness.candidates.specs import Tuned
from harness.records import Row

Trained: TypeAlias = Tuned | OpenAITuning


def known_replay(candidate: Trained, workshop: Workshop) -> tuple[Row, ...]:
    """The candidate's general rows, as far as they are known before anything is trained."""
    if isinstance(candidate, Tuned):
        return workshop.known_replay(candidate)
    return workshop.rows(candidate.replay) if candidate.replay else ()
