"""Rows to supervised tokens, with nothing truncated, dropped or trained on by accident."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.errors import DataError
from harness.models.chat import TurnsError
from harness.models.chat_format import RESIZE, Chat, refused_turns
from harness.models.protocol import Tools
from harness.records import Message, Row, called
from harness.scoring.envelope import kept_tags, opened

IGNORED = -100  # PyTorch's ignore_index
SHOWN = 60  # characters of a reply in a message


@dataclass(frozen=True, slots=True)
class Example:
    """One sequence as token ids. ``labels`` are the same ids at supervised positions, and -100 elsewhere."""

    row_id: str
    input_ids: list[int]
    labels: list[int]

    @property
    def supervised(self) -> int:
        """The number of tokens that count in the loss."""
        return sum(label != IGNORED for label in self.labels)


@dataclass(frozen=True, slots=True)
class _Turn:
    """A reply to learn, and the texts that stand for it."""

    message: Message
    prompt: str
    reply: str


def encode_row(chat: Chat, row: Row, max_tokens: int) -> list[Example]:
    """Tokens of a training row: loss on the assistant turns whose ``weight`` is 1, and on nothing else.

    What stands before each supervised reply is what inference would be asked, token for token. One sequence
    holds all of them where later turns leave earlier ones as they were. A template that rewrites earlier
    turns (it drops their thoughts, say) gives one sequence a reply.

    Raises:
        DataError: the row is longer than ``max_tokens``, has nothing to learn from, the template
            does not render it, or its reply would not be read as it was learnt.
    """
    (found,) = _encoded(chat, [row], max_tokens)
    if isinstance(found, DataError):
        raise found
    return found


def require_thoughts(chat: Chat, rows: Sequence[Row]) -> None:
    """See that rows hold thoughts where the model is to think: else it would learn to think nothing.

    Raises:
        DataError: none does.
    """
    if (
        chat.thinks
        and chat.thought_end
        and rows
        and all(opened(row.reference).thought is None for row in rows)
    ):
        raise DataError(
            rows[0].where,
            f"thinking=True, and no reply of the training rows holds a thought for {chat.name}.",
            f"write thoughts before the replies (up to {chat.thought_end}), or leave thinking out",
        )


def encode_rows(chat: Chat, rows: Sequence[Row], max_tokens: int) -> list[Example]:
    """``encode_row`` for all rows.

    Raises:
        DataError: as ``encode_row`` does; up to ten rows are named in one error.
    """
    examples: list[Example] = []
    refused: list[DataError] = []
    for found in _encoded(chat, rows, max_tokens):
        if isinstance(found, DataError):
            refused.append(found)
        else:
            examples += found
    if len(refused) == 1:
        raise refused[0]
    if refused:
        listed = "\n".join(f"  {e.where}: {e.problem}" for e in refused[:10])
        raise DataError(
            refused[0].where, f"{len(refused)} rows cannot be trained on:\n{listed}", refused[0].hint
        )
    return examples


def _encoded(chat: Chat, rows: Sequence[Row], max_tokens: int) -> Iterator[list[Example] | DataError]:
    """Each row's sequences, or why it has none. All texts go through the tokenizer at once."""
    turns: list[list[_Turn] | DataError] = []
    for row in rows:
        try:
            turns.append(_turns(chat, row))
        except DataError as error:
            turns.append(error)
    texts = [
        text
        for found in turns
        if not isinstance(found, DataError)
        for turn in found
        for text in (turn.prompt, turn.prompt + turn.reply)
    ]
    ids = iter(chat.ids(texts))
    for row, found in zip(rows, turns, strict=True):
        if isinstance(found, DataError):
            yield found
            continue
        parts: list[tuple[list[int], list[int]]] = []
        for turn in found:
            prompt, whole = next(ids), next(ids)
            is_prefix = whole[: len(prompt)] == prompt
            # else their border lies within a token
            learnt = whole[len(prompt) :] if is_prefix else chat.ids([turn.reply])[0]
            parts.append((prompt, _to_its_end(chat, learnt)))
        try:
            for turn, (_, learnt) in zip(found, parts, strict=True):
                _require_read(chat, row, turn.message, learnt)
            examples = _sequences(row, parts)
            _require_fits(chat, row, examples, max_tokens)
            yield examples
        except DataError as error:
            yield error


