"""Trainings on a Ray cluster: the same artifacts as here, each trained once to its end, whatever dies."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tiny_llama import BF16, rows

from harness import QLoRA
from harness.atomic import build_atomically
from harness.errors import TrainingError, UsageError
from harness.models.progress import Bar, SilentBar
from harness.models.source import ModelSource
from harness.training.executor import InlineExecutor, find_executor
from harness.training.local.recipe import LocalTraining
from harness.training.ray_executor import RayExecutor, Share, parse_share
from harness.training.rows import TrainingRows

RECIPE = QLoRA(
    base="tiny", train="train.jsonl", epochs=1, batch_rows=4, learning_rate=2e-2, r=4, alpha=8
).recipe()


class Heard(SilentBar):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.news: list[tuple[float, float | None, str]] = []

    def at(self, done: float, total: float | None = None, note: str = "") -> None:
        self.news.append((done, total, note))


@dataclass(frozen=True)
class Noted:
    """A job that writes into a file of this machine when it begins and ends, and on which node."""

    folder: Path
    log: Path
    number: int
    seconds: float = 0.0
    outcome: str = "returns"

    def __call__(self, bar: Bar) -> int:
        import ray

        node = ray.get_runtime_context().get_node_id()
        self._note(f"begins {self.number} {node}")
        bar.at(1, 2, "half")
        time.sleep(self.seconds)
        if self.outcome == "raises":
            raise TrainingError("the loss is not finite")
        if self.outcome == "breaks":
            raise ZeroDivisionError("odd")
        if self.outcome == "dies":
            import os

            os._exit(7)
        (self.folder / "deep").mkdir()
        (self.folder / "deep" / "weights").write_bytes(bytes([self.number]) * 40_000_000)
        (self.folder / "empty").touch()
        self._note(f"ends {self.number} {node}")
        return 2 * self.number

    def _note(self, line: str) -> None:
        with self.log.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


# --------------------------------------------------------------------------- without a cluster
@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", Share()),
        ("cpus=4", Share(cpus=4)),
        (" gpus=.25 , memory=16GB,at_once=100 ", Share(gpus=0.25, memory=16e9, at_once=100)),
        ("cpus=0,gpus=1", Share(cpus=0, gpus=1)),
    ],
)
def test_a_share_of_a_node(text: str, share: Share) -> None:
    assert parse_share(text) == share


@pytest.mark.parametrize(
    "text",
    ["4", "cpus", "cpus=", "cpus=-1", "cpus=4G", "cpu=4", "cpus=1,cpus=2", "at_once=0", "at_once=1.5",
     "cpus=0,gpus=0", "memory=1e9", "cpus=٣"],
)  # fmt: skip
def test_another_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--ray-task="):
        find_executor("ray", "", text)


# --------------------------------------------------------------------------- on a cluster of two nodes
class Nodes:
    """A real cluster on this machine: a head, and nodes of one CPU that come and go."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 200_000_000}
        )
        self.nodes = [self.add(), self.add()]

    def add(self) -> object:
        return self.cluster.add_node(num_cpus=1, object_store_memory=200_000_000)

    def kill(self, node_id: str) -> None:
        (node,) = (node for node in self.nodes if node.node_id == node_id)  # type: ignore[attr-defined]
        self.nodes.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        # nodes find the test's own modules
        patch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path))
        made = Nodes()
        yield made
        ray.shutdown()
        made.cluster.shutdown()


@pytest.fixture
def executor(nodes: Nodes) -> RayExecutor:
    return RayExecutor(nodes.cluster.address)


@pytest.mark.cluster
def test_it_trains_what_this_machine_trains(executor: RayExecutor, tiny: ModelSource, tmp_path: Path) -> None:
    here, there, bar = tmp_path / "here", tmp_path / "there", Heard()
    job = LocalTraining(RECIPE, tiny, TrainingRows(own=rows(8)), 0, BF16, "name", there)
    assert executor.slots == 2
    made = executor.run(job, bar)
    same = InlineExecutor().run(replace(job, folder=here), SilentBar())
    assert replace(made, seconds=0, tokens_per_second=0) == replace(same, seconds=0, tokens_per_second=0)
    names = sorted(path.name for path in here.iterdir())
    assert names == sorted(path.name for path in there.iterdir())
    adapters = [folder / "adapter_model.safetensors" for folder in (here, there)]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()
    assert bar.news[0][2] == "waits for a node"
    assert bar.news[-1][:2] == (2, 2)


