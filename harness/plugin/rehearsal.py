"""A rehearsal: the run's own suites over the whole hosted path, at a twin of the service on this machine.

No key, no money: hosted candidates, models and judges are asked for at the twin, which really trains and
answers with the built-in model. What it keeps lies under ``rehearsal`` in the store, apart from real runs.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.candidates.specs import Candidate, FewShot, Prompted
from harness.errors import UsageError
from harness.models.remote import RemoteModel
from harness.scoring.rubric import Rubric
from harness.settings import Settings
from harness.training.hosted.spec import OpenAITuning

if TYPE_CHECKING:
    from harness.run.suite_loading import LoadedSuite
    from harness.scoring.suite import SuiteScore


class Rehearsal:
    """A running twin, and candidates and suites as they are asked for there. ``close`` ends it.

    Raises:
        UsageError: the packages of the extra ``twin`` are missing.
    """

    def __init__(self, candidates: Mapping[str, Candidate], settings: Settings) -> None:
        from harness.testing.fake_openai import running_twin

        bases = sorted({base for candidate in candidates.values() if (base := _hosted_model(candidate))})
        self.settings = replace(settings, store=settings.store / "rehearsal")
        folder = self.settings.store / "twin"
        self._stack = ExitStack()
        self._url = self._stack.enter_context(
            running_twin(state=folder, port=_kept_port(folder), stands_in_for=bases)
        )
        self._is_needed = bool(bases)
        _keep_port(folder, self._url)
        self.candidates = {name: _rehearsed(candidate, self._url) for name, candidate in candidates.items()}

    def suite(self, bound: LoadedSuite) -> LoadedSuite:
        """The suite with its hosted judges at the twin, which then stands in for their models, too."""
        from harness.testing.fake_openai import stand_in

        models = sorted({model.model for score in bound.scores if (model := _grader(score)) is not None})
        if models:
            stand_in(self._url, models)
            self._is_needed = True
        return replace(bound, scores=tuple(_rehearsed_score(score, self._url) for score in bound.scores))

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
        """Stop the twin; its jobs and files stay for the next rehearsal."""
        self._stack.close()


def _hosted_model(candidate: Candidate) -> str | None:
    if isinstance(candidate, OpenAITuning):
        return candidate.base
    is_remote = isinstance(candidate, Prompted | FewShot) and isinstance(candidate.model, RemoteModel)
    return candidate.model_name if is_remote else None


def _rehearsed(candidate: Candidate, url: str) -> Candidate:
    if isinstance(candidate, OpenAITuning):
        return candidate.rehearsed(url)
    if isinstance(candidate, Prompted | FewShot) and isinstance(candidate.model, RemoteModel):
        return replace(candidate, model=candidate.model.redirected(url))
    return candidate


def _grader(score: SuiteScore) -> RemoteModel | None:
    model = score.model if isinstance(score, Rubric) else None
    return model if isinstance(model, RemoteModel) else None


def _rehearsed_score(score: SuiteScore, url: str) -> SuiteScore:
    if isinstance(score, Rubric) and isinstance(score.model, RemoteModel):
        return replace(score, model=score.model.redirected(url))
    return score


def _kept_port(folder: Path) -> int:
    """The port of the last rehearsal: addresses are part of what answers are kept under.

    0, for a free one, where there is none or something else has taken it since.
    """
    file = folder / "port"
    text = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
    port = int(text) if text.isdecimal() else 0
    return port if _is_free(port) else 0


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the twin does
        try:
            tried.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def _keep_port(folder: Path, url: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    port = url.rpartition(":")[2].partition("/")[0]
    (folder / "port").write_text(port, encoding="utf-8")
