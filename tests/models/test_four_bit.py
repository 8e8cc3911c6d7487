"""4-bit bases hold what nf4 keeps, and on a CPU no packed layer."""

from __future__ import annotations

import pytest
import torch
from tiny_llama import EXACT
from transformers import PreTrainedModel

from harness.models.local import load_base
from harness.models.source import ModelSource

PROMPT = torch.tensor([[5, 9, 13, 17, 40, 41, 42, 43]])


@pytest.fixture
def unpacked(tiny: ModelSource) -> PreTrainedModel:
    return load_base(tiny, EXACT, attention="eager", nf4=True)


def test_a_base_on_a_cpu_is_unpacked_and_frozen(unpacked: PreTrainedModel) -> None:
    from bitsandbytes.nn import Linear4bit

    assert not any(isinstance(module, Linear4bit) for module in unpacked.modules())
    assert not any(parameter.requires_grad for parameter in unpacked.parameters())


def test_nf4_is_not_full_precision(tiny: ModelSource, unpacked: PreTrainedModel) -> None:
    exact = load_base(tiny, EXACT, attention="eager")
    with torch.no_grad():
        apart = (exact(PROMPT).logits - unpacked(PROMPT).logits).abs().max()
    assert float(apart) > 0.05
