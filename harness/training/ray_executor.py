"""Trainings as tasks of a Ray cluster: ``--executor=ray``.

A job travels to a node, trains there, and streams its progress and then its files back into the folder that
it was to write. The store's rule stays what it was: an artifact that is there, under the key of all that
shaped it, is not made again. So a task whose node is lost is simply begun again.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from queue import SimpleQueue
from threading import Event, RLock, Thread
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from harness.atomic import build_atomically
from harness.errors import HarnessError, TrainingError, UsageError
from harness.extras import require_extra
from harness.models.progress import Bar
from harness.training.executor import Site, T, TrainingJob

if TYPE_CHECKING:
    from ray import ObjectRef, ObjectRefGenerator

    from harness.models.source import ModelSource

ATTEMPTS = 4  # a task whose node or process was lost is begun again, so often in all
LOOK_S = 1.0  # between two looks at whether the run was interrupted
TOLD_S = 0.5  # between two reports of one training: a thousand of them must not keep the driver busy
PART_BYTES = 32_000_000  # of a file, in one message
AHEAD = 4  # parts that a node may send before they are taken
# a process that has trained trains the next a quarter slower, and a new one costs some five seconds: where
# they take longer than this, each has its own
LONG_S = 20.0
SITE_WAIT_S = 300.0  # for a first free node; a cluster may have to start one
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True, slots=True)
class Share:
    """What one training has of a node, as Ray's scheduler counts it. None: see ``RayExecutor``."""

    cpus: float | None = None
    gpus: float | None = None
    memory: float | None = None  # bytes
    at_once: int | None = None  # trainings that are asked for together


def parse_share(text: str) -> Share:
    """``cpus=4,gpus=0.5,memory=16GB,at_once=100``; each may be left out.

    Raises:
        UsageError: another name, or a number that it cannot be.
    """
    found: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, _, value = (side.strip() for side in part.partition("="))
        number = re.fullmatch(r"([0-9]+[.]?[0-9]*|[.][0-9]+)([KMGT]?)B?", value)
        is_known = name in {field.name for field in fields(Share)} and name not in found
        if not is_known or number is None or (number[2] and name != "memory"):
            raise UsageError(
                f"--ray-task={text}: {part.strip()!r} is not understood.\n"
                "  hint: write --ray-task=cpus=4,gpus=0.5,memory=16GB,at_once=100, or some of these."
            )
        found[name] = float(number[1]) * UNITS[number[2]]
    at_once = found.pop("at_once", None)
    if (at_once is not None and (at_once < 1 or at_once % 1)) or found.get("cpus") == 0 == found.get("gpus"):
        raise UsageError(f"--ray-task={text}: a training needs a CPU or a GPU, and at_once is 1 or more.")
    return Share(**found, at_once=None if at_once is None else int(at_once))


# --------------------------------------------------------------------------- messages of a task
@dataclass(frozen=True, slots=True)
class _Begun:
    node: str


@dataclass(frozen=True, slots=True)
class _Progress:
    done: float
    total: float | None
    note: str


@dataclass(frozen=True, slots=True)
class _LacksBase:
    """The node has no such folder, and what it finds by the model's name is another model or none."""


@dataclass(frozen=True, slots=True)
class _Failed:
    text: str


@dataclass(frozen=True, slots=True)
class _Part:
    file: str  # relative to the job's folder
    content: bytes  # to be appended


@dataclass(frozen=True, slots=True)
class _Returned:
    value: object


_Message: TypeAlias = "_Begun | _Progress | _LacksBase | _Failed | _Part | _Returned"
_Files: TypeAlias = "Mapping[str, ObjectRef[bytes]]"


class _Remote(Protocol):
    """``_task`` as Ray calls it."""

    def remote(self, order: _Order, files: _Files) -> ObjectRefGenerator: ...


class _Travelling(Protocol):
    """A job of the harness's: a frozen dataclass that names the folder it fills, and the base it trains."""

    folder: Path
    source: ModelSource


@dataclass(frozen=True)
class _Order:
    """What a task is given. ``versions`` are those of the driver's key; a node must have the same."""

    job: TrainingJob[object]
    versions: Mapping[str, str]


