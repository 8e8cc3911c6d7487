"""Training in a process of its own.

After a training, the next one in the same process runs slower, and so do the answers; why was not found. A
new interpreter costs a few seconds, and gives back all memory when it ends.

The child is ``python -m`` this module. It reads one pickled job from its standard input and writes pickled
news to what was its standard output: how far it is, and last what it made or what went wrong.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import PIPE
from typing import IO, TYPE_CHECKING, cast

from harness.candidates.specs import Tuned
from harness.errors import HarnessError, TrainingError
from harness.models.device import DevicePlan
from harness.models.progress import Bar
from harness.models.source import ModelSource
from harness.records import Training
from harness.training.local.recipe import TrainingRows, train_into
from harness.training.local.trainer import AfterStep, StepDone

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LAST_LINES = 12  # of what a process said before it died
HEARD = b"."


@dataclass(frozen=True)
class Job:
    """One training: everything that shapes it, and the folder that takes the artifact.

    With ``stepwise`` the child waits after every step until it has been heard of, and keeps a checkpoint
    wherever it measured the development rows.
    """

    spec: Tuned
    source: ModelSource
    rows: TrainingRows
    seed: int
    plan: DevicePlan
    name: str
    folder: Path
    stepwise: bool = False


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


def checkpoint_name(done: StepDone) -> str:
    """The folder, below the job's, of what was kept after a step."""
    return f"step-{done.number}"


def train_apart(job: Job, bar: Bar, after_step: Callable[[StepDone], None] | None = None) -> Training:
    """Train in a child process.

    Args:
        job: what to train.
        bar: who watches.
        after_step: called after every step, before the next begins. What it raises ends the training.

    Raises:
        TrainingError: the training failed, or its process died.
    """
    job = replace(job, stepwise=after_step is not None)
    # the child finds the package where this process found it
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", __name__]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=said, env=environment) as child,
    ):
        try:
            made = _followed(child, job, bar, after_step)
        except BaseException:  # Ctrl-C above all: nothing goes on unseen
            child.terminate()
            raise
        if made is None:
            status = child.wait()
            said.seek(0)
            raise TrainingError(_died(status, said.read().decode("utf-8", "replace")))
        return made


def _followed(
    child: subprocess.Popen[bytes], job: Job, bar: Bar, after_step: Callable[[StepDone], None] | None
) -> Training | None:
    """What it made; None where it ended without a word."""
    assert child.stdin is not None
    assert child.stdout is not None
    with suppress(BrokenPipeError):  # it died before it had read its job; its exit status tells
        pickle.dump(job, child.stdin)
        child.stdin.flush()
    for item in _items(child.stdout):
        if isinstance(item, Training):
            return item
        if isinstance(item, Broken):
            raise TrainingError(item.text)
        if isinstance(item, News):
            bar.at(item.done, item.total, item.note)
        if isinstance(item, StepDone) and after_step is not None:
            after_step(item)
            with suppress(BrokenPipeError):
                child.stdin.write(HEARD)
                child.stdin.flush()
    return None


def _died(status: int, said: str) -> str:
    last = "\n".join(f"  {line}" for line in said.strip().splitlines()[-LAST_LINES:])
    return (
        f"the training's process died (status {status}).\n{last}\n  hint: status -9 is most often a lack of"
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


def _stepwise(job: Job, stream: IO[bytes]) -> AfterStep:
    def after(done: StepDone, model: PreTrainedModel) -> None:
        if done.point is not None:
            model.save_pretrained(job.folder / checkpoint_name(done))
        _send(stream, done)
        if sys.stdin.buffer.read(1) != HEARD:
            raise SystemExit("nobody waits for this training any more")

    return after


def main() -> None:
    """The child: one job, its news, its result."""
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print does not get among the news
    job = cast("Job", pickle.load(sys.stdin.buffer))
    try:
        after = _stepwise(job, stream) if job.stepwise else None
        bar = _Told(stream)
        made = train_into(
            job.folder, job.spec, job.source, job.rows, job.seed, job.plan, job.name, bar, after
        )
    except HarnessError as error:
        _send(stream, Broken(str(error)))
    except Exception:  # noqa: BLE001 - it is not swallowed: the parent raises it
        _send(stream, Broken(traceback.format_exc()))
    else:
        _send(stream, made)


if __name__ == "__main__":
    # pickles name classes by their module, and this one must not be called __main__ there
    from harness.training.local import subprocess_training

    subprocess_training.main()
