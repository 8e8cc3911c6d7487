"""What the hooks share in one session."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from harness.errors import HarnessError
from harness.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from harness.candidates.specs import Candidate
    from harness.models.progress import Progress
    from harness.plugin.rehearsal import Rehearsal
    from harness.records import Gate
    from harness.run.session import Run
    from harness.scoring.suite import Suite


class State:
    """What the hooks share in one session: settings, candidates found, and the run once there is one."""

    def __init__(
        self, settings: Settings, command: str, terminal: int | None, log: Callable[[str], None]
    ) -> None:
        self.settings, self.command, self.terminal, self.log = settings, command, terminal, log
        self.found: dict[str, Candidate] = {}
        self.expected: list[Gate] = []
        self.explained: dict[str, str] = {}  # why the last claim of a test was refuted
        self.current: Run | None = None
        self.rehearsal: Rehearsal | None = None
        self.summary = self.planned = ""
        self.unchosen = 0
        self.wrong: HarnessError | None = None

    def run(self) -> Run:
        """The run, begun when first asked for."""
        if self.current is None:
            from harness.run.session import Run

            settings, candidates = self.settings, self.found
            if settings.rehearse:
                from harness.plugin.rehearsal import Rehearsal

                self.rehearsal = Rehearsal(candidates, settings)
                settings, candidates = self.rehearsal.settings, self.rehearsal.candidates
            self.current = Run(settings, candidates, settings.root, self._progress())
        return self.current

    def _progress(self) -> Progress:
        from harness.models.progress import Drawn, Printed

        if self.terminal is None:
            return Printed(self.log)
        return Drawn(os.fdopen(self.terminal, "w", encoding="utf-8"))


STATE: pytest.StashKey[State] = pytest.StashKey()
SPOKEN: pytest.StashKey[list[Gate]] = pytest.StashKey()


def bind(state: State, suite: Suite, file: Path) -> str:
    """Read the suite's files and register it with the run; its name."""
    from harness.run.suite_loading import load_suite

    run = state.run()
    bound = load_suite(suite, file, state.settings.root, final=state.settings.final)
    if state.rehearsal is not None:
        bound = state.rehearsal.suite(bound)
    run.add_suite(bound)
    return bound.name
