"""Collection: one item for each candidate and size; everything that can be wrong is said before training."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from harness.errors import HarnessError, UnknownName, UsageError, disk_error
from harness.plugin.items import (
    arm_of,
    function_of,
    gate_name,
    has_candidate,
    names_its_own,
    only_shows,
    suite_name,
)
from harness.plugin.laddering import begin_ladder
from harness.plugin.messages import usage_error
from harness.plugin.state import STATE, State
from harness.plugin.workers import is_worker

if TYPE_CHECKING:
    from pathlib import Path

    from harness.run.selection import Arm
    from harness.scoring.suite import Suite

LATE = (
    "Not in this plan: what the suite of {} asks and costs. Its fixture takes fixtures, yields, or stands in"
    " a conftest, so it is not known before its tests run."
)
REHEARSED = "A rehearsal asks a local twin, which bills nobody: the dollars are those of the real service."


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One item for each candidate and size that the test sees."""
    if "candidate" not in metafunc.fixturenames or names_its_own(metafunc.definition):
        return
    state, node = metafunc.config.stash[STATE], metafunc.definition
    settings = state.settings
    arms: Sequence[Arm] = ()
    for scope in (metafunc.module, metafunc.cls):
        state.fixtures.add(scope)
    if settings.candidates and not settings.lists and state.wrong is None:
        patterns = [*settings.candidates, *([settings.baseline] if settings.baseline else [])]
        try:
            visible = state.fixtures.visible(node, patterns)
            arms = state.session().selection.choose(visible, state.fixtures.names_at(node))
        except HarnessError as error:  # raised once, when all is collected, and not once a file
            state.wrong = error
    ids = [arm.label for arm in arms] or ["not-chosen"]
    metafunc.parametrize("candidate", arms or [None], indirect=True, ids=ids)


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(collector: pytest.Collector) -> Generator[None, object, object]:
    """Note every gate of a file or class, before ``file::test`` on the command line leaves the others out."""
    made = yield
    state = collector.config.stash[STATE]
    for item in made if isinstance(made, list) else ():
        if isinstance(item, pytest.Function) and has_candidate(item):
            state.gates[item.nodeid] = item
    state.written.add(made)
    return made


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> None:
    """Note every file that pytest looks at: tests may stand in one that it does not take for tests."""
    parent.config.stash[STATE].written.visit(file_path)


@pytest.hookimpl(wrapper=True)
def pytest_ignore_collect(
    collection_path: Path, config: pytest.Config
) -> Generator[None, bool | None, bool | None]:
    """Note what pytest was told to leave out: gates may stand there."""
    ignored = yield
    if ignored:
        config.stash[STATE].written.ignore(collection_path, config)
    return ignored


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Note what was skipped, or failed, as a whole: its gates are missing."""
    report = yield
    collector.config.stash[STATE].written.add_report(collector, report)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Set aside the tests that no candidate was chosen for; note every gate before anything is deselected."""
    state = config.stash[STATE]
    gates = [item for item in items if has_candidate(item)]
    if state.wrong is not None or not gates:
        return
    state.known = state.fixtures.known(gates[0].session)
    unchosen = [item for item in gates if arm_of(item) is None]
    state.unchosen = len(unchosen)
    config.hook.pytest_deselected(items=unchosen)
    items[:] = [item for item in items if item not in unchosen]
    if not state.settings.candidates:
        return
    from harness.run.claim_detection import expected_gate, require_target

    selection = state.session().selection
    with_arm = [(item, arm) for item in gates if (arm := arm_of(item)) is not None]
    gated = [(i, arm) for i, arm in with_arm if arm.size == selection.largest(arm.name)]
    collected = [expected_gate(function_of(i), suite_name(i), gate_name(i), arm) for i, arm in gated]
    names = {arm.name for _, arm in gated}
    left_out = [
        expected_gate(function_of(item), suite_name(item), gate_name(item), arm)
        for item in state.gates.values()
        if (arm := arm_of(item)) and arm.name in names and arm.size == selection.largest(arm.name)
    ]
    every = [selection.sized(name)[-1] for name in selection.rungs()]
    written = state.written.expected(gated, every)
    state.expected = list(dict.fromkeys([*collected, *left_out, *written]))
    try:
        selection.require_matches(state.known)
        state.written.require_collected([item for item, _ in gated])
        require_target([function_of(i) for i, _ in gated], collected)
    except HarnessError as error:
        state.wrong = error


