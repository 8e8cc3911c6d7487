"""Whether bad input ends in an error for people: fuzzed options, files, replies and records at every door.

Each try is drawn from a seed and its number, and calls the function that the door calls. Counted are
tracebacks (anything but the harness's own errors), hangs (more than 2 s), and nonsense that was accepted. An
interrupted run goes on where it was: what came of each try is in a journal in the folder of temporary files.
"""

from __future__ import annotations

import faulthandler
import io
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import MappingProxyType

from benchmarks.door_calls import CALLS, Door, Nonsense
from benchmarks.door_services import SERVICES
from benchmarks.results import Options, Result
from harness.errors import HarnessError
from harness.report.printable import one_screen

SEED = 1
LONGEST_S = 2.0
GIVES_UP_S = 60  # what cannot be interrupted ends the process, which the journal tells
SMOKE = 20  # tries at each door
DOORS: Mapping[str, Door] = MappingProxyType({**CALLS, **SERVICES})
#: tries at each door: 23,000
TRIES: Mapping[str, int] = MappingProxyType({name: door.tries for name, door in DOORS.items()})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one try: ``refused``, ``accepted``, ``traceback``, ``hang`` or ``nonsense``."""

    door: str
    number: int
    kind: str
    detail: str = ""


class _Hangs(BaseException):
    """Raised by the clock, past every ``except Exception``."""


def tried(name: str, number: int, folder: Path, seed: int = SEED, *, is_first: bool = True) -> Outcome:
    """One try at a door. ``folder`` is the door's own, kept between its tries."""
    rng = Random(f"{seed} {name} {number}")
    began = time.process_time()
    kind, detail = "accepted", ""
    said = io.StringIO()
    try:
        with _within(GIVES_UP_S / 3), redirect_stdout(said), redirect_stderr(said):
            DOORS[name].call(rng, folder)
    except _Hangs:
        kind, detail = "hang", "was interrupted"
    except Nonsense as error:
        kind, detail = "nonsense", str(error)
    except (HarnessError, SystemExit) as error:
        kind, detail = "refused", one_screen(str(error))
        if isinstance(error, SystemExit) and error.code not in (0, 1, 2):
            kind = "traceback"
        elif isinstance(error, HarnessError) and not str(error).strip():
            kind, detail = "nonsense", f"{type(error).__name__} that says nothing"
    except Exception:  # noqa: BLE001 - that is what is counted
        kind, detail = "traceback", traceback.format_exc()
    used_s = time.process_time() - began
    if kind in ("accepted", "refused") and used_s > LONGEST_S:
        if is_first:  # it may have been the first to import something large
            return tried(name, number, folder, seed, is_first=False)
        kind, detail = "hang", f"took {used_s:.1f} s; {detail}"
    return Outcome(name, number, kind, detail)


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    def end(*_: object) -> None:
        raise _Hangs

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_doors(tries: Mapping[str, int], folder: Path, journal: Path | None = None) -> list[Outcome]:
    """Every try that the journal does not have."""
    found = _read(journal)
    known = {(one.door, one.number) for one in found}
    here = Path.cwd()
    with (journal or Path(os.devnull)).open("a", encoding="utf-8") as file:
        for name, count in tries.items():
            own = folder / name
            own.mkdir(exist_ok=True)
            os.chdir(own)
            try:
                for number in range(count):
                    if (name, number) in known:
                        continue
                    file.write(json.dumps([name, number, "hang", "ended the process"]) + "\n")
                    file.flush()  # the line that counts is the last one of a try
                    if journal is not None:
                        faulthandler.dump_traceback_later(GIVES_UP_S, exit=True)
                    outcome = tried(name, number, own)
                    faulthandler.cancel_dump_traceback_later()
                    file.write(json.dumps([name, number, outcome.kind, outcome.detail]) + "\n")
                    found.append(outcome)
            finally:
                os.chdir(here)
    return found


def _read(journal: Path | None) -> list[Outcome]:
    if journal is None or not journal.is_file():
        return []
    lines = map(json.loads, journal.read_text("utf-8").splitlines())
    return list(
        {(door, number): Outcome(door, number, kind, detail) for door, number, kind, detail in lines}.values()
    )


def table(outcomes: Sequence[Outcome]) -> str:
    """A line a door."""
    kinds = ("refused", "accepted", "traceback", "hang", "nonsense")
    lines = [f"{'door':<14}{'tries':>8}" + "".join(f"{kind:>11}" for kind in kinds)]
    for name in DOORS:
        own = Counter(one.kind for one in outcomes if one.door == name)
        if own:
            lines.append(f"{name:<14}{own.total():>8,}" + "".join(f"{own[kind]:>11,}" for kind in kinds))
    return "\n".join(lines)


def measure(options: Options) -> list[Result]:
    """All tries, the table by door, and the first of what must not be."""
    journal = Path(tempfile.gettempdir()) / f"harness-doors-{SEED}.jsonl"
    wanted = set(options.only) or set(TRIES)
    tries = {name: SMOKE if options.smoke else count for name, count in TRIES.items() if name in wanted}
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run_doors(tries, Path(folder), None if options.smoke else journal)
    print(table(outcomes))
    bad = [one for one in outcomes if one.kind in ("traceback", "hang", "nonsense")]
    for one in bad[:40]:
        print(f"\n{one.door} {one.number}: {one.kind}\n{one.detail}", file=sys.stderr)
    if not options.smoke:
        journal.unlink()
    counted = Counter(one.kind for one in outcomes)
    detail = f"{len(outcomes):,} inputs at {len(tries)} doors, seed {SEED}"
    return [
        Result(f"doors: {name}", counted[kind], "inputs", detail, bar=0, bar_is="value at most")
        for kind, name in (("traceback", "tracebacks"), ("hang", "hangs"), ("nonsense", "nonsense accepted"))
    ]
