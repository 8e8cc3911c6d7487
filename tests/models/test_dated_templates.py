"""A prompt is the same on every day, whatever its chat template says of the date."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, tzinfo
from pathlib import Path

import pytest
import trl
from tiny_llama import build_tokenizer
from transformers.utils import chat_template_utils

from harness.models.chat import RENDERED_DAY, digest_with_day, render, rendered
from harness.models.chat_format import Chat, TokenReader, row_counter
from harness.models.protocol import Decoding, Prompt
from harness.models.source import ModelSource, folder_digest
from harness.records import Message, Row

SHIPPED = sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))
DATED = [file for file in SHIPPED if "strftime_now" in file.read_text(encoding="utf-8")]
TURNS = (Message("system", "Be brief."), Message("user", "What do 40 seats cost?"))
MISTRAL = (
    '{%- set today = strftime_now("%Y-%m-%d") %}{{ "Today is " + today + "." }}'
    "{% for m in messages %}{{ m.content }}{% endfor %}"
)
GRANITE = (
    "\n\n {% macro head(day) %}{{ 'Today: ' ~ day }}{% endmacro %}"
    "{% if strftime_now is defined %}{{ head(strftime_now(format='%A, %B %-d, %Y at %H:%M:%S %p')) }}"
    "{% endif %}"
    "{% for m in messages %}{{ m.content + strftime_now('%d %b %y, %j')[:6] }}{% endfor %}"
)


def set_clock(monkeypatch: pytest.MonkeyPatch, year: int, month: int, day: int) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Clock:
            return cls(year, month, day, 17, 5, 9)

    monkeypatch.setattr(chat_template_utils, "datetime", Clock)


@pytest.mark.parametrize("template", [MISTRAL, GRANITE, *(f.read_text(encoding="utf-8") for f in DATED)])
def test_every_day_renders_the_prompt_of_the_one_day(monkeypatch: pytest.MonkeyPatch, template: str) -> None:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = template
    seen = []
    for day in ((2026, 11, 28), (2027, 1, 1)):
        set_clock(monkeypatch, *day)
        seen.append(render(tokenizer, TURNS, reply_follows=True))
        assert row_counter(Chat(tokenizer))([Row("r", TURNS)])[0] > 0
    assert seen[0] == seen[1]
    set_clock(monkeypatch, RENDERED_DAY.year, RENDERED_DAY.month, RENDERED_DAY.day)
    turns = [{"role": m.role, "content": m.content} for m in TURNS]
    own = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    at_midnight = str(own).replace("17:05:09 PM", "00:00:00 AM")
    assert rendered(tokenizer, TURNS, reply_follows=True) == at_midnight
    assert tokenizer.chat_template == template, "what ships keeps its own"


def test_templates_that_trl_ships_are_among_those_tried() -> None:
    assert {file.stem for file in DATED} >= {"gptoss", "llama3_2"}


# --------------------------------------------------------------------------- keys
def keys(folder: Path) -> list[str]:
    reader = TokenReader(ModelSource("m", folder, folder_digest(folder)))
    return reader([Prompt("a", TURNS), Prompt("b", TURNS[1:])], Decoding())


def test_keys_follow_the_tokens_that_a_template_makes(tiny: ModelSource, tmp_path: Path) -> None:
    folder = tmp_path / "edited"
    shutil.copytree(tiny.folder, folder)
    before = keys(folder)
    assert before == keys(tiny.folder)
    assert before[0] != before[1]
    file = folder / "chat_template.jinja"
    text = file.read_text(encoding="utf-8")
    file.write_text(f"{{# a remark #}}{text}", encoding="utf-8")
    assert keys(folder) == before, "it renders the same"
    file.write_text(text.replace("\n", " "), encoding="utf-8")
    assert [new != old for new, old in zip(keys(folder), before, strict=True)] == [True, True]


def test_keys_follow_the_tokenizer(tiny: ModelSource, tmp_path: Path) -> None:
    folder = tmp_path / "edited"
    shutil.copytree(tiny.folder, folder)
    before = keys(folder)
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:2]
    file.write_text(json.dumps(tokenizer), encoding="utf-8")
    assert not set(keys(folder)) & set(before)


def test_a_model_behind_a_link_that_is_edited_in_place_is_another(tiny: ModelSource, tmp_path: Path) -> None:
    shutil.copytree(tiny.folder, tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    before = folder_digest(tmp_path / "link")
    assert before == tiny.digest
    file = tmp_path / "real" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert folder_digest(tmp_path / "link") != before


def test_only_a_base_whose_template_has_a_date_is_trained_again(tiny: ModelSource, tmp_path: Path) -> None:
    assert digest_with_day(tiny) == tiny.digest
    shutil.copytree(tiny.folder, tmp_path / "dated")
    (tmp_path / "dated" / "chat_template.jinja").write_text(MISTRAL, encoding="utf-8")
    assert digest_with_day(ModelSource("m", tmp_path / "dated", tiny.digest)) != tiny.digest