def _turns(chat: Chat, row: Row) -> list[_Turn]:
    found: list[_Turn] = []
    tools = Tools.of(row)
    for k, message in enumerate(row.messages):
        if message.role != "assistant" or message.weight == 0:
            continue
        if not any(m.role == "user" for m in row.messages[:k]):
            raise DataError(
                row.where,
                "an assistant turn stands before the first user turn: it answers nothing.",
                "give it weight 0, so that it is read and not learnt",
            )
        try:
            prompt = chat.prompt(row.messages[:k], tools)
            found.append(_Turn(message, prompt, chat.reply(row.messages[: k + 1], prompt, tools)))
        except TurnsError as error:
            raise refused_turns(row, chat, error) from error
    if not found:
        raise DataError(
            row.where, "every assistant turn has weight 0: the loss sees nothing.", "give one weight 1"
        )
    return found


def _to_its_end(chat: Chat, learnt: list[int]) -> list[int]:
    """Without what the template adds behind the end token, which is learnt, or answers would not stop."""
    end = chat.tokenizer.eos_token_id
    ends = [k for k, token in enumerate(learnt) if token == end]
    return learnt[: ends[-1] + 1] if ends else learnt


_AS_TEXT = "take tokens of chat templates out of the reply, or choose a base whose tokenizer keeps its text"
_AS_CALLS = (
    "its chat template does not write such calls, or such arguments, or no text beside them: write them"
    " otherwise, or choose another base"
)


def _require_read(chat: Chat, row: Row, message: Message, learnt: list[int]) -> None:
    """Decoded as answers are, what is learnt must be the row's reply, but for white space around it.

    Raises:
        DataError: it is not, or no answer would end.
    """
    calls = message.tool_calls
    content = called(message.content, calls) if calls else message.content
    kept = kept_tags([content])
    own = opened(content, kept=kept)
    if not chat.thinks and own.thought is not None:
        raise DataError(
            row.where,
            "the reply begins with a thought, and the candidate does not think.",
            "give the candidate thinking=True, which its baseline then has too, or remove the thought",
        )
    stop = chat.stop(learnt)
    if stop is None:
        last = chat.tokenizer.convert_ids_to_tokens(learnt[-1]) if learnt else "nothing"
        raise DataError(
            row.where,
            f"the reply ends with {last}, which generation does not stop at: no answer would end.",
            "add that token to eos_token_id in the base's generation_config.json",
        )
    if not chat.leaves_thought(learnt[:stop]):
        raise DataError(
            row.where,
            f"thinking=True, and the reply has no thought: {chat.name} would learn one that never ends.",
            f"write the thought before the reply, up to {chat.thought_end}, or leave thinking out",
        )
    wanted = (own.text if chat.thinks else content).strip()
    text, has_calls = chat.answered(learnt[:stop], Tools.of(row))
    read = opened(text, kept=kept).text.strip()
    if read != wanted or has_calls is not bool(calls):
        raise DataError(
            row.where,
            f"what {chat.name} would learn is not the row's reply {_excerpt(wanted, read)}: as answers are"
            f" read, it is {_excerpt(read, wanted)}.",
            _AS_CALLS if calls else _AS_TEXT,
        )


def _require_fits(chat: Chat, row: Row, examples: Sequence[Example], max_tokens: int) -> None:
    """See that the model has room and embeddings for a row's sequences.

    Raises:
        DataError: it has not.
    """
    for example in examples:
        missing = chat.without_embedding(example.input_ids)
        if missing is not None:
            raise DataError(row.where, f"{chat.name} has no embedding for the token {missing}.", RESIZE)
    longest = max(len(example.input_ids) for example in examples)
    if longest > max_tokens:
        raise DataError(
            row.where,
            f"{longest} tokens, more than max_tokens={max_tokens}; it would be truncated.",
            "shorten the row or raise max_tokens on the candidate",
        )
    if chat.context is not None and longest > chat.context:
        raise DataError(
            row.where,
            f"{longest:,} tokens, more than the {chat.context:,} that {chat.name} reads.",
            "shorten the row, or choose a base with a longer context",
        )


def _excerpt(text: str, other: str) -> str:
    """A text from shortly before the place where it differs from another."""
    pairs = zip(text, other, strict=False)
    at = next((k for k, (a, b) in enumerate(pairs) if a != b), min(len(text), len(other)))
    start = max(0, at - SHOWN // 3)
    shown = text[start : start + SHOWN]
    return f"{'...' if start else ''}{shown!r}{'...' if start + SHOWN < len(text) else ''}"


def _sequences(row: Row, parts: Sequence[tuple[list[int], list[int]]]) -> list[Example]:
    prompt, learnt = parts[-1]
    whole = prompt + learnt
    labels = [IGNORED] * len(prompt) + learnt
    for asked, said in parts[:-1]:
        start, end = len(asked), len(asked) + len(said)
        if whole[:start] != asked or whole[start:end] != said:
            return [Example(row.id, p + r, [IGNORED] * len(p) + r) for p, r in parts]
        labels[start:end] = said
    return [Example(row.id, whole, labels)]
