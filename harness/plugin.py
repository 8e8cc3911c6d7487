"""pytest glue: options, fixtures and outcomes. Hooks translate; they never decide.

Switched on by ``pytest_plugins = ["harness.plugin"]`` in a project's root conftest. Nothing heavy is
imported until a candidate is asked for.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import pytest

from harness.errors import HarnessError, Undecided
from harness.settings import LATER, Settings, parse_settings

if TYPE_CHECKING:
    from _pytest.python import CallSpec2

    from harness.candidates.specs import Candidate
    from harness.decision.claims import Claim
    from harness.models.progress import Progress
    from harness.records import Gate
    from harness.run.flow import Entry, Run, Subject
    from harness.scoring.suite import Suite

OPTIONS = {
    "candidate": ("append", "try this candidate; may repeat and be a glob"),
    "baseline": (
        "store",
        "compare with this candidate (default: the candidate's own base with the suite's prompt)",
    ),
    "sizes": ("store", "training rows of the learning curve, such as 50,100,200,400 (default: all rows)"),
    "train-seeds": ("store", "training seed (default: 0)"),
    "gate": (
        "store",
        "release: anything but GO fails the run (default); regression: only a refuted gate does",
    ),
    "harness-store": ("store", "folder for adapters and answers (default: .harness)"),
    "report-dir": ("store", "folder for reports (default: reports)"),
}
LETTERS = {
    "measured": ("measured", "m", "MEASURED"),
    "advisory": ("advisory", "A", "ADVISORY"),
    "inconclusive": ("inconclusive", "I", ("INCONCLUSIVE", {"yellow": True})),
}


class State:
    """What the hooks share in one session: settings, candidates found, and the run once there is one."""

    def __init__(self, settings: Settings, command: str, terminal: int | None) -> None:
        self.settings, self.command, self.terminal = settings, command, terminal
        self.found: dict[str, Candidate] = {}
        self.expected: list[Gate] = []
        self.explained: dict[str, str] = {}  # why the last claim of a test was refuted
        self.current: Run | None = None
        self.summary = ""
        self.unchosen = 0
        self.wrong: HarnessError | None = None

    def run(self) -> Run:
        """The run, begun when first asked for."""
        if self.current is None:
            from harness.run.flow import Run

            self.current = Run(self.settings, self.found, self.settings.root, self._progress())
        return self.current

    def _progress(self) -> Progress:
        from harness.models.progress import Drawn, Silent

        if self.terminal is None:
            return Silent()
        return Drawn(os.fdopen(self.terminal, "w", encoding="utf-8"))


STATE: pytest.StashKey[State] = pytest.StashKey()
WORD = "harness_outcome"


# --------------------------------------------------------------------------- options
def pytest_addoption(parser: pytest.Parser) -> None:
    """Options and their ini keys (``--sizes`` is ``harness_sizes``)."""
    group = parser.getgroup("harness", "fine-tuning decisions")
    for name, (action, text) in OPTIONS.items():
        kind: Literal["linelist", "string"] = "linelist" if action == "append" else "string"
        group.addoption(f"--{name}", action=action, dest=_dest(name), default=None, help=text)
        parser.addini(_dest(name), text, type=kind, default=None)
    for name in LATER:
        group.addoption(
            f"--{name}", dest=_dest(name), nargs="?", const="yes", default=None, help="not there yet"
        )


def _dest(name: str) -> str:
    return "harness_" + name.removeprefix("harness-").replace("-", "_")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Read the options once."""
    for name in LATER:
        if config.getoption(_dest(name)) is not None:
            raise pytest.UsageError(f"--{name} is not in this version yet; leave it out.")
    given = {name: config.getoption(_dest(name)) or config.getini(_dest(name)) or None for name in OPTIONS}
    try:
        settings = parse_settings(given, config.rootpath)
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error
    state = State(settings, "pytest " + shlex.join(map(str, config.invocation_params.args)), _terminal())
    config.stash[STATE] = state
    for plugin in config.pluginmanager.get_plugins():
        _find_candidates(plugin, state)
    if settings.candidates:
        # --lf would leave out files and tests unseen, and their gates could then not be named as missing;
        # without this part of it, it deselects them afterwards
        config.pluginmanager.set_blocked("lfplugin-collwrapper")


def _terminal() -> int | None:
    """A copy of the real standard error, if a person watches it; pytest's capture does not reach it."""
    return os.dup(2) if os.isatty(2) else None


def pytest_plugin_registered(plugin: object, manager: pytest.PytestPluginManager) -> None:
    """Find candidates in conftests that are met during collection."""
    config: pytest.Config | None = getattr(manager.getplugin("pytestconfig"), "pluginmanager", None) and (
        manager.getplugin("pytestconfig")
    )
    if config is not None and STATE in config.stash:
        _find_candidates(plugin, config.stash[STATE])


def _find_candidates(plugin: object, state: State) -> None:
    from harness.run.discovery import candidates_in

    try:
        state.found.update(candidates_in(plugin, state.settings.root))
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error


