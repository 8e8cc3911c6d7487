"""Where trainings run. A new executor is one class with ``slots`` and ``run``.

A project names its own by import path: ``--executor=mycluster:Executor``.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar, cast, runtime_checkable

from harness.errors import UsageError
from harness.models.progress import Bar

if TYPE_CHECKING:
    from harness.models.device import DevicePlan
    from harness.training.local.subprocess_training import TrainingProcess

SIDE_BY_SIDE = 12  # trainings at once on a GPU, where its memory has room for them
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class TrainingJob(Protocol[T_co]):
    """One training that is complete in itself: it can be pickled, and called in any process.

    It writes its artifact into a folder that it names, and returns the record of how it came to be.
    """

    def __call__(self, bar: Bar) -> T_co:
        """Train, and report to ``bar`` how far it is."""


@dataclass(frozen=True, slots=True)
class Site:
    """What trainings are computed with, where that is another machine than this one."""

    plan: DevicePlan
    versions: Mapping[str, str]  # of the packages that shape an artifact


@runtime_checkable
class Executor(Protocol):
    """Runs training jobs. One that runs them on other machines has ``site``, a ``Site``, beside these; one
    whose jobs can be ended from outside has ``stop()``.
    """

    @property
    def slots(self) -> int:
        """How many jobs may run at once; the run starts so many threads that each call ``run``."""

    def run(self, job: TrainingJob[T], bar: Bar) -> T:
        """Run the job to its end, and return what it returns.

        Raises:
            TrainingError: the job failed, or its process died.
        """


class InlineExecutor:
    """Runs jobs in this process, one after another: for debuggers and tests."""

    slots = 1

    def run(self, job: TrainingJob[T], bar: Bar) -> T:
        """See ``Executor``."""
        return job(bar)


class SubprocessExecutor:
    """Runs jobs in a process beside this one, which stays for the next: imports and the base are there.

    Jobs of a project's own classes get a new one each, since their modules may have changed.
    """

    slots = 1

    def __init__(self) -> None:
        self._process: TrainingProcess | None = None
        self._choosing = threading.Lock()

    def beside(self, plan: DevicePlan) -> int:
        """How many trainings of one candidate its process takes at once; see training/local/side_by_side.py.

        ``HARNESS_SIDE_BY_SIDE`` sets it. On a CPU one alone fills the cores.

        Raises:
            UsageError: it is set to no number.
        """
        given = os.environ.get("HARNESS_SIDE_BY_SIDE", "")
        if given and not (given.isascii() and given.isdecimal()):
            raise UsageError(f"HARNESS_SIDE_BY_SIDE={given}: it must be a whole number; 1 turns it off.")
        return max(1, int(given)) if given else SIDE_BY_SIDE if plan.device == "cuda" else 1

    def run(self, job: TrainingJob[T], bar: Bar) -> T:
        """See ``Executor``. Jobs that say ``beside`` may run while others do."""
        from harness.training.local.subprocess_training import TrainingProcess, run_in_subprocess

        if not type(job).__module__.startswith("harness."):
            return run_in_subprocess(job, bar)
        with ExitStack() as stack:
            with self._choosing:
                if self._process is None or not self._process.is_waiting():
                    self.stop()
                    self._process = TrainingProcess()
                process = self._process
                stack.enter_context(process.held())
            return process.run(job, bar, beside=getattr(job, "beside", False))

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.end()
            self._process = None


def site_of(executor: Executor) -> Site | None:
    """What its trainings are computed with; None: with what this machine has."""
    return cast("Site | None", getattr(executor, "site", None))


def stop(executor: Executor) -> None:
    """End its trainings, if it can."""
    if callable(end := getattr(executor, "stop", None)):
        end()


def find_executor(name: str, ray_address: str = "", ray_task: str = "") -> Executor:
    """The executor that ``--executor`` names: ``local``, ``inline``, ``ray`` or a project's ``module:Class``.

    ``ray_address`` and ``ray_task`` are Ray's; see ``harness.training.ray_executor``.

    Raises:
        UsageError: there is no such executor, or the class lacks ``slots`` or ``run``.
    """
    if name == "ray":
        from harness.training.ray_executor import RayExecutor, parse_share

        return RayExecutor(ray_address, parse_share(ray_task))
    if name == "local":
        return SubprocessExecutor()
    if name == "inline":
        return InlineExecutor()
    module, _, attribute = name.partition(":")
    if not attribute:
        raise UsageError(
            f"--executor={name}: use local, inline, ray, or a class of your own by its import path:"
            " module:Class."
        )
    try:
        made = cast(object, getattr(importlib.import_module(module), attribute)())
    except (ImportError, AttributeError, TypeError) as error:
        raise UsageError(
            f"--executor={name}: {type(error).__name__}: {error}\n"
            "  hint: the module is imported from the project's root; the class is called without arguments."
        ) from error
    if not isinstance(made, Executor):
        raise UsageError(
            f"--executor={name}: {type(made).__name__} needs `slots` (an int) and `run(job, bar)`;"
            " see docs/architecture.md."
        )
    if not isinstance(made.slots, int) or made.slots < 1:
        raise UsageError(f"--executor={name}: slots is {made.slots!r}; it must be a whole number from 1 on.")
    return made
