"""``pytest -n 4`` on a cold store, over and over: each candidate, size and seed is trained exactly once."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.results import Options, Result
from benchmarks.small_runs import ARGUMENTS, Forks, Journal, build_base, compiled, twin, write_project

REPEATS, WORKERS = 20, 4
SIZES, SEEDS = ("4", "8"), ("0", "1")


def measure(options: Options) -> list[Result]:
    """Count the trainings of ``REPEATS`` runs."""
    repeats = 1 if options.smoke else REPEATS
    wanted, journal = len(SIZES) * len(SEEDS), Journal("xdist-once", kept=not options.smoke)
    arguments = [each for each in ARGUMENTS if each not in ("-pno:xdist", "--candidate=hosted")]
    arguments += [
        f"-n{WORKERS}",
        f"--sizes={','.join(SIZES)}",
        f"--seeds={','.join(SEEDS)}",
    ]
    with tempfile.TemporaryDirectory() as place, twin() as (url, _):
        folder = Path(place).resolve() / "project"
        folder.mkdir()
        shim = compiled(folder.parent)
        if shim is None:
            print("xdist_once: no C compiler, or not Linux; left out")
            return []
        build_base(folder)
        forks = Forks(folder, shim)
        try:
            for repeat in range(len(journal.found), repeats):
                write_project(folder, url)
                ended = forks.run(arguments=arguments)
                log = folder / "trained.txt"
                trained = Counter(log.read_text("utf-8").split() if log.is_file() else ())
                found = Counter(reports=len(list(folder.glob("reports/*/run.json"))))
                if sorted(trained.values()) != [1] * wanted:
                    found["others"] += 1
                    print(f"{dict(trained)}\n{ended.said[-2000:]}")
                journal.note(str(repeat), found)
                print(f"{repeat + 1} runs: {dict(journal.total())}, {ended.seconds:.0f} s", flush=True)
        finally:
            forks.close()
    found = journal.total()
    journal.end()
    what = f"{repeats} runs of pytest -n {WORKERS}, each {wanted} trainings (two sizes, two seeds)"
    return [
        Result(
            "xdist: runs that trained otherwise", found["others"], "", what, bar=0, bar_is="value at most"
        ),
        Result("xdist: reports a run", found["reports"] / repeats, "", what, bar=1, bar_is="value at most"),
    ]
