"""200 scenarios a tuning service: documented words and shapes, faults and kills, at strict stand-ins.

Counted is what must not happen: a job that succeeded and led to no answer, a job paid twice, an error that
is none of the harness's or has no mend or shows a key, spending beyond the cap, and requests to an address
that nobody has configured. ``--only openai,azure`` plays some.
Tinker has no job: ``tinker`` plays its steps, and what is paid twice is beyond the stated bound.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.results import Options, Result

sys.path.append(str(Path(__file__).parent.parent / "tests" / "training"))

from stand_ins import tinker_plays
from stand_ins.conformance import BACKENDS, Outcome, backend, draw, play, write_rows

SCENARIOS = 200
SERVICES = dict.fromkeys((*BACKENDS, tinker_plays.SERVICE))
NEVER = ("unusable", "paid twice", "tracebacks", "over the cap", "astray")
HEADER = ("service", "scenarios", "answered", "led out", "lives", "requests", *NEVER)


def measure(options: Options) -> list[Result]:
    """Play every service, or those that were named."""
    rows, results = [], []
    for name in options.only or SERVICES:
        found = _played(name, 2 if options.smoke else SCENARIOS)
        rows.append((name, *(str(found[column]) for column in HEADER[1:])))
        bad = sum(found[column] for column in NEVER)
        detail = ", ".join(f"{found[column]} {column}" for column in HEADER[1:])
        results.append(Result(f"conformance: {name}", bad, "", detail, bar=0, bar_is="value at most"))
    widths = [max(map(len, column)) for column in zip(HEADER, *rows, strict=True)]
    for row in (HEADER, *rows):
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
    return results


def _played(name: str, scenarios: int) -> Counter[str]:
    found, began = Counter[str](), time.monotonic()
    for seed in range(scenarios):
        with tempfile.TemporaryDirectory() as place:
            given, out = _play(name, seed, Path(place))
        found["scenarios"] += 1
        found["answered" if out.ended == "answered" else "led out"] += 1
        found["lives"] += out.lives
        found["requests"] += out.requests
        kept = (out.unusable, out.paid_twice, bool(out.tracebacks), out.over_cap, out.astray)
        found.update({what: int(is_so) for what, is_so in zip(NEVER, kept, strict=True)})
        if not out.is_well:
            print(f"{name} {seed}: {given}\n  {out}", flush=True)
    print(f"{name}: {scenarios} scenarios in {time.monotonic() - began:.0f} s", flush=True)
    return found


def _play(name: str, seed: int, place: Path) -> tuple[object, Outcome]:
    if name == tinker_plays.SERVICE:
        steps = tinker_plays.draw(seed)
        return steps, tinker_plays.play(steps, place)
    write_rows(place)
    kind = backend(name)
    given = draw(kind, seed)
    return given, play(kind, given, place)
