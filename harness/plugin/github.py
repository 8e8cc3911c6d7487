"""On GitHub Actions: annotations at the gates, the job's summary and the step's outputs. Elsewhere nothing.

Answers are text of strangers, and GitHub's runner acts on lines of the log that look like commands. While
candidates are tried, it is told to act on none, whoever prints them.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from harness.plugin.state import STATE, State
from harness.plugin.workers import is_worker

MOST_BYTES = 1024 * 1024  # of a step's summary; GitHub shows nothing of a larger one
TOKEN: pytest.StashKey[str] = pytest.StashKey()


def is_on_github() -> bool:
    """Whether a step of GitHub Actions runs this process."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Have the runner take what follows for text, where candidates are tried."""
    config = session.config
    if is_on_github() and not is_worker(config) and config.stash[STATE].settings.candidates:
        config.stash[TOKEN] = secrets.token_hex(16)
        _write(config, f"::stop-commands::{config.stash[TOKEN]}")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Have it act on commands again, and give it ours."""
    if TOKEN not in config.stash:
        return
    _write(config, f"::{config.stash[TOKEN]}::")
    state = config.stash[STATE]
    if state.record is not None:
        for line in _annotations(state):
            _write(config, line)
    if state.folder is not None:
        try:
            _append("GITHUB_STEP_SUMMARY", (state.folder / "report.md").read_text("utf-8"), MOST_BYTES)
            _append("GITHUB_OUTPUT", _outputs(state), MOST_BYTES)
        except OSError as error:
            _write(config, f"harness: GitHub's summary could not be written: {error}")


def _annotations(state: State) -> list[str]:
    from harness.report.ci import findings, workflow_commands

    assert state.record is not None
    root = state.settings.root
    repository = os.environ.get("GITHUB_WORKSPACE") or root

    def shown(file: str) -> str:
        return os.path.relpath(root / file, repository)

    found = findings(state.record, root)
    return [*workflow_commands(found, shown, is_ladder=state.record.ladder is not None)]


def _outputs(state: State) -> str:
    """``run``, the folder of the report, and ``verdict``."""
    from harness.report.ci import verdict_of

    assert state.record is not None
    assert state.folder is not None
    return f"run={state.folder.absolute()}\nverdict={verdict_of(state.record.decisions)}\n"


def _append(variable: str, text: str, most: int) -> None:
    """To the file that the variable names, where it has room."""
    name = os.environ.get(variable)
    if name:
        path, content = Path(name), text.encode("utf-8", "replace")
        if (path.stat().st_size if path.exists() else 0) + len(content) <= most:
            with path.open("ab") as file:
                file.write(content)


def _write(config: pytest.Config, line: str) -> None:
    from harness.report.printable import encodable

    reporter = config.pluginmanager.getplugin("terminalreporter")
    if reporter is None:
        print(line)  # noqa: T201 - a command to the runner
    else:
        reporter.write_line(encodable(line, getattr(reporter._tw._file, "encoding", None) or "utf-8"))
