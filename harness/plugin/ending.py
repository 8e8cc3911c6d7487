"""The end of a session: the record, the report, the exit status and the summary."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from harness.errors import HarnessError, UsageError, disk_error
from harness.plugin.github import is_on_github
from harness.plugin.items import only_shows
from harness.plugin.state import STATE, State
from harness.plugin.workers import is_worker
from harness.report import numbers

if TYPE_CHECKING:
    from harness.run.session import Session


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the record and the report; under ``--gate=release`` anything but GO fails the run."""
    state = session.config.stash[STATE]
    run = state.current
    try:
        # what candidates asked for; where no test ran, nothing has torn it down, and an error in pytest's own
        # turn would lose what is to be printed
        session._setupstate.teardown_exact(None)
    except Exception as error:  # noqa: BLE001 - a user's fixture may raise anything
        state.torn = f"a fixture failed while it was torn down: {type(error).__name__}: {error}"
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if state.planned:
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED if state.torn else pytest.ExitCode.OK
        return
    ended = exitstatus in (0, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
    if (
        run is None
        or is_worker(session.config)
        or only_shows(session.config)
        or not (run.trials or (state.expected and ended))
    ):
        if state.settings.bless and not is_worker(session.config):
            state.summary = "not blessed: no candidate was judged"
            session.exitstatus = exitstatus or pytest.ExitCode.TESTS_FAILED
        return
    try:
        failing = _conclude(state, run, session.config, int(exitstatus))
    except (HarnessError, OSError) as error:  # what was paid for is in the store; a traceback would hide it
        state.summary = f"the report could not be written: {disk_error(error) or error}"
        failing = True
    if failing and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _conclude(state: State, run: Session, config: pytest.Config, exitstatus: int) -> bool:
    """Decide, write the report and set the summary; whether the decisions alone fail the run."""
    from harness.decision.regression import why_blocked
    from harness.report.html import write_index, write_report
    from harness.report.terminal import summary
    from harness.run.blessing import bless
    from harness.run.recording import make_record, own_folder

    record = make_record(
        run, state.all_expected(config), state.command, rehearsal=state.rehearsal is not None
    )
    said = []
    if run.trials or run.failed:  # a failed training was paid for, too
        record, folder = own_folder(record, state.settings.reports)
        page = write_report(record, folder)
        write_index(state.settings.reports)
        state.folder = folder
        said = ["", f"report: {os.path.relpath(page, config.invocation_params.dir)}"]
    state.record = record
    why = why_blocked(record)
    failing = bool(why)
    said += [f"exit status 1: {why}"] if why else []
    if state.settings.bless:
        try:
            _require_whole(state, config, exitstatus)
            said.append(bless(run, record))
        except (HarnessError, OSError) as error:
            said.append(f"not blessed: {error}")
            failing = True
    width = max(80, min(140, _columns(config)))
    state.summary = "\n".join([summary(record, width, _colours(config)), *said])
    return failing


def _require_whole(state: State, config: pytest.Config, exitstatus: int) -> None:
    """Nothing is blessed by a session that was cut short, or in which a test that is no gate failed.

    Raises:
        UsageError: names the first of them.
    """
    if exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise UsageError("the session was cut short")
    reporter = config.pluginmanager.getplugin("terminalreporter")
    stats = {} if reporter is None else reporter.stats
    failed = [one.nodeid for kind in ("failed", "error") for one in stats.get(kind, ())]
    others = [name for name in failed if name not in state.gates]
    if others or (exitstatus and reporter is None):
        raise UsageError(f"{others[0] if others else 'a test'} failed beside the gates")


def pytest_unconfigure(config: pytest.Config) -> None:
    """End servers, send what is to be shared, however the run ended, and stop the twin of a rehearsal."""
    state = config.stash.get(STATE, None)
    if state is not None and not config.pluginmanager.hasplugin("terminalreporter") and not is_worker(config):
        for _, text in _told(state):
            _write(None, text)
    if state is not None and state.current is not None:
        state.current.lab.servers.end()
    if state is not None and state.current is not None and state.current.shared is not None:
        state.current.shared.close()
    if state is not None and state.rehearsal is not None:
        state.rehearsal.close()


def _columns(config: pytest.Config) -> int:
    reporter = config.pluginmanager.getplugin("terminalreporter")
    return int(reporter._tw.fullwidth) if reporter else 100


def _colours(config: pytest.Config) -> bool:
    reporter = config.pluginmanager.getplugin("terminalreporter")
    return bool(reporter and reporter.hasmarkup)


def _write(reporter: pytest.TerminalReporter | None, text: str) -> None:
    """Line by line: where its file cannot encode a sign, pytest escapes all of a text, line ends too."""
    from harness.report.ci import without_commands
    from harness.report.printable import encodable

    if is_on_github():
        text = "\n".join(map(without_commands, text.splitlines()))
    file = sys.stdout if reporter is None else reporter._tw._file
    for line in encodable(text, getattr(file, "encoding", None) or "utf-8").splitlines():
        if reporter is None:
            print(line)  # noqa: T201 - with -p no:terminal; the decision is what the run was for
        else:
            reporter.write_line(line)


def _told(state: State) -> Iterator[tuple[str, str]]:
    """What a run says at its end, each text with its heading: the table, the decision, the report's path."""
    yield "candidates" if state.settings.lists else "plan", state.planned
    yield "decision", state.summary
    yield "", state.torn
    if state.unchosen:
        names = ", ".join(state.known) or "none: write one under @harness.candidate in conftest.py"
        one, gates = state.unchosen == 1, numbers.plural(state.unchosen, "gate")
        how = f"{'waits' if one else 'wait'} for a candidate: choose with --candidate=NAME"
        if state.settings.candidates:
            how = f"{'sees' if one else 'see'} no such candidate"
        yield "", f"{gates} {how} (there are: {names})."


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print it, below what was inconclusive."""
    for report in terminalreporter.stats.get("inconclusive", []):
        if config.option.verbose >= 0:
            terminalreporter.write_sep("_", f"INCONCLUSIVE {report.nodeid}")
            why = report.longrepr if isinstance(report.longrepr, str) else report.longrepr[2]
            _write(terminalreporter, why)
    for heading, text in _told(config.stash[STATE]):
        if heading and text:
            terminalreporter.write_sep("=", heading)
        _write(terminalreporter, text)