# --------------------------------------------------------------------------- collection
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One item for each candidate and size."""
    if "candidate" not in metafunc.fixturenames or _names_its_own(metafunc.definition):
        return
    state = metafunc.config.stash[STATE]
    if not state.settings.candidates:
        metafunc.parametrize("candidate", [None], indirect=True, ids=["not-chosen"])
        return
    try:
        entries = state.run().entries()
    except HarnessError as error:  # raised once, when all is collected, and not once a file
        state.wrong = error
        metafunc.parametrize("candidate", [], indirect=True)
        return
    metafunc.parametrize("candidate", entries, indirect=True, ids=[e.label for e in entries])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Set aside what no candidate was chosen for; note every gate before anything is deselected."""
    state = config.stash[STATE]
    gates = [item for item in items if _has_candidate(item)]
    if state.wrong is not None or not gates:
        return
    if not state.settings.candidates:
        state.unchosen = len(gates)
        config.hook.pytest_deselected(items=gates)
        items[:] = [item for item in items if not _has_candidate(item)]
        return
    from harness.run.expected import expected_gate, require_target

    run = state.run()
    with_entry = [(item, entry) for item in gates if (entry := _entry(item)) is not None]
    gated = [(i, e) for i, e in with_entry if e.size == run.largest(e.name)]
    state.expected = [expected_gate(_function(i), _suite_name(i), _test_name(i), e) for i, e in gated]
    try:
        require_target([_function(i) for i, _ in gated], state.expected)
    except HarnessError as error:
        state.wrong = error


def pytest_collection_finish(session: pytest.Session) -> None:
    """Check everything that can be checked before something is trained.

    pytest calls this even after a failed collection; what was found to be wrong before comes first.
    """
    state = session.config.stash[STATE]
    gates = [item for item in session.items if _has_candidate(item)]
    try:
        if state.wrong is not None:
            raise state.wrong
        if gates and not _only_shows(session.config):
            _check(state, gates)
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error


def _only_shows(config: pytest.Config) -> bool:
    """Whether pytest was asked what there is (``--co``, ``--setup-plan``, ``--fixtures``), not to run it."""
    asked = ("collectonly", "setuponly", "showfixtures", "show_fixtures_per_test")
    return any(getattr(config.option, name, False) for name in asked)


def _check(state: State, gates: list[pytest.Item]) -> None:
    from harness.run.discovery import suite_of
    from harness.run.recording import require_economics

    modules = {item.path: getattr(item, "module", None) for item in gates}
    for file, module in modules.items():
        suite = suite_of(module)
        if suite is not None:
            _bind(state, suite, file)
    require_economics(state.run())
    state.run().check()


def _bind(state: State, suite: Suite, file: Path) -> str:
    from harness.run.binding import bind_suite

    bound = bind_suite(suite, file, state.settings.root)
    state.run().add_suite(bound)
    return bound.name


def _has_candidate(item: pytest.Item) -> bool:
    asks = "candidate" in getattr(item, "fixturenames", ()) and hasattr(item, "callspec")
    return asks and not _names_its_own(item)


def _names_its_own(item: pytest.Item) -> bool:
    """Whether the test is parametrised by something of its own that it calls ``candidate``."""
    marks = item.iter_markers("parametrize")
    return any("candidate" in re.findall(r"\w+", str(mark.args[:1] or mark.kwargs)) for mark in marks)


def _entry(item: pytest.Item) -> Entry | None:
    callspec = _callspec(item)
    entry = callspec.params.get("candidate") if callspec else None
    return cast("Entry | None", entry)


def _function(item: pytest.Item) -> Callable[..., object]:
    assert isinstance(item, pytest.Function)
    return cast("Callable[..., object]", item.function)


def _test_name(item: pytest.Item) -> str:
    """The item's id without the candidate; what else a test is parametrised by tells its gates apart."""
    function, entry, callspec = getattr(item, "originalname", item.name), _entry(item), _callspec(item)
    others = ""
    if entry is not None and callspec is not None:
        others = f"-{callspec.id}-".replace(f"-{entry.label}-", "-", 1).strip("-")
    return item.nodeid.removesuffix(item.name) + function + (f"[{others}]" if others else "")


def _callspec(item: pytest.Item) -> CallSpec2 | None:
    callspec: CallSpec2 | None = getattr(item, "callspec", None)
    return callspec


def _suite_name(item: pytest.Item) -> str:
    return item.path.parent.name


# --------------------------------------------------------------------------- fixtures
@pytest.fixture
def candidate(request: pytest.FixtureRequest, suite: Suite) -> Subject:
    """The candidate under test at one size, on the module's suite."""
    return _subject(request, suite, request.param)


@pytest.fixture
def baseline(request: pytest.FixtureRequest, suite: Suite, candidate: Subject) -> Subject:
    """What the candidate is compared with, on the same rows."""
    run = request.config.stash[STATE].run()
    return _subject(request, suite, run.baseline_of(candidate.entry.name), candidate.entry)


