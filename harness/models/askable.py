"""Whether a base can be asked and trained: known from its tokenizer and configuration, without weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from harness.atomic import write_atomically
from harness.errors import ModelError
from harness.models.bound import require_decodable
from harness.models.cache import cache_folder
from harness.models.chat_format import RESIZE, Chat, ChatFormat
from harness.models.protocol import Decoding, Prompt
from harness.models.source import ModelSource
from harness.records import Json

RULES = 2  # raised when ``Chat`` sees another format in the same template


def remembered_format(source: ModelSource) -> ChatFormat | None:
    """What the base's template was found to want; None where nobody has looked: a tokenizer takes seconds."""
    try:
        kept = json.loads(_memory(source).read_text(encoding="utf-8"))
        return ChatFormat(**kept["format"]) if kept["asked"] == _asked(source) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # absent, damaged or of another version


def remember_format(source: ModelSource, found: ChatFormat) -> None:
    """Keep what the base's template wants, by the base's content."""
    memory = _memory(source)
    memory.parent.mkdir(exist_ok=True)
    write_atomically(memory, json.dumps({"asked": _asked(source), "format": asdict(found)}, indent=1))


def _memory(source: ModelSource) -> Path:
    return cache_folder() / "chat-formats" / f"{source.digest[:32]}.json"


def _asked(source: ModelSource) -> dict[str, Json]:
    return {"rules": RULES, "transformers": version("transformers"), "digest": source.digest}


def require_askable(chat: Chat, suite: str, prompts: Sequence[Prompt], decoding: Decoding) -> None:
    """See that every prompt of a suite renders, and fits the model with its answer and its thought.

    Raises:
        ModelError: one does not; names its row. Or answers cannot be bound to the schema.
        UsageError: no answer can be.
    """
    thought = decoding.max_thinking_tokens if decoding.thinking else 0
    if decoding.schema is not None:
        require_decodable(chat, decoding.schema)
    for prompt, found in zip(prompts, chat.read(prompts), strict=True):
        where = f"suite {suite}, row {prompt.row_id}"
        if found.refused is not None:
            raise ModelError(
                f"{where}: the chat template of {chat.name} refuses its prompt: {found.refused}.\n"
                f"  hint: {found.refused.hint}."
            )
        if found.missing is not None:
            raise ModelError(
                f"{where}: {chat.name} has no embedding for the token {found.missing}.\n  hint: {RESIZE}."
            )
        total = found.count + decoding.max_new_tokens + thought
        if chat.context is not None and total > chat.context:
            more = f" and a thought of {thought:,}" if thought else ""
            raise ModelError(
                f"{where}: a prompt of {found.count:,} tokens, an answer of {decoding.max_new_tokens:,}{more}"
                f" are {total:,}, more than the {chat.context:,} that {chat.name} reads.\n"
                "  hint: shorten the prompt, lower Suite(max_tokens=...) or Decoding(max_new_tokens=...,"
                " max_thinking_tokens=...), or choose a model with a longer context."
            )
