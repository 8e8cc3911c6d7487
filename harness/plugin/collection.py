"""Collection: one item for each candidate and size; everything that can be wrong is said before training."""

from __future__ import annotations

from contextlib import suppress

import pytest

from harness.errors import HarnessError, UnknownName
from harness.plugin.items import (
    entry_of,
    function_of,
    gate_name,
    has_candidate,
    names_its_own,
    only_shows,
    suite_name,
)
from harness.plugin.state import STATE, State, bind

REHEARSED = "A rehearsal asks a local twin, which bills nobody: the dollars are those of the real service."


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One item for each candidate and size."""
    if "candidate" not in metafunc.fixturenames or names_its_own(metafunc.definition):
        return
    state = metafunc.config.stash[STATE]
    if not state.settings.candidates:
        metafunc.parametrize("candidate", [None], indirect=True, ids=["not-chosen"])
        return
    try:
        entries = state.run().selection.entries()
    except HarnessError as error:  # raised once, when all is collected, and not once a file
        state.wrong = error
        metafunc.parametrize("candidate", [], indirect=True)
        return
    metafunc.parametrize("candidate", entries, indirect=True, ids=[e.label for e in entries])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Set aside what no candidate was chosen for; note every gate before anything is deselected."""
    state = config.stash[STATE]
    gates = [item for item in items if has_candidate(item)]
    if state.wrong is not None or not gates:
        return
    if not state.settings.candidates:
        state.unchosen = len(gates)
        config.hook.pytest_deselected(items=gates)
        items[:] = [item for item in items if not has_candidate(item)]
        return
    from harness.run.claim_detection import expected_gate, require_target

    run = state.run()
    with_entry = [(item, entry) for item in gates if (entry := entry_of(item)) is not None]
    gated = [(i, e) for i, e in with_entry if e.size == run.selection.largest(e.name)]
    state.expected = [expected_gate(function_of(i), suite_name(i), gate_name(i), e) for i, e in gated]
    try:
        require_target([function_of(i) for i, _ in gated], state.expected)
    except HarnessError as error:
        state.wrong = error


def pytest_collection_finish(session: pytest.Session) -> None:
    """Check everything that can be checked before something is trained.

    pytest calls this even after a failed collection; what was found to be wrong before comes first.
    """
    state = session.config.stash[STATE]
    gates = [item for item in session.items if has_candidate(item)]
    try:
        if state.wrong is not None:
            raise state.wrong
        if gates and not only_shows(session.config):
            _bind(state, gates)
            if state.settings.plan:
                _plan(state, session)
            else:
                _check(state)
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error


def _plan(state: State, session: pytest.Session) -> None:
    """Show what the run would do, and run nothing; what it lacks (a key, a price) is part of the plan."""
    from harness.report.plan import told
    from harness.run.planning import make_plan
    from harness.run.recording import require_economics

    run = state.run()
    with suppress(UnknownName):  # a model without a price: the plan names it
        require_economics(run)
    state.planned = "\n\n".join([*([REHEARSED] if state.settings.rehearse else []), told(make_plan(run))])
    session.items.clear()


def _bind(state: State, gates: list[pytest.Item]) -> None:
    from harness.run.discovery import suite_of

    modules = {item.path: getattr(item, "module", None) for item in gates}
    suites = {file: suite_of(module) for file, module in modules.items()}
    for file, suite in suites.items():
        if suite is not None:
            bind(state, suite, file)
    if state.rehearsal is not None and None not in suites.values():
        state.rehearsal.require_needed()


def _check(state: State) -> None:
    from harness.run.recording import require_economics

    require_economics(state.run())
    state.run().check()
