"""Texts that already hold a chat template are found, and texts that talk about one are not."""

from __future__ import annotations

import bpe_openai
import pytest

from harness.data.hosted import text_counter
from harness.data.template_tokens import is_exported, leftover, leftovers, template_findings
from harness.records import Message, Row


def row(user: str, reply: str = "ok") -> Row:
    return Row("r", (Message("user", user), Message("assistant", reply)), {}, "f.jsonl:1")


@pytest.mark.parametrize(
    "text",
    [
        "<s>[INST] hi [/INST]",
        "fine</s>",
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
        "### Instruction:\nSort it.\n\n### Response:\n",
        "<start_of_turn>user\nhi<end_of_turn>",
        "Human: hi\n\nAssistant:",
        "USER: hi\nASSISTANT: hello",
        "hello<|endoftext|>",
        "[INST] <<SYS>>\nbe nice\n<</SYS>>\nhi [/INST]",
        "<｜User｜>hi<｜Assistant｜>",
        "<|begin▁of▁sentence|>hi",
    ],
)
def test_a_template_in_a_text_is_found(text: str) -> None:
    assert leftover(text, is_reply=False) is not None
    assert [f.line for f in template_findings([row(text)] * 4, [3, 4, 5, 6])] == [3, 4, 5, 6]


@pytest.mark.parametrize(
    "text",
    [
        "What does </s> mean in Llama's vocabulary?",
        "Why does my model print <|im_end|> after each answer?",
        "Use `<|endoftext|>` as the separator, like so:\n`<s>`",
        "<s>19.99</s> now 9.99",
        "Does [INST] go first?",
        "In C, a<s>b is no template",
        "### Notes\nbuy milk",
        "Time: 9:30\nPlace: here",
        "User: admin cannot log in",  # alone among rows that do not begin so
    ],
)
def test_a_text_that_talks_about_one_is_not(text: str) -> None:
    assert leftovers([row(text), *(row(f"question {k}") for k in range(20))]) == []


def test_a_thought_at_the_beginning_of_a_reply_is_found() -> None:
    assert leftover("<think>\nhm</think> yes", is_reply=True) is not None
    assert leftover("<think> is a tag?", is_reply=False) is None


def test_a_file_of_finished_prompts_is_told_from_one_with_a_few() -> None:
    rows = [row(f"[INST] question {k} [/INST]") for k in range(10)] + [
        row(f"question {k}") for k in range(30)
    ]
    assert is_exported(rows, leftovers(rows))
    assert not is_exported(rows[8:], leftovers(rows[8:]))


@pytest.mark.parametrize("text", ["hello world " * 100_000, "a" * 500_000, "银" * 250_000])
def test_texts_of_any_length_are_counted(text: str) -> None:
    assert text_counter("o200k_base")(text) > 5_000


def test_counting_in_parts_gives_the_tokens_of_the_whole() -> None:
    text = "the radiator whistles every morning at about six " * 1_500
    whole = bpe_openai.get_encoding("o200k_base").encode_ordinary(text)
    assert text_counter("o200k_base")(text) == len(whole)
