"""Answers and likelihoods of local models."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_llama import BF16, EXACT, build_granite, build_tokenizer, ids_of, rows, save
from transformers import PreTrainedTokenizerBase

from harness.errors import ModelError
from harness.models.chat import load_tokenizer, render
from harness.models.device import DevicePlan
from harness.models.local import (
    MAX_BATCH_ROWS,
    MAX_BATCH_TOKENS,
    MAX_STRETCH,
    MIN_BATCH_ROWS,
    LocalModel,
    batches_by_length,
    load_base,
    make_head_input_contiguous,
)
from harness.models.protocol import Decoding, Prompt
from harness.models.source import ModelSource
from harness.records import Answer, Message

SHORT = Decoding(max_new_tokens=6)
PROMPTS = [Prompt(row.id, row.prompt) for row in rows(9)]
NOTHING: frozenset[str] = frozenset()


@pytest.fixture(scope="module")
def model(tiny: ModelSource) -> LocalModel:
    return LocalModel.load(tiny, EXACT)


@pytest.fixture(scope="module")
def tokenizer(tiny: ModelSource) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny)


@pytest.fixture
def batches(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The row ids of every batch that is generated, in order; batches of up to three rows."""
    monkeypatch.setattr("harness.models.local.MAX_POOL_ROWS", 3)
    monkeypatch.setattr("harness.models.local.MAX_BATCH_ROWS", 3)
    seen: list[list[str]] = []
    answer_batch = model._answer_batch

    def noting(pool: Sequence[Sequence[str]], *rest: object) -> Iterator[Answer]:
        seen.append([row_id for part in pool for row_id in part])
        return answer_batch(pool, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "_answer_batch", noting)
    return seen


def texts(answers: Iterator[Answer]) -> dict[str, str]:
    return {answer.row_id: answer.text for answer in answers}


# --------------------------------------------------------------------------- answers
def test_every_prompt_is_answered_as_if_it_were_alone(model: LocalModel) -> None:
    together = texts(model.answer(PROMPTS, SHORT, NOTHING))
    alone = {p.row_id: texts(model.answer([p], SHORT, NOTHING))[p.row_id] for p in PROMPTS}
    assert together == alone  # in float32: in bfloat16 the batch decides
    assert len(set(together.values())) > 1


def test_greedy_answers_are_those_of_a_plain_loop(
    model: LocalModel, tokenizer: PreTrainedTokenizerBase, tiny: ModelSource
) -> None:
    plain = load_base(tiny, EXACT, attention="eager")
    ids = render(tokenizer, PROMPTS[0].messages, reply_follows=True)
    said: list[int] = []
    logprobs: list[float] = []
    for _ in range(6):
        with torch.no_grad():
            likely = plain(torch.tensor([ids + said])).logits[0, -1].log_softmax(-1)
        said.append(int(likely.argmax()))
        logprobs.append(float(likely.max()))
    answer = next(model.answer(PROMPTS[:1], SHORT, NOTHING))
    assert answer.text == tokenizer.decode(said, skip_special_tokens=True)
    assert answer.prompt_tokens == len(ids)
    assert answer.logprob == pytest.approx(fmean(logprobs), abs=1e-5)


