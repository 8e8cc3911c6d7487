"""Training jobs in an interpreter of their own; see ``SubprocessExecutor``.

The child is ``python -m`` this module. It reads pickled jobs from its standard input and writes pickled
messages to what was its standard output: progress, and last the job's result or its error.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import pickle
import subprocess
import sys
import tempfile
import traceback
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from subprocess import PIPE
from threading import Thread
from typing import IO, Protocol, cast

from harness.errors import HarnessError, TrainingError, disk_error
from harness.models import CHOSE_WAITING
from harness.models.fast import return_freed_memory
from harness.models.progress import Bar
from harness.training.executor import T, T_co, TrainingJob
from harness.training.local.resident import RESIDENT, Resident
from harness.training.local.trainer import StepDone

LAST_LINES = 12  # of the output of a process that died
GO_ON = "go on"  # the parent's reply to a step
LEAST_FREE = 0.25  # share of the memory that must be free, for a child to stay beside the answers


class SteppedJob(Protocol[T_co]):
    """A training job that can wait after every step; see ``LocalTraining``."""

    def __call__(self, bar: Bar, after_step: Callable[[StepDone], None] | None = None) -> T_co:
        """Train."""


@dataclass(frozen=True)
class _Order:
    """The first message to the child. ``job`` is pickled by itself: it needs ``module`` to be read."""

    job: bytes
    module: str
    file: str | None
    is_stepped: bool


@dataclass(frozen=True)
class _Progress:
    done: float
    total: float | None
    note: str


@dataclass(frozen=True)
class _Failed:
    """One sentence where the error was raised on purpose, else its traceback."""

    text: str


@dataclass(frozen=True)
class _Returned:
    value: object
    stays: bool  # whether the child waits for another job


class TrainingProcess:
    """A child process that runs jobs, one after another, and keeps what they share (``Resident``).

    It ends when its standard input does: with this process, whatever ends that, and whatever it is doing.
    """

    def __init__(self) -> None:
        _give_back_gpu_memory()
        self.setting = this_setting()
        # the child finds the package where this process found it
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        if CHOSE_WAITING:
            del environment["GOMP_SPINCOUNT"]
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child, see ``_ended``
        self._child = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=PIPE, stdout=PIPE, stderr=self._output, env=environment
        )
        self._end = weakref.finalize(self, _ended, self._child, self._output)

    def is_waiting(self) -> bool:
        """Whether it waits for a job, in the setting that a new one would have."""
        return self._end.alive and self._child.poll() is None and self.setting == this_setting()

    def end(self) -> None:
        """End it, whatever it does."""
        self._end()

    def run(self, job: TrainingJob[T], bar: Bar, after_step: Callable[[StepDone], None] | None = None) -> T:
        """``run_in_subprocess``, in this process. Whatever goes wrong ends it."""
        child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            order = _packed(job, is_stepped=after_step is not None)
            with suppress(BrokenPipeError):  # it died before it had read its job; its exit status tells
                _send(child.stdin, order)
            while True:
                try:
                    message = pickle.load(child.stdout)
                except (EOFError, pickle.UnpicklingError):  # it died, perhaps within a message
                    break
                if isinstance(message, _Returned):
                    if not message.stays:
                        self.end()
                    return cast("T", message.value)
                if isinstance(message, _Failed):
                    raise TrainingError(message.text)
                if isinstance(message, _Progress):
                    bar.at(message.done, message.total, message.note)
                elif isinstance(message, StepDone) and after_step is not None:
                    after_step(message)
                    with suppress(BrokenPipeError):
                        _send(child.stdin, GO_ON)
            status = child.wait()
            self._output.seek(0)
            lines = self._output.read().decode("utf-8", "replace").strip().splitlines()[-LAST_LINES:]
            last = "".join(f"  {line}\n" for line in lines)
            raise TrainingError(
                f"the training's process died (status {status}).\n{last}"
                "  hint: status -9 is most often a lack of memory: use fewer batch_rows or a smaller"
                " max_tokens."
            )
        except BaseException:  # Ctrl-C above all: nothing goes on unseen
            self.end()
            raise


def this_setting() -> tuple[Path, tuple[str, ...], dict[str, str]]:
    """What a child takes over when it starts: folder, module path and environment."""
    changing = ("PYTEST_CURRENT_TEST", "COLUMNS", "LINES")  # and shaping nothing
    return Path.cwd(), tuple(sys.path), {k: v for k, v in os.environ.items() if k not in changing}


def _ended(child: subprocess.Popen[bytes], output: IO[bytes]) -> None:
    child.terminate()
    with suppress(BrokenPipeError):
        child.communicate()  # closes the pipes, and waits
    output.close()


def run_in_subprocess(
    job: TrainingJob[T], bar: Bar, after_step: Callable[[StepDone], None] | None = None
) -> T:
    """Run a job in a child process of its own and return its result.

    The job's class stands at the top of a module. ``after_step`` is called after every optimiser step of a
    ``SteppedJob``, while the child waits; an exception from it ends the training.

    Raises:
        TrainingError: the job cannot be sent, it failed, or its process died.
    """
    process = TrainingProcess()
    try:
        return process.run(job, bar, after_step)
    finally:
        process.end()


def _give_back_gpu_memory() -> None:
    """Give the card what models of this process have left: PyTorch keeps it, and the child would lack it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def _packed(job: TrainingJob[object], *, is_stepped: bool) -> _Order:
    module = job.__module__
    try:
        if module == "__main__":  # a script would run again in the child
            raise pickle.PicklingError("it is defined in the script that is running")
        pickled = pickle.dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TrainingError(
            f"a training job of type {type(job).__name__} cannot be sent to a process of its own: {error}.\n"
            "  hint: put its class at the top of a module, with fields that can be pickled;"
            " --executor=inline runs jobs in this process."
        ) from error
    return _Order(pickled, module, getattr(sys.modules.get(module), "__file__", None), is_stepped)


