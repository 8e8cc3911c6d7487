"""What the loss sees of a row: assistant turns of weight 1, nothing else; nothing is truncated or dropped."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny_llama import build_tokenizer, ids_of, row, rows
from transformers import PreTrainedTokenizerBase

from harness.errors import DataError
from harness.models.chat import render
from harness.models.chat_format import Chat
from harness.records import Message, Row
from harness.training.local.tokens import IGNORED, Example, encode_rows
from harness.training.local.tokens import encode_row as sequences_of

ROOM = 1000
LLAMA_2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + '<|im_end|>' }}{% endif %}{% endfor %}"
)
FORGETS_THOUGHTS = (  # like some reasoning models: earlier replies lose what stands before the bar
    "{% for m in messages %}{% set text = m['content'] if loop.last else m['content'].split('|')[-1] %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + text + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ENDS_THE_LAST_TURN_ONLY = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}"
    "{{ '<|im_end|>' if loop.last and m['role'] == 'assistant' else ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
ADDS_A_SYSTEM_PROMPT_IN_TRAINING = (
    "{% if not add_generation_prompt %}{{ 'Be good.' }}{% endif %}"
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return build_tokenizer()


@pytest.fixture
def templated(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = request.param
    return tokenizer


def encode_row(tokenizer: PreTrainedTokenizerBase, row: Row, max_tokens: int) -> Example:
    """The one sequence of a row."""
    (example,) = sequences_of(Chat(tokenizer), row, max_tokens)
    return example


def supervised(tokenizer: PreTrainedTokenizerBase, example: Example) -> str:
    """The text that the loss sees, with ``...`` for what it does not."""
    pieces: list[str] = []
    for token, label in zip(example.input_ids, example.labels, strict=True):
        if label == IGNORED:
            pieces += ["..."] if not pieces or pieces[-1] != "..." else []
        else:
            assert label == token
            pieces.append(str(tokenizer.decode([token])))
    return "".join(pieces)


# --------------------------------------------------------------------------- what the loss sees
def test_the_loss_sees_the_reply_and_its_end(tokenizer: PreTrainedTokenizerBase) -> None:
    example = encode_row(tokenizer, row("Where is my order?", "On its way."), ROOM)
    assert supervised(tokenizer, example) == "...On its way.<|im_end|>"
    assert example.supervised == len(ids_of(tokenizer, "On its way.<|im_end|>"))


def test_labels_are_exact(tokenizer: PreTrainedTokenizerBase) -> None:
    example = encode_row(tokenizer, row("I want", "my money"), ROOM)
    prompt = ids_of(tokenizer, "<|im_start|>user\nI want<|im_end|>\n<|im_start|>assistant\n")
    reply = ids_of(tokenizer, "my money<|im_end|>")
    assert example.input_ids == prompt + reply
    assert example.labels == [IGNORED] * len(prompt) + reply


def test_every_assistant_turn_of_weight_1_is_learnt_and_no_other_turn(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    chat = Row(
        "r",
        (
            Message("system", "You sort."),
            Message("user", "one"),
            Message("assistant", "first"),
            Message("user", "two"),
            Message("assistant", "wrong", 0),
            Message("user", "three"),
            Message("assistant", "third"),
        ),
    )
    assert supervised(tokenizer, encode_row(tokenizer, chat, ROOM)) == "...first<|im_end|>...third<|im_end|>"


def test_turns_after_the_last_learnt_reply_are_left_out(tokenizer: PreTrainedTokenizerBase) -> None:
    example = encode_row(tokenizer, row("one", "first", "two", ("wrong", 0)), ROOM)
    assert str(tokenizer.decode(example.input_ids)).endswith("first<|im_end|>")


def test_an_end_token_written_inside_a_reply_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(
        DataError, match=r"^train\.jsonl:1: what .* would learn .*'a<\|im_end\|>b'.* it is 'a'"
    ):
        encode_row(tokenizer, row("Say it", "a<|im_end|>b"), ROOM)


@pytest.mark.parametrize("templated", [LLAMA_2], indirect=True)
def test_another_template_is_learnt_as_it_renders(templated: PreTrainedTokenizerBase) -> None:
    example = encode_row(templated, row("one", "first", "two", "second"), ROOM)
    assert supervised(templated, example) == "... first<|im_end|>... second<|im_end|>"


# --------------------------------------------------------------------------- training and inference agree
@pytest.mark.parametrize("k", range(6))
def test_the_training_prompt_is_the_inference_prompt_token_for_token(
    tokenizer: PreTrainedTokenizerBase, k: int
) -> None:
    chosen = rows(6)[k]
    example = encode_row(tokenizer, chosen, ROOM)
    prompt = render(tokenizer, chosen.prompt, reply_follows=True)
    assert example.input_ids[: len(prompt)] == prompt
    assert example.labels[: len(prompt)] == [IGNORED] * len(prompt)
    assert example.labels[len(prompt)] != IGNORED


@pytest.mark.parametrize(
    "templated",
    [FORGETS_THOUGHTS, ENDS_THE_LAST_TURN_ONLY],
    ids=["rewrites earlier replies", "ends only the last turn"],
    indirect=True,
)
def test_turns_that_are_rewritten_later_are_learnt_each_in_its_own_sequence(
    templated: PreTrainedTokenizerBase,
) -> None:
    chat = row("one", "thought|first", "two", "second")
    found = sequences_of(Chat(templated), chat, ROOM)
    assert [supervised(templated, example).strip() for example in found] == [
        "...thought|first<|im_end|>",
        "...second<|im_end|>",
    ]
    for k, example in zip((1, 3), found, strict=True):
        prompt = render(templated, chat.messages[:k], reply_follows=True)
        assert example.input_ids[: len(prompt)] == prompt


@pytest.mark.parametrize("templated", [ADDS_A_SYSTEM_PROMPT_IN_TRAINING], indirect=True)
def test_a_template_that_adds_text_in_training_is_trained_as_it_is_asked(
    templated: PreTrainedTokenizerBase,
) -> None:
    example = encode_row(templated, row("one", "first"), ROOM)
    assert str(templated.decode(example.input_ids)) == "user: one<|im_end|>assistant: first<|im_end|>"


# --------------------------------------------------------------------------- refusals
def test_a_row_that_is_too_long_is_named_and_not_truncated(tokenizer: PreTrainedTokenizerBase) -> None:
    long = row("one", "first " * 50, where="train.jsonl:3")
    tokens = len(encode_row(tokenizer, long, ROOM).input_ids)
    assert len(encode_row(tokenizer, long, tokens).input_ids) == tokens
    with pytest.raises(
        DataError, match=rf"^train\.jsonl:3: {tokens} tokens, more than max_tokens={tokens - 1}"
    ):
        encode_row(tokenizer, long, tokens - 1)


def test_what_is_not_trained_on_does_not_count_for_length(tokenizer: PreTrainedTokenizerBase) -> None:
    chat = row("one", "first", "two " * 100, ("wrong", 0))
    assert len(encode_row(tokenizer, chat, 30).input_ids) <= 30


def test_a_row_with_nothing_to_learn_is_named(tokenizer: PreTrainedTokenizerBase) -> None:
    chat = row("one", ("wrong", 0), where="train.jsonl:9")
    with pytest.raises(DataError, match=r"^train\.jsonl:9: every assistant turn has weight 0"):
        encode_row(tokenizer, chat, ROOM)


def test_a_greeting_before_the_first_question_is_read_and_not_learnt(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    turns = (Message("user", "Who?"), Message("assistant", "Ann."))
    greeting = Message("assistant", "Hello!")
    with pytest.raises(DataError, match=r"before the first user turn(?s:.)*give it weight 0"):
        encode_row(tokenizer, Row("r", (greeting, *turns)), ROOM)
    silent = Row("r", (replace(greeting, weight=0), *turns))
    assert "Hello!" in tokenizer.decode(encode_row(tokenizer, silent, ROOM).input_ids)


def test_several_refused_rows_are_all_named(tokenizer: PreTrainedTokenizerBase) -> None:
    bad = [row("one", ("wrong", 0), id=f"r{k}", where=f"train.jsonl:{k}") for k in range(1, 13)]
    with pytest.raises(DataError) as caught:
        encode_rows(Chat(tokenizer), [rows(1)[0], *bad], ROOM)
    said = str(caught.value)
    assert "12 rows cannot be trained on" in said
    assert all(f"train.jsonl:{k}: every assistant turn" in said for k in range(1, 11))
    assert caught.value.where == "train.jsonl:1"


def test_every_row_is_encoded_in_order(tokenizer: PreTrainedTokenizerBase) -> None:
    examples = encode_rows(Chat(tokenizer), rows(5), ROOM)
    assert [example.row_id for example in examples] == [f"row-{k}" for k in range(5)]
