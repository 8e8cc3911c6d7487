"""From messages to text and tokens, the same way in training and in inference."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import TYPE_CHECKING

from harness.data.fingerprints import fingerprint
from harness.errors import ModelError
from harness.models.protocol import Tools
from harness.models.source import ModelSource, text_config
from harness.records import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: The day of every prompt that is rendered here, in training and in answering: the one that Meta's templates
#: fall back on. With the real one, a prompt would be another each day: an answer could never be kept, and a
#: fine-tune would learn the day of its training.
RENDERED_DAY = date(2024, 7, 26)


class TurnsError(Exception):
    """A chat template does not render these turns; says why."""

    hint = "write turns that it takes (most often: user and assistant in alternation), or choose another base"


def load_tokenizer(source: ModelSource) -> PreTrainedTokenizerBase:
    """The model's own tokenizer, with a pad token that the model has an embedding for (it is masked anyway).

    Raises:
        ModelError: it cannot be read, or has no chat template; prompts would be guesses.
    """
    from transformers import AutoTokenizer

    from harness.models import quiet_transformers

    try:
        with quiet_transformers():
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                str(source.folder), trust_remote_code=source.trust_remote_code, local_files_only=True
            )
    except (OSError, ValueError, KeyError, ImportError, TypeError) as error:
        raise ModelError(
            f"{source.name}: its tokenizer cannot be read: {str(error).strip().partition(chr(10))[0]}\n"
            "  hint: give a folder with the tokenizer's files; a newer architecture may want a newer"
            " transformers, or trust_remote_code=True."
        ) from error
    if not tokenizer.chat_template:
        raise ModelError(
            f"{source.name}: its tokenizer has no chat template, so messages cannot be rendered rightly.\n"
            f"  hint: use an instruction-tuned base, or save a template with tokenizer.chat_template = ..."
        )
    size = embedding_rows(source) or len(tokenizer)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= size:
        known = (tokenizer.eos_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id, 0)
        usable = next(token for token in known if token is not None and token < size)
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(usable)
    return tokenizer


def embedding_rows(source: ModelSource) -> int | None:
    """How many tokens the model has embeddings for, from its configuration; None where it does not say."""
    found = text_config(source, "vocab_size")
    return found if isinstance(found, int) and found > 0 else None


def rendered(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    *,
    reply_follows: bool,
    in_parts: bool = False,
    switch: Mapping[str, bool] | None = None,
    tools: Tools | None = None,
    calls: CallForm | None = None,
) -> str:
    """The text of a conversation; of ``RENDERED_DAY`` where it has a date.

    With ``reply_follows`` it ends where the assistant's turn begins.

    Raises:
        TurnsError: the template does not render these turns.
    """
    from jinja2 import TemplateError

    apply: Callable[..., object] = tokenizer.apply_chat_template
    turns: list[dict[str, object]] = [
        {"role": m.role, "content": [{"type": "text", "text": m.content}] if in_parts else m.content}
        for m in messages
    ]
    if tools is not None:
        turns = _with_calls(messages, turns, calls or CallForm())
    try:
        return str(
            apply(
                turns,
                chat_template=dated_template(tokenizer),
                add_generation_prompt=reply_follows,
                tokenize=False,
                **({} if tools is None else {"tools": tools.definitions}),
                **(switch or {}),
            )
        )
    except (TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise TurnsError(str(error) or type(error).__name__) from error


@dataclass(frozen=True, slots=True)
class CallForm:
    """How a template wants to be given a turn that calls tools."""

    as_text: bool = False  # arguments as JSON text, not as an object
    blank: str | None = ""  # the content of a turn that says nothing


def _with_calls(
    messages: Sequence[Message], turns: Sequence[dict[str, object]], form: CallForm
) -> list[dict[str, object]]:
    """The turns with their calls, under ids that are the same whoever gave them.

    Some templates write ids, and Mistral's take nine letters and digits alone: real ones could not be learnt.
    """
    found: list[dict[str, object]] = []
    ids: dict[str, str] = {}
    names: dict[str, str] = {}
    for message, turn in zip(messages, turns, strict=True):
        if message.tool_calls:
            ids = {call.id: f"call{len(found):03}{k:02}" for k, call in enumerate(message.tool_calls)}
            names = {call.id: call.name for call in message.tool_calls}
            calls = [
                {
                    "id": ids[call.id],
                    "type": "function",
                    "function": {
                        "name": call.name,
                        "arguments": call.arguments if form.as_text else json.loads(call.arguments),
                    },
                }
                for call in message.tool_calls
            ]
            content = turn["content"] if message.content else form.blank
            turn = turn | {"content": content, "tool_calls": calls}
        elif message.role in ("tool", "function"):
            id = message.tool_call_id or ""
            turn = turn | {"role": "tool", "tool_call_id": ids.get(id), "name": names.get(id, message.name)}
        found.append(turn)
    return found


def folded(messages: Sequence[Message]) -> list[Message]:
    """The turns with system text before the first user turn's, as Gemma 3's own template puts it."""
    rules = "\n\n".join(m.content for m in messages if m.role == "system")
    turns = [m for m in messages if m.role != "system"]
    if not rules:
        return turns
    if turns and turns[0].role == "user":
        return [Message("user", f"{rules}\n\n{turns[0].content}"), *turns[1:]]
    return [Message("user", rules), *turns]


def render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, reply_follows: bool
) -> list[int]:
    """Token ids of a conversation, as the template has it by itself."""
    text = rendered(tokenizer, messages, reply_follows=reply_follows)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def dated_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The chat template with ``RENDERED_DAY`` in place of the clock; None where it does not ask for the time.

    Transformers gives templates a function ``strftime_now``. Functions of the caller's own do not reach them,
    so the template is given a macro of that name. The tokenizer itself stays as it is: it is saved with what
    ships.
    """
    template = tokenizer.chat_template
    if isinstance(template, dict):  # several by name
        template = template.get("default")
    return _clock() + template if template and "strftime_now" in template else None


def digest_with_day(source: ModelSource) -> str:
    """The base's digest for the name of a training, with ``RENDERED_DAY`` where a template writes dates."""
    files = [source.folder / "tokenizer_config.json", *source.folder.glob("*.jinja")]
    texts = (file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file())
    if not any("strftime_now" in text for text in texts):
        return source.digest
    return fingerprint({"base": source.digest, "day": RENDERED_DAY.isoformat()})


@cache
def _clock() -> str:
    """A macro ``strftime_now`` that knows one day, at midnight."""
    said = {f"%{letter}": RENDERED_DAY.strftime(f"%{letter}") for letter in "dmYyHIMSfjuwUWGVFDTRe"}
    # names and the order of parts would follow the machine's language; a macro has no time zone
    said |= {"%A": "Friday", "%a": "Fri", "%B": "July", "%b": "Jul", "%h": "Jul", "%p": "AM"}
    said |= {"%c": "Fri Jul 26 00:00:00 2024", "%x": "07/26/24", "%X": "00:00:00", "%z": "", "%Z": ""}
    # "%-d" and "%#d" leave out a leading zero, on Unix and on Windows
    bare = {form: text.lstrip("0") or "0" for form, text in said.items() if text.isdecimal()}
    said |= {f"%{flag}{form[1:]}": text for form, text in bare.items() for flag in "-#"}
    replaced = "".join(f" | replace({form!r}, {text!r})" for form, text in said.items())
    # "+%" keeps a line end that the template begins with
    return f"{{%- macro strftime_now(format) -%}}{{{{- format{replaced} -}}}}{{%- endmacro +%}}"
