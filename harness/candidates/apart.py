"""Training in a process of its own.

After a training, the next one in the same process runs slower, and so do the answers; why was not found. A
new interpreter costs a few seconds, and gives back all memory when it ends.

The child is ``python -m harness.candidates.apart``. It reads one pickled job from its standard input and
writes pickled news to what was its standard output: how far it is, and last what it made or what went wrong.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import IO, cast

from harness.candidates.finetune import TrainingRows, train_into
from harness.candidates.specs import Tuned
from harness.errors import HarnessError, TrainingError
from harness.models.device import DevicePlan
from harness.models.progress import Bar
from harness.models.source import ModelSource
from harness.records import Training

LAST_LINES = 12  # of what a process said before it died


@dataclass(frozen=True)
class Job:
    """One training: everything that shapes it, and the folder that takes the artifact."""

    spec: Tuned
    source: ModelSource
    rows: TrainingRows
    seed: int
    plan: DevicePlan
    name: str
    folder: Path


@dataclass(frozen=True)
class News:
    """How far the training is."""

    done: float
    total: float | None
    note: str


@dataclass(frozen=True)
class Broken:
    """What went wrong, in a sentence where it was said on purpose, else with its traceback."""

    text: str


def train_apart(job: Job, bar: Bar) -> Training:
    """Train in a child process.

    Raises:
        TrainingError: the training failed, or its process died.
    """
    # the child finds the package where this process found it
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", __name__]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=said, env=environment) as child,
    ):
        try:
            made = _followed(child, job, bar)
        except BaseException:  # Ctrl-C above all: nothing goes on unseen
            child.terminate()
            raise
        if made is None:
            status = child.wait()
            said.seek(0)
            raise TrainingError(_died(status, said.read().decode("utf-8", "replace")))
        return made


def _followed(child: subprocess.Popen[bytes], job: Job, bar: Bar) -> Training | None:
    """What it made; None where it ended without a word."""
    assert child.stdin is not None
    assert child.stdout is not None
    with suppress(BrokenPipeError):  # it died before it had read its job; its exit status tells
        pickle.dump(job, child.stdin)
        child.stdin.close()
    for item in _items(child.stdout):
        if isinstance(item, Training):
            return item
        if isinstance(item, Broken):
            raise TrainingError(item.text)
        if isinstance(item, News):
            bar.at(item.done, item.total, item.note)
    return None


def _died(status: int, said: str) -> str:
    last = "\n".join(f"  {line}" for line in said.strip().splitlines()[-LAST_LINES:])
    return (
        f"the training's process died (status {status}).\n{last}\n  mend: status -9 is most often a lack of"
        " memory: use fewer batch_rows or a smaller max_tokens."
    )


def _items(stream: IO[bytes]) -> Iterator[object]:
    while True:
        try:
            yield pickle.load(stream)
        except (EOFError, pickle.UnpicklingError):
            return


class _Told:
    """A bar whose reports go to the parent."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def at(self, done: float, total: float | None = None, note: str = "") -> None:
        """See ``Bar``."""
        _send(self._stream, News(done, total, note))


def _send(stream: IO[bytes], item: object) -> None:
    pickle.dump(item, stream)
    stream.flush()


def main() -> None:
    """The child: one job, its news, its result."""
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print does not get among the news
    job = cast("Job", pickle.load(sys.stdin.buffer))
    try:
        made = train_into(
            job.folder, job.spec, job.source, job.rows, job.seed, job.plan, job.name, _Told(stream)
        )
    except HarnessError as error:
        _send(stream, Broken(str(error)))
    except Exception:  # noqa: BLE001 - it is not swallowed: the parent raises it
        _send(stream, Broken(traceback.format_exc()))
    else:
        _send(stream, made)


if __name__ == "__main__":
    # pickles name classes by their module, and this one must not be called __main__ there
    from harness.candidates import apart

    apart.main()
