"""Rows to supervised tokens, with nothing truncated, dropped or trained on by accident."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.data.rows import require_no_tools
from harness.errors import DataError
from harness.models.chat import render
from harness.records import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # PyTorch's ignore_index


@dataclass(frozen=True, slots=True)
class Example:
    """One row as token ids. ``labels`` are the same ids at supervised positions, and -100 elsewhere."""

    row_id: str
    input_ids: list[int]
    labels: list[int]

    @property
    def supervised(self) -> int:
        """The number of tokens that count in the loss."""
        return sum(label != IGNORED for label in self.labels)


def encode_row(tokenizer: PreTrainedTokenizerBase, row: Row, max_tokens: int) -> Example:
    """Tokens of a training row: loss on the assistant turns whose ``weight`` is 1, and on nothing else.

    The turns before each supervised reply are rendered as inference renders them, and must be a prefix
    of the whole conversation token for token.

    Raises:
        DataError: the row uses tools, is longer than ``max_tokens``, has nothing to learn from, or the
            template renders its prompt differently in training and in inference.
    """
    require_no_tools([row])
    whole = render(tokenizer, row.messages, reply_follows=False)
    labels = [IGNORED] * len(whole)
    end = 0
    for k, message in enumerate(row.messages):
        if message.role != "assistant" or message.weight == 0:
            continue
        prompt = render(tokenizer, row.messages[:k], reply_follows=True)
        upto = render(tokenizer, row.messages[: k + 1], reply_follows=False)
        start = len(prompt)
        # the end token is learnt, or answers would not stop; a newline that the template adds after it is not
        ends = [i for i in range(start, len(upto)) if upto[i] == tokenizer.eos_token_id]
        end = ends[-1] + 1 if ends else len(upto)
        if whole[:start] != prompt or whole[start:end] != upto[start:end]:
            raise DataError(
                row.where,
                "the chat template renders these turns differently in training and in inference.",
                "fix the tokenizer's chat template, or remove the turn that it rewrites",
            )
        labels[start:end] = whole[start:end]
    if end == 0:
        raise DataError(
            row.where, "every assistant turn has weight 0: the loss sees nothing.", "give one weight 1"
        )
    if end > max_tokens:
        raise DataError(
            row.where,
            f"{end} tokens, more than max_tokens={max_tokens}; it would be truncated.",
            "shorten the row or raise max_tokens on the candidate",
        )
    return Example(row.id, whole[:end], labels[:end])


def encode_rows(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], max_tokens: int) -> list[Example]:
    """``encode_row`` for all rows.

    Raises:
        DataError: as ``encode_row`` does; up to ten rows are named in one error.
    """
    examples: list[Example] = []
    refused: list[DataError] = []
    for row in rows:
        try:
            examples.append(encode_row(tokenizer, row, max_tokens))
        except DataError as error:
            refused.append(error)
    if len(refused) == 1:
        raise refused[0]
    if refused:
        listed = "\n".join(f"  {e.where}: {e.problem}" for e in refused[:10])
        raise DataError(
            refused[0].where, f"{len(refused)} rows cannot be trained on:\n{listed}", refused[0].hint
        )
    return examples
