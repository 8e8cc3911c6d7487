"""Runs that are killed at random points, begun again, and killed again until one comes to its end.

Counted is what must not happen: a paid call made twice though its answer had come, an answer that is missing
at the end, a store that does not verify, and a record that is not the undisturbed run's. Times, and what was
paid by which process, are left out of that comparison.
"""

from __future__ import annotations

import json
import re
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from random import Random

from benchmarks.results import Options, Result
from benchmarks.small_runs import (
    AT_ONCE,
    Ended,
    Forks,
    Journal,
    Twin,
    build_base,
    compiled,
    twin,
    write_project,
)
from harness.records import Json
from harness.store.upkeep import problems
from harness.testing.fake_openai import twin_stats

KILLS, SEED = 200, 0
NEVER = (
    "paid calls repeated",
    "answers lost",
    "stores damaged",
    "records that differ",
    "jobs begun twice",
)
#: Answers that came from the twin: their rows are named by the digest of what was asked.
STORED = "SELECT count(*) FROM answers WHERE length(row_id) = 64"
JOB = re.compile(r"ftjob-\w+|ft:[\w.:-]+")  # a name that the service chooses
TIMES = {
    "id", "created", "seconds", "latency_ms", "tokens_per_second", "timings_s", "spending", "provenance",
    "environment", "command", "notes", "economics", "run",
}  # fmt: skip


def measure(options: Options) -> list[Result]:
    """Kill ``KILLS`` times, by turns at a random moment and at a random write."""
    kills = 6 if options.smoke else KILLS
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve() / "project"
        folder.mkdir()
        shim = compiled(folder.parent)
        if shim is None:
            print("kills: no C compiler, or not Linux; left out")
            return []
        build_base(folder)
        forks, journal = Forks(folder, shim), Journal("kills", kept=not options.smoke)
        try:
            _killed(folder, forks, kills, journal)
        finally:
            forks.close()
    found = journal.total()
    journal.end()
    what = f"{kills} kills, {found['chains']} runs of which each came to its end; {found['under way']} calls"
    what += " were under way at a kill, not stored yet, and made again"
    return [Result(f"kills: {name}", found[name], "", what, bar=0, bar_is="value at most") for name in NEVER]


def _killed(folder: Path, forks: Forks, kills: int, journal: Journal) -> None:
    with twin() as (url, backend):
        port = int(url.rpartition(":")[2].partition("/")[0])
        write_project(folder, url)
        forks.run()  # the first also finds out what the machine can do
        write_project(folder, url)
    with twin(port) as (url, backend):
        whole = forks.run()
        expected = record_of(folder)
        if expected is None:
            raise SystemExit(f"the undisturbed run failed ({whole.status}):\n{whole.said}")
        calls = Counter(asked for _, asked in backend.answered)
    paid = sum(calls.values())
    if _stored(folder) != paid:
        raise SystemExit(f"{paid} paid calls, and {_stored(folder)} answers of theirs are stored")
    print(f"undisturbed: {whole.seconds:.1f} s, {whole.writes} writes, {paid} paid calls", flush=True)
    while (done := journal.total()["kills"]) < kills:
        found, chain = Counter[str](chains=1), len(journal.found)
        with twin(port) as (url, backend):
            write_project(folder, url)
            random = Random(f"{SEED} {chain}")
            found["kills"] = _chain(folder, forks, backend, random, whole, calls, kills - done, found)
            record = record_of(folder)
            if record != expected:
                found["records that differ"] += 1
                print(difference(expected, record))
            answered = Counter(asked for _, asked in backend.answered)
            found["answers lost"] += sum(not answered[asked] for asked in calls)
            found["jobs begun twice"] += int(str(twin_stats(url)["jobs"])) != 1
        journal.note(str(chain), found)
        print(f"{done + found['kills']} kills: {dict(journal.total())}", flush=True)


def _chain(
    folder: Path,
    forks: Forks,
    backend: Twin,
    random: Random,
    whole: Ended,
    calls: Counter[str],
    most: int,
    found: Counter[str],
) -> int:
    """Kill runs of one store until one ends; the number of kills."""
    kills = 0
    lost = again = 0  # answers that were on their way at a kill; calls that had been answered before
    while True:
        before = Counter(asked for _, asked in backend.answered)
        if kills >= most:
            ended = forks.run()
        elif random.random() < 0.5:  # early, so that a run is killed several times, each further on
            ended = forks.run(kill_after_s=random.uniform(0, whole.seconds / 2))
        else:
            ended = forks.run(at=random.randint(1, whole.writes // 2))
        for problem in problems(folder / ".harness"):
            found["stores damaged"] += 1
            print(problem)
        answered = Counter(asked for _, asked in backend.answered)
        again += sum((answered - (before | calls)).values())
        if again > lost:  # more than were on their way at the kills until then
            found["paid calls repeated"] += again - lost
            print(f"after {kills} kills {again} calls were made again, of {lost} that were under way")
            again = lost
        under_way = answered.total() - _stored(folder) - lost
        if ended.status >= 0:
            if ended.status not in (0, 1):
                print(ended.said)
            break
        kills += 1
        lost += max(0, under_way)
        found["answers lost"] += max(0, under_way - 2 * AT_ONCE)  # more than can be on their way
    found["under way"] += lost
    return kills


def _stored(folder: Path) -> int:
    file = folder / ".harness" / "answers.sqlite"
    if not file.is_file():
        return 0
    with closing(sqlite3.connect(file)) as connection, suppress(sqlite3.OperationalError):  # no table yet
        return int(connection.execute(STORED).fetchone()[0])
    return 0


def record_of(folder: Path, *, after_failure: bool = False) -> Json:
    """The last record, without times and what each process paid; None where there is none.

    After a run in which one candidate failed and another was decided, decisions come in another order.
    """
    files = sorted(folder.glob("reports/*/run.json"), key=lambda file: file.stat().st_mtime)
    if not files:
        return None
    record = json.loads(files[-1].read_bytes())
    if after_failure:
        for suite in record["suites"]:
            suite["history"].sort(key=str)
    return _timeless(record)


def _timeless(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _timeless(each) for name, each in value.items() if name not in TIMES}
    if isinstance(value, str):
        return JOB.sub("job", value)
    return [_timeless(each) for each in value] if isinstance(value, list) else value


def difference(one: Json, other: Json, where: str = "") -> str:
    """The first place where two values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        pairs = [(f"{where}.{name}", one.get(name), other.get(name)) for name in {**one, **other}]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(f"{where}[{k}]", *both) for k, both in enumerate(zip(one, other, strict=True))]
    else:
        return f"{where}: {str(one)[:300]} != {str(other)[:300]}"
    return next((difference(*pair[1:], pair[0]) for pair in pairs if pair[1] != pair[2]), "")
