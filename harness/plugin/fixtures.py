"""The fixtures that tests ask for: ``candidate`` and ``baseline``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.errors import Undecided, UsageError
from harness.plugin.items import gate_name
from harness.plugin.state import SPOKEN, STATE

if TYPE_CHECKING:
    from harness.decision.claims import Claim
    from harness.run.selection import Arm
    from harness.run.session import Subject
    from harness.scoring.suite import Suite


@pytest.fixture
def candidate(request: pytest.FixtureRequest, suite: Suite) -> Subject:
    """The candidate under test at one size, on the module's suite."""
    if not hasattr(request, "param"):
        file, line, _ = request.node.location
        raise UsageError(
            f"{file}:{(line or 0) + 1}: {request.node.name} asks for candidate while it runs, so it is not one"
            " test for each.\n  hint: take candidate as an argument of a test function, or of a fixture that it"
            " asks for; not by request.getfixturevalue, and not in a unittest.TestCase."
        )
    return _subject(request, suite, request.param)


@pytest.fixture
def baseline(request: pytest.FixtureRequest, suite: Suite, candidate: Subject) -> Subject:
    """What the candidate is compared with, on the same rows."""
    session = request.config.stash[STATE].session()
    return _subject(request, suite, session.selection.baseline_of(candidate.arm.name), candidate.arm)


def _subject(request: pytest.FixtureRequest, suite: Suite, arm: Arm, judged: Arm | None = None) -> Subject:
    from harness.report.terminal import printable

    state = request.config.stash[STATE]
    name = state.load(suite, request.path)
    item = request.node

    def settle(claim: Claim) -> bool:
        gate = state.session().record_claim(judged or arm, name, gate_name(item), claim)
        item.stash.setdefault(SPOKEN, []).append(gate)
        if gate.state != "gated":
            return True
        if gate.comparison is not None and gate.comparison.outcome == "inconclusive":
            raise Undecided(printable(claim.explain()))
        state.explained[item.nodeid] = printable(claim.explain())
        return claim.outcome == "shown"

    return state.session().subject(arm, name, settle)
