"""Disks that fail at each write in turn: full, failing, or only to be read; once, and from then on.

After each a run must have said on one screen what failed and what to do, or come to its end as if nothing had
been; the store verifies; and the run after it gives the undisturbed run's record, with no paid call repeated.
"""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.kills import difference, record_of
from benchmarks.results import Options, Result
from benchmarks.small_runs import (
    AT_ONCE,
    STORE_ALONE,
    STORE_IMPORTS,
    Ended,
    Forks,
    Twin,
    build_base,
    compiled,
    twin,
    write_project,
)
from harness.store.upkeep import problems

ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EROFS": errno.EROFS}
SAYS = re.compile(
    r"No space left|I/O error|Read-only file|is full|readonly database|unable to open database"
    r"|cannot be (used|made|written)|could not be written",
    re.IGNORECASE,
)
NEVER = ("tracebacks", "silent failures", "stores damaged", "records that differ", "paid calls repeated")
MOST = 25  # writes of a run that fail in each way, spread over it


def measure(options: Options) -> list[Result]:
    """Fail at every write to a store, and at ``MOST`` of a run, in each of six ways."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve() / "project"
        folder.mkdir()
        shim = compiled(folder.parent)
        if shim is None:
            print("faults: no C compiler, or not Linux; left out")
            return []
        build_base(folder)
        every = store_alone(folder, shim, 20 if options.smoke else 1)
        forks = Forks(folder, shim)
        try:
            found = _failed(folder, forks, 2 if options.smoke else MOST)
        finally:
            forks.close()
    return [
        Result(f"faults, {what}: {name}", counted[name], "", _told(counted), bar=0, bar_is="value at most")
        for what, counted in (("the store alone", every), ("a run", found))
        for name in NEVER
    ]


def _told(found: Counter[str]) -> str:
    return (
        f"{found['runs']} processes, of which each makes {found['writes']} writes where none fails;"
        f" {found['said']} said what failed, {found['no harm']} went on without harm"
    )


def store_alone(folder: Path, shim: Path, step: int) -> Counter[str]:
    """Every ``step``-th write of a process that only stores, in each of six ways."""
    found, forks = Counter[str](), Forks(folder, shim, STORE_IMPORTS)

    def stored(at: int = 0, error: int = 0, *, for_good: bool = False) -> Ended:
        return forks.run(at=at, error=error, for_good=for_good, arguments=STORE_ALONE)

    def cleared() -> None:
        for name in (".harness", "reports"):
            shutil.rmtree(folder / name, ignore_errors=True)

    cleared()
    found["writes"] = stored().writes
    for name, number in ERRORS.items():
        for for_good in (False, True):
            for at in range(1, found["writes"] + 1, step):
                cleared()
                place = f"{name}{' for good' if for_good else ''} at write {at}"
                _judge(folder, stored(at, number, for_good=for_good), place, found)
                if stored().status != 0:
                    found["records that differ"] += 1
                    print(f"{place}: the process after it failed")
        print(f"the store alone, {name}: {dict(found)}", flush=True)
    forks.close()
    return found


def _failed(folder: Path, forks: Forks, most: int) -> Counter[str]:
    found = Counter[str]()
    with twin() as (url, _):
        port = int(url.rpartition(":")[2].partition("/")[0])
        write_project(folder, url)
        forks.run()
        write_project(folder, url)
    with twin(port):
        whole = forks.run()
        expected = record_of(folder)
    found["writes"] = whole.writes
    step = max(1, whole.writes // most)
    for name, number in ERRORS.items():
        for for_good in (False, True):
            # each way begins elsewhere, so that together they meet more of the writes
            first = 1 + (2 * list(ERRORS).index(name) + for_good) * step // 6
            for at in range(first, whole.writes + 1, step):
                with twin(port) as (url, backend):
                    write_project(folder, url)
                    failed = forks.run(at=at, error=number, for_good=for_good)
                    place = f"{name}{' for good' if for_good else ''} at write {at}"
                    _judge(folder, failed, place, found)
                    forks.run()
                    if (record := record_of(folder)) != expected:
                        found["records that differ"] += 1
                        print(f"{place}: {difference(expected, record)}")
                    found["paid calls repeated"] += _repeated(backend, failed, place)
            print(f"{name}{', for good' if for_good else ''}: {dict(found)}", flush=True)
    return found


def _judge(folder: Path, failed: Ended, place: str, found: Counter[str]) -> None:
    found["runs"] += 1
    for problem in problems(folder / ".harness"):
        found["stores damaged"] += 1
        print(f"{place}: {problem}")
    if "Traceback (most recent call last)" in failed.said or "INTERNALERROR" in failed.said:
        found["tracebacks"] += 1
        print(f"{place}:\n{failed.said[-3000:]}")
    elif SAYS.search(failed.said):
        found["said"] += 1
    elif failed.status in (0, 1) and "report: " in failed.said:
        found["no harm"] += 1
    else:
        found["silent failures"] += 1
        print(f"{place}: status {failed.status}\n{failed.said[-2000:]}")


def _repeated(backend: Twin, failed: Ended, place: str) -> int:
    """Calls of the first run that the second made again, but for those whose answers no disk would take."""
    first = Counter(asked for moment, asked in backend.answered if moment <= failed.at)
    again = [asked for moment, asked in backend.answered if moment > failed.at and first[asked]]
    return max(0, len(again) - 2 * AT_ONCE)
