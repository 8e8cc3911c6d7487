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
            thin = _head(model)(_decoder(model)(input_ids=ids, use_cache=False).last_hidden_state).float()
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
        ids: (rows, tokens), padded on the right.
        mask: like ``ids``; 0 on padding.
        keep: like ``ids``; which positions are wanted.
        plain: what ``has_plain_head`` said. Otherwise the model computes every position's logits itself.
    """
    if not plain:
        logits: torch.Tensor = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[keep]
        return logits
    hidden = _decoder(model)(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    chosen: torch.Tensor = _head(model)(hidden[keep].contiguous())
    return chosen


def _without_adapter(model: torch.nn.Module) -> PreTrainedModel:
    """The causal model that PEFT wrapped; its layers still hold the adapter."""
    unwrap = getattr(model, "get_base_model", None)
    return cast("PreTrainedModel", unwrap() if unwrap else model)


def _decoder(model: torch.nn.Module) -> torch.nn.Module:
    return _without_adapter(model).base_model


def _head(model: torch.nn.Module) -> torch.nn.Module:
    head: torch.nn.Module = _without_adapter(model).get_output_embeddings()
    return head
