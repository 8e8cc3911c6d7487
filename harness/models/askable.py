"""Whether a base can be asked and trained: known from its tokenizer and configuration, without weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version

from harness.atomic import write_atomically
from harness.errors import ModelError
from harness.models.cache import cache_folder
from harness.models.chat import Chat, ChatFormat, TurnsError, embedding_rows, load_chat
from harness.models.protocol import Decoding, Prompt
from harness.models.source import ModelSource, context_tokens

RULES = 1  # raised when ``Chat`` sees another format in the same template


def chat_format(source: ModelSource) -> ChatFormat:
    """What the base's template wants; remembered by content, for reading a tokenizer takes seconds.

    Raises:
        ModelError: see ``load_chat``.
    """
    memory = cache_folder() / "chat-formats" / f"{source.digest[:32]}.json"
    asked = {"rules": RULES, "transformers": version("transformers"), "digest": source.digest}
    try:
        kept = json.loads(memory.read_text(encoding="utf-8"))
        if kept["asked"] == asked:
            return ChatFormat(**kept["format"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # absent, damaged or of another version: found again
    found = load_chat(source).format
    memory.parent.mkdir(exist_ok=True)
    write_atomically(memory, json.dumps({"asked": asked, "format": asdict(found)}, indent=1))
    return found


def require_askable(
    chat: Chat, source: ModelSource, suite: str, prompts: Sequence[Prompt], decoding: Decoding
) -> None:
    """See that every prompt of a suite renders, and fits the model with its answer and its thought.

    Raises:
        ModelError: one does not; names its row.
    """
    texts: list[str] = []
    for prompt in prompts:
        try:
            texts.append(chat.prompt(prompt.messages))
        except TurnsError as error:
            raise ModelError(
                f"suite {suite}, row {prompt.row_id}: the chat template of {source.name} refuses its prompt:"
                f" {error}.\n"
                "  hint: write turns that it takes (most often: user and assistant in alternation), or choose"
                " another model."
            ) from error
    limit, size = context_tokens(source), embedding_rows(source)
    thought = decoding.max_thinking_tokens if decoding.thinking else 0
    for prompt, ids in zip(prompts, chat.ids(texts), strict=True):
        beyond = next((token for token in ids if size is not None and token >= size), None)
        if beyond is not None:
            token = chat.tokenizer.convert_ids_to_tokens(beyond)
            raise ModelError(
                f"suite {suite}, row {prompt.row_id}: {source.name} has no embedding for the token {token}"
                f" ({beyond} of {size}).\n"
                "  hint: its tokenizer was extended and its model was not: model.resize_token_embeddings("
                "len(tokenizer)), then save both."
            )
        total = len(ids) + decoding.max_new_tokens + thought
        if limit is not None and total > limit:
            more = f" and a thought of {thought:,}" if thought else ""
            raise ModelError(
                f"suite {suite}, row {prompt.row_id}: a prompt of {len(ids):,} tokens, an answer of"
                f" {decoding.max_new_tokens:,}{more} are {total:,}, more than the {limit:,} that"
                f" {source.name} reads.\n"
                "  hint: shorten the prompt, lower Suite(max_tokens=...) or Decoding(max_new_tokens=...,"
                " max_thinking_tokens=...), or choose a model with a longer context."
            )
