"""4-bit bases: bitsandbytes must not repack weights behind the back of training (seen in 0.50.2)."""

from __future__ import annotations

import pytest
import torch
from tiny_llama import EXACT
from transformers import PreTrainedModel

from harness.models.local import load_base
from harness.models.source import ModelSource

PROMPT = torch.tensor([[5, 9, 13, 17, 40, 41, 42, 43]])


@pytest.fixture
def packed(tiny: ModelSource, monkeypatch: pytest.MonkeyPatch) -> PreTrainedModel:
    """The nf4 base with its layers left packed, as they are on a GPU."""
    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedModel, "dequantize", lambda self, dtype=None: self)
        return load_base(tiny, EXACT, attention="eager", nf4=True)


@pytest.fixture
def unpacked(tiny: ModelSource) -> PreTrainedModel:
    return load_base(tiny, EXACT, attention="eager", nf4=True)


def gradient(model: PreTrainedModel) -> torch.Tensor:
    """Of the loss with respect to the input embeddings: it passes back through every layer."""
    embeddings = model.get_input_embeddings()(PROMPT).detach().requires_grad_(True)
    loss = model(inputs_embeds=embeddings, labels=PROMPT, use_cache=False).loss
    slopes: torch.Tensor = torch.autograd.grad(loss, embeddings)[0]
    return slopes.flatten()


def test_no_packed_layer_may_repack_itself(packed: PreTrainedModel) -> None:
    from bitsandbytes.nn import Linear4bit

    layers = [module for module in packed.modules() if isinstance(module, Linear4bit)]
    assert len(layers) == 2 * 7
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)


def test_gradients_after_an_evaluation_are_those_of_the_unpacked_weights(
    packed: PreTrainedModel, unpacked: PreTrainedModel
) -> None:
    from bitsandbytes.nn.modules import has_avx512bf16

    if not has_avx512bf16():
        pytest.skip("this CPU has no AVX512-BF16: bitsandbytes repacks nothing here")
    with torch.no_grad():
        packed(PROMPT, use_cache=False)
    cosine = torch.nn.functional.cosine_similarity(gradient(packed), gradient(unpacked), dim=0)
    assert float(cosine) == pytest.approx(1.0, abs=5e-4)


def test_unpacking_keeps_what_nf4_keeps(packed: PreTrainedModel, unpacked: PreTrainedModel) -> None:
    with torch.no_grad():
        ours, theirs = unpacked(PROMPT, use_cache=False).logits, packed(PROMPT, use_cache=False).logits
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_a_base_on_a_cpu_is_unpacked_and_frozen(unpacked: PreTrainedModel) -> None:
    from bitsandbytes.nn import Linear4bit

    assert not any(isinstance(module, Linear4bit) for module in unpacked.modules())
    assert not any(parameter.requires_grad for parameter in unpacked.parameters())


def test_nf4_is_not_full_precision(tiny: ModelSource, unpacked: PreTrainedModel) -> None:
    exact = load_base(tiny, EXACT, attention="eager")
    with torch.no_grad():
        apart = (exact(PROMPT).logits - unpacked(PROMPT).logits).abs().max()
    assert float(apart) > 0.05
