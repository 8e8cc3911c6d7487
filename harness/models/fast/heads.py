"""Logits of chosen positions only: the head over the whole vocabulary is most of a small model's work."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def has_plain_head(model: torch.nn.Module) -> bool:
    """Whether logits are just ``head(hidden)``: checked on four tokens, against the model's own forward.

    Some architectures cap or scale them afterwards (Gemma 2, Granite, Cohere).
    """
    import torch

    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            ids = torch.tensor([[1, 2, 3, 4]], device=next(model.parameters()).device)
            own = model(input_ids=ids, use_cache=False).logits.float()
            decoder, head = parts_of(model)
            thin = head(decoder(input_ids=ids, use_cache=False).last_hidden_state).float()
    except (AttributeError, TypeError):  # an architecture without decoder and head of the usual shape
        return False
    finally:
        model.train(training)
    return own.shape == thin.shape and torch.allclose(own, thin, atol=0.01, rtol=0.01)


def logits_at(
    model: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor, keep: torch.Tensor, *, plain: bool
) -> torch.Tensor:
    """Logits of shape (kept positions, vocabulary), in row order.

    Args:
        model: a causal language model, with or without a PEFT adapter.
        ids: (rows, tokens), padded on the right; ``mask`` and ``keep`` are like it.
        mask: 0 on padding.
        keep: which positions are wanted.
        plain: the result of ``has_plain_head``. Otherwise the model computes every position's logits itself.
    """
    if not plain:
        logits: torch.Tensor = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[keep]
        return logits
    decoder, head = parts_of(model)
    hidden = decoder(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    chosen: torch.Tensor = head(hidden[keep].contiguous())
    return chosen


def parts_of(model: torch.nn.Module) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Decoder and head of the causal model; where PEFT wrapped it, its layers still hold the adapter."""
    unwrap = getattr(model, "get_base_model", None)
    causal = cast("PreTrainedModel", unwrap() if unwrap else model)
    # an architecture may name another attribute as its base (Llama 4), and is then its own
    decoder = causal.model if causal.base_model is causal else causal.base_model
    return decoder, causal.get_output_embeddings()