def test_an_answer_counts_its_end_token_and_says_how_it_ended(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = next(model.answer(PROMPTS[:1], SHORT, NOTHING))
    start = next(model.answer(PROMPTS[:1], Decoding(max_new_tokens=3), NOTHING))
    assert (full.finish, full.completion_tokens) == ("length", 6)
    with torch.no_grad():
        ids = torch.tensor([render(model._tokenizer, PROMPTS[0].messages, reply_follows=True)])
        third = model._model.generate(ids, max_new_tokens=3, do_sample=False)[0, -1]  # type: ignore[operator]
    generation = model._model.generation_config
    assert generation is not None
    monkeypatch.setattr(generation, "eos_token_id", [int(third)])
    stopped = next(model.answer(PROMPTS[:1], SHORT, NOTHING))
    assert stopped.finish == "stop"
    assert (stopped.completion_tokens or 99) <= 3
    assert stopped.logprob == pytest.approx(start.logprob), "the end token is one of them"
    assert full.text.startswith(stopped.text)


def test_batches_do_not_depend_on_the_order_of_the_prompts(
    model: LocalModel, batches: list[list[str]]
) -> None:
    list(model.answer(PROMPTS, SHORT, NOTHING))
    first = [*batches]
    shuffled = random.Random(5).sample(PROMPTS, len(PROMPTS))
    assert shuffled != PROMPTS
    batches.clear()
    list(model.answer(shuffled, SHORT, NOTHING))
    assert batches == first
    assert len(first) == 3


def test_batches_do_not_depend_on_what_is_known(model: LocalModel, batches: list[list[str]]) -> None:
    everything = texts(model.answer(PROMPTS, SHORT, NOTHING))
    first, second, third = batches
    batches.clear()
    known = frozenset([*first, *second[1:]])
    again = texts(model.answer(PROMPTS, SHORT, known))
    assert batches == [second, third]  # the first is all known; one row of the second is not
    assert again == {row_id: everything[row_id] for row_id in (*second, *third)}


def test_with_everything_known_nothing_is_generated(model: LocalModel, batches: list[list[str]]) -> None:
    assert list(model.answer(PROMPTS, SHORT, frozenset(p.row_id for p in PROMPTS))) == []
    assert batches == []


def test_in_bfloat16_the_same_prompts_give_the_same_answers(tiny: ModelSource) -> None:
    model = LocalModel.load(tiny, BF16)
    first = texts(model.answer(PROMPTS, SHORT, NOTHING))
    assert texts(model.answer(PROMPTS[::-1], SHORT, frozenset(["row-3"]))) == first


@given(st.lists(st.integers(1, 2000), max_size=400))
def test_batches_hold_every_row_once_in_order_and_little_padding(unsorted: list[int]) -> None:
    lengths = sorted(unsorted)
    found = [list(batch) for batch in batches_by_length(range(len(lengths)), lengths)]
    assert [k for batch in found for k in batch] == list(range(len(lengths)))
    for batch in found:
        own = [lengths[k] for k in batch]
        assert 1 <= len(own) <= MAX_BATCH_ROWS
        assert len(own) * own[-1] <= MAX_BATCH_TOKENS
        if len(own) > MIN_BATCH_ROWS:
            assert own[-1] <= MAX_STRETCH * sum(own[:-1]) / (len(own) - 1)


# --------------------------------------------------------------------------- sampling
def sampled(model: LocalModel, seed: int, **changes: float) -> dict[str, str]:
    decoding = replace(Decoding(max_new_tokens=8, temperature=1.5, seed=seed), **changes)  # type: ignore[arg-type]
    return texts(model.answer(PROMPTS, decoding, NOTHING))


def test_sampling_follows_its_seed(model: LocalModel) -> None:
    first = sampled(model, 1)
    torch.rand(17)  # whatever was drawn before does not matter
    assert sampled(model, 1) == first
    assert sampled(model, 2) != first


def test_sampled_answers_do_not_depend_on_what_is_known(model: LocalModel, batches: list[list[str]]) -> None:
    everything = sampled(model, 1)
    known = frozenset(batches[0])
    decoding = Decoding(max_new_tokens=8, temperature=1.5, seed=1)
    again = texts(model.answer(PROMPTS, decoding, known))
    assert again == {row_id: text for row_id, text in everything.items() if row_id not in known}


def test_a_low_temperature_is_nearly_greedy(model: LocalModel) -> None:
    assert sampled(model, 1, temperature=1e-4) == texts(
        model.answer(PROMPTS, Decoding(max_new_tokens=8), NOTHING)
    )


def test_sampling_keeps_the_whole_vocabulary(model: LocalModel) -> None:
    """transformers would keep the likeliest 50 on its own account."""
    prompts = [Prompt(str(k), PROMPTS[0].messages) for k in range(400)]
    decoding = Decoding(max_new_tokens=1, temperature=50.0, seed=0)
    assert len(set(texts(model.answer(prompts, decoding, NOTHING)).values())) > 100


# --------------------------------------------------------------------------- the output head
class HeadInputs:
    """Whether the output head met contiguous memory, and how many positions, each time it was called."""

    def __init__(self, head: torch.nn.Module) -> None:
        self.contiguous: list[bool] = []
        self.positions: list[int] = []
        head.register_forward_pre_hook(self._look)

    def _look(self, _: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        self.contiguous.append(args[0].is_contiguous())
        self.positions.append(args[0].shape[:-1].numel())


@pytest.mark.parametrize("plan", [EXACT, BF16], ids=lambda plan: plan.dtype)
@pytest.mark.parametrize("with_adapter", [False, True], ids=["frozen base", "with adapter"])
def test_the_head_never_meets_strided_memory(
    tiny: ModelSource, adapter: Path, plan: DevicePlan, with_adapter: bool
) -> None:
    model = LocalModel.load(tiny, plan, adapter=adapter if with_adapter else None)
    assert not any(parameter.requires_grad for parameter in model._model.parameters())
    inputs = HeadInputs(model._model.get_output_embeddings())
    list(model.answer(PROMPTS[:3], SHORT, NOTHING))
    model.logprob([("Where is", " my order?"), ("I", " want")])
    assert all(inputs.contiguous)
    assert len(inputs.contiguous) >= 1 + 6


def test_without_the_cure_it_would(tiny: ModelSource) -> None:
    """The reason for the cure: transformers cuts the last position out of a frozen model's output."""
    base = load_base(tiny, EXACT, attention="eager")
    inputs = HeadInputs(base.get_output_embeddings())
    ids = torch.arange(4, 24).reshape(2, 10)
    base.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=2)  # type: ignore[operator]
    assert not all(inputs.contiguous)
    cured = load_base(tiny, EXACT, attention="eager")
    make_head_input_contiguous(cured)
    inputs = HeadInputs(cured.get_output_embeddings())
    cured.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=2)  # type: ignore[operator]
    assert all(inputs.contiguous)


