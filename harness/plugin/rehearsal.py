"""A rehearsal: the run's own suites over the whole hosted path, at a stand-in of the service on this machine.

No key, no money: candidates and judges that ask a hosted model are redirected to the stand-in. What it keeps
lies under ``rehearsal`` in the store, apart from real runs.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.candidates.base import Candidate
from harness.errors import UsageError
from harness.scoring.judges import Judge
from harness.settings import Settings

if TYPE_CHECKING:
    from harness.run.suite_loading import LoadedSuite
    from harness.scoring.suite import SuiteScore


class Rehearsal:
    """A running stand-in, and candidates and suites as they are asked for there. ``close`` ends it.

    Raises:
        UsageError: the packages of the extra ``twin`` are missing.
    """

    def __init__(self, settings: Settings) -> None:
        from harness.testing.fake_openai import running_fake_openai

        self.settings = replace(settings, store=settings.store / "rehearsal", shared="")
        # a model that was tuned by script cannot be loaded, and a loaded one would not answer by script
        folder = self.settings.store / ("twin" if settings.rehearse == "script" else "twin-train")
        self._stack = ExitStack()
        self._url = self._stack.enter_context(
            running_fake_openai(folder, port=_kept_port(folder), train=settings.rehearse == "train")
        )
        self._is_needed = False
        _keep_port(folder, self._url)

    def candidate(self, candidate: Candidate) -> Candidate:
        """The candidate with its hosted model at the stand-in.

        Raises:
            UsageError: it still names another address after it was redirected.
        """
        priced = candidate.endpoint()
        if priced is None:
            return candidate
        redirected = candidate.redirected(self._url)
        asked = redirected.endpoint()
        for one in (priced, *priced.others, *((asked, *asked.others) if asked else ())):
            self._stand_in(one.model.model)  # a base may be tuned under another name than it answers under
        if asked is None or not all(self._is_here(one.model.url) for one in (asked, *asked.others)):
            raise _not_redirected(f"the candidate {candidate}")
        return redirected

    def suite(self, suite: LoadedSuite) -> LoadedSuite:
        """The suite with its hosted judges at the stand-in.

        Raises:
            UsageError: a judge still names another address after it was redirected.
        """

        def here(score: SuiteScore) -> SuiteScore:
            if not isinstance(score, Judge):
                return score
            redirected = score.redirected(self._url)
            before, asked = score.estimate(suite.rows), redirected.estimate(suite.rows)
            for one in before.every if before is not None else ():
                self._stand_in(one.model.model)
            if before is not None and (
                asked is None or not all(self._is_here(one.model.url) for one in asked.every)
            ):
                raise _not_redirected(f"the judge {score.name}")
            return redirected

        return replace(suite, scores=tuple(map(here, suite.scores)))

    def require_needed(self) -> None:
        """See that something is hosted, once every suite is known.

        Raises:
            UsageError: neither a candidate nor a judge is.
        """
        if not self._is_needed:
            raise UsageError(
                "--rehearse: no candidate here is hosted, and no judge, so there is nothing to rehearse.\n"
                "  hint: leave it out, or write a candidate with OpenAITuning(...) or RemoteModel(...)."
            )

    def close(self) -> None:
        """Stop the stand-in; its jobs and files stay for the next rehearsal."""
        self._stack.close()

    def _stand_in(self, model: str) -> None:
        from harness.testing.fake_openai import add_aliases

        add_aliases(self._url, [model])
        self._is_needed = True

    def _is_here(self, url: str) -> bool:
        return f"{url.rstrip('/')}/".startswith(f"{self._url.rstrip('/')}/")


def _not_redirected(who: str) -> UsageError:
    return UsageError(
        f"--rehearse: {who} asks a hosted model, and its redirected(url) does not send it to url.\n"
        "  hint: return a copy that asks at url. Until then a rehearsal would reach the real service."
    )


def _kept_port(folder: Path) -> int:
    """The port of the last rehearsal: addresses are part of what answers are kept under.

    0, for a free one, where there is none or something else has taken it since.
    """
    file = folder / "port"
    text = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
    port = int(text) if text.isdecimal() else 0
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the stand-in does
        try:
            tried.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return 0
    return port


def _keep_port(folder: Path, url: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    port = url.rpartition(":")[2].partition("/")[0]
    (folder / "port").write_text(port, encoding="utf-8")
