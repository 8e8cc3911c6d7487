"""The chat template that travels with a fine-tune: asked plainly, it renders what the harness trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from harness.models.chat import dated_template, rendered
from harness.models.protocol import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from harness.models.chat_format import Chat

# as `chat.folded` does it
_FOLDED = (
    "{%- set own = namespace(rules=[], turns=[], first=true) -%}"
    "{%- for m in messages -%}{%- if m['role'] == 'system' -%}"
    "{%- set own.rules = own.rules + [m['content']] -%}{%- else -%}"
    "{%- set own.turns = own.turns + [m] -%}{%- endif -%}{%- endfor -%}"
    "{%- if own.rules -%}{%- set rules = own.rules | join('\n\n') -%}"
    "{%- if own.turns and own.turns[0]['role'] == 'user' -%}"
    "{%- set messages = [{'role': 'user', 'content': rules ~ '\n\n' ~ own.turns[0]['content']}]"
    " + own.turns[1:] -%}"
    "{%- else -%}{%- set messages = [{'role': 'user', 'content': rules}] + own.turns -%}{%- endif -%}"
    "{%- endif +%}"
)
# a template that passes over plain text is given contents in parts
_IN_PARTS = (
    "{%- set own = namespace(turns=[]) -%}{%- for m in messages -%}{%- set own.turns = own.turns + "
    "[dict(m, content=[{'type': 'text', 'text': m['content']}]) if m['content'] is string else m] -%}"
    "{%- endfor -%}{%- set messages = own.turns +%}"
)


def shipped_template(chat: Chat) -> str:
    """The base's template with what training and answering here added to it written into it.

    That is the switch that turns thinking off (or on), what stands before a reply, system text where the
    template has no turn for it, and the day that prompts are of. A server passes none of these by itself.
    A template that wants nothing of it is given back as it is.
    """
    template = chat.tokenizer.chat_template
    if isinstance(template, dict):  # several by name
        template = template["default"]
    text = str(dated_template(chat.tokenizer) or template)
    if chat.format.in_parts:
        text = _IN_PARTS + text
    if chat.format.folds_system:
        text = _FOLDED + text
    if chat.format.has_switch or chat.thinks:
        thinks = str(chat.thinks).lower()
        text = f"{{%- set enable_thinking = {thinks} -%}}{{%- set thinking = {thinks} +%}}{text}"
    if chat.format.lead and not chat.thinks:
        # the end of line that closes a template is not part of what it renders
        lead = json.dumps(chat.format.lead)
        text = text.removesuffix("\n") + f"{{% if add_generation_prompt %}}{{{{- {lead} -}}}}{{% endif %}}"
    return text


def save_tokenizer(chat: Chat, folder: Path) -> None:
    """The base's tokenizer with this template."""
    own = chat.tokenizer.chat_template
    try:
        chat.tokenizer.chat_template = shipped_template(chat)
        chat.tokenizer.save_pretrained(folder)
    finally:
        chat.tokenizer.chat_template = own


def plainly_rendered(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> str:
    """What a server's tokenizer makes of a prompt that is sent as messages, and nothing beside them."""
    return rendered(tokenizer, prompt.messages, reply_follows=True, tools=prompt.tools)
