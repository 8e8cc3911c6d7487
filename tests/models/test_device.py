"""The device plan is chosen once a machine and remembered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_llama import BF16, EXACT

from harness.models import device
from harness.models.device import DevicePlan, device_plan
from harness.models.local import batch_numeric_config


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[DevicePlan]:
    """Every plan that torch was asked for."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    plans: list[DevicePlan] = []

    def ask() -> DevicePlan:
        plans.append(BF16)
        return BF16

    monkeypatch.setattr(device, "ask_torch", ask)
    return plans


def test_torch_is_asked_once(asked: list[DevicePlan]) -> None:
    assert [device_plan(), device_plan()] == [BF16, BF16]
    assert len(asked) == 1


def test_another_machine_is_asked_again(asked: list[DevicePlan], monkeypatch: pytest.MonkeyPatch) -> None:
    device_plan()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    device_plan()
    assert len(asked) == 2


def test_a_machine_with_other_instructions_is_another(
    asked: list[DevicePlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two machines may share a processor's name, and a cache that CI carries between them."""
    device_plan()
    monkeypatch.setattr(device, "instruction_sets", lambda: "avx2")
    device_plan()
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("level", "may"),
    [(None, True), ("AVX2", False), ("avx512_core", False), ("AVX512_CORE_AMX", True), ("ALL", True)],
)
def test_a_processor_that_is_held_back_works_in_float32(level: str | None, may: bool) -> None:
    assert device.may_use_bf16({} if level is None else {"ONEDNN_MAX_CPU_ISA": level}) is may


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"machine": 1}', "\x00"])
def test_a_damaged_memory_is_asked_again(asked: list[DevicePlan], tmp_path: Path, text: str) -> None:
    (tmp_path / "device.json").write_text(text, encoding="utf-8")
    assert device_plan() == BF16
    assert device_plan() == BF16
    assert len(asked) == 1


def test_a_memory_of_another_versions_fields_is_asked_again(asked: list[DevicePlan], tmp_path: Path) -> None:
    device_plan()
    memory = tmp_path / "device.json"
    memory.write_text(memory.read_text(encoding="utf-8").replace('"dtype"', '"precision"'), encoding="utf-8")
    assert device_plan() == BF16


@pytest.mark.parametrize(
    "other",
    [EXACT, replace(BF16, device="cuda"), replace(BF16, inference_attention="sdpa")],
    ids=["precision", "device", "attention"],
)
def test_what_shapes_greedy_answers_is_in_the_numerics(other: DevicePlan) -> None:
    assert batch_numeric_config(other) != batch_numeric_config(BF16)


def test_how_batches_are_cut_is_in_the_numerics(monkeypatch: pytest.MonkeyPatch) -> None:
    before = batch_numeric_config(BF16)
    monkeypatch.setattr("harness.models.local.MAX_BATCH_ROWS", 64)
    assert batch_numeric_config(BF16) != before


def test_a_cpu_never_works_in_float16() -> None:
    plan = device.ask_torch()
    assert plan.device == "cuda" or plan.dtype in ("bfloat16", "float32")


def test_a_card_that_only_emulates_bfloat16_works_in_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert (device.ask_torch().device, device.ask_torch().dtype) == ("cuda", "float16")


def test_another_card_is_asked_again(asked: list[DevicePlan], monkeypatch: pytest.MonkeyPatch) -> None:
    for cards in (["Tesla T4"], ["NVIDIA A10G"], ["NVIDIA A10G"]):
        monkeypatch.setattr(device, "gpu_names", lambda cards=cards: cards)
        device_plan()
    assert len(asked) == 2
