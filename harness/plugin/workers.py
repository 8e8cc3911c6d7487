"""pytest-xdist: workers run the other tests, and the process that started them judges the gates.

A decision needs every gate of a session; a candidate is trained once, and a model is loaded once. So the
controller collects as a run without workers does, and runs the gates as one does. Workers leave them out:
whatever ``--dist`` or a scheduler of the project's own does with the other tests, it never sees a gate.

The two do not run at the same time, so what is measured (tokens a second, and the costs that follow from
it) is measured on a machine that does nothing else.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Protocol

import pytest

from harness.plugin.items import has_candidate, only_shows
from harness.plugin.state import STATE
from harness.settings import Settings

WAITING = "harness_waiting"  # in a worker's output: how many gates wait for a candidate, and those there are


class Gateway(Protocol):
    """execnet's connection to a worker."""

    def exit(self) -> None:
        """End the worker's process."""


class Node(Protocol):
    """A worker as pytest-xdist shows it to the controller; once it has ended, it has a ``workeroutput``."""

    config: pytest.Config  # the controller's
    gateway: Gateway


NODES: pytest.StashKey[list[Node]] = pytest.StashKey()


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def judges_beside_workers(config: pytest.Config) -> bool:
    """Whether this process starts workers, and has gates to judge itself."""
    return config.pluginmanager.hasplugin("dsession") and bool(config.stash[STATE].settings.candidates)


def worker_settings(settings: Settings, config: pytest.Config) -> Settings:
    """A worker tries no candidate, and so calls none of their functions.

    Except where the other tests that run depend on which gates there are: with ``--lf`` and the like, and
    where a test's whole id is given, which may be a gate's.
    """
    depends = any(getattr(config.option, name, False) for name in ("lf", "failedfirst", "stepwise"))
    named = any("::" in argument and "[" in argument for argument in config.args)
    chosen = settings.candidates if depends or named else ()
    return replace(settings, candidates=chosen, rehearse=None, shared="")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Start no workers where no test is run."""
    option = config.option
    plans = option.harness_list or option.harness_plan or config.getini("harness_plan")
    if (plans or only_shows(config)) and hasattr(option, "numprocesses"):
        option.numprocesses, option.dist, option.distload, option.tx = 0, "no", False, []


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say where the gates run."""
    if not judges_beside_workers(config):
        return None
    return "harness: the gates run in this process; workers run the other tests"


# --------------------------------------------------------------------------- in the controller
@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Node) -> None:
    """Note the workers."""
    node.config.stash.setdefault(NODES, []).append(node)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collect here as well, where pytest-xdist leaves that to the workers."""
    done = yield
    if judges_beside_workers(session.config):
        session.perform_collect()
    return done


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """What is skipped while it is collected is reported, and counted, by the workers."""
    report = yield
    goes_on = collector.config.option.continue_on_collection_errors
    if judges_beside_workers(collector.config) and (report.skipped or (report.failed and goes_on)):
        report.outcome, report.longrepr, report.result = "passed", None, []
    return report


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Run the gates here, before or after the workers' tests: as their files stand in the order of all.

    It ends as pytest's own loop does, with the same exit status.
    """
    if not judges_beside_workers(session.config):
        return (yield)
    if session.testsfailed and not session.config.option.continue_on_collection_errors:
        errors = "error" if session.testsfailed == 1 else "errors"
        raise session.Interrupted(f"{session.testsfailed} {errors} during collection")
    every = list(session.items)
    session.items[:] = [item for item in every if has_candidate(item)]
    is_first = every[:1] == session.items[:1]
    if is_first:
        _run_gates(session)
        workers = session.config.pluginmanager.getplugin("dsession")
        workers.countfailures = session.testsfailed  # --maxfail counts both
    session.config.pluginmanager.register(_Count(session, len(every)))
    try:
        done = yield
    except KeyboardInterrupt:
        if session.shouldfail:  # -x: pytest-xdist calls that an interrupt, and its exit status is 2
            raise session.Failed(session.shouldfail) from None
        raise
    session.testscollected = len(every)
    if not is_first:
        for node in session.config.stash.get(NODES, []):
            node.gateway.exit()  # a worker that waits for the session's end holds its memory, and a GPU's
        _run_gates(session)
    return done


class _Count:
    """Shows progress as a share of all tests, where pytest-xdist would count the workers' alone."""

    def __init__(self, session: pytest.Session, count: int) -> None:
        self._session, self._count = session, count

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        """A worker begins a test."""
        self._session.testscollected = self._count


def _run_gates(session: pytest.Session) -> None:
    for item, following in zip(session.items, [*session.items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
    reporter = session.config.pluginmanager.getplugin("terminalreporter")
    if reporter is not None:
        reporter.ensure_newline()  # pytest-xdist begins in the middle of a line


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Node) -> None:
    """Take over how many gates wait for a candidate, where nobody but the workers has collected."""
    state = node.config.stash[STATE]
    waiting = getattr(node, "workeroutput", {}).get(WAITING)
    if waiting is not None and not state.settings.candidates:
        state.unchosen, state.known = waiting


# --------------------------------------------------------------------------- in a worker
@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave the gates out, after all else has chosen among all tests, and before the controller is told."""
    if is_worker(session.config):
        session.items[:] = [item for item in session.items if not has_candidate(item)]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the controller how many gates wait for a candidate."""
    output: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    state = session.config.stash[STATE]
    if output is not None and state.unchosen:
        output[WAITING] = state.unchosen, state.known
