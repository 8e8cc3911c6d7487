"""Every family's chat template: what is learnt is read back as the reply, from where it is asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import trl
from tiny_llama import build_tokenizer, row
from transformers import PreTrainedTokenizerBase

from harness.errors import DataError, ModelError
from harness.models.askable import remember_format, remembered_format, require_askable
from harness.models.chat import TurnsError, load_tokenizer
from harness.models.chat_format import Chat, load_chat, row_counter
from harness.models.protocol import Decoding, Prompt
from harness.models.source import ModelSource, context_tokens, folder_digest
from harness.records import Message, Row
from harness.scoring.envelope import opened
from harness.training.local.tokens import IGNORED, Example, encode_row, encode_rows, require_thoughts

ROOM = 4000
TEMPLATES = Path(trl.__file__).parent / "chat_templates"
FAMILIES = sorted(p.stem for p in TEMPLATES.glob("*.jinja") if not p.stem.endswith("_training"))
ENDS = (  # of a turn, as the families have them
    *("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<turn|>", "<|END_OF_TURN_TOKEN|>", "<|return|>"),
    *("<｜end▁of▁sentence｜>", "<|eot|>", "<end_of_utterance>", "<|endoftext|>"),
)
CHAT = (
    Message("system", "Be brief."),
    Message("user", "What do 40 seats cost?"),
    Message("assistant", "800 a year."),
    Message("user", "  And 50? Über 9 €…\n"),
    Message("assistant", '{"usd": "1,000 — a year"}'),
)
ROW = Row("r-1", CHAT, where="train.jsonl:1")
ALTERNATES = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + (m['content'] | trim) + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DROPS_SYSTEM = (
    "{% for m in messages %}{% if m['role'] != 'system' %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ENDS_NOTHING = (
    "{% for m in messages %}{{ '### ' + m['role'] + '\n' + m['content'] + '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant\n' }}{% endif %}"
)
THINKS = (  # opens a thought in every prompt, and has no switch
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'].split('</think>')[-1]"
    " + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)


@cache
def family(name: str) -> PreTrainedTokenizerBase:
    """A tokenizer of single bytes with a family's template and the tokens that it writes."""
    text = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    marks = set(re.findall(r"</s>|<\|?[a-z_]+\|?>|<\|[A-Za-z_]+\|>|<｜[^｜<>]+｜>", text)) - {"<think>"}
    eos = next((end for end in ENDS if end in marks), "<|endoftext|>")
    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": sorted(marks), "eos_token": eos})
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.chat_template = text
    return tokenizer


def templated(template: str) -> PreTrainedTokenizerBase:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def learnt(example: Example) -> list[list[int]]:
    """The runs of supervised tokens."""
    runs: list[list[int]] = [[]]
    for label in example.labels:
        if label == IGNORED:
            runs += [[]] if runs[-1] else []
        else:
            runs[-1].append(label)
    return [run for run in runs if run]


def read_back(chat: Chat, examples: Sequence[Example]) -> list[str]:
    """What each learnt reply is, read as answers are."""
    found = []
    for example in examples:
        for run in learnt(example):
            stop = chat.stop(run)
            assert stop is not None, "it teaches no end that generation stops at"
            assert chat.leaves_thought(run[:stop])
            found.append(opened(chat.said(run[:stop])).text.strip())
    return found


# --------------------------------------------------------------------------- every family that trl ships
@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_learnt_is_what_is_asked_for_and_read(name: str) -> None:
    chat = Chat(family(name))
    examples = encode_row(chat, ROW, ROOM)
    assert read_back(chat, examples) == [CHAT[2].content, CHAT[4].content]
    for k, example in zip((2, 4)[-len(examples) :], examples, strict=True):
        prompt = chat.prompt(CHAT[:k])
        assert example.input_ids[: len(chat.ids([prompt])[0])] == chat.ids([prompt])[0]
        assert all(m.content.strip() in prompt for m in CHAT[:k] if m.role != "assistant")
        assert not re.search(r"<think>\s*\Z", prompt), "it would think"


