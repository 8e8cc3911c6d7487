"""Outcomes: measured, advisory and inconclusive gates get their words, and errors one screen."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from harness.errors import BudgetReached, HarnessError, Undecided, disk_error
from harness.plugin.hearing import HEARING
from harness.plugin.items import arm_of, function_of, gate_name, has_candidate, suite_name
from harness.plugin.laddering import NOT_TRIED
from harness.plugin.messages import said, told
from harness.plugin.state import SPOKEN, STATE, State

if TYPE_CHECKING:
    from harness.records import Gate

WORD = "harness_outcome"
LETTERS = {
    "measured": ("measured", "m", "MEASURED"),
    "advisory": ("advisory", "A", "ADVISORY"),
    "refuted": ("refuted", "R", ("REFUTED", {"red": True})),
    "inconclusive": ("inconclusive", "I", ("INCONCLUSIVE", {"yellow": True})),
}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> object:
    """Run a gate once, as pytest itself does: a plugin that runs failed tests again must not fish for a pass.

    Its answers are kept, so a second time would say the same, but for a test that claims something else then.
    """
    if not has_candidate(item):
        return None
    return item.config.pluginmanager.getplugin("runner").pytest_runtest_protocol(item, nextitem)


def pytest_assertrepr_compare(
    config: pytest.Config, op: str, left: object, right: object
) -> list[str] | None:
    """Explain a refuted claim: numbers, reason and the worst rows."""
    explained = config.stash[STATE].explained
    if not explained:
        return None
    from harness.decision.claims import Scores
    from harness.decision.money_claims import Figure

    if not any(isinstance(side, Scores | Figure) for side in (left, right)):
        return None
    return next(reversed(explained.values())).splitlines()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Give measured, advisory and inconclusive gates their words, and errors one screen."""
    report = yield
    if not has_candidate(item) or call.when == "teardown" or NOT_TRIED in item.stash:
        return report
    if call.when == "call" and SPOKEN in item.stash:
        from harness.report.ci import properties

        heard: list[Gate] = item.stash[SPOKEN]
        named = properties(heard)
        item.user_properties[:] = [*(one for one in item.user_properties if one not in named), *named]
        report.user_properties[:] = item.user_properties
    state = item.config.stash[STATE]
    ladder = state.current.ladder if state.current else None
    # a gate that does not hold is what a ladder asks for, and no failed test
    policy = state.settings.gate if ladder is None else "regression"
    if call.when == "call" and HEARING in item.stash:
        item.stash[HEARING].close()
    error = call.excinfo.value if call.excinfo else None
    error = (disk_error(error) if error else None) or error
    if isinstance(error, Undecided):
        _set_inconclusive(report, item, str(error), policy)
    elif isinstance(error, BudgetReached):
        _note_stopped(item, state, said(error, item.config))
        _set_inconclusive(report, item, said(error, item.config), policy)
        if ladder is not None:
            ladder.end(str(error).partition(":")[0])
    elif isinstance(error, HarnessError):
        _note_stopped(item, state, said(error, item.config))
        report.longrepr = f"{_place(item, call)}{type(error).__name__}: {told(error, item.config)}"
    elif call.when == "call":
        spoken = item.stash.get(SPOKEN, [])
        arm = arm_of(item)
        if arm is not None and arm.size != state.session().selection.largest(arm.name):
            if error is None or isinstance(error, AssertionError):
                report.outcome = "passed"
                setattr(report, WORD, "measured")
        elif error is None and spoken and all(gate.state == "advisory" for gate in spoken):
            setattr(report, WORD, "advisory")
        elif report.failed and "Full output truncated" in report.longreprtext:
            report.sections.append(("the whole explanation", state.explained.get(item.nodeid, "")))
        _note_failed(item, state, error, spoken)
        if ladder is not None and isinstance(error, AssertionError) and _is_refuted(spoken):
            report.outcome, report.longrepr = "passed", None
            setattr(report, WORD, "refuted")
    is_over = call.when == "call" or error is not None
    if is_over and not item.stash.get(SPOKEN, []):
        _note_silent(item, state, error)
    return report


def _is_refuted(spoken: Sequence[Gate]) -> bool:
    from harness.records import Outcome

    found = [gate.comparison for gate in spoken if gate.state == "gated"]
    return any(one is not None and one.outcome is Outcome.REFUTED for one in found)


def _note_silent(item: pytest.Item, state: State, error: BaseException | None) -> None:
    """The decision says why a test has claimed nothing."""
    from harness.run.claim_detection import expected_gate

    arm, run = arm_of(item), state.current
    if arm is None or run is None or arm.size != run.selection.largest(arm.name):
        return
    first = (str(error).strip().splitlines() or [""])[0]
    why = f"it stopped before its first claim: {type(error).__name__}: {first}"
    if isinstance(error, HarnessError):  # said in full beside it
        why = f"it stopped before its first claim: {type(error).__name__}."
    elif error is None:
        why = "it ran and claimed nothing."
    elif isinstance(error, pytest.skip.Exception):
        why = f"it was skipped: {first}"
    gate = replace(expected_gate(function_of(item), suite_name(item), gate_name(item), arm), why=why)
    # a claim that was made and not asserted has been noted already
    unasserted = {(g.suite, g.test, g.candidate) for g in run.gates if g.state == "missing" and g.comparison}
    if error is not None or (gate.suite, gate.test, gate.candidate) not in unasserted:
        run.gates.append(gate)


def _note_failed(
    item: pytest.Item, state: State, error: BaseException | None, spoken: Sequence[Gate]
) -> None:
    """A test that fails although its gates are shown has said something else, and that is no GO."""
    from harness.records import Outcome

    shown = [gate.comparison is not None and gate.comparison.outcome is Outcome.SHOWN for gate in spoken]
    if error is not None and shown and all(shown):
        why = f"{item.name} failed though what it claims is shown: {type(error).__name__}"
        _note_stopped(item, state, why)


def _note_stopped(item: pytest.Item, state: State, why: str) -> None:
    """The decision says what stood in the way of its gates; a smaller size decides nothing."""
    arm, run = arm_of(item), state.current
    if arm is not None and run is not None and arm.size == run.selection.largest(arm.name):
        run.stopped.setdefault(arm.name, " ".join(why.split()))


def _place(item: pytest.Item, call: pytest.CallInfo[None]) -> str:
    """``file:line: `` of the test's own line that an error came from."""
    own = [at for at in (call.excinfo.traceback if call.excinfo else ()) if at.path == item.path]
    return f"{item.location[0]}:{own[-1].lineno + 1}: " if own else ""


def _set_inconclusive(report: pytest.TestReport, item: pytest.Item, why: str, policy: str) -> None:
    setattr(report, WORD, "inconclusive")
    if policy == "release":
        report.outcome, report.longrepr = "failed", why
    else:
        report.outcome = "skipped"
        path, line, _ = item.location
        report.longrepr = (path, line or 0, f"Skipped: {why.splitlines()[0]}")


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, object] | None:
    """Category, letter and word."""
    return LETTERS.get(getattr(report, WORD, ""))
