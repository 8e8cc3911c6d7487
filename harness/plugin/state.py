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

    from harness.models.progress import Progress
    from harness.plugin.candidates import CandidateFixtures
    from harness.plugin.rehearsal import Rehearsal
    from harness.records import Gate, RunRecord
    from harness.run.session import Session
    from harness.run.suite_loading import LoadedSuite
    from harness.scoring.suite import Suite


class State:
    """What the hooks share: settings, candidate fixtures, and the run once there is one."""

    def __init__(
        self, settings: Settings, command: str, terminal: int | None, log: Callable[[str], None]
    ) -> None:
        from harness.plugin.candidates import CandidateFixtures
        from harness.plugin.written import WrittenTests

        self.settings, self.command, self.terminal, self.log = settings, command, terminal, log
        self.fixtures: CandidateFixtures = CandidateFixtures(settings.root, log)
        self.gates: dict[str, pytest.Item] = {}  # by node id, those included that nobody asked for
        self.written = WrittenTests(settings.root)
        self.expected: list[Gate] = []
        self.explained: dict[str, str] = {}  # why the last claim of a test was refuted
        self.current: Session | None = None
        self.rehearsal: Rehearsal | None = None
        self.record: RunRecord | None = None  # once the run has ended
        self.folder: Path | None = None  # of its report
        self.summary = self.planned = ""
        self.torn = ""  # why fixtures could not be torn down
        self.unchosen = 0
        self.known: list[str] = []  # names of candidates
        self.wrong: HarnessError | None = None
        self._loaded: dict[tuple[Suite, Path], LoadedSuite] = {}  # by content and folder

    def session(self) -> Session:
        """The run, begun when first asked for."""
        if self.current is None:
            from harness.run.session import Session

            settings = self.settings
            if settings.rehearse is None:
                self.current = Session(settings, self._progress())
            else:
                from harness.plugin.rehearsal import Rehearsal

                self.rehearsal = Rehearsal(settings)
                self.current = Session(self.rehearsal.settings, self._progress(), self.rehearsal.candidate)
        return self.current

    def load(self, suite: Suite, file: Path) -> str:
        """Read a suite's files, once, and register it with the run; its name."""
        from harness.run.suite_loading import load_suite

        session = self.session()
        key = suite, file.parent
        if key not in self._loaded:
            loaded = load_suite(suite, file, self.settings.root, final=self.settings.final)
            self._loaded[key] = loaded if self.rehearsal is None else self.rehearsal.suite(loaded)
        session.add_suite(self._loaded[key])
        return self._loaded[key].name

    def all_expected(self, config: pytest.Config) -> list[Gate]:
        """The gates that were collected, and those that are written where pytest collects nothing."""
        run = self.session()
        chosen = [run.selection.sized(name)[-1] for name in run.selection.chosen()]
        return [*self.expected, *self.written.unjudged(run.suites.values(), config, chosen)]

    def _progress(self) -> Progress:
        from harness.models.progress import Drawn, Printed

        if self.terminal is None:
            return Printed(self.log)
        return Drawn(os.fdopen(self.terminal, "w", encoding="utf-8"))


STATE: pytest.StashKey[State] = pytest.StashKey()
SPOKEN: pytest.StashKey[list[Gate]] = pytest.StashKey()
