"""From messages to tokens, the same way in training and in inference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from harness.errors import ModelError
from harness.records import Message, Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from harness.models.source import ModelSource


def load_tokenizer(source: ModelSource) -> PreTrainedTokenizerBase:
    """The model's own tokenizer, with a pad token.

    Raises:
        ModelError: it has no chat template; prompts would be guesses.
    """
    from transformers import AutoTokenizer

    from harness.models import quiet_transformers

    with quiet_transformers():
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(source.folder), trust_remote_code=source.trust_remote_code
        )
    if not tokenizer.chat_template:
        raise ModelError(
            f"{source.name}: its tokenizer has no chat template, so messages cannot be rendered rightly.\n"
            f"  hint: use an instruction-tuned base, or save a template with tokenizer.chat_template = ..."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, reply_follows: bool
) -> list[int]:
    """Token ids of a conversation. With ``reply_follows`` it ends where the assistant's reply begins."""
    turns = [{"role": m.role, "content": m.content} for m in messages]
    text = tokenizer.apply_chat_template(turns, add_generation_prompt=reply_follows, tokenize=False)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def row_counter(tokenizer: PreTrainedTokenizerBase) -> Callable[[Sequence[Row]], list[int]]:
    """A function that counts the tokens of whole conversations, rendered as in training."""

    def count(rows: Sequence[Row]) -> list[int]:
        turns = [[{"role": m.role, "content": m.content} for m in row.messages] for row in rows]
        texts = [tokenizer.apply_chat_template(of_row, tokenize=False) for of_row in turns]
        return list(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"])) if texts else []

    return count
