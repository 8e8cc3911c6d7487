"""What the answer is in what a model said, for the forms that current families write."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records import Answer, AnswerCounts, FailureKind
from harness.scoring.envelope import kept_tags, opened, read_answer

JSON = '{"team": "sales"}'
THOUGHT_FIRST = [
    f"<think>\nCould be legal.\n</think>\n\n{JSON}",  # Qwen3, DeepSeek-R1
    f"<think>\r\nCould be legal.\r\n</think>\r\n\r\n{JSON}",
    f"Could be legal.\n</think>\n\n{JSON}",  # the template's prompt has the opening tag
    f"Could be legal.</think>{JSON}",
    f"Could be legal. </think> {JSON}",
    f"<think>Legal: <think> no</think> sales</think>\n{JSON}",
    f"<think>Could be legal.</think><think>No.</think>\n{JSON}",
    f"<|im_start|>assistant\n<think>Could be legal.</think>\n{JSON}<|im_end|>",
    f"<mm:think>Could be legal.</mm:think>{JSON}",
    f"<seed:think>Could be legal.</seed:think>{JSON}",
    f"<Thinking>Could be legal.</Thinking>\n<output>\n{JSON}\n</output>",
    f"<think>\nCould be legal.\n</think>\n<answer>\n{JSON}\n</answer>",  # Hunyuan
    f"<reasoning>Could be legal.</reasoning>\n<answer>{JSON}</answer>",
    f"<thought>Could be legal.</thought>{JSON}",  # EXAONE
    f"[THINK]Could be legal.[/THINK]{JSON}</s>",  # Magistral
    f"Could be legal.[/THINK]{JSON}</s>",
    f"◁think▷Could be legal.◁/think▷{JSON}",  # Kimi
    f"<|open|>think<|sep|>Could be legal.<|close|>think<|sep|><|open|>response<|sep|>{JSON}<|close|>response"
    "<|sep|><|close|>message<|sep|>",
    f"<|START_THINKING|>Could be legal.<|END_THINKING|><|START_RESPONSE|>{JSON}<|END_RESPONSE|>",  # Cohere
    f"Could be legal.<|END_THINKING|><|START_TEXT|>{JSON}<|END_TEXT|>",
    f"<|channel>thought\nCould be legal.\n<channel|>{JSON}<turn|>",  # Gemma 4
    f"<|channel|>analysis<|message|>Could be legal.<|end|><|start|>assistant<|channel|>final<|message|>{JSON}"
    "<|return|>",
    f"Could be legal.<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>{JSON}<|return|>",
    f"analysisCould be legal.assistantfinal{JSON}",  # gpt-oss without its special tokens
    f" to=self<|message|>Could be legal.<|eom|><|start|>assistant to=user<|message|>{JSON}<|eot|>",
    f"Here's my thought process: Could be legal. Here's my response: {JSON}",  # Granite 3.2
    f"<|begin_of_thought|>Could be legal.<|end_of_thought|>\n<|begin_of_solution|>{JSON}<|end_of_solution|>",
    f"<|inner_prefix|>Could be legal.<|inner_suffix|>{JSON}<|assistant_end|>",  # Apertus
    f"<|think|>Could be legal.<|end|><|begin|>assistant<|content|>{JSON}<|flush|>",  # Solar
    f'{{"team": "legal"}}? "No.\n</think>\n\n{JSON}',
    f"\ufeff<think>\nCould be legal.\n</think>\n\n{JSON}",
    f"\u200b\ufeffCould be legal.\n</think>\n\n{JSON}",
    f"<think>Could be legal.</think>\n\ufeff{JSON}",
    f'<think duration="3 s" id=1>Could be legal.</think>\n{JSON}',
    f"analysis\nCould be legal.\n\nassistantfinal\n{JSON}",
    f"```json was asked for, which could be legal.\n</think>\n\n{JSON}",  # a fence that a thought opens
]
WITHOUT_THOUGHT = [
    f"{JSON}<|im_end|>",
    f"{JSON}</s>",
    f"{JSON}<|eot_id|>\n",
    f"{JSON}<end_of_turn>\n",
    f"{JSON}<｜end▁of▁sentence｜>",
    f"\ufeff{JSON}",
    f"<|channel|>final<|message|>{JSON}<|return|>",
    f"<|start_header_id|>assistant<|end_header_id|>\n\n{JSON}<|eot_id|>",
]
EMPTY_THOUGHT = [
    f"<think>\n\n</think>\n\n{JSON}",
    f"</think>\n\n{JSON}",
    f"<|channel>thought\n<channel|>{JSON}",
]
NO_ENVELOPE = [
    JSON,
    " white space stays \n",
    "The tag </think> ends a thought in Qwen3.",
    "The closing tag is </think>, as in Qwen3.",
    "Close it with `</think>` and go on.",
    'He wrote "</think>" and left.',
    '{"html": "a</think>b", "x": 1}',
    '{"html": "a\\n</think>\\nb", "x": "cut off he',
    '{"thinking": "<think>why</think>", "team": "sales"}',
    "<result><reasoning>why</reasoning><team>sales</team></result>",
    "See <think>this</think> here.",
    '```json\n{"a": "</think>"}\n```',
    "<thinking> is a tag of HTML that does not exist.",
    "<s>old</s>",
    "analysis of the data: fine",
    "Here is my thought process: first, second.",
    "a [/INST] b",
    "<|tool_call_start|>[ping()]<|tool_call_end|>",
]
NEVER = [  # what was said, whether it was cut off
    ("<think>\nCould be", True),
    ("<think>\nCould be", False),
    ("[THINK]Could be", True),
    ("<thinking>Could be", True),
    ("<|channel|>analysis<|message|>Could be", True),
    ("<|channel|>analysis<|message|>Could be legal.<|end|>", False),
    ("analysisWe need to", True),
    ("analysisuser asks for", True),
    ('\ufeff<think duration="3">Could be', True),
    ("<think>Could be legal.</think>", True),
    ("<think>Could be legal.</think>\n\n", False),
    ("Could be legal.\n</think>", False),
    ("", True),
]
TEMPLATES = (
    *("cohere2", "deepseek_r1_distill", "gemma4", "gemma4_v5", "glm4moe", "gptoss", "lfm2_2_5", "llama3_2"),
    *("muse_glimmer", "nemotron_3_nano", "phi3", "qwen3", "qwen3_5_nothink", "qwen3_5_think", "qwen3_8"),
)
PIECES = (
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "</s>",
    "<|end|>",
    "<|im_start|>",
    "\n",
    " ",
    "a.",
    '"',
    "{",
)


def came(text: str, *, cut: bool = False, **given: object) -> Answer:
    """An answer as a model gives it."""
    return Answer("r0", text, 10, 40, 1.0, finish="length" if cut else "stop", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("said", THOUGHT_FIRST)
def test_a_thought_is_set_aside_and_kept(said: str) -> None:
    found = read_answer(came(said))
    assert (found.text, found.failure) == (JSON, None)
    assert "legal" in (found.thought or "").lower()
    assert 0 < (found.thought_tokens or 0) < 40
    assert (found.answer_tokens or 0) + (found.thought_tokens or 0) == 40


@pytest.mark.parametrize("said", [*WITHOUT_THOUGHT, *EMPTY_THOUGHT])
def test_special_tokens_and_empty_thoughts_at_the_ends_are_set_aside(said: str) -> None:
    found = read_answer(came(said))
    assert (found.text, found.thought, found.thought_tokens, found.failure) == (JSON, None, None, None)


@pytest.mark.parametrize("said", NO_ENVELOPE)
def test_tags_inside_an_answer_stay(said: str) -> None:
    assert read_answer(came(said)) == came(said)


@pytest.mark.parametrize(("said", "cut"), NEVER)
def test_an_answer_that_never_came_is_a_failure(said: str, cut: bool) -> None:
    found = read_answer(came(said, cut=cut))
    assert (found.text, found.finish) == ("", "failed")
    assert found.failure_kind is (FailureKind.CUT if cut else FailureKind.UNANSWERED)
    assert found.failure
    assert "40 tokens" in found.failure


def test_a_thought_that_a_service_gives_apart_is_read_alike() -> None:
    whole = read_answer(came(JSON, thought="Could be legal.", thought_tokens=30))
    assert (whole.text, whole.thought, whole.answer_tokens) == (JSON, "Could be legal.", 10)
    assert read_answer(came("", cut=True, thought="Could be")).failure_kind is FailureKind.CUT
    assert read_answer(came("", thought="Could be legal.")).failure_kind is FailureKind.UNANSWERED
    hidden = read_answer(came("", cut=True, thought_tokens=40))
    assert hidden.failure_kind is FailureKind.CUT


def test_an_empty_answer_that_ends_at_once_is_an_answer() -> None:
    for said in ("", "<|im_end|>"):
        at_once = replace(came(said), completion_tokens=1)
        assert read_answer(at_once).failure is None
        assert read_answer(came(said)).failure_kind is FailureKind.UNANSWERED, "40 tokens, none of which came"
    assert read_answer(came("\n \n")).failure is None, "white space is what the model said"
    hidden = replace(came("", thought_tokens=2), completion_tokens=3)
    assert read_answer(hidden).failure_kind is FailureKind.UNANSWERED


def test_a_cut_reply_of_a_model_whose_prompt_began_the_thought_is_that_thought() -> None:
    said = came("Could be legal, or", cut=True)
    assert read_answer(said).failure is None
    assert read_answer(said, thinks_past=30).failure_kind is FailureKind.CUT
    assert read_answer(said, thinks_past=50).failure is None, "no longer than an answer may be"


def test_words_that_the_references_begin_with_are_part_of_the_answer() -> None:
    said = "<reasoning>2 + 2</reasoning>\n<answer>4</answer>"
    assert opened(said).text == "4"
    assert opened(said, kept=kept_tags([said])).text == said
    assert opened(f"<think>easy</think>\n{said}", kept=kept_tags([said])).text == said
    only = "<answer>4</answer>"
    assert opened(f"<think>easy</think>{only}", kept=kept_tags([f"<think>so</think>{only}"])).text == only
    assert kept_tags([f"<think>x</think>{JSON}"]) == frozenset()


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_reading_twice_is_reading_once(said: str) -> None:
    once = read_answer(came(said))
    assert read_answer(once) == once


@pytest.mark.parametrize(
    "flood",
    ["<think>", "</think>", "<|end|>", "<|im_end|>\n", "assistantfinal", '{"</think>', "<answer>", "</s>"],
)
def test_a_flood_of_tags_is_read_in_time(flood: str) -> None:
    began = time.perf_counter()
    opened(flood * (100_000 // len(flood)), cut=True)
    opened("analysisX" + flood * (100_000 // len(flood)) + "x")
    assert time.perf_counter() - began < 5.0


def test_counts_say_what_became_of_the_questions() -> None:
    said = [JSON, "<think>Could be", "<think>x</think>y", "half an"]
    read = [read_answer(came(text, cut=text in (said[1], said[3]))) for text in said]
    counts = AnswerCounts.of([*read, Answer("r9", "", 0, 0, 0.0, "failed", "boom")])
    assert (counts.n, counts.cut, counts.n_failed, counts.thought) == (5, 1, 2, 2)
    assert counts.failed == {FailureKind.CUT: 1, FailureKind.ERROR: 1}


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_trls_templates_write_for_a_reply_is_read_as_the_reply(name: str) -> None:
    trl = pytest.importorskip("trl")
    from transformers.utils.chat_template_utils import _compile_jinja_template

    folder = Path(trl.__file__).parent / "chat_templates"
    template = _compile_jinja_template((folder / f"{name}.jinja").read_text("utf-8"))
    why = "Could be legal."
    reply = {"role": "assistant", "content": JSON, "reasoning_content": why, "thinking": why}
    tokens = {"bos_token": "<bos>", "eos_token": "<eos>"}
    for switch in ({}, {"enable_thinking": True}, {"enable_thinking": False}):
        turns = [{"role": "user", "content": "q"}]
        prompt = template.render(messages=turns, add_generation_prompt=True, **tokens, **switch)
        whole = template.render(messages=[*turns, reply], add_generation_prompt=False, **tokens, **switch)
        shared = next((k for k, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(prompt))
        assert opened(whole[shared:]).text.strip() == JSON
