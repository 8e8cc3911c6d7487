"""The fixtures that tests ask for: ``candidate`` and ``baseline``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.errors import UsageError
from harness.plugin.hearing import HEARING, Hearing
from harness.plugin.state import STATE

if TYPE_CHECKING:
    from harness.decision.claims import Side
    from harness.run.selection import Arm
    from harness.run.session import Subject
    from harness.scoring.suite import Suite


@pytest.fixture
def candidate(request: pytest.FixtureRequest, suite: Suite) -> Subject:
    """The candidate under test at one size, on the module's suite."""
    if not hasattr(request, "param"):
        where = f"{request.node.location[0]}:{(request.node.location[1] or 0) + 1}"
        raise UsageError(
            f"{where}: {request.node.name} asks for candidate while it runs, so it is not one test"
            " for each.\n"
            "  hint: take candidate as an argument of a test function, or of a fixture that it asks for;"
            " not by request.getfixturevalue, and not in a unittest.TestCase."
        )
    return _subject(request, suite, request.param)


@pytest.fixture
def baseline(request: pytest.FixtureRequest, suite: Suite, candidate: Subject) -> Subject:
    """What the candidate is compared with, on the same rows."""
    session = request.config.stash[STATE].session()
    return _subject(request, suite, session.selection.baseline_of(candidate.arm.name), candidate.arm)


def _subject(request: pytest.FixtureRequest, suite: Suite, arm: Arm, judged: Arm | None = None) -> Subject:
    state = request.config.stash[STATE]
    name = state.load(suite, request.path)
    hearing = request.node.stash.setdefault(HEARING, Hearing(request.node, judged or arm, name))
    side: Side = "candidate" if judged is None else "baseline"
    return state.session().subject(
        arm, name, hearing.settle, hearing.made, side, judged, hearing.settle_money
    )
