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
from itertools import product
from pathlib import Path
from random import Random

from benchmarks.kills import difference, record_of
from benchmarks.results import Options, Result
from benchmarks.small_runs import (
    AT_ONCE,
    STORE_ALONE,
    STORE_IMPORTS,
    Ended,
    Forks,
    Journal,
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
WAYS = [(name, for_good) for name in ERRORS for for_good in (False, True)]
ALONE, RUN = "the store alone", "a run"
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
        journal = Journal("faults", kept=not options.smoke)
        forks = Forks(folder, shim)
        try:
            _failed(folder, forks, 2 if options.smoke else MOST, journal)
        finally:
            forks.close()
        store_alone(folder, shim, 20 if options.smoke else 1, journal)
    every, found = journal.total(ALONE), journal.total(RUN)
    journal.end()
    return [
        Result(f"faults, {what}: {name}", counted[name], "", _told(counted), bar=0, bar_is="value at most")
        for what, counted in ((ALONE, every), (RUN, found))
        for name in NEVER
    ]


def _told(found: Counter[str]) -> str:
    writes = found["writes"] // max(found["runs"], 1)
    return (
        f"{found['runs']} processes, of which each makes {writes} writes where none fails;"
        f" {found['said']} said what failed, {found['no harm']} went on without harm"
    )


def store_alone(folder: Path, shim: Path, step: int, journal: Journal) -> None:
    """Every ``step``-th write of a process that only stores, in each of six ways."""
    forks = Forks(folder, shim, STORE_IMPORTS)

    def stored(at: int = 0, error: int = 0, *, for_good: bool = False) -> Ended:
        return forks.run(at=at, error=error, for_good=for_good, arguments=STORE_ALONE)

    def cleared() -> None:
        for name in (".harness", "reports"):
            shutil.rmtree(folder / name, ignore_errors=True)

    cleared()
    writes = stored().writes
    for name, for_good in WAYS:
        for at in range(1, writes + 1, step):
            place = _place(ALONE, name, at, for_good=for_good)
            if place in journal.found:
                continue
            cleared()
            found = Counter(runs=1, writes=writes)
            _judge(folder, stored(at, ERRORS[name], for_good=for_good), place, found)
            if stored().status != 0:
                found["records that differ"] += 1
                print(f"{place}: the process after it failed")
            journal.note(place, found)
        print(f"{ALONE}, {name}: {dict(journal.total(ALONE))}", flush=True)
    forks.close()


def _failed(folder: Path, forks: Forks, most: int, journal: Journal) -> None:
    with twin() as (url, _):
        port = int(url.rpartition(":")[2].partition("/")[0])
        write_project(folder, url)
        forks.run()
        write_project(folder, url)
    with twin(port):
        whole = forks.run()
        expected = record_of(folder, after_failure=True)
    step = max(1, whole.writes // most)
    print(f"a run: {whole.seconds:.1f} s, {whole.writes} writes, every {step}th fails", flush=True)
    turns = Random(0).sample(range(most), most)  # a benchmark that is cut short has met all parts of a run
    for turn, (number, (name, for_good)) in product(turns, enumerate(WAYS)):
        # each way begins elsewhere, so that together they meet more of the writes
        at = 1 + turn * step + number * step // len(WAYS)
        part = _place(RUN, name, turn, for_good=for_good)  # how many writes there are varies a little
        if part in journal.found:
            continue
        place, found = _place(RUN, name, at, for_good=for_good), Counter(runs=1, writes=whole.writes)
        with twin(port) as (url, backend):
            write_project(folder, url)
            failed = forks.run(at=at, error=ERRORS[name], for_good=for_good)
            _judge(folder, failed, place, found)
            after = forks.run()
            if (record := record_of(folder, after_failure=True)) != expected:
                found["records that differ"] += 1
                print(f"{place}: {difference(expected, record)}\n{after.said[-1500:]}")
            found["paid calls repeated"] += (repeated := _repeated(backend, failed))
            if repeated:
                print(f"{place}: {repeated} repeated\n{failed.said[-1500:]}\n{after.said[-1500:]}")
        journal.note(part, found)
        print(f"{place}: {dict(journal.total(RUN))}", flush=True)


def _place(what: str, name: str, at: int, *, for_good: bool) -> str:
    return f"{what}, {name}{' for good' if for_good else ''} at write {at}"


def _judge(folder: Path, failed: Ended, place: str, found: Counter[str]) -> None:
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


def _repeated(backend: Twin, failed: Ended) -> int:
    """Calls of the first run that the second made again, but for those whose answers no disk would take."""
    first = Counter(asked for moment, asked in backend.answered if moment <= failed.at)
    again = [asked for moment, asked in backend.answered if moment > failed.at and first[asked]]
    return max(0, len(again) - 2 * AT_ONCE)