# --------------------------------------------------------------------------- likelihoods
PAIRS = [
    ("Where is my order?", " Your order is on its way."),
    ("I want my money back.", " The refund"),
    ("", "You sort tickets."),
    ("a", "b"),
    ("user", " assistant system user assistant Where is my order? Your order is on its way."),
]


def plain_logprob(source: ModelSource, tokenizer: PreTrainedTokenizerBase, context: str, text: str) -> float:
    """One token after the other, each from a forward of its own."""
    plain = load_base(source, EXACT, attention="eager")
    before = ids_of(tokenizer, context) or [int(tokenizer.bos_token_id)]
    after = ids_of(tokenizer, text)
    total = 0.0
    for k, token in enumerate(after):
        with torch.no_grad():
            logits = plain(torch.tensor([before + after[:k]])).logits[0, -1]
        total += float(torch.log_softmax(logits, dim=-1)[token])
    return total / len(after)


def test_a_likelihood_is_that_of_a_plain_loop(
    model: LocalModel, tokenizer: PreTrainedTokenizerBase, tiny: ModelSource
) -> None:
    expected = [plain_logprob(tiny, tokenizer, *pair) for pair in PAIRS]
    assert model.logprob(PAIRS) == pytest.approx(expected, abs=1e-4)
    assert model.logprob(PAIRS[::-1]) == pytest.approx(expected[::-1], abs=1e-4)


def test_only_the_continuation_reaches_the_head(
    model: LocalModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    inputs = HeadInputs(model._model.get_output_embeddings())
    model.logprob(PAIRS)
    assert inputs.positions[-1] == sum(len(ids_of(tokenizer, text)) for _, text in PAIRS)


def test_a_likelihood_with_an_adapter_is_that_of_the_adapted_model(
    tiny: ModelSource, adapter: Path, model: LocalModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    adapted = LocalModel.load(tiny, EXACT, adapter=adapter)
    ids = torch.tensor([ids_of(tokenizer, PAIRS[0][0] + PAIRS[0][1])])
    start = len(ids_of(tokenizer, PAIRS[0][0]))
    with torch.no_grad():
        logs = torch.log_softmax(adapted._model(ids).logits[0, start - 1 : -1], dim=-1)
    expected = float(logs.gather(1, ids[0, start:, None]).mean())
    assert adapted.logprob(PAIRS[:1]) == pytest.approx([expected], abs=1e-4)
    assert adapted.logprob(PAIRS[:1]) != pytest.approx(model.logprob(PAIRS[:1]), abs=1e-2)


def test_a_likelihood_of_nothing_is_an_error_not_a_zero(model: LocalModel) -> None:
    with pytest.raises(ModelError, match="empty continuation"):
        model.logprob([("Where is my order?", "")])


def test_logits_that_are_scaled_after_the_head_count_as_the_model_means_them(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    source = save(build_granite(tokenizer), tokenizer, tmp_path / "granite")
    found = LocalModel.load(source, EXACT).logprob(PAIRS[:1])
    assert found == pytest.approx([plain_logprob(source, tokenizer, *PAIRS[0])], abs=1e-4)


# --------------------------------------------------------------------------- chat templates
def test_a_base_without_a_chat_template_is_refused(tiny: ModelSource, tmp_path: Path) -> None:
    bare = build_tokenizer()
    bare.chat_template = None
    bare.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no chat template") as caught:
        load_tokenizer(replace(tiny, folder=tmp_path))
    assert "instruction-tuned base" in str(caught.value)


def test_a_prompt_ends_where_the_assistant_begins(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = render(tokenizer, [Message("system", "You sort."), Message("user", "Hi")], reply_follows=True)
    assert tokenizer.decode(ids) == (
        "<|im_start|>system\nYou sort.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
