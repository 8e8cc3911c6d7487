"""What a base's chat template makes of turns: where a reply begins, how it ends, how an answer is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from itertools import product
from typing import TYPE_CHECKING

from harness.data.fingerprints import fingerprint
from harness.errors import DataError, ModelError
from harness.models import tool_calls
from harness.models.chat import CallForm, TurnsError, embedding_rows, folded, load_tokenizer, rendered
from harness.models.protocol import Decoding, Prompt, Tools
from harness.models.source import ModelSource, context_tokens, end_token_ids, text_config
from harness.models.tool_calls import PROBE_TOOLS, PROBES, CallFormat, ToolsError, call_format
from harness.records import Json, Message, Row, ToolCall, called

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# texts that no template holds and none rewrites, to see what it makes of each turn
_ASKED, _REPLY, _RULE = "Qz1asked", "Qz2reply", "Qz3rule"
_OPENED = re.compile(r"(<|\[)([A-Za-z][\w:-]*)(>|\])\s*\Z")  # a tag at the very end: <think>, [THINK]
_CLOSING = re.compile(r"(<|\[)/[^<>\[\]]+(>|\])\Z")


RESIZE = (
    "its tokenizer was extended and its model was not: model.resize_token_embeddings(len(tokenizer)), then"
    " save both"
)


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """What a template wants beyond plain turns. The defaults are what most templates want: nothing."""

    in_parts: bool = False  # contents as lists of parts: it passes over plain text
    folds_system: bool = False  # it has no system turn: that text stands before the first user turn
    has_switch: bool = False  # a variable of it turns thinking off
    lead: str = ""  # stands between the generation prompt and a reply without a thought
    end: str = ""  # ends a reply, where the template leaves it open
    stop: str = ""  # the token that ends a turn, where generation_config does not know it

    def trained(self) -> dict[str, Json]:
        """What shapes training tokens, for the artifact's name; empty for most templates."""
        return {name: value for name, value in self.asked().items() if name != "stop"}

    def asked(self) -> dict[str, Json]:
        """What shapes answers, for their key; empty for most templates."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != f.default}

    def key(self) -> dict[str, Json]:
        """``asked`` as a part of the key of answers; nothing where it is empty."""
        found = self.asked()
        return {"chat": found} if found else {}

    def notes(self, name: str) -> tuple[str, ...]:
        """Sentences for the report, on what people would not expect."""
        found: list[str] = []
        if self.folds_system:
            found.append(
                f"The chat template of {name} has no system turn: system messages stand before the first user"
                " turn, in training and on both sides."
            )
        if self.end:
            found.append(f"The chat template of {name} ends no reply: {self.end} is taught as its end.")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """A prompt as the model reads it."""

    digest: str  # of its tokens
    count: int = 0
    missing: str | None = None  # a token that the model has no embedding for, in words
    refused: TurnsError | None = None  # why the template does not render it


def load_chat(source: ModelSource, thinking: bool | None = None) -> Chat:
    """The base's tokenizer with its template, as it trains and answers here.

    Raises:
        ModelError: it has no chat template, or one that renders no turns.
    """
    size, pad = embedding_rows(source), text_config(source, "pad_token_id")
    if size is not None and isinstance(pad, int) and pad >= size:
        raise ModelError(
            f"{source.name}: its config.json has pad_token_id {pad}, and embeddings for {size} tokens:"
            " the model cannot be loaded.\n  hint: set it to null there, or to a token that the model has."
        )
    return Chat(
        load_tokenizer(source),
        thinking,
        end_token_ids(source),
        name=source.name,
        size=size,
        context=context_tokens(source),
    )


class Chat:
    """A tokenizer with its chat template: prompts, replies, and how answers are read.

    Without thinking (None or False) the prompt ends where the template would write the reply's own text:
    behind an empty thought, or in the channel of final answers. Training teaches nothing but the reply and
    its end, and inference goes on from the same place. With thinking it ends where the template's generation
    prompt does.

    Args:
        tokenizer: the model's.
        thinking: whether it thinks before it answers; None: no.
        ends: ids of tokens that generation stops at by itself.
        name: the model's, for messages.
        size: how many tokens the model has embeddings for; None: not known.
        context: the most tokens that it reads; None: not known.

    Raises:
        ModelError: the template renders no turns.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        thinking: bool | None = None,
        ends: Sequence[int] = (),
        *,
        name: str = "this model",
        size: int | None = None,
        context: int | None = None,
    ) -> None:
        self.tokenizer, self.name, self.size, self.context = tokenizer, name, size, context
        self._read: dict[tuple[tuple[Message, ...], Tools | None], PromptTokens] = {}
        self._call_form = CallForm()
        self.thinks = self._in_parts = self._folds_system = False
        asked = Message("user", _ASKED)
        told = (asked, Message("assistant", _REPLY))
        self._in_parts = self._wants_parts(told)
        self._folds_system = not self._takes_system(asked)
        opening = self._render([asked], True)
        head, _, self._tail = self._render(told, False).rpartition(_REPLY)
        self._lead = "" if thinking else self._lead_after(opening, head)
        known = tuple(ends) or (() if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,))
        tail = self._ids(self._tail)
        marks = self._marks(tail)
        self._end = stop = ""
        if not marks:
            if tokenizer.eos_token_id is None:
                raise ModelError(
                    f"{name}: its chat template ends no reply, and its tokenizer has no end token: no answer"
                    " would ever end.\n"
                    "  hint: set tokenizer.eos_token, or end the assistant's turn in the template."
                )
            self._end, marks = str(tokenizer.eos_token), [tokenizer.eos_token_id]
        at = next((k for k, token in enumerate(tail) if token in known), None)
        # one that stands close behind is as good: the first is all that is written before it
        is_known = marks[0] in known or (at is not None and marks[:at] == tail[:at])
        if not is_known:
            stop, known = str(tokenizer.convert_ids_to_tokens(marks[0])), (*known, marks[0])
        self.ends = known  # ids of the tokens that an answer ends at
        is_switched = opening != self._render([asked], True, plain=True)
        self.format = ChatFormat(
            self._in_parts, self._folds_system, is_switched, self._lead_after(opening, head), self._end, stop
        )
        self.thinks = True
        thoughtful = self._render([asked], True)
        self.thinks = bool(thinking)
        self.thought_end = _closing(thoughtful, opening + self.format.lead)
        found = _OPENED.search(thoughtful) if thinking else None
        self._opened = "" if found is None else found[0].strip()  # of a thought, by the prompt

    # ----------------------------------------------------------------- turns to tokens
    def prompt(self, messages: Sequence[Message], tools: Tools | None = None) -> str:
        """The text after which the model writes, where ``tools`` are offered.

        Raises:
            TurnsError: the template does not take these turns, or leaves one out, or (``ToolsError``) has no
                place for tools.
        """
        if tools is not None:
            _ = self.calls  # sees that it has one
        text = self._render(messages, True, tools=tools)
        for k, message in enumerate(messages):
            if message.role == "assistant" or message.content.strip() in text:
                continue
            marked = [*messages[:k], replace(message, content=_ASKED), *messages[k + 1 :]]
            if _ASKED not in self._render(marked, True, tools=tools):
                raise TurnsError(f"it leaves out the {message.role} turn at place {k + 1}")
        return text + self._lead

    @cached_property
    def calls(self) -> CallFormat:
        """How a reply calls tools.

        Raises:
            ToolsError: the template has no place for tools, or none for calls.
        """
        asked = Message("user", _ASKED)
        found: list[TurnsError] = []
        if PROBES[0].name not in self._render([asked], True, tools=PROBE_TOOLS):
            raise ToolsError("it leaves out the tools that a row offers")
        for as_text, blank in product((False, True), ("", None)):
            self._call_form = CallForm(as_text, blank)
            try:
                prompt = self._render([asked], True, tools=PROBE_TOOLS) + self._lead
                return call_format(partial(self._written, asked, prompt))
            except TurnsError as error:
                found.append(error)
        told = next((error for error in found if isinstance(error, ToolsError)), found[0])
        raise ToolsError(str(told))

    def _written(self, asked: Message, prompt: str, calls: Sequence[ToolCall]) -> str:
        """A reply with these calls, as it is learnt and read back."""
        written = self.reply([asked, Message("assistant", "", tool_calls=tuple(calls))], prompt, PROBE_TOOLS)
        ids = self._ids(written)
        if self.stop(ids) is None and (marks := self._marks(ids)):
            self.ends = (*self.ends, marks[-1])  # Gemma 4 ends a call where the tool's response begins
        stop = self.stop(ids)
        if stop is None:
            raise ToolsError(f"it ends a call with {written[-20:]!r}, which generation does not stop at")
        text = self._decode(ids[:stop], keep_marks=True)
        return text.rpartition(self.thought_end)[2] if self.thought_end else text

    def read(self, prompts: Sequence[Prompt]) -> list[PromptTokens]:
        """What the tokenizer makes of prompts. Each is rendered once, whoever asks, and its tokens let go."""
        texts: dict[tuple[tuple[Message, ...], Tools | None], str] = {}
        asked = [(prompt.messages, prompt.tools) for prompt in prompts]
        for key in asked:
            if key not in self._read and key not in texts:
                try:
                    texts[key] = self.prompt(*key)
                except TurnsError as error:
                    self._read[key] = PromptTokens(f"refused: {error}", refused=error)
        for key, ids in zip(texts, self.ids(list(texts.values())), strict=True):
            missing = self.without_embedding(ids)
            digest = fingerprint(ids if key[1] is None else [ids, key[1].text, tool_calls.RULES])
            self._read[key] = PromptTokens(digest, len(ids), missing)
        return [self._read[key] for key in asked]

    def reply(self, messages: Sequence[Message], prompt: str, tools: Tools | None = None) -> str:
        """The text of the last turn after ``prompt``, which asks for it; its end included.

        Where the template renders an answered turn otherwise than it asks for one, the prompt is what counts.

        Raises:
            TurnsError: the template does not take these turns.
        """
        turns = self._render(messages, False, tools=tools)
        if turns.startswith(prompt):
            return turns[len(prompt) :] + self._end
        if messages[-1].tool_calls:
            told = [*messages[:-1], Message("assistant", _REPLY)]
            head = self._render(told, False, tools=tools).rpartition(_REPLY)[0].rstrip(" ")
            if not turns.startswith(head):
                raise ToolsError("it begins a turn that calls tools otherwise than one that answers")
            return turns[len(head) :] + self._end
        content = messages[-1].content
        if self._opened and content.startswith(self._opened):
            content = content.removeprefix(self._opened).lstrip("\n")
        return content + self._tail + self._end

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of texts, none added."""
        if not texts:
            return []
        found: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return found

    def without_embedding(self, ids: Sequence[int]) -> str | None:
        """A token that the model has no embedding for, in words; None where it has all."""
        beyond = next((token for token in ids if self.size is not None and token >= self.size), None)
        if beyond is None:
            return None
        return f"{self.tokenizer.convert_ids_to_tokens(beyond)} (number {beyond} of {self.size})"

    # ----------------------------------------------------------------- tokens to text
    def stop(self, ids: Sequence[int]) -> int | None:
        """Where an answer ends: the index of the first end token; None where it was cut off."""
        return next((k for k, token in enumerate(ids) if token in self.ends), None)

    def said(self, ids: Sequence[int]) -> str:
        """What was written before the end; with thinking, tokens that part a thought from it stay in."""
        return self._decode(list(ids), keep_marks=self.thinks)

    def answered(self, ids: Sequence[int], tools: Tools | None) -> tuple[str, bool]:
        """``said``, and whether it calls tools; then it is as `records.called` writes them."""
        if tools is not None and self.leaves_thought(ids):
            raw = self._decode(list(ids), keep_marks=True)
            closing = self.thought_end
            thought, closed, body = raw.rpartition(closing) if closing else ("", "", raw)
            found = self.calls.read(body, tools)
            if found is not None:
                before = f"{thought}{closed}\n" if thought.strip() else ""
                return before + called(*found), True
        return self.said(ids), False

    def leaves_thought(self, ids: Sequence[int]) -> bool:
        """Whether the tokens come to an answer; False where a thinking model is still in its thought."""
        return self.answer_start(ids) is not None

    def answer_start(self, ids: Sequence[int]) -> int | None:
        """The place of the answer's first token; None where a thinking model is still in its thought."""
        if not self.thinks or not self.thought_end:
            return 0
        closing = self._ids(self.thought_end)
        ends = range(len(closing), len(ids) + 1)
        return next((end for end in ends if list(ids[end - len(closing) : end]) == closing), None)

    def ends_thought(self, ids: Sequence[int]) -> bool:
        """Whether the tokens have just come to the end of a thought."""
        return self._decode(list(ids), keep_marks=True).rstrip().endswith(self.thought_end)

    # ----------------------------------------------------------------- the template
    def _decode(self, ids: list[int], *, keep_marks: bool = False) -> str:
        # "clean up" would join words and punctuation that the model set apart
        return str(
            self.tokenizer.decode(ids, skip_special_tokens=not keep_marks, clean_up_tokenization_spaces=False)
        )

    def _ids(self, text: str) -> list[int]:
        return self.ids([text])[0]

    def _marks(self, ids: Sequence[int]) -> list[int]:
        """Those tokens that stand for no text: special and added ones, but for added white space."""
        marks = {*self.tokenizer.all_special_ids, *self.tokenizer.get_added_vocab().values()}
        return [token for token in ids if token in marks and self._decode([token], keep_marks=True).strip()]

    def _render(
        self,
        messages: Sequence[Message],
        reply_follows: bool,
        *,
        plain: bool = False,
        tools: Tools | None = None,
    ) -> str:
        turns = folded(messages) if self._folds_system else messages
        # templates read one of these names, or none
        switch = {} if plain else {"enable_thinking": self.thinks, "thinking": self.thinks}
        return rendered(
            self.tokenizer,
            turns,
            reply_follows=reply_follows,
            in_parts=self._in_parts,
            switch=switch,
            tools=tools,
            calls=self._call_form,
        )

    def _wants_parts(self, told: Sequence[Message]) -> bool:
        why = ""
        for self._in_parts in (False, True):
            try:
                if _ASKED in self._render(told[:1], True) and _REPLY in self._render(told, False):
                    return self._in_parts
                why = why or "it leaves out their text"
            except TurnsError as error:
                why = why or str(error)
        raise ModelError(
            f"{self.name}: its chat template does not render a question and a reply: {why}.\n"
            "  hint: save a template that does with tokenizer.chat_template = ..."
        )

    def _takes_system(self, asked: Message) -> bool:
        try:
            text = self._render([Message("system", _RULE), asked], True)
        except TurnsError:
            return False
        return _RULE in text and _ASKED in text

    def _lead_after(self, opening: str, head: str) -> str:
        """What the template has between its generation prompt and the text of a reply without a thought."""
        if head.startswith(opening):
            extra = head[len(opening) :]
            is_seen = bool(self._decode(self._ids(extra)).strip()) or "think" in extra.lower()
            return extra if extra.strip() and is_seen else ""
        opened = _OPENED.search(opening) if opening.startswith(head) else None
        return f"\n{opened[1]}/{opened[2]}{opened[3]}\n\n" if opened else ""


