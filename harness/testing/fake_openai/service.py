"""Everything behind the paths, joined together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness.records import Json
from harness.testing.fake_openai.backend import Backend
from harness.testing.fake_openai.batches import Batches, Endpoint
from harness.testing.fake_openai.catalogue import Catalogue, TwinModel, stand_ins, twin_models
from harness.testing.fake_openai.completions import Completions
from harness.testing.fake_openai.faults import Faults
from harness.testing.fake_openai.files import Files
from harness.testing.fake_openai.jobs import Jobs
from harness.testing.fake_openai.records import StoredFile
from harness.testing.fake_openai.store import Store

if TYPE_CHECKING:
    from harness.testing.fake_openai.faults import FaultyDoor

DATABASE = "twin.sqlite"


class Service:
    """The state of a twin, and the threads that work on it until ``close``.

    Args:
        folder: where weights are kept.
        backend: the models.
        keep: whether everything else is kept in ``folder`` too, for the next start.
        models: offered models; None: the twin's own.
        stands_in_for: names of others that are offered as well.
        faults: what goes wrong at first.
        api_key: the only key that is taken; None: any.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        folder: Path,
        backend: Backend,
        *,
        keep: bool,
        models: Sequence[TwinModel] | None,
        stands_in_for: Sequence[str],
        faults: Faults,
        api_key: str | None,
        clock: Callable[[], float],
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        today = datetime.fromtimestamp(clock(), UTC).date()
        offered = twin_models(today) if models is None else models
        weights = folder / "weights"
        self.api_key, self.clock = api_key, clock
        self.door: FaultyDoor | None = None
        self._faults = faults
        self.store = Store(folder / DATABASE if keep else None)
        self.catalogue = Catalogue((*offered, *stand_ins(stands_in_for)), today)
        self.files = Files(self.store, clock)
        self.completions = Completions(self.store, backend, self.catalogue, weights, clock)
        self.jobs = Jobs(self.store, self.files, backend, self.catalogue, weights, lambda: self.faults, clock)
        endpoints: dict[str, Endpoint] = {
            "/v1/chat/completions": self.completions.chat,
            "/v1/completions": self.completions.completion,
        }
        self.batches = Batches(self.store, self.files, endpoints, clock)

    @property
    def faults(self) -> Faults:
        """What goes wrong now."""
        return self._faults

    def set_faults(self, faults: Faults) -> None:
        """Switch faults on or off, for requests and running jobs."""
        self._faults = faults
        if self.door is not None:
            self.door.faults = faults

    def stats(self) -> dict[str, Json]:
        """What was uploaded, trained and called, for tests of clients."""
        counts = self.store.counts()
        calls = {name: n for name, n in counts.items() if name.split(" ")[0] in ("GET", "POST", "DELETE")}
        files = self.store.newest_first(StoredFile)
        return {
            "uploads": counts.get("uploads", 0),
            "uploads_by_sha256": _after("upload ", counts),
            "files": {file.id: {"sha256": file.sha256, "purpose": file.purpose} for file in files},
            "jobs": counts.get("jobs", 0),
            "batches": counts.get("batches", 0),
            "batch_requests": counts.get("batch requests", 0),
            "calls": calls,
            "faults": _after("fault ", counts),
        }

    def close(self) -> None:
        """End the threads and close the store."""
        self.jobs.close()
        self.batches.close()
        self.store.close()


def _after(prefix: str, counts: Mapping[str, int]) -> dict[str, Json]:
    return {name[len(prefix) :]: n for name, n in counts.items() if name.startswith(prefix)}
