"""Answers of local models bound to a JSON schema: a token that no valid answer goes on with is never drawn.

The grammars are llguidance's; `docs/benchmarks.md` says why. Every row of a batch has a matcher of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from harness.errors import ModelError, UsageError
from harness.models.chat_format import Chat
from harness.models.protocol import AnswerSchema
from harness.records import Json, Row
from harness.scoring.envelope import opened

if TYPE_CHECKING:
    import torch
    from llguidance import LLTokenizer

RULES = 1  # raised when the same schema gives another grammar
# compact JSON, json.dumps', and indented; bounded, or a weak model would write nothing else
_SPACE = r"( |\r?\n( {0,24}|\t{0,8}))"
_BEFORE = r"/[ \t\r\n]{1,2}/"  # behind a thought
_OPTIONS = {"whitespace_pattern": _SPACE, "json_allow_general_unicode_escapes": True}
_PROBLEM_CHARACTERS = 160
_TAIL = 24  # tokens in which the end of a thought is looked for


def grammar_of(schema: Mapping[str, Json]) -> str:
    """llguidance's grammar of the answers that are valid, white space before them allowed."""
    return f"start: SPACE? answer\nSPACE: {_BEFORE}\nanswer: %json {with_options(schema)}\n"


def with_options(schema: Mapping[str, Json]) -> str:
    """The schema as llguidance takes it, with the white space that it allows."""
    return json.dumps({**schema, "x-guidance": _OPTIONS})


def require_held(schema: AnswerSchema) -> None:
    """See that llguidance holds all of the schema.

    Raises:
        UsageError: it does not; names the keyword by its JSON pointer (RFC 6901).
    """
    problem = _problem(schema.document)
    if problem:
        places = _culprits(schema.document)
        raise UsageError(
            f"{schema.name}: answers cannot be bound to this schema: {places}: {problem}.\n"
            "  hint: write the schema without it, or leave schema= out; a JsonSchema check still holds it."
        )


def _problem(schema: Mapping[str, Json]) -> str:
    from llguidance import LLMatcher

    grammar = LLMatcher.grammar_from_json_schema(with_options(schema))
    is_refused, said = LLMatcher.validate_grammar_with_warnings(grammar)
    return " ".join(said[0].split())[:_PROBLEM_CHARACTERS].rstrip(".") if is_refused else ""


def _culprits(schema: Mapping[str, Json]) -> str:
    """The keywords without which the schema is held, as JSON pointers; taken out one after another."""
    found: list[str] = []
    while problem := _problem(schema):
        for pointer in _keywords(schema):
            without = _without(schema, pointer)
            if isinstance(without, Mapping) and _problem(without) != problem:
                break
        else:
            break
        found.append("".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in pointer))
        schema = without
    return ", ".join(found) or "the whole of it"


