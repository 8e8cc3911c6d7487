"""Greedy decoding in which finished answers leave the batch.

transformers keeps a finished row in the batch, as padding, until the longest answer ends. Given to
``generate`` as its ``custom_generate``, this decodes a batch that loses its rows as they end; its prompts may
have been read before (reading.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from harness.models.bound import BoundRows
from harness.models.generation import DrawnLogprobs

if TYPE_CHECKING:
    import torch
    from transformers import (
        GenerationConfig,
        LogitsProcessorList,
        PreTrainedModel,
        StoppingCriteriaList,
    )
    from transformers.modeling_outputs import CausalLMOutputWithPast

KEEP_SHARE = 0.8  # the batch is cut when fewer of its rows than this are unfinished: cutting copies the cache


def shrinking_greedy(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    read: CausalLMOutputWithPast | None = None,
    **model_kwargs: object,
) -> torch.Tensor:
    """Prompts and greedy answers, padded on the right with the pad token: (rows, longest).

    A row's answer does not depend on when the others end, but for the rounding that every change of a batch's
    size brings in bfloat16. When the batch is cut depends on the prompts alone. Without ``read``, the
    last logits of each prompt and a cache, the prompts are read as they stand.
    """
    import torch

    pad = cast("int", generation_config.pad_token_id)  # the caller gives one
    prefill: Callable[..., CausalLMOutputWithPast] = getattr(model, "_prefill")  # noqa: B009 - untyped there
    advance: Callable[..., dict[str, object]] = getattr(model, "_update_model_kwargs_for_generation")  # noqa: B009
    inputs_of: Callable[..., dict[str, object]] = getattr(model, "prepare_inputs_for_generation")  # noqa: B009
    rows = torch.arange(len(input_ids), device=input_ids.device)
    unfinished = torch.ones(len(input_ids), dtype=torch.bool, device=input_ids.device)
    answers: list[torch.Tensor] = [input_ids[k] for k in range(len(input_ids))]
    outputs = prefill(input_ids, generation_config, model_kwargs) if read is None else read
    while True:
        model_kwargs = advance(outputs, model_kwargs)
        logits = cast("torch.Tensor", outputs.logits)[:, -1]
        scores = logits_processor(
            cast("torch.LongTensor", input_ids), cast("torch.FloatTensor", logits.float())
        )
        tokens = torch.where(unfinished, scores.argmax(dim=-1), pad)
        input_ids = torch.cat([input_ids, tokens[:, None]], dim=-1)
        ending = unfinished & stopping_criteria(input_ids, None)
        for k in ending.nonzero()[:, 0].tolist():
            answers[int(rows[k])] = input_ids[k]
        unfinished = unfinished & ~ending
        if not unfinished.any():
            return torch.nn.utils.rnn.pad_sequence(answers, batch_first=True, padding_value=pad)
        cached = model_kwargs.get("past_key_values")
        # a state-space model's cache gives up no rows
        if int(unfinished.sum()) < KEEP_SHARE * len(rows) and hasattr(cached, "batch_select_indices"):
            kept = unfinished.nonzero()[:, 0]
            cached.batch_select_indices(kept)  # in place
            for name, value in model_kwargs.items():
                if isinstance(value, torch.Tensor) and value.ndim and len(value) == len(rows):
                    model_kwargs[name] = value[kept]
            for step in logits_processor:
                if isinstance(step, BoundRows):
                    step.keep(kept.tolist())
                elif isinstance(step, DrawnLogprobs):
                    step.keep(kept.tolist(), input_ids)
            input_ids, rows, unfinished = input_ids[kept], rows[kept], unfinished[kept]
        inputs = inputs_of(input_ids, next_sequence_length=1, **model_kwargs)
        outputs = model(**inputs, return_dict=True)