def _closing(thoughtful: str, thoughtless: str) -> str:
    """The text that parts a thought from the answer, from prompts with and without thinking; may be empty."""
    on, off = thoughtful.rpartition(_ASKED)[2], thoughtless.rpartition(_ASKED)[2]
    shared = next(
        (k for k, (a, b) in enumerate(zip(on, off, strict=False)) if a != b), min(len(on), len(off))
    )
    pieces = off[shared:].split()
    if not pieces:
        return ""
    closing = _CLOSING.search(pieces[-1])
    return closing[0] if closing else pieces[-1]


class TokenReader:
    """What a local model's tokenizer makes of prompts, for the keys of kept answers.

    An edited chat template, a tokenizer that splits otherwise, a template that finds out the time by itself:
    all of it shows in the tokens. ``chat`` gives the base's template with or without thinking.
    """

    def __init__(
        self, source: ModelSource, chat: Callable[[ModelSource, bool | None], Chat] = load_chat
    ) -> None:
        self._source, self._chat = source, chat

    def __call__(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[str]:
        """The fingerprint of each prompt's tokens; of a prompt that the template refuses, why it does."""
        chat = self._chat(self._source, decoding.thinking)
        return [found.digest for found in chat.read(prompts)]


def refused_turns(row: Row, chat: Chat, error: TurnsError) -> DataError:
    """The error for people on a row that the template does not render."""
    return DataError(
        row.where,
        f"the chat template of {chat.name} refuses these turns: {error}.",
        error.hint,
    )


def row_counter(chat: Chat) -> Callable[[Sequence[Row]], list[int]]:
    """A function that counts the tokens of whole conversations, rendered as in training.

    It raises DataError on a row that the template does not render.
    """

    def count(rows: Sequence[Row]) -> list[int]:
        texts: list[str] = []
        for row in rows:
            try:
                tools = Tools.of(row)
                prompt = chat.prompt(row.prompt, tools)
                texts.append(prompt + chat.reply(row.messages, prompt, tools))
            except TurnsError as error:
                raise refused_turns(row, chat, error) from error
        return list(map(len, chat.ids(texts)))

    return count
