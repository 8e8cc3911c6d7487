"""From messages to tokens, the same way in training and in inference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from functools import cache, cached_property
from typing import TYPE_CHECKING

from harness.data.fingerprints import fingerprint
from harness.errors import ModelError
from harness.models.protocol import Decoding, Prompt
from harness.records import Message, Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from harness.models.source import ModelSource

#: The day of every prompt that is rendered here, in training and in answering: the one that Meta's templates
#: fall back on. With the real one, a prompt would be another each day: an answer could never be kept, and a
#: fine-tune would learn the day of its training.
RENDERED_DAY = date(2024, 7, 26)


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
    text = rendered(tokenizer, messages, reply_follows=reply_follows)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def rendered(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, reply_follows: bool) -> str:
    """The text of a conversation, as ``render`` takes it apart; of ``RENDERED_DAY`` where it has a date."""
    turns = [{"role": m.role, "content": m.content} for m in messages]
    template = dated_template(tokenizer)
    return str(
        tokenizer.apply_chat_template(
            turns, chat_template=template, add_generation_prompt=reply_follows, tokenize=False
        )
    )


class TokenReader:
    """What a local model's tokenizer makes of prompts, for the keys of kept answers.

    An edited chat template, a tokenizer that splits otherwise, a template that finds out the time by itself:
    all of it shows in the tokens.
    """

    def __init__(self, source: ModelSource) -> None:
        self._source = source
        self._seen: dict[tuple[Message, ...], str] = {}

    def __call__(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[str]:
        """The fingerprint of each prompt's tokens."""
        for prompt in prompts:
            if prompt.messages not in self._seen:
                ids = render(self._tokenizer, prompt.messages, reply_follows=True)
                self._seen[prompt.messages] = fingerprint(ids)
        return [self._seen[prompt.messages] for prompt in prompts]

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return load_tokenizer(self._source)


def row_counter(tokenizer: PreTrainedTokenizerBase) -> Callable[[Sequence[Row]], list[int]]:
    """A function that counts the tokens of whole conversations, rendered as in training."""

    def count(rows: Sequence[Row]) -> list[int]:
        texts = [rendered(tokenizer, row.messages, reply_follows=False) for row in rows]
        return list(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"])) if texts else []

    return count


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
