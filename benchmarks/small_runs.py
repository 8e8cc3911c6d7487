"""Whole runs that take a second: trained, asked, judged and reported, in processes forked from one that has
imported everything. A shim before the C library (``faulty_disk.c``) fails or kills at a chosen write.

The run is real: QLoRA on a Llama of two layers, and a base with a rubric at the local twin of a service, over
HTTP. Paid calls are those that reach the twin.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from harness.records import Json
from harness.testing.fake_openai import CHAT, ScriptedBackend, running_fake_openai
from harness.testing.fake_openai.backend import FakeReply, Question

ROOT = Path(__file__).parents[1]
ROWS, LABELS, AT_ONCE = 12, 40, 4
TIMEOUT_S = 90.0
STORE_ALONE = ["the store alone"]
STORE_IMPORTS = ("filelock", "harness.store.adapters", "harness.store.answers")
CONFTEST = """
import harness
from harness import OpenAITuning, QLoRA
from harness.candidates import lora
from harness.training.local.recipe import LocalTraining

pytest_plugins = ["harness.plugin"]


def training(*given, **named):
    with open("trained.txt", "a") as file:
        file.write(given[5] + "\\n")  # the artifact's name
    return LocalTraining(*given, **named, resume_every_s=0.0)


lora.LocalTraining = training


@harness.candidate
def tuned():
    return QLoRA(base="base", train="train.jsonl", r=4, batch_rows=4, epochs=2, dev_evaluations=1,
                 decoding=harness.Decoding(max_new_tokens=4))


@harness.candidate
def hosted():
    return OpenAITuning(base="{base}", train="train.jsonl", epochs=1, base_url="{url}", profile="twin",
                        api_key_env="BENCHMARK_KEY", concurrency={at_once},
                        decoding=harness.Decoding(max_new_tokens=8))
"""
SUITE = """
import pytest

from harness import ExactMatch, RemoteModel, Rubric, Suite

right = ExactMatch(name="right")
clear = Rubric(RemoteModel("{base}", base_url="{url}", profile="twin", api_key_env="BENCHMARK_KEY",
                           concurrency={at_once}),
               "It says yes.", labels="labels.jsonl", name="clear", trust="transfer")


@pytest.fixture(scope="module")
def suite():
    return Suite(heldout="heldout.jsonl", scores=(right, clear))


def test_better(candidate, baseline):
    assert candidate.scores(right) > baseline.scores(right)


def test_clear(candidate, baseline):
    assert candidate.scores(clear) > baseline.scores(clear) - 0.2
"""
WITHOUT = ("cacheprovider", "randomly", "hypothesispytest", "xdist", "rerunfailures")
ARGUMENTS = ("suites", "--candidate=tuned", "--candidate=hosted", "-q", *(f"-pno:{name}" for name in WITHOUT))
PRELOADED = (
    *("bitsandbytes", "bpe_openai", "httpx2", "matplotlib.figure", "openai", "peft", "pytest", "scipy.stats"),
    *("harness.models.local", "harness.plugin", "harness.report.html", "harness.report.terminal"),
    *("harness.run.recording", "harness.run.session", "harness.training.local.sft"),
)


@dataclass
class Twin(ScriptedBackend):
    """The models at the twin; notes when it has answered what."""

    answered: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(_says)

    def reply(self, question: Question) -> FakeReply:
        """See ``Backend``."""
        reply = super().reply(question)
        self.answered.append((time.time(), f"{question.weights and 'tuned'} {question.messages}"))
        return reply


def _says(question: Question) -> str:
    if question.schema is None:
        return "yes" if question.weights else "no"
    answer = question.last.partition("<answer-")[2].partition("\n")[2]
    return json.dumps({"reason": "because", "score": 5 if answer.startswith("yes") else 1})


@contextmanager
def twin(port: int = 0) -> Iterator[tuple[str, Twin]]:
    """A service that has seen nothing yet."""
    backend = Twin()
    with running_fake_openai(port=port, backend=backend) as url:
        yield url, backend


def write_project(folder: Path, url: str) -> None:
    """The project, without anything of a run; the base's folder stays."""
    (folder / "trained.txt").unlink(missing_ok=True)
    for name in (".harness", "reports", "suites"):
        shutil.rmtree(folder / name, ignore_errors=True)
    suites = folder / "suites" / "support"
    suites.mkdir(parents=True)
    named = {"base": CHAT, "url": url, "at_once": AT_ONCE}
    (folder / "conftest.py").write_text(CONFTEST.format(**named), "utf-8")
    (suites / "test_support.py").write_text(SUITE.format(**named), "utf-8")
    _rows(folder / "train.jsonl", "train", 10)
    _rows(suites / "heldout.jsonl", "held", ROWS)
    labels = [
        {
            "message": f"label {k}?",
            "reference": "yes",
            "reply": "yes" if k % 2 else "no",
            "label": "good" if k % 2 else "bad",
        }
        for k in range(LABELS)
    ]
    (suites / "labels.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in labels), "utf-8")


def _rows(file: Path, name: str, n: int) -> None:
    rows = (
        {"messages": [{"role": "user", "content": f"{name} {k}?"}, {"role": "assistant", "content": "yes"}]}
        for k in range(n)
    )
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")


def build_base(folder: Path) -> None:
    """The base in ``folder / "base"``."""
    sys.path.insert(0, str(ROOT / "tests"))
    from tiny_llama import build_source

    build_source(folder / "base")


class Journal:
    """What each part of a benchmark found, in a file, so that an interrupted one goes on where it was."""

    def __init__(self, name: str, *, kept: bool) -> None:
        self._file = Path(tempfile.gettempdir()) / f"harness-{name}.jsonl" if kept else None
        lines = self._file.read_text("utf-8").splitlines() if self._file and self._file.is_file() else []
        self.found: dict[str, Counter[str]] = {part: Counter(found) for part, found in map(json.loads, lines)}

    def note(self, part: str, found: Counter[str]) -> None:
        """Keep what a part found."""
        self.found[part] = found
        if self._file:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps([part, found])}\n")

    def total(self, beginning: str = "") -> Counter[str]:
        """What all parts found whose names begin like this."""
        return sum((one for part, one in self.found.items() if part.startswith(beginning)), Counter[str]())

    def end(self) -> None:
        """The benchmark is over; the next one begins anew."""
        if self._file:
            self._file.unlink(missing_ok=True)


