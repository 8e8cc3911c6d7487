"""Training jobs in an interpreter of their own; see ``SubprocessExecutor``.

The child is ``python -m`` this module. Its standard input is a socket, which brings it a socket for each job.
There it reads the pickled job, and writes pickled messages: progress, and last the result or the error.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Protocol, cast

from harness.errors import HarnessError, TrainingError, disk_error
from harness.models import CHOSE_WAITING
from harness.models.fast import return_freed_memory
from harness.models.progress import Bar
from harness.training.executor import T, T_co, TrainingJob
from harness.training.local.resident import RESIDENT, Resident
from harness.training.local.trainer import StepDone

LAST_LINES = 12  # of the output of a process that died
GO_ON = b"."  # the parent's reply to a step
ALONE, BESIDE = b"1", b"+"  # whether a job may be begun while another one runs
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
    """A child process that runs jobs, in turn or side by side, and keeps what they share (``Resident``).

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
        self._control, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=theirs.fileno(),
                stdout=self._output,
                stderr=self._output,
                env=environment,
            )
        self._end = weakref.finalize(self, _ended, self._child, self._control, self._output)
        self._lock = threading.Lock()
        self._held, self._stays = 0, True

    def is_waiting(self) -> bool:
        """Whether it takes a job: it waits, in the setting that a new one would have, or has others."""
        is_there = self._end.alive and self._child.poll() is None
        return is_there and (self._held > 0 or self.setting == this_setting())

    def end(self) -> None:
        """End it, whatever it does."""
        self._end()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it, it does not end because of how another job ended."""
        with self._lock:
            self._held += 1
        try:
            yield
        finally:
            with self._lock:
                self._held -= 1
                if not (self._held or self._stays):
                    self.end()

    def run(
        self,
        job: TrainingJob[T],
        bar: Bar,
        after_step: Callable[[StepDone], None] | None = None,
        *,
        beside: bool = False,
    ) -> T:
        """``run_in_subprocess``, in this process. Whatever goes wrong ends it, once no other job runs in it.

        ``beside``: whether the job may begin while another one runs.
        """
        with self.held():
            try:
                return self._run(job, bar, after_step, BESIDE if beside else ALONE)
            except TrainingError:
                self._stays = False
                raise
            except BaseException:  # Ctrl-C above all: nothing goes on unseen
                self.end()
                raise

    def _run(
        self, job: TrainingJob[T], bar: Bar, after_step: Callable[[StepDone], None] | None, how: bytes
    ) -> T:
        order = _packed(job, is_stepped=after_step is not None)
        ours, theirs = socket.socketpair()
        # where it died before it had read its job, its exit status tells
        with (
            ours,
            _opened(ours) as stream,
            suppress(ConnectionError, EOFError, pickle.UnpicklingError),
        ):
            with theirs:
                socket.send_fds(self._control, [how], [theirs.fileno()])
            _send(stream, order)
            while True:
                message = pickle.load(stream)
                if isinstance(message, _Returned):
                    self._stays &= message.stays
                    return cast("T", message.value)
                if isinstance(message, _Failed):
                    raise TrainingError(message.text)
                if isinstance(message, _Progress):
                    bar.at(message.done, message.total, message.note)
                elif isinstance(message, StepDone) and after_step is not None:
                    after_step(message)
                    stream.write(GO_ON)
                    stream.flush()
        with self._lock:  # of several jobs, one reads what it said last
            status = self._child.wait()
            lines: list[str] = []
            if not self._output.closed:
                self._output.seek(0)
                lines = self._output.read().decode("utf-8", "replace").strip().splitlines()[-LAST_LINES:]
        last = "".join(f"  {line}\n" for line in lines)
        raise TrainingError(
            f"the training's process died (status {status}).\n{last}"
            "  hint: status -9 is most often a lack of memory: use fewer batch_rows or a smaller"
            " max_tokens."
        )


def this_setting() -> tuple[Path, tuple[str, ...], dict[str, str]]:
    """What a child takes over when it starts: folder, module path and environment."""
    changing = ("PYTEST_CURRENT_TEST", "COLUMNS", "LINES")  # and shaping nothing
    return Path.cwd(), tuple(sys.path), {k: v for k, v in os.environ.items() if k not in changing}


def _ended(child: subprocess.Popen[bytes], control: socket.socket, output: IO[bytes]) -> None:
    child.terminate()
    child.wait()
    control.close()
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


def _opened(end: socket.socket) -> IO[bytes]:
    return cast("IO[bytes]", end.makefile("rwb"))  # BufferedRWPair is one in all but name


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
    RESIDENT.set(Resident())
    alone: SimpleQueue[IO[bytes]] = SimpleQueue()
    threading.Thread(target=copy_context().run, args=(_listen, alone), name="the parent", daemon=True).start()
    while True:
        _serve(alone.get())


def _listen(alone: SimpleQueue[IO[bytes]]) -> None:
    """Pass on the jobs that the parent sends; when it is gone, nobody waits for what this process does."""
    control = socket.socket(fileno=os.dup(0))
    while True:
        how, sent, *_ = socket.recv_fds(control, 1, 1)
        if not sent:
            os._exit(0)  # not by an exception: training may be in the middle of a matrix product
        stream = _opened(socket.socket(fileno=sent[0]))
        if how == ALONE:
            alone.put(stream)
        else:
            work = copy_context().run
            threading.Thread(target=work, args=(_serve_beside, stream), daemon=True).start()


def _serve_beside(stream: IO[bytes]) -> None:
    with suppress(SystemExit, ConnectionError):  # nobody waits for this one
        _serve(stream)


def _serve(stream: IO[bytes]) -> None:
    def wait(done: StepDone) -> None:
        _send(stream, done)
        if stream.read(1) != GO_ON:
            raise SystemExit("nobody waits for this training any more")

    job: object = None
    with stream:
        try:
            order = cast("_Order", pickle.load(stream))
            job = _unpacked(order)
            bar = _SentBar(stream)
            made = cast("SteppedJob[object]", job)(bar, wait) if order.is_stepped else job(bar)
            _send(stream, _Returned(made, _may_stay()))
        except HarnessError as error:
            _send(stream, _Failed(str(error)))
        except Exception as error:  # noqa: BLE001 - it is not swallowed: the parent raises it
            told = disk_error(error, getattr(job, "folder", ""))
            _send(stream, _Failed(traceback.format_exc() if told is None else str(told)))


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
