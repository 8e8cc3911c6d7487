"""The same calls through other tools: ``python -m benchmarks.api_peers [--rows N] [--env FOLDER]``.

It makes an environment of its own (they would not share one with this package), installs each tool there with
its newest release, and times it against the stub of ``api_stub``: one call a row, 64 at once, each answer
compared with its reference. The bare SDK is timed before them, in the same environment, and the harness,
which stores and scores every answer, in its own. deepeval runs a metric that does nothing but the call; its
own judging metrics take longer. Not part of ``python -m benchmarks``, because it fetches some hundred MB.
Times are printed and not kept; a row counts where its answer was found to be right.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from benchmarks.api_calls import DELAY_S, ROWS, one_side
from benchmarks.api_stub import stub

COMMON = """
import asyncio, json, os, sys, time
address, rows, at_once = sys.argv[1], int(sys.argv[2]), 64
REFERENCE = '{"intent": "refund"}'
def question(k): return f"Order {k} has not arrived, and I would like my money back. What do I have to do?"
async def ask(client, text):
    answer = await client.chat.completions.create(
        model="stub", messages=[{"role": "user", "content": text}], max_tokens=64, temperature=0)
    return answer.choices[0].message.content
"""

BARE = """
from openai import AsyncOpenAI
async def run():
    semaphore = asyncio.Semaphore(at_once)
    async with AsyncOpenAI(base_url=address, api_key="none") as client:
        async def one(k):
            async with semaphore:
                return await ask(client, question(k))
        return await asyncio.gather(*(one(k) for k in range(rows)))
began = time.perf_counter()
done = sum(answer == REFERENCE for answer in asyncio.run(run()))
"""

PYDANTIC_EVALS = """
from openai import AsyncOpenAI
from pydantic_evals import Case, Dataset
from pydantic_evals.evaluators import EqualsExpected
cases = [Case(name=str(k), inputs=question(k), expected_output=REFERENCE) for k in range(rows)]
client = AsyncOpenAI(base_url=address, api_key="none")
async def task(text): return await ask(client, text)
dataset = Dataset(name="stub", cases=cases, evaluators=[EqualsExpected()])
began = time.perf_counter()
report = dataset.evaluate_sync(task, max_concurrency=at_once, progress=False)
done = sum(all(check.value for check in case.assertions.values()) for case in report.cases)
"""

INSPECT_AI = """
import tempfile
os.environ["OPENAI_API_KEY"] = "none"
from inspect_ai import Task, eval as evaluate
from inspect_ai.dataset import Sample
from inspect_ai.scorer import exact
from inspect_ai.solver import generate
samples = [Sample(id=k, input=question(k), target=REFERENCE) for k in range(rows)]
task = Task(dataset=samples, solver=generate(), scorer=exact())
began = time.perf_counter()
(log,) = evaluate(task, model="openai/stub", model_base_url=address, model_args={"responses_api": False},
                  max_connections=at_once, max_samples=at_once, display="none", log_dir=tempfile.mkdtemp())
done = sum(sample.scores["exact"].value == "C" for sample in log.samples or [])
"""

DEEPEVAL = """
os.environ.update(DEEPEVAL_TELEMETRY_OPT_OUT="YES", DEEPEVAL_DISABLE_DOTENV="1", OPENAI_API_KEY="none")
from openai import AsyncOpenAI
from deepeval import evaluate
from deepeval.evaluate import AsyncConfig, CacheConfig, DisplayConfig
from deepeval.metrics import BaseMetric
from deepeval.test_case import LLMTestCase
client = AsyncOpenAI(base_url=address, api_key="none")
class Asked(BaseMetric):
    def __init__(self):
        self.threshold, self.async_mode, self.include_reason = 0.5, True, False
    async def a_measure(self, test_case, *more, **others):
        self.score = float(await ask(client, test_case.input) == test_case.expected_output)
        self.success = self.score >= self.threshold
        return self.score
    def measure(self, test_case, *more, **others):
        return asyncio.run(self.a_measure(test_case))
    def is_successful(self): return self.success
    @property
    def __name__(self): return "asked"
cases = [LLMTestCase(input=question(k), actual_output="", expected_output=REFERENCE) for k in range(rows)]
began = time.perf_counter()
result = evaluate(cases, [Asked()],
                  async_config=AsyncConfig(run_async=True, max_concurrent=at_once, throttle_value=0),
                  display_config=DisplayConfig(show_indicator=False, print_results=False),
                  cache_config=CacheConfig(write_cache=False, use_cache=False))
done = sum(one.success for one in result.test_results)
"""

TOLD = """
print("TIMED", json.dumps([time.perf_counter() - began, done]))
"""

#: what is installed, and the script that is timed
PEERS = {
    "bare SDK": ("openai", BARE),
    "pydantic-evals": ("pydantic-evals", PYDANTIC_EVALS),
    "inspect_ai": ("inspect-ai", INSPECT_AI),
    "deepeval": ("deepeval", DEEPEVAL),
}


def main() -> None:
    """Install and time each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api_peers", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--env", type=Path, help="folder of the environment, kept for the next time")
    parser.add_argument("--only", choices=PEERS, action="append", help="may repeat; default: all")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, stub(DELAY_S) as address:
        python = environment(given.env or Path(folder) / "env")
        ours = one_side("harness", address, given.rows)
        print(f"harness: {ours['seconds']:.1f} s for {ours['answered']:,} of {given.rows:,} rows", flush=True)
        for name in given.only or PEERS:
            package, script = PEERS[name]
            subprocess.run(
                [python, "-m", "pip", "install", "--quiet", "--no-warn-script-location", package], check=True
            )
            print(f"{name}: {timed(python, script, address, given.rows, Path(folder))}", flush=True)


def environment(folder: Path) -> str:
    """A Python of its own in ``folder``, made where there is none."""
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    return str(python)


def timed(python: str, script: str, address: str, rows: int, folder: Path) -> str:
    """The script's seconds in words, or the end of what it said where it failed."""
    shown = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(
        [python, "-c", COMMON + script + TOLD, address, str(rows)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=shown,
    )
    line = next((line for line in done.stdout.splitlines() if line.startswith("TIMED")), None)
    if line is None:
        return f"failed: {done.stderr.strip()[-300:]}"
    seconds, count = line.removeprefix("TIMED").strip(" []").split(",")
    return f"{float(seconds):.1f} s for {int(count):,} of {rows:,} rows"


if __name__ == "__main__":
    main()
