"""The thinner training loop computes what TRL's own computes, on exactly the rows it was given."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from tiny_llama import BF16, EXACT, build_granite, build_tokenizer, row, rows
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness import Full, LoRA
from harness.errors import TrainingError
from harness.models import quiet_transformers
from harness.models.chat_format import Chat
from harness.models.device import DevicePlan
from harness.models.fast import ALL_OFF
from harness.models.fast.heads import has_plain_head
from harness.models.progress import SilentBar
from harness.models.source import ModelSource
from harness.training.local import batches, sft
from harness.training.local.losses import measure_loss, padded, token_losses
from harness.training.local.recipe import Recipe, trainable_model
from harness.training.local.tokens import IGNORED, Example, encode_rows
from harness.training.local.trainer import (
    StepDone,
    overfitting,
    require_all_rows,
    train,
)

LORA = LoRA(base="tiny", train="train.jsonl", r=4, alpha=8, batch_rows=4, epochs=1).recipe()
FULL = Full(base="tiny", train="train.jsonl", batch_rows=4, epochs=1).recipe()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """As fine-tuning calls the trainer."""
    with quiet_transformers():
        yield


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return build_tokenizer()


@pytest.fixture(scope="module")
def examples(tokenizer: PreTrainedTokenizerBase) -> list[Example]:
    several_turns = row("one", ("wrong", 0), "two", "second", "three", "third", id="turns")
    return encode_rows(Chat(tokenizer), [*rows(7), several_turns], 1000)


def collate(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    return padded(examples, 2, torch.device("cpu"))


def trainable(recipe: Recipe, source: ModelSource, plan: DevicePlan) -> PreTrainedModel:
    """The model as training begins, its adapters no longer zero."""
    torch.manual_seed(0)
    model = trainable_model(recipe, source, plan)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def gradients(model: torch.nn.Module) -> torch.Tensor:
    found = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return torch.cat(found)


def trainers(
    model: PreTrainedModel,
    recipe: Recipe,
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    plan: DevicePlan,
    scratch: Path,
) -> tuple[object, object]:
    """Ours and TRL's own, on the same model."""
    import datasets
    from trl import SFTTrainer

    made = []
    for kind in (partial(sft.ThinTrainer, plan), SFTTrainer):
        data = datasets.Dataset.from_list([{"input_ids": e.input_ids, "labels": e.labels} for e in examples])
        args = sft.arguments(recipe, plan, 0, str(scratch))
        made.append(kind(model=model, args=args, train_dataset=data, processing_class=tokenizer))
    return made[0], made[1]


# --------------------------------------------------------------------------- the loss
@pytest.mark.parametrize("recipe", [LORA, FULL], ids=["lora", "full"])
def test_loss_and_gradients_are_those_of_trl(
    tiny: ModelSource,
    recipe: Recipe,
    examples: list[Example],
    tokenizer: PreTrainedTokenizerBase,
    tmp_path: Path,
) -> None:
    model = trainable(recipe, tiny, EXACT)
    ours, theirs = trainers(model, recipe, examples, tokenizer, EXACT, tmp_path)
    items = torch.tensor(sum(example.supervised for example in examples) + 5)  # as over several micro-batches
    losses, slopes = [], []
    for one in (ours, theirs):
        model.train()
        loss = one.compute_loss(model, collate(examples), num_items_in_batch=items)  # type: ignore[attr-defined]
        loss.backward()
        losses.append(float(loss.detach()))
        slopes.append(gradients(model))
    assert ours._thin is True  # type: ignore[attr-defined]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    torch.testing.assert_close(slopes[0], slopes[1], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("limit", [1, 20, 10_000], ids=["row by row", "in parts", "whole"])
def test_a_step_in_parts_has_the_loss_and_gradients_of_the_whole_batch(
    tiny: ModelSource,
    examples: list[Example],
    tokenizer: PreTrainedTokenizerBase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: int,
) -> None:
    model = trainable(LORA, tiny, EXACT)
    ours, _ = trainers(model, LORA, examples, tokenizer, EXACT, tmp_path)
    items = torch.tensor(sum(example.supervised for example in examples))
    model.train()
    ours.compute_loss(model, collate(examples), num_items_in_batch=items).backward()  # type: ignore[attr-defined]
    whole, reported = gradients(model), (ours.last_loss, ours.last_accuracy)  # type: ignore[attr-defined]
    monkeypatch.setattr(batches, "PART_TOKENS", {"cpu": limit})
    loss = ours.training_step(model, collate(examples), items)  # type: ignore[attr-defined]
    torch.testing.assert_close(gradients(model), whole, atol=1e-6, rtol=1e-4)
    assert float(loss) == pytest.approx(reported[0], rel=1e-5)
    assert (ours.last_loss, ours.last_accuracy) == pytest.approx(reported)  # type: ignore[attr-defined]


