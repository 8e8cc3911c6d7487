"""Which settings answers are drawn with: those of ``Decoding``, and of the model's own its end tokens alone;
and how likely the tokens were that were drawn.

Bases ship defaults in ``generation_config.json`` (a repetition penalty, sampling, suppressed tokens), and
``generate`` fills every setting that the caller left open from them: "greedy" would be another thing for each
base, and a fine-tune would inherit what its training never saw.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.records import Json

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

FILE = "generation_config.json"
# they say which tokens there are and how a result is handed over, not which token comes next
_HARMLESS = frozenset(
    (
        *("eos_token_id", "bos_token_id", "pad_token_id", "decoder_start_token_id", "transformers_version"),
        *("use_cache", "cache_implementation", "cache_config", "return_dict_in_generate"),
        *("output_scores", "output_logits", "output_attentions", "output_hidden_states"),
    )
)


def keep_end_tokens_only(model: PreTrainedModel) -> None:
    """Set the model's own defaults aside, in place: whatever a call leaves open is neutral from now on."""
    from transformers import GenerationConfig

    own = getattr(model, "generation_config", None)
    model.generation_config = GenerationConfig(
        eos_token_id=None if own is None else own.eos_token_id,
        bos_token_id=None if own is None else own.bos_token_id,
        pad_token_id=None if own is None else own.pad_token_id,
    )


def set_aside(folder: Path) -> dict[str, Json]:
    """The defaults of a model folder that are set aside, by name, without those that do nothing."""
    try:
        given = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(given, dict):
        return {}
    return {
        name: value
        for name, value in sorted(given.items())
        if name not in _HARMLESS and not name.startswith("_") and not _is_neutral(name, value)
    }


def _is_neutral(name: str, value: Json) -> bool:
    """Whether a default does nothing: a penalty of 1 multiplies, one of 0 adds, a token 0 is a token."""
    if value in (None, [], {}, "") or value is False:
        return True
    if name == "top_k" or name.endswith(("_token_id", "_length", "_tokens")):
        return value == 0 and name in ("top_k", "min_length", "min_new_tokens")
    return value in (0, 1) and value is not True


def note_on_defaults(folder: Path) -> tuple[str, ...]:
    """A sentence for the report on what was set aside; none where nothing was."""
    found = set_aside(folder)
    if not found:
        return ()
    listed = ", ".join(f"{name}={json.dumps(value)[:60]}" for name, value in found.items())
    return (
        f"{FILE} of the base sets {listed}: set aside here, for every candidate and baseline. A server that"
        " follows the file answers otherwise (vLLM ignores it under --generation-config vllm).",
    )


class DrawnLogprobs:
    """A logits processor that notes the log-probability of each token that is drawn, and changes no score.

    It stands before all others: where a schema forbids tokens, it notes how likely the model itself finds
    those that come. Rows may leave the batch (``keep``).

    Args:
        rows: how many rows the batch has.
    """

    def __init__(self, rows: int) -> None:
        self._count, self._rows = rows, list(range(rows))  # those that are still in the batch
        self._steps: list[torch.Tensor] = []
        self._scores: torch.Tensor | None = None  # that the next tokens are drawn from

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """``scores`` (rows, vocabulary) as they came; ``input_ids`` end in what the last ones gave."""
        self._note(input_ids[:, -1])
        # others may forbid tokens in place, but none that are drawn
        self._scores, self._total = scores, scores.logsumexp(dim=-1)
        return scores

    def keep(self, kept: Sequence[int], input_ids: torch.Tensor) -> None:
        """Go on with these places of the batch, whose last tokens have just been drawn."""
        self._note(input_ids[:, -1])
        self._rows = [self._rows[k] for k in kept]

    def of(self, output: torch.Tensor) -> list[list[float]]:
        """The log-probability of each token that ``generate`` gave, by row; behind a row's end, anything."""
        import torch

        self._note(output[self._rows, -1])
        found: list[list[float]] = torch.stack(self._steps, dim=1).tolist()
        return found

    def _note(self, tokens: torch.Tensor) -> None:
        import torch

        if self._scores is None:
            return
        step = torch.full((self._count,), torch.nan, device=self._scores.device)
        step[self._rows] = self._scores.gather(1, tokens[:, None])[:, 0] - self._total
        self._steps.append(step)
        self._scores = None
