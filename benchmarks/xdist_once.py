"""``pytest -n 4`` on a cold store, over and over: each candidate, size and seed is trained exactly once."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.results import Options, Result
from benchmarks.small_runs import ARGUMENTS, Forks, build_base, compiled, twin, write_project

REPEATS, WORKERS = 20, 4
SIZES, SEEDS = ("4", "8"), ("0", "1")


def measure(options: Options) -> list[Result]:
    """Count the trainings of ``REPEATS`` runs."""
    repeats = 1 if options.smoke else REPEATS
    wanted, others, reports = len(SIZES) * len(SEEDS), 0, 0
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
            for _ in range(repeats):
                write_project(folder, url)
                ended = forks.run(arguments=arguments)
                log = folder / "trained.txt"
                trained = Counter(log.read_text("utf-8").split() if log.is_file() else ())
                reports += len(list(folder.glob("reports/*/run.json")))
                if sorted(trained.values()) != [1] * wanted:
                    others += 1
                    print(f"{dict(trained)}\n{ended.said[-2000:]}")
        finally:
            forks.close()
    what = f"{repeats} runs of pytest -n {WORKERS}, each {wanted} trainings (two sizes, two seeds)"
    return [
        Result("xdist: runs that trained otherwise", others, "", what, bar=0, bar_is="value at most"),
        Result("xdist: reports a run", reports / repeats, "", what, bar=1, bar_is="value at most"),
    ]