@pytest.mark.parametrize("recipe", [LORA, FULL], ids=["lora", "full"])
def test_in_bfloat16_the_first_steps_gradients_point_where_float32s_do(
    tiny: ModelSource,
    recipe: Recipe,
    examples: list[Example],
    tokenizer: PreTrainedTokenizerBase,
    tmp_path: Path,
) -> None:
    slopes = []
    for plan in (EXACT, BF16):
        model = trainable(recipe, tiny, EXACT if plan is EXACT else BF16)
        ours, _ = trainers(model, recipe, examples, tokenizer, plan, tmp_path)
        model.train()
        ours.compute_loss(model, collate(examples)).backward()  # type: ignore[attr-defined]
        slopes.append(gradients(model))
    assert slopes[0].shape == slopes[1].shape
    assert float(torch.nn.functional.cosine_similarity(slopes[0], slopes[1], dim=0)) > 0.99


def test_products_run_in_the_plans_precision_while_weights_stay_float32(
    tiny: ModelSource, examples: list[Example], tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    model = trainable_model(FULL, tiny, BF16)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    seen: set[torch.dtype] = set()
    model.model.layers[0].mlp.down_proj.register_forward_hook(lambda _m, _i, out: seen.add(out.dtype))
    ours, _ = trainers(model, FULL, examples, tokenizer, BF16, tmp_path)
    ours.compute_loss(model, collate(examples))  # type: ignore[attr-defined]
    assert seen == {torch.bfloat16}


def test_a_turn_of_weight_0_does_not_touch_the_loss(
    tiny: ModelSource, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Its text is read, as inference would, but whether it is likely does not count."""
    model = trainable(LORA, tiny, EXACT)
    chat = encode_rows(Chat(tokenizer), [row("one", ("wrong", 0), "two", "second")], 1000)[0]
    losses, _, _ = token_losses(model, collate([chat]))
    ids = torch.tensor([chat.input_ids])
    logs = torch.log_softmax(model(ids).logits, dim=-1)
    by_hand = [-logs[0, k - 1, label] for k, label in enumerate(chat.labels) if label != IGNORED]
    assert len(losses) == len(by_hand) == chat.supervised
    torch.testing.assert_close(losses, torch.stack(by_hand), rtol=1e-5, atol=0)


def test_padding_changes_no_row(tiny: ModelSource, examples: list[Example]) -> None:
    model = trainable(LORA, tiny, EXACT).eval()
    together, right, owners = token_losses(model, collate(examples))
    for k, example in enumerate(examples):
        alone, own_right, _ = token_losses(model, collate([example]))
        torch.testing.assert_close(together[owners == k], alone, atol=1e-4, rtol=1e-4)
        assert torch.equal(right[owners == k], own_right)


def test_the_head_meets_only_labelled_positions_in_contiguous_memory(
    tiny: ModelSource, examples: list[Example]
) -> None:
    for recipe in (LORA, FULL):
        model = trainable(recipe, tiny, EXACT)
        seen: list[tuple[bool, int]] = []
        model.get_output_embeddings().register_forward_pre_hook(
            lambda _m, args, seen=seen: seen.append((args[0].is_contiguous(), args[0].shape[:-1].numel()))
        )
        token_losses(model, collate(examples))
        assert seen == [(True, sum(example.supervised for example in examples))]


# --------------------------------------------------------------------------- heads that are not plain
def test_a_scaled_head_is_noticed(tiny: ModelSource, tokenizer: PreTrainedTokenizerBase) -> None:
    assert has_plain_head(trainable(LORA, tiny, EXACT))
    model = build_granite(tokenizer).train()
    assert not has_plain_head(model)
    assert model.training


@pytest.mark.parametrize("plan", [EXACT, BF16], ids=lambda plan: plan.dtype)
def test_a_scaled_head_trains_with_trls_own_loss(
    plan: DevicePlan, examples: list[Example], tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    model = build_granite(tokenizer)
    ours, theirs = trainers(model, FULL, examples, tokenizer, plan, tmp_path)
    loss = ours.compute_loss(model, collate(examples))  # type: ignore[attr-defined]
    assert ours._thin is False  # type: ignore[attr-defined]
    expected = theirs.compute_loss(model, collate(examples))  # type: ignore[attr-defined]
    assert float(loss.detach()) == pytest.approx(
        float(expected.detach()), rel=1e-5 if plan is EXACT else 0.02
    )


def test_a_scaled_heads_development_loss_is_the_models_own(
    examples: list[Example], tokenizer: PreTrainedTokenizerBase
) -> None:
    model = build_granite(tokenizer).eval()
    batch = collate(examples)
    with torch.no_grad():
        own = model(batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"]).loss
    assert measure_loss(model, examples, EXACT, 2).mean == pytest.approx(float(own), rel=1e-4)


# --------------------------------------------------------------------------- rows
def test_trl_gets_every_row_with_its_labels(
    tiny: ModelSource, examples: list[Example], tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    ours, _ = trainers(trainable(LORA, tiny, EXACT), LORA, examples, tokenizer, EXACT, tmp_path)
    seen = []
    for batch in ours.get_train_dataloader():  # type: ignore[attr-defined]
        for ids, mask, labels in zip(
            batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True
        ):
            n = int(mask.sum())
            assert mask[:n].all()
            assert (labels[n:] == IGNORED).all()
            seen.append((ids[:n].tolist(), labels[:n].tolist()))
    assert sorted(seen) == sorted((e.input_ids, e.labels) for e in examples)


def test_trl_on_messages_learns_every_turn(
    tiny: ModelSource, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """Why rows are encoded here. When TRL changes its mind, this test says so."""
    import datasets
    from trl import SFTConfig, SFTTrainer

    turns = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "wrong", "weight": 0}]
    data = datasets.Dataset.from_list([{"messages": turns}])
    args = SFTConfig(output_dir=str(tmp_path), report_to="none", use_cpu=True, disable_tqdm=True)
    model = trainable(LORA, tiny, EXACT)
    kept = SFTTrainer(model=model, args=args, train_dataset=data, processing_class=tokenizer).train_dataset
    assert kept[0]["labels"] == kept[0]["input_ids"]


@pytest.mark.parametrize("lost", ["a row", "a token"])
def test_a_row_that_trl_loses_stops_the_training(examples: list[Example], lost: str) -> None:
    ids = [example.input_ids for example in examples]
    require_all_rows(ids, examples)
    kept = ids[1:] if lost == "a row" else [ids[0][:-1], *ids[1:]]
    with pytest.raises(
        TrainingError, match=rf"TRL kept {len(kept)} rows and \d+ tokens of {len(examples)} rows"
    ):
        require_all_rows(kept, examples)


def test_a_fully_masked_row_stops_the_training(
    tiny: ModelSource,
    examples: list[Example],
    tokenizer: PreTrainedTokenizerBase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TRL drops such a row where it may truncate; whatever it does, no row goes missing in silence."""
    arguments = sft.arguments

    def truncating(*given: object, **named: object) -> object:
        made = arguments(*given, **named)  # type: ignore[arg-type]
        made.max_length = 24
        return made

    monkeypatch.setattr(sft, "arguments", truncating)
    with pytest.raises(TrainingError, match="TRL kept"):
        train(trainable(LORA, tiny, EXACT), tokenizer, LORA, examples, [], EXACT, 0, SilentBar())


# --------------------------------------------------------------------------- measuring
def test_development_loss_and_its_standard_error_are_those_computed_by_hand(
    tiny: ModelSource, examples: list[Example]
) -> None:
    model = trainable(LORA, tiny, EXACT).eval()
    sums, counts, right = [], [], 0
    for example in examples:
        with torch.no_grad():
            logs = torch.log_softmax(model(torch.tensor([example.input_ids])).logits[0], dim=-1)
        learnt = [k for k, label in enumerate(example.labels) if label != IGNORED]
        sums.append(-sum(float(logs[k - 1, example.labels[k]]) for k in learnt))
        counts.append(len(learnt))
        right += sum(int(logs[k - 1].argmax()) == example.labels[k] for k in learnt)
    n, mean = len(sums), sum(sums) / sum(counts)
    spread = sum((s - mean * c) ** 2 for s, c in zip(sums, counts, strict=True)) / (n - 1)
    found = measure_loss(model, examples, EXACT, 2, batch_rows=3)
    assert found.rows == n
    assert found.mean == pytest.approx(mean, rel=1e-5)
    assert found.standard_error == pytest.approx(math.sqrt(n * spread) / sum(counts), rel=1e-4)
    assert found.token_accuracy == pytest.approx(right / sum(counts))


def test_one_row_has_no_standard_error(tiny: ModelSource, examples: list[Example]) -> None:
    assert measure_loss(trainable(LORA, tiny, EXACT), examples[:1], EXACT, 2).standard_error is None


def test_measuring_leaves_training_as_it_was(tiny: ModelSource, examples: list[Example]) -> None:
    model = trainable(LORA, tiny, EXACT).train()
    measure_loss(model, examples, EXACT, 2)
    assert model.training


# --------------------------------------------------------------------------- a whole run
def test_a_run_measures_at_even_steps_and_reports_each(
    tiny: ModelSource, examples: list[Example], tokenizer: PreTrainedTokenizerBase
) -> None:
    told: list[tuple[float, float | None, str]] = []

    class Watching(SilentBar):
        def at(self, done: float, total: float | None = None, note: str = "") -> None:
            told.append((done, total, note))

    recipe = replace(LORA, epochs=3, dev_evaluations=3, learning_rate=5e-3)
    model = trainable(recipe, tiny, EXACT)
    before = measure_loss(model, examples[:4], EXACT, 2)
    curve = train(model, tokenizer, recipe, examples, examples[:4], EXACT, 0, Watching())
    assert curve.steps == 6
    assert [p.step for p in curve.points] == [2, 4, 6]
    assert [p.epoch for p in curve.points] == [1, 2, 3]
    assert [done for done, _, _ in told] == [1, 2, 3, 4, 5, 6]
    assert told[0][1] == 6
    assert "loss" in told[0][2]
    last = curve.points[-1]
    assert last.dev_loss == pytest.approx(measure_loss(model, examples[:4], EXACT, 2).mean, rel=1e-5)
    assert last.dev_loss is not None
    assert last.dev_loss < before.mean
    assert last.train_loss is not None
    assert curve.seconds > 0 < curve.evaluation_seconds


def test_a_run_draws_nothing_of_its_own(
    tiny: ModelSource,
    examples: list[Example],
    tokenizer: PreTrainedTokenizerBase,
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = trainable(LORA, tiny, EXACT)
    capfd.readouterr()
    train(model, tokenizer, LORA, examples, [], EXACT, 0, SilentBar())
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_without_development_rows_nothing_is_measured(
    tiny: ModelSource, examples: list[Example], tokenizer: PreTrainedTokenizerBase
) -> None:
    curve = train(trainable(LORA, tiny, EXACT), tokenizer, LORA, examples, [], EXACT, 0, SilentBar())
    assert {p.dev_loss for p in curve.points} == {None}
    assert overfitting(curve.points) is None


def test_who_watches_the_steps_hears_of_each_with_what_was_measured_after_it(
    tiny: ModelSource, examples: list[Example], tokenizer: PreTrainedTokenizerBase
) -> None:
    recipe, heard = replace(LORA, epochs=2, dev_evaluations=2), list[StepDone]()
    model = trainable(recipe, tiny, EXACT)

    def hear(done: StepDone, trained: PreTrainedModel) -> None:
        assert trained is model
        heard.append(done)

    curve = train(model, tokenizer, recipe, examples, examples[:3], EXACT, 0, SilentBar(), hear)
    assert [done.number for done in heard] == list(range(1, curve.steps + 1))
    assert {done.total for done in heard} == {curve.steps}
    assert tuple(done.point for done in heard if done.point) == curve.points
    halves = heard[: curve.steps // 2], heard[curve.steps // 2 :]
    means = [sum(done.train_loss for done in half) / len(half) for half in halves]
    assert means == [point.train_loss for point in curve.points]


def test_a_watcher_may_end_the_training(
    tiny: ModelSource, examples: list[Example], tokenizer: PreTrainedTokenizerBase
) -> None:
    def refuse(done: StepDone, trained: PreTrainedModel) -> None:
        raise KeyboardInterrupt(done.number)

    with pytest.raises(KeyboardInterrupt, match="1"):
        train(trainable(LORA, tiny, EXACT), tokenizer, LORA, examples, [], EXACT, 0, SilentBar(), refuse)


def test_nobody_is_told_that_something_is_trained(
    tiny: ModelSource,
    examples: list[Example],
    tokenizer: PreTrainedTokenizerBase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TRL reports every training to its makers, unless it believes to be in CI."""
    told: list[object] = []
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", lambda *a, **k: told.append(a))
    train(trainable(LORA, tiny, EXACT), tokenizer, LORA, examples, [], EXACT, 0, SilentBar())
    assert told == []


# --------------------------------------------------------------------------- TRL's own loss
@pytest.mark.parametrize("recipe", [LORA, FULL], ids=["lora", "full"])
def test_with_trls_own_loss_a_run_takes_the_same_batches_to_the_same_losses(
    tiny: ModelSource, recipe: Recipe, examples: list[Example], tokenizer: PreTrainedTokenizerBase
) -> None:
    curves, kept = [], []
    for plan in (EXACT, replace(EXACT, fast=ALL_OFF)):
        model = trainable(recipe, tiny, plan)
        long = replace(recipe, epochs=3, learning_rate=5e-3)
        curves.append(train(model, tokenizer, long, examples, examples[:4], plan, 0, SilentBar()))
        kept.append(torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad]))
    thin, own = (curve.points for curve in curves)
    assert [p.train_loss for p in own] == pytest.approx([p.train_loss for p in thin], abs=1e-5)
    assert [p.dev_loss for p in own] == pytest.approx([p.dev_loss for p in thin], abs=1e-5)
    assert {p.train_token_accuracy for p in own} == {None}
    torch.testing.assert_close(kept[0], kept[1], atol=1e-3, rtol=1e-3)
