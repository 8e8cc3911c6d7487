"""What is sent over Tinker's wire is what the local trainer trains on: tokens, masks, batches, rates."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trl
from hypothesis import given, settings
from hypothesis import strategies as st
from tinker_builders import RECIPE, Machine, Wire, examples, job_of, plan_of
from tiny_llama import EXACT, build_tokenizer, row, rows
from transformers import PreTrainedTokenizerBase
from transformers.optimization import _get_cosine_schedule_with_warmup_lr_lambda

from harness.errors import BudgetReached, HarnessError
from harness.models.chat_format import Chat
from harness.models.ledger import Ledger, Spending
from harness.records import Price
from harness.training.hosted.budget import JobBudget, TokenBill
from harness.training.local.tokens import IGNORED, Example, encode_rows
from harness.training.tinker.loop import _datum
from harness.training.tinker.plan import BETAS, CLIP_NORM, EPSILON, plan_steps, rate_share, shifted

TEMPLATES = sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))
CASES = (
    *rows(3),
    row("Hello", "Hi.", "And?", ("Not learnt.", 0), "Once more", "Good."),
    row("Ünïcödé 🙂 \u202e", "  spaces\n\nand lines  "),
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return build_tokenizer()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_every_template_s_tokens_and_masks_are_the_local_ones(
    template: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    tokenizer.chat_template = template.read_text(encoding="utf-8")
    try:
        encoded = encode_rows(Chat(tokenizer), CASES[:3], 2_000)
    except HarnessError:
        pytest.skip("the local trainer refuses it, and so does this one")
    for example in encoded:
        assert_same(example)


def test_turns_that_are_not_learnt_weigh_nothing(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = build_tokenizer().chat_template
    for example in encode_rows(Chat(tokenizer), CASES, 2_000):
        assert_same(example)


def assert_same(example: Example) -> None:
    """As the service is sent it, what predicts a labelled token has the weight, and nothing else."""
    datum = _datum(shifted(example, 0.25))
    tokens = datum.model_input.to_ints()
    targets = [int(token) for token in datum.loss_fn_inputs["target_tokens"].data]
    weights = list(datum.loss_fn_inputs["weights"].data)
    assert [*tokens, targets[-1]] == example.input_ids
    assert [tokens[0], *targets] == example.input_ids
    learnt = [target if weight else IGNORED for target, weight in zip(targets, weights, strict=True)]
    assert [IGNORED, *learnt] == example.labels
    assert set(weights) <= {0.0, 0.25}
    assert sum(map(bool, weights)) == example.supervised


@given(st.integers(1, 400), st.floats(0, 1))
def test_the_rate_is_transformers(total: int, warmup: float) -> None:
    rising = math.ceil(total * warmup)
    for step in range(total):
        known = _get_cosine_schedule_with_warmup_lr_lambda(
            step, num_warmup_steps=rising, num_training_steps=total, num_cycles=0.5
        )
        assert rate_share(step, warmup, total) == known


def test_the_optimizer_is_the_local_trainer_s(tmp_path: Path) -> None:
    from harness.training.local.sft import arguments

    local = arguments(RECIPE, EXACT, 0, str(tmp_path))
    assert (local.adam_beta1, local.adam_beta2) == BETAS
    assert (local.adam_epsilon, local.max_grad_norm) == (EPSILON, CLIP_NORM)
    assert local.get_warmup_steps(7) == math.ceil(7 * RECIPE.warmup)


@settings(max_examples=25)
@given(st.integers(1, 30), st.integers(1, 9), st.floats(0.1, 3.5), st.integers(0, 2**31 - 1))
def test_every_epoch_has_every_row_once(n: int, batch_rows: int, epochs: float, seed: int) -> None:
    steps = plan_steps(
        [10 + k for k in range(n)], replace(RECIPE, batch_rows=batch_rows, epochs=epochs), seed
    )
    an_epoch = math.ceil(n / batch_rows)
    assert len(steps) == math.ceil(epochs * an_epoch)
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    for begin in range(0, len(steps) - an_epoch + 1, an_epoch):
        assert sorted(k for step in steps[begin : begin + an_epoch] for k in step.rows) == list(range(n))


def test_a_step_s_loss_is_the_mean_over_its_labelled_tokens() -> None:
    plan = plan_of()
    for step in plan.steps:
        weights = [weight for datum in plan.data(step) for weight in datum.weights]
        assert sum(weights) == pytest.approx(1.0)
        assert len({weight for weight in weights if weight}) == 1


def test_the_development_loss_is_measured_as_locally() -> None:
    plan = plan_of(dev=3)
    rng = np.random.default_rng(0)
    logprobs = [list(-rng.random(len(e.input_ids) - 1)) for e in plan.dev]
    weights = [shifted(e).weights for e in plan.dev]
    learnt = [
        [v for v, w in zip(row, weight, strict=True) if w]
        for row, weight in zip(logprobs, weights, strict=True)
    ]
    found = plan.dev_loss(logprobs)
    assert found.mean == pytest.approx(-sum(map(sum, learnt)) / sum(map(len, learnt)))
    assert found.standard_error is not None
    assert plan_of(dev=1).dev_loss(logprobs[:1]).standard_error is None


def test_the_price_is_known_to_the_token() -> None:
    plan = plan_of(n=8, dev=3)
    trained = sum(len(e.input_ids) - 1 for e in examples(8)) * 2
    measured = sum(len(e.input_ids) - 1 for e in examples(3)) * 2
    assert plan.tokens() == trained + measured
    assert plan.tokens(done=len(plan.steps)) == 0
    assert plan.tokens(4) < plan.tokens(3)


@pytest.mark.parametrize("missing", [0, 1])
def test_the_cap_is_that_price_exactly(missing: int) -> None:
    job, wire = job_of(), Wire()
    price = Price(job.base, 0.2, 0.6, 0.44, "economics.toml", None)
    tokens = job.plan.tokens()
    ledger = Ledger((tokens - missing) * 0.44 / 1e6 + 1e-12)
    spending = Spending(job.base, price, ledger, "training", is_tuned=True)

    def money(most: int) -> JobBudget:
        return JobBudget(spending, TokenBill(most, most, most), job.base)

    if missing:
        with pytest.raises(BudgetReached):
            Machine(wire).train(job, money=money)
        assert (wire.billed, wire.sessions) == (0, {})
        assert ledger.spent_usd == 0
        return
    Machine(wire).train(job, money=money)
    assert wire.billed == tokens
    assert ledger.spent_usd == pytest.approx(tokens * 0.44 / 1e6)
    assert ledger.reserved_usd == 0
