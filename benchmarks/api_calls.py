"""Many calls to a hosted model: what the harness adds to the bare SDK, in time, calls and memory.

Each side runs in a process of its own against a stub server in another, in turns:
``python -m benchmarks.api_calls bare|harness ADDRESS ROWS`` is one side, and prints JSON.
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from benchmarks.api_stub import stub
from benchmarks.results import Options, Result
from harness.records import Message, Row

ROWS, AT_ONCE, DELAY_S = 2_000, 64, 0.2
BAR, CALLS_BAR = 1.1, 1.15
REFERENCE = '{"intent": "refund"}'


def measure(options: Options) -> list[Result]:
    """The harness and the bare SDK in turns; then a run with faults; then memory over five times the rows."""
    rows = 200 if options.smoke else ROWS
    with stub(DELAY_S) as address:
        both = [
            (one_side("bare", address, rows), one_side("harness", address, rows))
            for _ in range(options.rounds)
        ]
        longer = one_side("harness", address, 5 * rows)
    with stub(DELAY_S, faults=True) as address:
        faulty = one_side("harness", address, rows)
        calls = int(urllib.request.urlopen(address).read())
    bare, ours = (statistics.median(side["seconds"] for side in sides) for sides in zip(*both, strict=True))
    ratios = [our["seconds"] / its["seconds"] for its, our in both]
    ended = faulty["answered"] + faulty["failed"]
    return [
        Result(
            name=f"API calls, {ROWS:,} of {DELAY_S * 1000:.0f} ms, {AT_ONCE} at once",
            value=ours,
            unit="s",
            detail=f"{rows:,} rows asked, every answer stored and scored; ratios of {len(ratios)} rounds:"
            f" {', '.join(f'{ratio:.3f}' for ratio in ratios)}; no call could be faster than"
            f" {rows / AT_ONCE * DELAY_S:.2f} s",
            reference="the bare SDK under a semaphore, nothing stored or scored",
            reference_value=bare,
            ratio=statistics.median(ratios),
            bar=BAR,
            bar_is="ratio at most",
        ),
        Result(
            name="API calls, fault run: calls a row",
            value=calls / rows if ended == rows else None,
            unit="calls/row",
            detail=f"5% 429, 2% 500, 1% dropped, 1% garbage: {calls:,} calls for {rows:,} rows,"
            f" {faulty['answered']:,.0f} answered and {faulty['failed']:,.0f} counted as failed in"
            f" {faulty['seconds']:.1f} s",
            bar=CALLS_BAR,
            bar_is="value at most",
        ),
        Result(
            name="API calls, memory",
            value=longer["growth_bytes"] / (4 * rows),
            unit="B/row",
            detail=f"peak memory from row {rows:,} to row {5 * rows:,}: {longer['growth_bytes'] / 2**20:.1f}"
            " MiB; the answers themselves, which a run keeps for its report, and their scores",
            bar=4096,
            bar_is="value at most",
        ),
    ]


def one_side(side: str, address: str, rows: int) -> dict[str, float]:
    """Seconds and counts of ``side``, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.api_calls", side, address, str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return cast("dict[str, float]", json.loads(done.stdout.splitlines()[-1]))


# --------------------------------------------------------------------------- one side
def question(number: int) -> str:
    """What row ``number`` asks."""
    return f"Order {number} has not arrived, and I would like my money back. What do I have to do?"


def bare_sdk(address: str, rows: int) -> dict[str, float]:
    """``AsyncOpenAI`` under a semaphore: what a script of ten lines would do."""
    from openai import AsyncOpenAI

    async def run() -> int:
        semaphore = asyncio.Semaphore(AT_ONCE)
        async with AsyncOpenAI(base_url=address, api_key="none") as client:

            async def ask(number: int) -> str | None:
                async with semaphore:
                    answer = await client.chat.completions.create(
                        model="stub",
                        messages=[{"role": "user", "content": question(number)}],
                        max_tokens=64,
                        temperature=0,
                    )
                    return answer.choices[0].message.content

            return len(await asyncio.gather(*(ask(number) for number in range(rows))))

    began = time.perf_counter()
    answered = asyncio.run(run())
    return {"seconds": time.perf_counter() - began, "answered": answered}


def harness(address: str, rows: int) -> dict[str, float]:
    """The way of a run: answered, stored in SQLite as they come, and scored."""
    import openai  # noqa: F401 - imported before time is taken, on both sides

    from harness.candidates.base import Variant
    from harness.candidates.lab import Lab
    from harness.candidates.prompted import Prompted
    from harness.models.ledger import Ledger, Money
    from harness.models.remote import RemoteModel
    from harness.run.answering import Answerer
    from harness.run.judge_backends import JudgeBackends
    from harness.run.suite_loading import LoadedSuite
    from harness.scoring.checks import ExactMatch
    from harness.scoring.measures import LatencyMs
    from harness.scoring.suite import Suite
    from harness.store.adapters import AdapterStore
    from harness.store.answers import AnswerStore

    scores = (ExactMatch(), LatencyMs(at_most=1000))
    turns = [(Message("user", question(k)), Message("assistant", REFERENCE)) for k in range(rows)]
    asked = tuple(Row(f"r{k}", messages) for k, messages in enumerate(turns))
    suite = Suite(heldout="h.jsonl", scores=scores, max_tokens=64)
    candidate = Prompted(model=RemoteModel("stub", base_url=address, concurrency=AT_ONCE))
    with tempfile.TemporaryDirectory() as folder:
        bound = LoadedSuite("stub", suite, asked, None, scores, "h.jsonl", Path(folder))
        watch = Watch(rows // 5)
        lab = Lab(Path(folder), AdapterStore(Path(folder)), watch)
        prepared = candidate.prepare(lab, Variant("stub", candidate))
        began = time.perf_counter()
        money = Money(Ledger())
        store = AnswerStore(Path(folder) / "answers.sqlite")
        answerer = Answerer(store, watch, JudgeBackends(store, money, watch))
        answers = answerer.answers("stub", candidate, prepared, bound)
        found = answerer.scores(bound, answers, judge_all=True)
        seconds = time.perf_counter() - began
        assert {len(values) for values in found.values()} == {rows}
    failed = sum(answer.failure is not None for answer in answers)
    return {
        "seconds": seconds,
        "answered": rows - failed,
        "failed": failed,
        "growth_bytes": peak_bytes() - watch.first_bytes,
    }


class Watch:
    """Progress that notes the peak memory when row ``after`` is answered."""

    def __init__(self, after: int) -> None:
        self._after, self.first_bytes = after, 0

    @contextmanager
    def task(self, name: str, unit: str) -> Iterator[Watch]:
        """The one task."""
        yield self

    def at(self, done: float, total: float | None = None, note: str = "") -> None:
        """Row ``done`` is answered."""
        if done == self._after:
            self.first_bytes = peak_bytes()

    def say(self, text: str) -> None:
        """Nothing is told."""


def peak_bytes() -> int:
    """The most memory that this process has held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    print(json.dumps((bare_sdk if sys.argv[1] == "bare" else harness)(sys.argv[2], int(sys.argv[3]))))
