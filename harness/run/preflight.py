"""Everything that can be known to be wrong before a model is loaded, trained or asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from harness.candidates.base import Candidate, Prepared
from harness.candidates.lab import Lab
from harness.errors import HarnessError
from harness.models.protocol import Decoding, Prompt
from harness.run.selection import Arm
from harness.run.suite_loading import LoadedSuite
from harness.scoring.judges import Oracle

Unanswered = Callable[[Arm, Candidate, Prepared], Iterable[tuple[str, Sequence[Prompt], Decoding]]]


def problems_of(arms: Iterable[Arm], lab: Lab, unanswered: Unanswered) -> Iterator[HarnessError]:
    """Why variants could not be prepared or asked; nothing is sent where the lab is offline.

    ``unanswered`` gives what an arm is still to be asked; see ``Lab``.
    """
    for arm in arms:
        own_lab = replace(lab.at(arm.folder), unanswered=partial(unanswered, arm))
        for variant in arm.variants:
            try:
                # the record needs both, when all has been paid for
                arm.candidate.described()
                arm.candidate.endpoint()
                arm.candidate.preflight(own_lab, variant)
            except HarnessError as problem:
                yield problem


def problems_of_judges(suite: LoadedSuite, oracle: Oracle) -> Iterator[HarnessError]:
    """Why a suite's judges could not be asked."""
    for judge in suite.judges:
        try:
            judge.require_ready(oracle)
        except HarnessError as problem:
            yield problem