def _subject(
    request: pytest.FixtureRequest, suite: Suite, entry: Entry, judged: Entry | None = None
) -> Subject:
    from harness.report.terminal import printable

    state = request.config.stash[STATE]
    name = _bind(state, suite, request.path)
    item = request.node

    def settle(claim: Claim) -> bool:
        gate = state.run().settle(judged or entry, name, _test_name(item), claim)
        item.stash.setdefault(SPOKEN, []).append(gate)
        if gate.state != "gated":
            return True
        if gate.comparison is not None and gate.comparison.outcome == "inconclusive":
            raise Undecided(printable(claim.explain()))
        state.explained[item.nodeid] = printable(claim.explain())
        return claim.outcome == "shown"

    return state.run().subject(entry, name, settle)


SPOKEN: pytest.StashKey[list[Gate]] = pytest.StashKey()


# --------------------------------------------------------------------------- outcomes
def pytest_assertrepr_compare(
    config: pytest.Config, op: str, left: object, right: object
) -> list[str] | None:
    """Explain a refuted claim: numbers, reason and the worst rows."""
    from harness.decision.claims import Scores

    if not (isinstance(left, Scores) or isinstance(right, Scores)):
        return None
    explained = config.stash[STATE].explained
    return next(reversed(explained.values())).splitlines() if explained else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Give measured, advisory and inconclusive gates their words, and errors one screen."""
    report = yield
    if not _has_candidate(item) or call.when == "teardown":
        return report
    state = item.config.stash[STATE]
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, Undecided):
        _set_inconclusive(report, item, str(error), state.settings.gate)
    elif isinstance(error, HarnessError):
        report.longrepr = f"{_place(item, call)}{type(error).__name__}: {error}"
    elif call.when == "call":
        spoken = item.stash.get(SPOKEN, [])
        entry = _entry(item)
        if entry is not None and entry.size != state.run().largest(entry.name):
            if error is None or isinstance(error, AssertionError):
                report.outcome = "passed"
                setattr(report, WORD, "measured")
        elif error is None and spoken and all(gate.state == "advisory" for gate in spoken):
            setattr(report, WORD, "advisory")
        elif report.failed and "Full output truncated" in report.longreprtext:
            report.sections.append(("the whole explanation", state.explained.get(item.nodeid, "")))
    return report


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


# --------------------------------------------------------------------------- the end
@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the record and the report; under ``--gate=release`` anything but GO fails the run."""
    state = session.config.stash[STATE]
    run = state.current
    ended = exitstatus in (0, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
    if run is None or _only_shows(session.config) or not (run.trials or (state.expected and ended)):
        return
    try:
        failing = _conclude(state, run, session.config)
    except (HarnessError, OSError) as error:  # what was paid for is in the store; a traceback would hide it
        state.summary = f"the report could not be written: {error}"
        failing = True
    if failing and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _conclude(state: State, run: Run, config: pytest.Config) -> bool:
    """Decide, write the report and set the summary; whether the decisions alone fail the run."""
    from harness.report.html import write_index, write_report
    from harness.report.terminal import summary
    from harness.run.recording import fails, make_record, own_folder

    record = make_record(run, state.expected, state.command)
    said = []
    if run.trials:
        record, folder = own_folder(record, state.settings.reports)
        page = write_report(record, folder)
        write_index(state.settings.reports)
        said = ["", f"report: {os.path.relpath(page, config.invocation_params.dir)}"]
    failing = fails(state.settings.gate, record.decisions)
    if failing:
        said.append("exit status 1: under --gate=release anything but GO fails the run")
    width = max(80, min(140, _columns(config)))
    state.summary = "\n".join([summary(record, width, _colours(config)), *said])
    return failing


def _columns(config: pytest.Config) -> int:
    reporter = config.pluginmanager.getplugin("terminalreporter")
    return int(reporter._tw.fullwidth) if reporter else 100


def _colours(config: pytest.Config) -> bool:
    reporter = config.pluginmanager.getplugin("terminalreporter")
    return bool(reporter and reporter.hasmarkup)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table, the decision and the report's path; or how to choose a candidate."""
    state = config.stash[STATE]
    for report in terminalreporter.stats.get("inconclusive", []):
        if config.option.verbose >= 0:
            terminalreporter.write_sep("_", f"INCONCLUSIVE {report.nodeid}")
            why = report.longrepr if isinstance(report.longrepr, str) else report.longrepr[2]
            terminalreporter.write_line(why)
    if state.summary:
        terminalreporter.write_sep("=", "decision")
        terminalreporter.write_line(state.summary)
    if state.unchosen:
        names = ", ".join(sorted(state.found)) or "none: write one under @harness.candidate in conftest.py"
        terminalreporter.write_line(
            f"{state.unchosen} gates wait for a candidate: choose with --candidate=NAME (there are: {names})."
        )