def pytest_collection_finish(session: pytest.Session) -> None:
    """Check everything that can be checked before something is trained.

    pytest calls this even after a failed collection; what was found to be wrong before comes first.
    """
    if is_worker(session.config):  # the controller collects, too
        return
    state = session.config.stash[STATE]
    if state.settings.lists:
        listed = "\n".join(state.fixtures.listed(session))
        state.planned = listed or "There is none: write one under @harness.candidate in conftest.py."
        session.items.clear()
        return
    gates = [item for item in session.items if has_candidate(item)]
    try:
        if state.wrong is not None:
            raise state.wrong
        _require_apart(state, gates)
        if gates and not only_shows(session.config):
            from harness.run.claim_detection import target_scores

            late = _load_suites(state, gates)
            run = state.session()
            pairs = [(arm, suite_name(item)) for item in gates if (arm := arm_of(item)) is not None]
            if state.settings.ladder is not None:
                begin_ladder(state, session, gates, pairs)
            baselines = [(run.selection.baseline_of(arm.name), suite) for arm, suite in pairs]
            run.need([*pairs, *baselines])
            written = {function_of(item): suite_name(item) for item in [*gates, *state.gates.values()]}
            run.written_targets = target_scores(written, run.suites)
            if state.settings.plan:
                _plan(state, session, gates, late)
            else:
                from harness.run.appraisal import require_economics
                from harness.run.outlook import begin_outlook

                require_economics(run, knows_all_suites=not late)
                run.check()
                begin_outlook(run)
                if run.ladder is not None:
                    run.lab.progress.say("\n".join(run.ladder.lines()))
    except HarnessError as error:
        raise usage_error(error, session.config) from error
    except OSError as error:  # a disk that is full, a folder that may not be written
        told = disk_error(error) or f"{error.filename or 'a file'}: {error.strerror or error}"
        raise pytest.UsageError(str(told)) from error


def _require_apart(state: State, gates: Sequence[pytest.Item]) -> None:
    """Reports and the store are not written among the suites, where they would be read as a part of them.

    Raises:
        UsageError: a test stands in the folder that is to take them.
    """
    folders = {"report-dir": state.settings.reports, "harness-store": state.settings.store}
    for option, folder in folders.items():
        place, root = folder.resolve(), state.settings.root.resolve()
        inside = [item for item in gates if item.path.resolve().is_relative_to(place)]
        if inside and place.is_relative_to(root):
            raise UsageError(
                f"--{option}={os.path.relpath(folder, state.settings.root)}: the suites stand there, such as"
                f" {os.path.relpath(inside[0].path, state.settings.root)}.\n"
                "  hint: name a folder of its own; without the option, one is made in the project's root."
            )


def _plan(state: State, session: pytest.Session, gates: Sequence[pytest.Item], late: Sequence[Path]) -> None:
    """Show what the run would do, and run nothing; what it lacks (a key, a price) is part of the plan."""
    from harness.report.plan import plan_text
    from harness.run.appraisal import require_economics
    from harness.run.claim_detection import expected_gate
    from harness.run.claim_meaning import claim_meanings
    from harness.run.plan_go import PlannedTest
    from harness.run.planning import make_plan

    run = state.session()
    with suppress(UnknownName):  # a model without a price: the plan names it
        require_economics(run, knows_all_suites=not late)
    tests = []
    for item in gates:
        arm = arm_of(item)
        if arm is not None and arm.size == run.selection.largest(arm.name):
            gate = expected_gate(function_of(item), suite_name(item), gate_name(item), arm)
            claims = claim_meanings(function_of(item))
            tests.append(PlannedTest(arm, gate.suite, gate.test, claims, gate.role))
    plan = make_plan(run, tests)
    state.planned = "\n\n".join(
        [
            *([REHEARSED] if state.settings.rehearse else []),
            *(LATE.format(os.path.relpath(file, state.settings.root)) for file in late),
            *(["\n".join(run.ladder.lines(plan.work))] if run.ladder else []),
            plan_text(plan),
        ]
    )
    session.items.clear()


def _load_suites(state: State, gates: list[pytest.Item]) -> list[Path]:
    """Load the suites that are known before their tests run; the files of those that are not."""
    from harness.models.progress import noticed
    from harness.run.discovery import suite_of

    modules = {item.path: getattr(item, "module", None) for item in gates}
    suites: dict[Path, Suite | None] = {}
    for file, module in modules.items():
        with noticed(f"the suite fixture of {os.path.relpath(file, state.settings.root)}", state.log):
            suites[file] = suite_of(module)
    for file, suite in suites.items():
        if suite is not None:
            state.load(suite, file)
    if state.rehearsal is not None and None not in suites.values():
        state.rehearsal.require_needed()
    return [file for file, suite in suites.items() if suite is None]
