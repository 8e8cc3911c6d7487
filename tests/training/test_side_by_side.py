"""Adapters that are trained side by side on one base end as each ends alone."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TypeAlias

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny_llama import EXACT, rows

from harness import QLoRA
from harness.candidates.lora import ALL_LINEAR
from harness.errors import TrainingError, UsageError
from harness.models.device import DevicePlan
from harness.models.fast import SlowPathWarning
from harness.models.progress import SilentBar
from harness.models.source import ModelSource
from harness.records import Json, Training
from harness.training import hardware
from harness.training.executor import SIDE_BY_SIDE, SubprocessExecutor
from harness.training.hardware import adapters_at_once
from harness.training.local.batches import parts
from harness.training.local.packing import pack, read_lengths
from harness.training.local.recipe import LocalTraining
from harness.training.local.resident import RESIDENT, Resident
from harness.training.local.side_by_side import Member, SideBySide
from harness.training.local.tokens import IGNORED
from harness.training.rows import TrainingRows

SPEC = QLoRA(base="tiny", train="t", r=4, batch_rows=4, epochs=1.5, learning_rate=2e-2, dev_evaluations=2)
PADDED = replace(EXACT, fast=replace(EXACT.fast, attention=False))  # as on a GPU
CARD = DevicePlan("cuda", "float32", "sdpa", "sdpa")
CUDA = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
Alone: TypeAlias = Callable[[QLoRA, DevicePlan, int, int], tuple[Training, Path]]
SIZES_AND_SEEDS = ((5, 0), (11, 0), (11, 1))


def job(
    spec: QLoRA, source: ModelSource, plan: DevicePlan, n: int, seed: int, folder: Path, *, beside: bool
) -> LocalTraining:
    folder.mkdir(parents=True)
    data = TrainingRows(rows(n), dev=rows(3))
    return LocalTraining(spec.recipe(), source, data, seed, plan, "name", folder, beside=beside)


def side_by_side(works: Sequence[Callable[[], object]]) -> None:
    """Each on a thread of its own, in what is one resident process; no step before all are there."""
    all_there, joined = threading.Barrier(len(works), timeout=60), SideBySide.joined
    token, patch = RESIDENT.set(Resident()), pytest.MonkeyPatch()

    @contextmanager
    def join(group: SideBySide, model: torch.nn.Module) -> Iterator[Member]:
        with joined(group, model) as member:
            all_there.wait()
            yield member

    patch.setattr(SideBySide, "joined", join)
    try:
        threads = [threading.Thread(target=copy_context().run, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        patch.undo()
        RESIDENT.reset(token)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def alone(tiny: ModelSource, tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """What a training by itself tells, and its folder; each is made once."""

    @cache
    def train(spec: QLoRA, plan: DevicePlan, n: int, seed: int) -> tuple[Training, Path]:
        folder = tmp_path_factory.mktemp("alone") / "artifact"
        return job(spec, tiny, plan, n, seed, folder, beside=False)(SilentBar()), folder

    return train


def shared_steps(training: Training) -> int:
    _, _, said = training.numeric_config.rpartition(", ")
    return int(said.removesuffix(" steps side by side")) if said.endswith("side by side") else 0


@pytest.mark.parametrize(
    ("spec", "plan", "slack"),
    [
        pytest.param(replace(SPEC, top_layers=1), EXACT, 1e-3, id="packed rows, the upper block only"),
        pytest.param(SPEC, PADDED, 1e-3, id="padded rows"),
        pytest.param(SPEC, CARD, 1e-2, marks=CUDA, id="cuda-float32"),
        pytest.param(SPEC, replace(CARD, dtype="bfloat16"), 0.05, marks=CUDA, id="cuda-bfloat16"),
    ],
)
def test_each_adapter_is_the_one_that_it_would_be_alone(
    tiny: ModelSource, tmp_path: Path, alone: Alone, spec: QLoRA, plan: DevicePlan, slack: float
) -> None:
    made: dict[tuple[int, int], Training] = {}

    def work(n: int, seed: int) -> None:
        made[n, seed] = job(spec, tiny, plan, n, seed, tmp_path / f"{n}-{seed}", beside=True)(SilentBar())

    side_by_side([partial(work, *one) for one in SIZES_AND_SEEDS])
    for n, seed in SIZES_AND_SEEDS:
        ours, (other_training, folder) = made[n, seed], alone(spec, plan, n, seed)
        assert ours.steps == other_training.steps
        for point, other in zip(ours.points, other_training.points, strict=True):
            assert (point.step, point.epoch) == (other.step, other.epoch)
            assert point.train_loss == pytest.approx(other.train_loss, rel=slack)
            assert point.dev_loss == pytest.approx(other.dev_loss, rel=slack)
        if plan.device == "cpu":
            torch.testing.assert_close(
                weights(tmp_path / f"{n}-{seed}"), weights(folder), atol=slack, rtol=slack
            )
    steps = [made[one].steps for one in SIZES_AND_SEEDS]
    assert steps == [3, 5, 5]
    assert [shared_steps(made[one]) for one in SIZES_AND_SEEDS] == [3, 5, 5]


def test_what_breaks_in_one_ends_no_other(tiny: ModelSource, tmp_path: Path, alone: Alone) -> None:
    ended: dict[int, Training | str] = {}

    def work(seed: int) -> None:
        training = job(SPEC, tiny, PADDED, 11, seed, tmp_path / str(seed), beside=True)
        if seed == 2:
            training = replace(training, recipe=replace(training.recipe, learning_rate=1e30))
        try:
            ended[seed] = training(SilentBar())
        except TrainingError as error:
            ended[seed] = str(error)

    side_by_side([partial(work, seed) for seed in range(3)])
    assert re.match(r"the loss is (nan|inf) at step 3 of 5.\n  hint: lower learning_rate", str(ended[2]))
    for seed in (0, 1):
        made = ended[seed]
        assert isinstance(made, Training)
        assert shared_steps(made) == 4  # the third was computed by each alone
        _, folder = alone(SPEC, PADDED, 11, seed)
        torch.testing.assert_close(weights(tmp_path / str(seed)), weights(folder), atol=1e-3, rtol=1e-3)


def test_where_a_card_has_no_room_each_trains_as_if_alone(
    tiny: ModelSource, tmp_path: Path, alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(SideBySide, "_together", refuse)
    jobs = [job(SPEC, tiny, PADDED, 11, seed, tmp_path / str(seed), beside=True) for seed in (0, 1)]
    with pytest.warns(SlowPathWarning, match="computed by each alone: CUDA out of memory"):
        side_by_side([partial(one, SilentBar()) for one in jobs])
    for seed in (0, 1):
        found, expected = weights(tmp_path / str(seed)), weights(alone(SPEC, PADDED, 11, seed)[1])
        assert all(torch.equal(found[name], weight) for name, weight in expected.items())


def test_who_shares_nothing_waits() -> None:
    resident, entered = Resident(), list[str]()

    def train(name: str, key: object, most: int) -> None:
        with resident.place(key, most):
            entered.append(name)

    def begin(name: str, key: object, most: int) -> threading.Thread:
        thread = threading.Thread(target=train, args=(name, key, most))
        thread.start()
        thread.join(0.05)
        return thread

    with resident.place("base", 2):
        assert resident.is_shared
        waiting = [begin("another base", "other", 2), begin("alone", None, 1), begin("beside", "base", 2)]
        with resident.place("base", 2):
            waiting.append(begin("too many", "base", 2))
            assert entered == ["beside"]
    for thread in waiting:
        thread.join(5)
    assert sorted(entered) == ["alone", "another base", "beside", "too many"]
    with resident.place(None, 1):
        assert not resident.is_shared


def test_an_executor_trains_side_by_side_on_a_gpu_or_where_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    executor, gpu = SubprocessExecutor(), replace(EXACT, device="cuda")
    monkeypatch.delenv("HARNESS_SIDE_BY_SIDE", raising=False)
    assert (executor.beside(EXACT), executor.beside(gpu)) == (1, SIDE_BY_SIDE)
    monkeypatch.setenv("HARNESS_SIDE_BY_SIDE", "3")
    assert (executor.beside(EXACT), executor.beside(gpu)) == (3, 3)
    for wrong in ("two", "-1", "²", "1.5"):
        monkeypatch.setenv("HARNESS_SIDE_BY_SIDE", wrong)
        with pytest.raises(UsageError, match=f"SIDE_BY_SIDE={wrong}: it must be a whole number"):
            executor.beside(gpu)


def test_a_card_takes_as_many_adapters_as_it_has_memory_for(monkeypatch: pytest.MonkeyPatch) -> None:
    llama_8b = {
        **{"model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14_336},
        **{"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256},
    }

    def fitting(card_gb: float, config: dict[str, Json] = llama_8b) -> int:
        monkeypatch.setattr(hardware, "device_memory", lambda: (card_gb, "a card"))
        return adapters_at_once(config, 16, ALL_LINEAR, None, nf4=True, base_bytes=2)

    assert [fitting(card) for card in (12, 24, 80)] == [1, 9, 76]
    assert fitting(80, {"model_type": "gpt2", "n_embd": 768}) == 1


@given(labels=st.lists(st.lists(st.booleans(), min_size=2, max_size=12), min_size=1, max_size=5))
def test_packed_rows_are_as_long_as_told(labels: list[list[bool]]) -> None:
    width = max(map(len, labels))
    ids = torch.arange(1, width * len(labels) + 1).reshape(len(labels), width)
    marked = torch.tensor([[False, True, *row[2:]] + [False] * (width - len(row)) for row in labels])
    packed = pack(
        {"input_ids": ids, "labels": torch.where(marked, ids, IGNORED)}, torch.float32, shares=False
    )
    assert read_lengths(torch.where(marked, ids, IGNORED)).tolist() == [len(row) for row in packed.rows]


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=40),
    limit=st.integers(40, 400),
    full=st.integers(1, 200),
)
def test_parts_of_like_length_hold_each_row_once(lengths: list[int], limit: int, full: int) -> None:
    width = max(lengths)
    mask = torch.tensor([[1] * n + [0] * (width - n) for n in lengths])
    ids = torch.arange(1, len(lengths) + 1)[:, None] * mask
    made = list(parts({"input_ids": ids, "attention_mask": mask}, limit, full))
    assert sorted(int(row[0]) for part in made for row in part["input_ids"]) == list(
        range(1, len(lengths) + 1)
    )
    assert sum(int(part["attention_mask"].sum()) for part in made) == sum(lengths)
    assert all(part["input_ids"].numel() <= limit for part in made)