def _keywords(value: Json, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The pointers of all members, the innermost first, and ``type`` last: much is held without one."""
    if isinstance(value, list):
        for k, held in enumerate(value):
            yield from _keywords(held, (*at, str(k)))
    elif isinstance(value, Mapping):
        for key in sorted(value, key="type".__eq__):
            yield from _keywords(value[key], (*at, key))
            yield (*at, key)


def _without(value: Json, pointer: Sequence[str]) -> Json:
    """A copy without the member that the pointer names."""
    if isinstance(value, Mapping):
        first, *rest = pointer
        return {
            key: _without(held, rest) if key == first else held
            for key, held in value.items()
            if rest or key != first
        }
    if isinstance(value, list):
        return [_without(held, pointer[1:]) if str(k) == pointer[0] else held for k, held in enumerate(value)]
    return value


class _Bytes:
    """A tokenizer of single bytes, for llguidance; the last token ends a text."""

    eos_token_id, bos_token_id, special_token_ids = 256, None, (256,)
    tokens = (*(bytes([k]) for k in range(256)), b"<end>")

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


def untaught_notes(schema: AnswerSchema | None, rows: Sequence[Row]) -> tuple[str, ...]:
    """A sentence on training replies that could not be given under the schema; none where all could.

    Raises:
        UsageError: the schema is not held; see ``require_held``.
    """
    from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

    if schema is None:
        return ()
    require_held(schema)
    tokens = LLTokenizer(TokenizerWrapper(_Bytes()))
    grammar = LLMatcher(tokens, LLMatcher.grammar_from_lark(grammar_of(schema.document)))
    strange: list[Row] = []
    for row in rows:
        reply = list(opened(row.reference).text.strip().encode())
        matcher = grammar.deep_copy()
        if matcher.try_consume_tokens(reply) < len(reply) or not matcher.is_accepting():
            strange.append(row)
    if not strange:
        return ()
    return (
        f"{len(strange):,} of {len(rows):,} training replies could not be given under {schema.name}, such as"
        f" {strange[0].where}: keys come in the schema's order there, and nothing but valid JSON comes.",
    )


def require_decodable(chat: Chat, schema: AnswerSchema) -> None:
    """See that a local model's answers can be bound to the schema.

    Raises:
        ModelError: its tokenizer has no fast form, which the grammars read; or its thoughts have no end that
            is known.
        UsageError: the schema is not held; see ``require_held``.
    """
    require_held(schema)
    problem = ""
    if not chat.tokenizer.is_fast:
        problem = "its tokenizer has no fast form (tokenizer.json), which the grammars read"
    elif chat.thinks and not chat.thought_end:
        problem = "its chat template does not say how a thought ends"
    if problem:
        raise ModelError(
            f"{chat.name}: answers cannot be bound to {schema.name}: {problem}.\n"
            "  hint: leave schema= out for this model."
        )


class Grammars:
    """The grammars of one tokenizer; making the first takes half a second."""

    def __init__(self, chat: Chat, width: int) -> None:
        import transformers
        from llguidance import LLExecutor
        from llguidance.hf import from_tokenizer

        self.width = width  # of the model's logits
        size = max(width, len(chat.tokenizer))
        assert isinstance(chat.tokenizer, transformers.PreTrainedTokenizerFast)  # see ``require_decodable``
        self.tokens: LLTokenizer = from_tokenizer(chat.tokenizer, n_vocab=size, eos_token=list(chat.ends))
        self.executor = LLExecutor()


class BoundRows:
    """A logits processor that forbids, in each row of a batch, what its schema does not go on with.

    An answer ends where it is complete, and not before. A model that thinks is free until its thought ends,
    and cannot end before. Rows may end at different times, and may leave the batch (``keep``).

    Args:
        grammars: of the model's tokenizer.
        chat: how the model's thoughts end.
        schema: the schema.
        rows: how many rows the batch has.
    """

    def __init__(self, grammars: Grammars, chat: Chat, schema: AnswerSchema, rows: int) -> None:
        import torch
        from llguidance import LLMatcher

        first = LLMatcher(grammars.tokens, LLMatcher.grammar_from_lark(grammar_of(schema.document)))
        if first.is_error():
            raise ModelError(
                f"{schema.name}: answers cannot be bound to this schema: {first.get_error()[:300]}."
            )
        self._grammars, self._chat = grammars, chat
        self._matchers = [first.deep_copy() for _ in range(rows)]
        self._rows = list(range(rows))  # those that are still in the batch
        self._thinking = set(self._rows) if chat.thinks else set()
        self._mask = torch.empty((rows, (grammars.tokens.vocab_size + 31) // 32), dtype=torch.int32)
        self._begun = False
        self._ended: set[int] = set()
        self.failures: dict[int, str] = {}  # rows whose grammar grew beyond the library's limits, and why

    def keep(self, kept: Sequence[int]) -> None:
        """Go on with these places of the batch."""
        self._rows = [self._rows[k] for k in kept]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (rows, vocabulary) with minus infinity where a token is forbidden, in place.

        ``input_ids`` are those of the prompts on the first call, and end in the row's last token on others.
        """
        import numpy as np
        import torch

        if self._begun:
            self._take(input_ids)
        self._begun = True
        wanted = [(self._matchers[row], k) for k, row in enumerate(self._rows) if self._is_bound(row)]
        if wanted:
            mask = self._mask[: len(self._rows)]
            mask.fill_(-1)
            self._grammars.executor.unsafe_compute_mask_ptr(
                wanted, mask.data_ptr(), mask.shape[1] * 4, len(mask)
            )
            bits = np.unpackbits(mask.numpy().view(np.uint8), axis=1, bitorder="little")
            allowed = torch.from_numpy(bits[:, : scores.shape[1]].view(np.bool_))
            scores.masked_fill_(~allowed.to(scores.device), -torch.inf)
        ends = list(self._chat.ends)
        for k, row in enumerate(self._rows):
            if row in self._thinking:
                scores[k, ends] = -torch.inf
            elif self._matchers[row].is_error():
                self.failures.setdefault(row, " ".join(self._matchers[row].get_error().split())[:200])
                scores[k] = -torch.inf
                scores[k, ends] = 0.0
        return scores

    def _is_bound(self, row: int) -> bool:
        return row not in self._ended and row not in self._thinking

    def _take(self, input_ids: torch.Tensor) -> None:
        """Tell each row's matcher the token that was drawn."""
        for k, (row, token) in enumerate(zip(self._rows, input_ids[:, -1].tolist(), strict=True)):
            if row in self._ended or token in self._chat.ends:
                self._ended.add(row)
            elif row not in self._thinking:
                self._matchers[row].consume_token(token)
            elif self._chat.ends_thought(input_ids[k, -_TAIL:].tolist()):
                self._thinking.discard(row)
