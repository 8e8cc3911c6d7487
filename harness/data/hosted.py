"""Facts of hosted models that the check of their training files needs: tokens, context and format.

As known in December 2025, without a source that was looked up again: check them before you rely on them. A
model that is not here is counted with the newest encoding, and its context is not checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from harness.records import Row

DEFAULT_ENCODING = "o200k_base"
# OpenAI's cookbook, "How to count tokens with tiktoken": a message costs its role and content and 3 more, a
# name 1, and 3 begin the reply
TOKENS_A_MESSAGE, TOKENS_A_NAME, TOKENS_A_REPLY = 3, 1, 3
ENCODED_CHARACTERS = 50_000  # at once, of four tokens at most: the encoder refuses more than 200,000


@dataclass(frozen=True, slots=True)
class HostedModel:
    """``training_context_tokens``: the longest row that tuning accepts (it may be less than inference's)."""

    encoding: str
    training_context_tokens: int
    completions: bool = False  # takes prompt and completion, not messages


HOSTED: Mapping[str, HostedModel] = MappingProxyType(
    {
        "gpt-4.1": HostedModel("o200k_base", 65_536),
        "gpt-4.1-mini": HostedModel("o200k_base", 65_536),
        "gpt-4o": HostedModel("o200k_base", 65_536),
        "gpt-4o-mini": HostedModel("o200k_base", 65_536),
        "gpt-3.5-turbo": HostedModel("cl100k_base", 16_385),
        "babbage-002": HostedModel("cl100k_base", 16_384, completions=True),
        "davinci-002": HostedModel("cl100k_base", 16_384, completions=True),
    }
)
_HOSTED_NAME = re.compile(r"(ft:)?(gpt-|o\d|babbage-|davinci-)")


def is_hosted(model: str) -> bool:
    """Whether the name is one of a hosted model, known here or not."""
    return _HOSTED_NAME.match(model) is not None


def hosted_model(model: str) -> HostedModel | None:
    """The facts of a model, of a dated snapshot of it, or of a fine-tune's base; None where not known."""
    base = model.split(":")[1] if model.startswith("ft:") else model
    return HOSTED.get(base) or HOSTED.get(re.sub(r"-\d{4}(-\d{2}-\d{2})?$", "", base))


def hosted_counter(encoding: str) -> Callable[[Sequence[Row]], list[int]]:
    """Counts the tokens that a row costs in training, by a package that carries tiktoken's encodings.

    Tool definitions are counted as their JSON text, which is near to the tokens billed but not documented.
    """
    count = text_counter(encoding)

    def tokens(row: Row) -> int:
        total = TOKENS_A_REPLY
        for message in row.messages:
            total += TOKENS_A_MESSAGE + 1 + count(message.content)  # every role is one token
            if message.name is not None:
                total += TOKENS_A_NAME + count(message.name)
            for call in message.tool_calls:
                total += TOKENS_A_MESSAGE + count(call.name) + count(call.arguments)
        if row.tools:
            total += count(json.dumps(list(row.tools), separators=(",", ":"), ensure_ascii=False))
        return total

    return lambda rows: [tokens(row) for row in rows]


def text_counter(encoding: str) -> Callable[[str], int]:
    """Counts the tokens of a text alone, without a message around it."""
    encode = _encoder(encoding)
    return lambda text: sum(len(encode(part)) for part in _parts(text))


@cache
def _encoder(encoding: str) -> Callable[[str], Sequence[int]]:
    """Its tables take a tenth of a second to build: once."""
    import bpe_openai

    encode: Callable[[str], Sequence[int]] = bpe_openai.get_encoding(encoding).encode_ordinary
    return encode


def _parts(text: str) -> Iterator[str]:
    """The text in pieces that the encoder takes, cut before a space where a token begins anyway."""
    start = 0
    while len(text) - start > ENCODED_CHARACTERS:
        cut = text.rfind(" ", start + 1, start + ENCODED_CHARACTERS)
        cut = start + ENCODED_CHARACTERS if cut < 0 else cut
        yield text[start:cut]
        start = cut
    yield text[start:]


def service_epochs(rows: int) -> int:
    """How many epochs the service trains for when none are asked for.

    Three; of few rows as many as stay within 100 rows in all, at most 25; fewer beyond 25,000 rows in all:
    OpenAI's cookbook, "Data preparation and analysis for chat model fine-tuning".
    """
    if rows * 3 < 100:
        return min(25, 100 // max(rows, 1))
    return max(1, 25_000 // rows) if rows * 3 > 25_000 else 3