class RayExecutor:
    """Runs each training as a task of a Ray cluster.

    Args:
        address: the cluster's, as ``ray.init`` takes it; empty: a cluster of this machine alone is started.
        share: what one training has of a node. By default one GPU, with the CPUs that a node has for each of
            its GPUs; where there is none, all CPUs of the smallest node.
    """

    def __init__(self, address: str = "", share: Share = Share()) -> None:
        require_extra("ray", "--executor=ray")
        if address.startswith("ray://"):
            raise UsageError(
                f"--ray-address={address}: Ray Client does not stream what tasks send.\n"
                "  hint: start the run on a machine of the cluster, with --ray-address=auto; docs/scale.md."
            )
        self._address, self._asked = address, share
        self._lock, self._stopped = RLock(), Event()
        self._is_long = False  # whether one took longer than ``LONG_S``
        self._bases: dict[str, dict[str, ObjectRef[bytes]]] = {}  # by digest

    # ----------------------------------------------------------------- the cluster
    @cached_property
    def _nodes(self) -> list[Mapping[str, float]]:
        """Resources of the nodes that take tasks, once the cluster is reached."""
        import ray

        with self._lock:
            if not ray.is_initialized():
                os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # what a team trains is its own
                try:
                    ray.init(
                        address=self._address or "local",
                        include_dashboard=False if not self._address else None,
                        log_to_driver=False,  # bars show how far each is
                        logging_level="ERROR",
                    )
                except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
                    raise UsageError(
                        f"--executor=ray: no cluster at {self._address or 'this machine'}"
                        f" ({type(error).__name__}: {str(error).splitlines()[0]}).\n"
                        "  hint: name one by --ray-address or RAY_ADDRESS, or none to start one here."
                    ) from error
            found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return [node for node in found if node.get("CPU", 0) or node.get("GPU", 0)]

    @cached_property
    def _share(self) -> Share:
        asked, nodes = self._asked, self._nodes
        with_gpus = [node for node in nodes if node.get("GPU")]
        gpus = asked.gpus if asked.gpus is not None else float(bool(with_gpus))
        taking = [node for node in nodes if node.get("GPU", 0) >= gpus] or [{}]
        parts = (node.get("CPU", 1) / max(1.0, node.get("GPU", 0) / gpus if gpus else 1) for node in taking)
        cpus = asked.cpus if asked.cpus is not None else max(1.0, min(parts) // 1)
        return replace(asked, cpus=cpus, gpus=gpus)

    def _room(self, node: Mapping[str, float]) -> int:
        share = self._share
        wanted = {"CPU": share.cpus, "GPU": share.gpus, "memory": share.memory}
        return int(min(node.get(name, 0) // number for name, number in wanted.items() if number))

    @property
    def slots(self) -> int:
        """See ``Executor``: what the cluster has room for, or ``at_once``.

        Raises:
            UsageError: the cluster cannot be reached, or no node of it has room for one training.
        """
        if self._asked.at_once is not None:
            return self._asked.at_once
        room = sum(map(self._room, self._nodes))
        if not room:
            share = self._share
            has = "; ".join(f"{n.get('CPU', 0):g} CPUs, {n.get('GPU', 0):g} GPUs" for n in self._nodes)
            memory = f", {share.memory:.3g} bytes" if share.memory else ""
            raise UsageError(
                f"--executor=ray: no node has {share.cpus:g} CPUs, {share.gpus:g} GPUs{memory} for a"
                f" training (the nodes have {has or 'nothing'}).\n"
                "  hint: ask for less by --ray-task; where nodes are started on demand, say how many"
                " trainings to ask for: --ray-task=at_once=8."
            )
        return room

    def _options(self) -> dict[str, object]:
        share = self._share
        asked: dict[str, object] = {"num_cpus": share.cpus, "num_gpus": share.gpus}
        return asked if share.memory is None else {**asked, "memory": share.memory}

    @cached_property
    def site(self) -> Site | None:
        """See ``Executor``. A node of the cluster is asked, once; a cluster of this machine need not be.

        Raises:
            TrainingError: no node took the question in time.
        """
        if not self._address:
            return None
        import ray

        self.slots  # noqa: B018 - where no node has room, that is the better message
        with self._lock:
            asked = ray.remote(_site).options(**self._options()).remote()
            try:
                return cast("Site", ray.get(asked, timeout=SITE_WAIT_S))
            except ray.exceptions.RayError as error:
                raise TrainingError(
                    f"--executor=ray: no node of the cluster could say what it computes with:"
                    f" {str(error).strip().splitlines()[-1]}.\n"
                    "  hint: its nodes need this version of finetune-harness with the extras local and ray."
                ) from error

    # ----------------------------------------------------------------- a training
    def run(self, job: TrainingJob[T], bar: Bar) -> T:
        """See ``Executor``. A job that names its ``folder`` fills one of the node, whose files are brought
        here; any other is called there, and what it returns is all that comes back.
        """
        files: _Files = {}
        attempt = 1
        while attempt <= ATTEMPTS:
            try:
                last = self._once(job, bar, files)
            except _Lost as lost:
                note = f"lost: {lost}"
                bar.at(0, None, f"{note}; begun again")
                attempt += 1
                continue
            if not isinstance(last, _LacksBase):
                return cast("T", last.value)
            if files:
                raise TrainingError("a node of the cluster could not take the base model that it was sent.")
            files = self._sent(cast("_Travelling", job).source)
        raise TrainingError(
            f"a training was begun {ATTEMPTS} times on the cluster, and {note} each time.\n"
            "  hint: a process that dies so is most often out of memory: --ray-task=memory=... keeps others"
            " off its node; or use fewer batch_rows or a smaller max_tokens."
        )

    def _once(self, job: TrainingJob[T], bar: Bar, files: _Files) -> _Returned | _LacksBase:
        """One attempt.

        Raises:
            _Lost: its node or process went away.
            TrainingError: it failed.
        """
        folder = cast("_Travelling", job).folder if _travels(job) else None
        if folder is not None:  # what came of an attempt that was lost
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        bar.at(0, None, "waits for a node")
        last: _Returned | _LacksBase | None = None
        began_s = time.monotonic()
        for message in self._messages(_Order(job, self._versions), files):
            if isinstance(message, _Begun):
                began_s = time.monotonic()
                bar.at(0, None, f"on {message.node}")
            elif isinstance(message, _Progress):
                bar.at(message.done, message.total, message.note)
            elif isinstance(message, _Part):
                assert folder is not None
                (folder / message.file).parent.mkdir(parents=True, exist_ok=True)
                with (folder / message.file).open("ab") as file:
                    file.write(message.content)
            elif isinstance(message, _Failed):
                raise TrainingError(message.text)
            else:
                last = message
        if last is None:
            raise _Lost("it ended without a result")
        self._is_long |= time.monotonic() - began_s > LONG_S
        return last

    def _messages(self, order: _Order, files: _Files) -> Iterator[_Message]:
        import ray
        from ray.exceptions import RayError, RayTaskError

        self._nodes  # noqa: B018 - the cluster is there
        task = self._once_a_process if self._is_long or self._share.gpus else self._again_and_again
        coming: ObjectRefGenerator = task.remote(order, files)
        has_ended = False
        try:
            while True:
                if self._stopped.is_set():
                    raise TrainingError("the run was interrupted.")
                if ray.wait([coming], timeout=LOOK_S)[0]:
                    yield cast("_Message", ray.get(next(coming)))
        except StopIteration:
            has_ended = True
        except RayTaskError as error:  # before our own code could say it: most often it cannot be unpickled
            raise TrainingError(
                f"a training could not begin on the cluster: {str(error).strip().splitlines()[-1]}.\n"
                "  hint: its nodes need what this machine has: the same finetune-harness, and modules of your"
                " own that a job is made of."
            ) from error
        except RayError as error:
            raise _Lost(f"{type(error).__name__}") from error
        finally:
            if not has_ended:
                ray.cancel(coming, force=True)

    @cached_property
    def _once_a_process(self) -> _Remote:
        return self._remote(1)

    @cached_property
    def _again_and_again(self) -> _Remote:
        return self._remote(0)

    def _remote(self, calls: int) -> _Remote:
        """Made once: each that is made is sent to every node. Ray's own retries would send what was taken."""
        import ray

        with self._lock:
            task = ray.remote(num_returns="streaming", max_calls=calls, max_retries=0)(_task)
            options = {**self._options(), "_generator_backpressure_num_objects": AHEAD}
            return cast("_Remote", task.options(name="harness training", **options))

    def stop(self) -> None:
        """End the trainings that run, after an interruption; the threads in ``run`` raise."""
        self._stopped.set()

    @property
    def _versions(self) -> Mapping[str, str]:
        from harness.training.local.recipe import shaping_versions

        return shaping_versions() if self.site is None else self.site.versions

    def _sent(self, source: ModelSource) -> _Files:
        """The base's files in Ray's object store, once for all trainings."""
        import ray

        from harness.models.source import WANTED

        with self._lock:
            if source.digest not in self._bases:
                files = {file for pattern in WANTED for file in source.folder.glob(pattern)}
                self._bases[source.digest] = {file.name: ray.put(file.read_bytes()) for file in files}
        return self._bases[source.digest]


class _Lost(Exception):  # noqa: N818 - it says what happened to a task
    """The node or the process of a task went away."""


def _travels(job: object) -> bool:
    return is_dataclass(job) and isinstance(getattr(job, "folder", None), Path)


# --------------------------------------------------------------------------- on a node
def _site() -> Site:
    from harness.models.device import device_plan
    from harness.training.local.recipe import shaping_versions

    return Site(device_plan(), shaping_versions())


def _task(order: _Order, files: _Files) -> Iterator[_Message]:
    """A job on a node: its messages, as they come."""
    import platform

    yield _Begun(platform.node())
    told: SimpleQueue[_Message | None] = SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="harness-") as scratch:
        folder = Path(scratch, "artifact")
        folder.mkdir()

        def train() -> None:
            try:
                told.put(_trained(order, files, folder, _SentBar(told)))
            except HarnessError as error:
                told.put(_Failed(str(error)))
            except BaseException:  # noqa: BLE001 - it is not swallowed: the driver raises it
                told.put(_Failed(traceback.format_exc()))
            told.put(None)

        Thread(target=train, name="training").start()  # a generator cannot yield from within a training
        while (message := told.get()) is not None:
            if isinstance(message, _Returned):
                yield from _parts(folder)
            yield message


def _trained(order: _Order, files: _Files, folder: Path, bar: Bar) -> _Message:
    from harness.training.local.recipe import shaping_versions

    job, here = order.job, shaping_versions()
    if here != order.versions:
        others = (f"{name} {here[name]} for {it}" for name, it in order.versions.items() if here[name] != it)
        return _Failed(
            f"a node of the cluster has other versions, and would train something else: {', '.join(others)}."
            "\n  hint: give all nodes one image; artifacts are kept under the versions that made them."
        )
    if not _travels(job):
        return _Returned(job(bar))
    changed: dict[str, object] = {"folder": folder}
    source = getattr(job, "source", None)
    if source is not None:
        found = _base(cast("ModelSource", source), files)
        if found is None:
            return _LacksBase()
        changed["source"] = found
    return _Returned(replace(job, **changed)(bar))  # type: ignore[type-var]  # _travels says that it is one


def _base(source: ModelSource, files: _Files) -> ModelSource | None:
    """The base on this node: where it lies on the driver, by its name, or as it was sent."""
    import ray

    from harness.models.cache import cache_folder
    from harness.models.progress import Silent
    from harness.models.source import resolve

    if _has(source.folder, source.digest):
        return source
    sent = cache_folder() / "models" / f"sent-{source.digest[:32]}"
    if files or sent.is_dir():

        def write(into: Path) -> None:
            for name, content in files.items():
                (into / name).write_bytes(ray.get(content))

        return replace(source, folder=build_atomically(sent, write))
    try:
        found = resolve(source.name, Silent(), source.trust_remote_code)
    except HarnessError:
        return None  # the driver sends it
    return found if found.digest == source.digest else None


@cache  # reading all weights takes time, and a process trains several
def _has(folder: Path, digest: str) -> bool:
    from harness.models.source import folder_digest

    return (folder / "config.json").is_file() and folder_digest(folder) == digest


def _parts(folder: Path) -> Iterator[_Part]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                name, content = str(path.relative_to(folder)), file.read(PART_BYTES)
                yield _Part(name, content)
                while content := file.read(PART_BYTES):
                    yield _Part(name, content)


class _SentBar:
    """A bar whose reports go to the driver, a few a second."""

    def __init__(self, told: SimpleQueue[_Message | None]) -> None:
        self._told, self._last_s = told, 0.0

    def at(self, done: float, total: float | None = None, note: str = "") -> None:
        """See ``Bar``."""
        now_s = time.monotonic()
        if done == total or now_s - self._last_s >= TOLD_S:
            self._last_s = now_s
            self._told.put(_Progress(done, total, note))