@pytest.mark.cluster
def test_a_base_that_a_node_lacks_is_sent_to_it(
    executor: RayExecutor, tiny: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny.folder.parent)  # the nodes stand elsewhere
    away = replace(tiny, folder=Path(tiny.folder.name), name="of this machine")
    job = LocalTraining(RECIPE, away, TrainingRows(own=rows(8)), 0, BF16, "name", tmp_path / "made")
    bar = Heard()
    executor.run(job, bar)
    assert (tmp_path / "made" / "adapter_model.safetensors").is_file()
    assert [note for *_, note in bar.news].count("waits for a node") == 2  # it was asked for, and sent
    bar = Heard()
    executor.run(job, bar)
    assert [note for *_, note in bar.news].count("waits for a node") == 1  # and is there now


@pytest.mark.cluster
def test_a_node_of_other_versions_trains_nothing(
    executor: RayExecutor, tiny: ModelSource, tmp_path: Path
) -> None:
    assert executor.site is not None
    executor.__dict__["site"] = replace(executor.site, versions={**executor.site.versions, "trl": "9.9"})
    job = LocalTraining(RECIPE, tiny, TrainingRows(own=rows(8)), 0, BF16, "name", tmp_path / "made")
    with pytest.raises(TrainingError, match=r"other versions.*: trl 1\.16\.0 for 9\.9\.\n  hint: "):
        executor.run(job, SilentBar())


@pytest.mark.cluster
def test_more_than_a_node_has_is_refused_before_anything_waits_for_it(nodes: Nodes) -> None:
    with pytest.raises(
        UsageError, match=r"no node has 3 CPUs, 0 GPUs .*1 CPUs, 0 GPUs(?s:.*)hint: ask for less"
    ):
        _ = RayExecutor(nodes.cluster.address, Share(cpus=3)).slots
    assert RayExecutor(nodes.cluster.address, Share(cpus=0.5)).slots == 4
    assert RayExecutor(nodes.cluster.address, Share(cpus=3, at_once=7)).slots == 7


@pytest.mark.cluster
def test_what_a_lost_node_had_begun_is_trained_on_another_and_nothing_twice(
    executor: RayExecutor, nodes: Nodes, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.touch()
    bars = [Heard() for _ in range(6)]

    def train(number: int) -> int:
        made: list[int] = []

        folder = build_atomically(
            tmp_path / f"{number}",
            lambda part: made.append(executor.run(Noted(part, log, number, 1.5), bars[number])),
        )
        assert (folder / "deep" / "weights").read_bytes() == bytes([number]) * 40_000_000
        assert (folder / "empty").is_file()
        return made[0]

    with ThreadPoolExecutor(executor.slots) as pool:
        results = pool.map(train, range(6))
        deadline = time.monotonic() + 60
        while "begins" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        killed = log.read_text().split()[2]
        nodes.kill(killed)
        nodes.nodes.append(nodes.add())
        assert list(results) == [0, 2, 4, 6, 8, 10]
    lines = [line.split() for line in log.read_text().splitlines()]
    ended = [int(number) for what, number, _ in lines if what == "ends"]
    assert sorted(ended) == [0, 1, 2, 3, 4, 5]
    begun = [int(number) for what, number, _ in lines if what == "begins"]
    lost = {number for number in begun if begun.count(number) > 1}
    assert len(lost) == 1
    assert any("begun again" in note for _, _, note in bars[lost.pop()].news)


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        ("raises", r"^the loss is not finite$"),
        ("breaks", r"(?s)Traceback.*__call__.*ZeroDivisionError: odd"),
        ("dies", r"(?s)begun 4 times.*lost: WorkerCrashedError.*hint: "),
    ],
)
def test_what_goes_wrong_on_a_node_is_raised_here(
    executor: RayExecutor, tmp_path: Path, outcome: str, says: str
) -> None:
    with pytest.raises(TrainingError, match=says):
        executor.run(Noted(tmp_path / "made", tmp_path / "log", 1, outcome=outcome), SilentBar())


@pytest.mark.cluster
def test_an_interrupted_run_ends_its_trainings(executor: RayExecutor, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(executor.run, Noted(tmp_path / "made", log, 1, 60.0), SilentBar())
        while "begins" not in log.read_text():
            time.sleep(0.05)
        executor.stop()
        with pytest.raises(TrainingError, match="interrupted"):
            future.result(timeout=10)
    assert "ends" not in log.read_text()