SWITCHED = [
    n for n in FAMILIES if "enable_thinking" in (TEMPLATES / f"{n}.jinja").read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", SWITCHED)
def test_thinking_is_switched_on_where_the_template_knows_how(name: str) -> None:
    off, on = Chat(family(name)), Chat(family(name), thinking=True)
    assert on.prompt(CHAT[:2]) != off.prompt(CHAT[:2])
    assert Chat(family(name), thinking=False).prompt(CHAT[:2]) == off.prompt(CHAT[:2])


@pytest.mark.parametrize(
    "name", ["qwen3", "qwen3_5_think", "nemotron_3_nano", "deepseek_r1_distill", "glm4moe"]
)
def test_a_thinking_fine_tune_learns_thought_and_reply(name: str) -> None:
    chat = Chat(family(name), thinking=True)
    thought = replace(ROW, messages=(*CHAT[1:2], Message("assistant", "<think>\n20 each.\n</think>\n\n800.")))
    (example,) = encode_row(chat, thought, ROOM)
    assert read_back(chat, [example]) == ["800."]
    assert "20 each." in str(chat.tokenizer.decode(learnt(example)[0]))
    require_thoughts(chat, [thought])
    with pytest.raises(DataError, match="no reply of the training rows holds a thought"):
        require_thoughts(chat, [ROW])
    with pytest.raises(DataError, match="begins with a thought, and the candidate does not think"):
        encode_row(Chat(family(name)), thought, ROOM)


# --------------------------------------------------------------------------- templates of strangers
@pytest.mark.parametrize("template", [ALTERNATES, DROPS_SYSTEM], ids=["refuses it", "leaves it out"])
def test_a_system_message_without_a_place_stands_before_the_first_user_turn(template: str) -> None:
    chat = Chat(templated(template))
    assert "user\nBe brief.\n\nWhat do 40 seats cost?<|im_end|>" in chat.prompt(CHAT[:2])
    assert chat.format.trained() == {"folds_system": True}
    assert "before the first user turn" in chat.format.notes("gemma")[0]
    assert read_back(chat, encode_row(chat, ROW, ROOM)) == [CHAT[2].content, CHAT[4].content]


def test_turns_that_the_template_refuses_are_named_by_their_row() -> None:
    chat, twice = Chat(templated(ALTERNATES)), replace(ROW, messages=(CHAT[1], CHAT[1], CHAT[2]))
    with pytest.raises(DataError, match=r"^train\.jsonl:1: the chat template of .* roles must alternate"):
        encode_row(chat, twice, ROOM)
    with pytest.raises(DataError, match="roles must alternate"):
        row_counter(chat)([twice])


def test_a_turn_that_the_template_leaves_out_is_refused() -> None:
    only_last = "{{ '<|im_start|>' + messages[-1]['content'] + '<|im_end|>' }}"
    with pytest.raises(TurnsError, match="leaves out the user turn at place 1"):
        Chat(templated("{{ messages[0]['role'] }}" + only_last)).prompt([CHAT[1], CHAT[2], CHAT[3]])


def test_a_template_that_renders_no_reply_is_refused() -> None:
    with pytest.raises(ModelError, match="does not render a question and a reply"):
        Chat(templated("{{ messages[0]['content'] }}"))


def test_an_open_thought_is_closed_in_the_prompt() -> None:
    chat = Chat(templated(THINKS))
    assert chat.prompt(CHAT[1:2]).endswith("assistant\n<think>\n\n</think>\n\n")
    assert read_back(chat, encode_row(chat, ROW, ROOM)) == [CHAT[2].content, CHAT[4].content]


def test_a_reply_that_the_template_leaves_open_is_ended_by_the_end_token() -> None:
    chat = Chat(templated(ENDS_NOTHING))
    assert (chat.format.end, chat.ends) == ("<|im_end|>", (1,))
    assert read_back(chat, encode_row(chat, ROW, ROOM)) == [CHAT[2].content, CHAT[4].content]


def test_white_space_of_a_vocabulary_s_own_ends_no_reply() -> None:
    tokenizer = templated(ENDS_NOTHING)
    tokenizer.add_tokens(["\n\n"])  # as Gemma's and GPT-NeoX's have
    chat = Chat(tokenizer)
    assert (chat.format.end, chat.ends) == ("<|im_end|>", (1,))
    reply = "One.\n\nTwo."
    assert read_back(chat, encode_row(chat, row("Both?", reply), ROOM)) == [reply]


def test_the_end_of_a_turn_that_generation_does_not_know_is_added() -> None:
    tokenizer = build_tokenizer()
    pad = tokenizer.pad_token_id
    chat = Chat(tokenizer, ends=(pad,))
    assert (chat.format.stop, chat.ends) == ("<|im_end|>", (pad, tokenizer.eos_token_id))
    assert chat.format.trained() == {}  # no training token changes by it
    assert chat.format.key() == {"chat": {"stop": "<|im_end|>"}}


def test_the_end_of_a_turn_before_the_end_of_the_text_is_one() -> None:
    turns = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}"
        "{% endfor %}{{ '<|im_start|>assistant\\n' if add_generation_prompt else '<pad>' }}"
    )
    chat = Chat(templated(turns), ends=(build_tokenizer().pad_token_id,))  # as Phi 3 has it
    assert chat.format.stop == "<|im_end|>"
    assert read_back(chat, encode_row(chat, ROW, ROOM)) == [CHAT[2].content, CHAT[4].content]


def test_what_most_templates_want_is_in_no_key() -> None:
    assert Chat(build_tokenizer()).format.key() == {}


