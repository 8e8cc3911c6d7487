"""A process that stays trains as a fresh one does, and goes when it should."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tiny_llama import BF16, rows

from harness import Full, QLoRA
from harness.errors import TrainingError
from harness.models.progress import Bar, SilentBar
from harness.models.source import ModelSource
from harness.training.executor import SubprocessExecutor, TrainingJob
from harness.training.local import subprocess_training
from harness.training.local.recipe import LocalTraining
from harness.training.local.resident import RESIDENT, Resident
from harness.training.local.subprocess_training import TrainingProcess
from harness.training.rows import TrainingRows

SPEC = QLoRA(base="tiny", train="t", epochs=1, batch_rows=4, learning_rate=2e-2, r=4, dropout=0.1)


def artifact(spec: QLoRA | Full, source: ModelSource, folder: Path, seed: int = 0) -> bytes:
    folder.mkdir()
    data = TrainingRows(rows(9), dev=rows(12)[9:])
    LocalTraining(spec.recipe(), source, data, seed, BF16, "name", folder)(SilentBar())
    (made,) = folder.glob("*.safetensors")
    return made.read_bytes()


def test_what_was_trained_before_leaves_no_trace(tiny: ModelSource, tmp_path: Path) -> None:
    fresh = artifact(SPEC, tiny, tmp_path / "fresh")
    token = RESIDENT.set(Resident())
    try:
        artifact(replace(SPEC, targets=("up_proj",), learning_rate=1.0), tiny, tmp_path / "before", seed=1)
        assert artifact(SPEC, tiny, tmp_path / "after") == fresh
        artifact(Full(base="tiny", train="t", epochs=1), tiny, tmp_path / "all weights")
        assert artifact(SPEC, tiny, tmp_path / "again") == fresh
    finally:
        RESIDENT.reset(token)


# --------------------------------------------------------------------------- the process
@dataclass(frozen=True)
class Telling:
    """A job that tells in which process it runs, and whether that keeps a base."""

    fails: bool = False

    def __call__(self, bar: Bar) -> tuple[int, bool]:
        if self.fails:
            raise TrainingError("the loss is not finite")
        return os.getpid(), RESIDENT.get() is not None


def test_a_process_stays_until_something_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    process = TrainingProcess()
    told = [process.run(Telling(), SilentBar()) for _ in range(2)]
    assert told[0] == told[1]
    assert told[0][0] != os.getpid()
    assert told[0][1]
    assert process.is_waiting()
    with monkeypatch.context() as patch:
        patch.setenv("HARNESS_FAST", "0")  # a child started now would find it
        assert not process.is_waiting()
        patch.delenv("HARNESS_FAST")
        patch.setenv("PYTEST_CURRENT_TEST", "another test")
        assert process.is_waiting()
    with pytest.raises(TrainingError, match="not finite"):
        process.run(Telling(fails=True), SilentBar())
    assert not process.is_waiting()
    assert not is_running(told[0][0])


@dataclass(frozen=True)
class Meeting:
    """A job that ends once another one of its process has begun."""

    mine: Path
    other: Path
    fails: bool = False

    def __call__(self, bar: Bar) -> int:
        self.mine.write_text(str(os.getpid()), encoding="ascii")
        assert wait_until(self.other.exists)
        if self.fails:
            raise TrainingError("the loss is nan")
        return os.getpid()


def test_jobs_side_by_side_end_each_for_itself(tmp_path: Path) -> None:
    process, a, b, c = TrainingProcess(), tmp_path / "a", tmp_path / "b", tmp_path / "c"
    with ThreadPoolExecutor(2) as pool:
        fails = pool.submit(process.run, Meeting(a, b, fails=True), SilentBar(), beside=True)
        lasts = pool.submit(process.run, Meeting(b, c), SilentBar(), beside=True)
        with pytest.raises(TrainingError, match="loss is nan"):
            fails.result()
        assert process.is_waiting()  # a third one may come while one runs
        third = process.run(Meeting(c, a), SilentBar(), beside=True)
        assert lasts.result() == third == int(a.read_text(encoding="ascii"))
    assert not process.is_waiting()  # what the one that failed has left is not looked into


def test_a_process_that_was_killed_is_not_waited_for() -> None:
    process = TrainingProcess()
    pid, _ = process.run(Telling(), SilentBar())
    os.kill(pid, signal.SIGKILL)
    ended = wait_until(lambda: not process.is_waiting())
    process.end()
    assert ended


@dataclass(frozen=True)
class Killing:
    """A job that kills the process which waits for it, and goes on."""

    def __call__(self, bar: Bar) -> None:
        print(os.getpid(), file=sys.__stderr__, flush=True)
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)


@pytest.mark.parametrize("during", [False, True])
def test_a_process_ends_with_the_one_that_started_it(during: bool) -> None:
    code = (
        "import os, signal, sys, test_resident as t\n"
        "t.subprocess_training.tempfile.TemporaryFile = lambda: os.fdopen(os.dup(2), 'wb')\n"
        "process = t.TrainingProcess()\n"
        f"process.run(t.{'Killing' if during else 'Telling'}(), t.SilentBar())\n"
        "print(process._child.pid, file=sys.stderr, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    ran = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert wait_until(lambda: not is_running(int(ran.stderr)))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split()[2] != "Z"
    except FileNotFoundError:
        return False


def wait_until(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + 10
    while not holds() and time.monotonic() < until:
        time.sleep(0.02)
    return holds()


def test_the_executor_keeps_a_process_for_the_trainings_of_the_package(
    tiny: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Standing] = []

    class Standing:
        waits = True

        def __init__(self) -> None:
            begun.append(self)

        def is_waiting(self) -> bool:
            return self.waits

        def held(self) -> AbstractContextManager[None]:
            return nullcontext()

        def run(self, job: object, bar: Bar, *, beside: bool) -> str:
            return type(job).__name__

        def end(self) -> None:
            self.waits = False

    monkeypatch.setattr(subprocess_training, "TrainingProcess", Standing)
    monkeypatch.setattr(subprocess_training, "run_in_subprocess", lambda job, bar: "a process of its own")
    executor = SubprocessExecutor()
    job = LocalTraining(SPEC.recipe(), tiny, TrainingRows(rows(2)), 0, BF16, "name", tmp_path)
    jobs: list[TrainingJob[object]] = [job, job, Telling()]
    told = [executor.run(job, SilentBar()) for job in jobs]
    assert told == ["LocalTraining", "LocalTraining", "a process of its own"]
    assert len(begun) == 1
    begun[0].waits = False
    executor.run(job, SilentBar())
    assert len(begun) == 2
    executor.stop()
    assert not begun[1].waits
