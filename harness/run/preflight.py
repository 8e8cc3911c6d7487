"""Everything that can be known to be wrong before a model is loaded, trained or asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.candidates.lab import Lab
from harness.errors import HarnessError
from harness.run.selection import Arm
from harness.run.suite_loading import LoadedSuite
from harness.scoring.judges import Oracle


def problems_of(arms: Iterable[Arm], lab: Lab) -> Iterator[HarnessError]:
    """Why variants could not be prepared; nothing is sent where the lab is offline."""
    for arm in arms:
        for variant in arm.variants:
            try:
                arm.candidate.preflight(lab.at(arm.folder), variant)
            except HarnessError as problem:
                yield problem


def problems_of_judges(suite: LoadedSuite, oracle: Oracle) -> Iterator[HarnessError]:
    """Why a suite's judges could not be asked."""
    for judge in suite.judges:
        try:
            judge.require_ready(oracle)
        except HarnessError as problem:
            yield problem
