"""A server that is sent messages and nothing else renders what the fine-tune was trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
import trl
from tiny_llama import build_tokenizer

from harness.models.chat_format import Chat
from harness.models.protocol import Prompt
from harness.models.shipped_template import plainly_rendered, shipped_template
from harness.records import Message

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
FAMILIES = sorted(p.stem for p in TEMPLATES.glob("*.jinja") if not p.stem.endswith("_training"))
DATED = (
    "{{ 'Today: ' + strftime_now('%d %b %Y') + '\n' }}{% for m in messages %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ASKED = (Message("user", "What do 40 seats cost?"),)
FOLLOWED = (*ASKED, Message("assistant", "800 a year."), Message("user", "And 50? Über 9 €…"))


@pytest.mark.parametrize("thinking", [None, True])
@pytest.mark.parametrize("family", [*FAMILIES, "dated"])
def test_the_plain_call_renders_the_prompt_to_the_byte(family: str, thinking: bool | None) -> None:
    tokenizer = build_tokenizer()
    text = DATED if family == "dated" else (TEMPLATES / f"{family}.jinja").read_text(encoding="utf-8")
    tokenizer.chat_template = text
    chat = Chat(tokenizer, thinking)
    plain = build_tokenizer()
    plain.chat_template = shipped_template(chat)
    for turns in (ASKED, FOLLOWED, (Message("system", "Be brief."), *FOLLOWED)):
        assert plainly_rendered(plain, Prompt("row", turns)) == chat.prompt(turns)