def _send(stream: IO[bytes], message: object) -> None:
    stream.write(pickle.dumps(message))  # whole: one that cannot be pickled must not leave half of itself
    stream.flush()


# --------------------------------------------------------------------------- the child
class _SentBar:
    """A bar whose reports go to the parent."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def at(self, done: float, total: float | None = None, note: str = "") -> None:
        """See ``Bar``."""
        _send(self._stream, _Progress(done, total, note))


def main() -> None:
    """The child: jobs until nobody sends one, each with its progress and its result."""
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries must not get among the messages

    heard: SimpleQueue[_Order | str] = SimpleQueue()
    Thread(target=_listen, args=(heard,), name="the parent", daemon=True).start()

    def wait(done: StepDone) -> None:
        _send(stream, done)
        heard.get()

    RESIDENT.set(Resident())
    stays = True
    while stays:
        order = cast("_Order", heard.get())
        job: object = None
        try:
            job = _unpacked(order)
            bar = _SentBar(stream)
            made = cast("SteppedJob[object]", job)(bar, wait) if order.is_stepped else job(bar)
            stays = _may_stay()
            _send(stream, _Returned(made, stays))
        except HarnessError as error:
            return _send(stream, _Failed(str(error)))
        except Exception as error:  # noqa: BLE001 - it is not swallowed: the parent raises it
            told = disk_error(error, getattr(job, "folder", ""))
            return _send(stream, _Failed(traceback.format_exc() if told is None else str(told)))


def _listen(heard: SimpleQueue[_Order | str]) -> None:
    """Pass on what the parent sends; when it is gone, nobody waits for what this process does."""
    stdin = os.fdopen(os.dup(0), "rb")  # not ``sys.stdin``, which Python closes at its end
    while True:
        try:
            heard.put(pickle.load(stdin))
        except (EOFError, pickle.UnpicklingError, OSError):
            os._exit(0)  # not by an exception: training may be in the middle of a matrix product


def _may_stay() -> bool:
    """Give back what the job has left; whether the machine has room for what is kept."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return False  # answers need the card
    return_freed_memory()
    with suppress(OSError, ValueError, IndexError):
        told = dict(line.split(":") for line in Path("/proc/meminfo").read_text("ascii").splitlines())
        free, total = (int(told[name].split()[0]) for name in ("MemAvailable", "MemTotal"))
        return free > LEAST_FREE * total
    return False


def _unpacked(order: _Order) -> TrainingJob[object]:
    """The job. Its class may stand in a conftest: several have one name, and some lie in no package."""
    try:
        found = importlib.import_module(order.module).__file__
    except ImportError:
        found = None
    try:
        if order.file is not None and (found is None or not Path(found).samefile(order.file)):
            spec = importlib.util.spec_from_file_location(order.module, order.file)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[order.module] = module
            spec.loader.exec_module(module)
        return cast("TrainingJob[object]", pickle.loads(order.job))
    except (ImportError, AttributeError) as error:
        raise TrainingError(
            f"a training job of {order.module} cannot be read in a process of its own:"
            f" {type(error).__name__}: {error}.\n"
            "  hint: put its class at the top of a module that can be imported from the project's root;"
            " --executor=inline runs jobs in this process."
        ) from error


if __name__ == "__main__":
    # pickles name classes by their module, and this one must not be called __main__ there
    from harness.training.local import subprocess_training

    subprocess_training.main()