# --------------------------------------------------------------------------- processes
def compiled(folder: Path) -> Path | None:
    """The shim; None where there is no C compiler, or the system is not Linux."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        return None
    made = folder / "faulty_disk.so"
    source = Path(__file__).with_name("faulty_disk.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", made, source, "-ldl"], check=True)
    return made


@dataclass
class Ended:
    """How a run ended."""

    status: int  # below 0: the signal that killed it
    said: str
    writes: int  # calls that changed files below the project; 0 where it was killed
    seconds: float
    at: float  # when it ended


class Forks:
    """Processes that have imported everything, each for one run in ``folder``."""

    def __init__(self, folder: Path, shim: Path, imported: Sequence[str] = PRELOADED) -> None:
        environment = {
            **os.environ,
            "LD_PRELOAD": str(shim),
            "BENCHMARK_KEY": "none",
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "TMPDIR": str(folder / "tmp"),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        }
        (folder / "tmp").mkdir(exist_ok=True)
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.small_runs", str(folder), *imported],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            cwd=folder,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to: IO[str] = self._process.stdin
        self._from: IO[str] = self._process.stdout
        self._from.readline()  # it has imported everything

    def run(
        self,
        *,
        at: int = 0,
        error: int = 0,
        for_good: bool = False,
        kill_after_s: float | None = None,
        arguments: Sequence[str] = ARGUMENTS,
    ) -> Ended:
        """One run; its write ``at`` fails with ``error``, or kills it where that is 0. 0: none does."""
        order: dict[str, Json] = {
            "at": at,
            "error": error,
            "for_good": for_good,
            "arguments": list(arguments),
        }
        began = time.time()
        self._to.write(f"{json.dumps(order)}\n")
        self._to.flush()
        child = int(self._from.readline())
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
        answer = json.loads(self._from.readline())
        said = (self._folder.parent / "said.txt").read_text("utf-8", "replace")
        now = time.time()
        return Ended(answer["status"], said, answer["writes"], now - began, now)

    def close(self) -> None:
        """End them."""
        self._to.close()
        self._process.wait()


def main(folder: Path, imported: Sequence[str]) -> None:
    """The process that others are forked from."""
    import importlib

    for name in imported:
        importlib.import_module(name)
    shim = ctypes.CDLL(None)
    said, told = folder.parent / "said.txt", folder.parent / "told.txt"
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        told.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            shim.faulty_disk(
                f"{folder}/".encode(), ctypes.c_long(order["at"]), order["error"], int(order["for_good"])
            )
            status = _store_alone(folder) if order["arguments"] == STORE_ALONE else _run(order["arguments"])
            sys.stdout.flush()
            told.write_text(str(shim.faulty_disk_seen()), "utf-8")
            os._exit(status)
        os.setpgid(child, child)
        print(child, flush=True)
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            if time.monotonic() > deadline:
                os.killpg(child, signal.SIGKILL)
                deadline += TIMEOUT_S
            time.sleep(0.002)
        writes = int(told.read_text("utf-8")) if told.is_file() else 0
        print(json.dumps({"status": os.waitstatus_to_exitcode(status), "writes": writes}), flush=True)


def _run(arguments: Sequence[str]) -> int:
    import pytest

    return int(pytest.main([*arguments, "--executor=inline"]))


def _store_alone(folder: Path) -> int:
    """Every kind of write to a store, without a run around it."""
    from harness.atomic import write_atomically
    from harness.errors import HarnessError, disk_error
    from harness.records import Answer, HeldoutUse, Training
    from harness.store.adapters import AdapterStore
    from harness.store.answers import AnswerStore, Judged
    from harness.training.hosted.record import JobState, write_state

    def train(part: Path) -> Training:
        (part / "adapter_model.safetensors").write_bytes(b"w" * 100_000)
        return Training("a" * 64, 2, 0, 3, 6, 9, 4, 1.0, 2.0, (), None, "cpu", "float32", ("a",), {}, "d")

    try:
        store, adapters = (
            AnswerStore(folder / ".harness" / "answers.sqlite"),
            AdapterStore(folder / ".harness/adapters"),
        )
        for k in range(3):
            store.keep_answers("context", [Answer(f"{k}", "yes" * 1000, 1, 1, 0.0)])
            store.keep_judgment(f"{k}", [1.0])
        store.keep_embeddings({"text": b"vector" * 500})
        store.keep_uses([HeldoutUse("decision", "c", "", "rows")], {}, "file")
        store.note_judged([Judged(frozenset("ab"), "alone", "recipe", "name")])
        store.outdate("other")
        adapters.get_or_train("a" * 64, train)
        adapters.merged(adapters.folder("a" * 64), lambda part: (part / "model").touch())
        write_state(adapters.folder("b" * 64), JobState(job="job"))
        write_atomically(folder / "reports" / "run.json", "text" * 1000)
        store.close()
    except (HarnessError, OSError) as error:
        print(disk_error(error) or error)
        return 1
    print("report: written")
    return 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
