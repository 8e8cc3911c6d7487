"""A rehearsal: the run's own suites over the whole hosted path, at a twin of the service on this machine.

No key, no money: hosted candidates and models are asked for at the twin, which really trains and answers
with the built-in model. What it keeps lies under ``rehearsal`` in the store, apart from real runs.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from harness.candidates.hosted.spec import REHEARSAL_KEY, OpenAITuning
from harness.candidates.specs import Candidate, FewShot, Prompted
from harness.errors import UsageError
from harness.models.profiles import TWIN
from harness.models.remote import RemoteModel
from harness.settings import Settings

STAMP = "REHEARSAL: hosted models were a local twin of the service; nothing here speaks of the real ones."


class Rehearsal:
    """A running twin, and the candidates as they are asked for there. ``close`` ends it.

    Raises:
        UsageError: no candidate is hosted, or the packages of the extra ``twin`` are missing.
    """

    def __init__(self, candidates: Mapping[str, Candidate], settings: Settings) -> None:
        from harness.testing.twin import running_twin

        bases = sorted({base for candidate in candidates.values() if (base := _hosted_model(candidate))})
        if not bases:
            raise UsageError(
                "--rehearse: no candidate here is hosted, so there is nothing to rehearse.\n"
                "  mend: leave it out, or write a candidate with OpenAITuning(...) or RemoteModel(...)."
            )
        self.settings = replace(settings, store=settings.store / "rehearsal")
        folder = self.settings.store / "twin"
        self._stack = ExitStack()
        url = self._stack.enter_context(
            running_twin(state=folder, port=_kept_port(folder), stands_in_for=bases)
        )
        _keep_port(folder, url)
        self.candidates = {name: _rehearsed(candidate, url) for name, candidate in candidates.items()}

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
        there = replace(candidate.model, base_url=url, profile=TWIN.name, api_key_env=REHEARSAL_KEY)
        return replace(candidate, model=there)
    return candidate


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