def test_a_reply_that_the_tokenizer_rewrites_is_refused_with_the_place() -> None:
    from tokenizers import normalizers

    tokenizer = build_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.NFKC()
    with pytest.raises(
        DataError, match=r"is not the row's reply '10 ㎏': as answers are read, it is '10 kg'"
    ):
        encode_rows(Chat(tokenizer), [row("How heavy?", "10 ㎏")], ROOM)


def test_spaces_before_commas_are_read_as_they_were_learnt() -> None:
    tokenizer = build_tokenizer()
    tokenizer.clean_up_tokenization_spaces = True  # as Llama 3's is
    chat = Chat(tokenizer)
    assert read_back(chat, encode_row(chat, row("List", "a , b do n't ."), ROOM)) == ["a , b do n't ."]


def test_thoughts_are_taught_to_a_base_whose_template_has_none_if_it_is_to_think() -> None:
    thoughtful = row("How many?", "<think>\n2 and 2\n</think>\n\n4")
    with pytest.raises(DataError, match="begins with a thought, and the candidate does not think"):
        encode_row(Chat(build_tokenizer()), thoughtful, ROOM)
    chat = Chat(build_tokenizer(), thinking=True)
    assert read_back(chat, encode_row(chat, thoughtful, ROOM)) == ["4"]


# --------------------------------------------------------------------------- bases on disk
def saved(tiny: ModelSource, folder: Path, tokenizer: PreTrainedTokenizerBase) -> ModelSource:
    """The tiny base's configuration with another tokenizer; its weights are not needed."""
    tokenizer.save_pretrained(folder)
    for name in ("config.json", "generation_config.json"):
        (folder / name).write_bytes((tiny.folder / name).read_bytes())
    return ModelSource("tiny", folder, folder_digest(folder))


def test_a_pad_token_beyond_the_embedding_gives_way_to_a_valid_one(tiny: ModelSource, tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    assert load_tokenizer(saved(tiny, tmp_path, tokenizer)).pad_token == "<|im_end|>"


def test_a_tokenizer_without_an_end_and_a_pad_token_still_pads(tiny: ModelSource, tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.eos_token = tokenizer.pad_token = None
    chat = load_chat(saved(tiny, tmp_path, tokenizer))
    assert chat.tokenizer.pad_token_id == tokenizer.bos_token_id
    assert read_back(chat, encode_row(chat, ROW, ROOM)) == [CHAT[2].content, CHAT[4].content]


def test_a_prompt_with_a_token_beyond_the_embedding_is_refused(tiny: ModelSource, tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(["<ticket>"])
    source = saved(tiny, tmp_path, tokenizer)
    prompt = Prompt("r-7", (Message("user", "Sort <ticket>"),))
    with pytest.raises(
        ModelError, match=r"suite mail, row r-7: tiny has no embedding for the token <ticket>"
    ):
        require_askable(load_chat(source), "mail", [prompt], Decoding())


@pytest.mark.parametrize(
    ("decoding", "says"),
    [
        (Decoding(max_new_tokens=500), "an answer of 500 are 5"),
        (Decoding(max_new_tokens=8, thinking=True, max_thinking_tokens=505), "and a thought of 505 are 5"),
    ],
)
def test_a_prompt_that_leaves_no_room_for_its_answer_is_refused(
    tiny: ModelSource, decoding: Decoding, says: str
) -> None:
    chat, prompt = load_chat(tiny, decoding.thinking), Prompt("r-7", CHAT[:2])
    require_askable(chat, "mail", [prompt], Decoding(max_new_tokens=8))
    with pytest.raises(ModelError, match=says):
        require_askable(chat, "mail", [prompt], decoding)


def test_a_refused_prompt_is_named_by_suite_and_row(tiny: ModelSource, tmp_path: Path) -> None:
    source = saved(tiny, tmp_path, templated(ALTERNATES))
    with pytest.raises(ModelError, match=r"suite mail, row r-7: .* refuses its prompt: roles must alternate"):
        require_askable(load_chat(source), "mail", [Prompt("r-7", (CHAT[1], CHAT[3]))], Decoding())


def test_what_a_template_wants_is_remembered_by_content(
    tiny: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    source = saved(tiny, tmp_path / "base", templated(ALTERNATES))
    assert remembered_format(source) is None
    found = load_chat(source).format
    remember_format(source, found)
    assert remembered_format(replace(source, name="elsewhere")) == found
    assert remembered_format(replace(source, digest="another")) is None


def test_the_context_length_is_that_of_the_nested_language_model(tmp_path: Path) -> None:
    from transformers import Gemma3Config

    Gemma3Config(text_config={"max_position_embeddings": 2048}).save_pretrained(tmp_path)
    assert context_tokens(ModelSource("m", tmp_path, "")) == 2048
    (tmp_path / "config.json").write_text(
        '{"model_type": "new", "text_config": {"max_position_embeddings": 77}}'
    )
    assert context_tokens(ModelSource("m", tmp_path, "")) == 77
