"""TinkerTuning from its rows to an answer: the vendor's SDK, and a stand-in of the service."""

from __future__ import annotations

import gc
import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tiny_llama import CHATML, build_tokenizer, rows

from benchmarks.tinker_curve import NOISE, compare
from harness import TinkerTuning
from harness.candidates.base import Variant
from harness.candidates.lab import Lab
from harness.errors import BudgetReached, HostedTrainingError, UsageError
from harness.models.ledger import Ledger, Money
from harness.models.progress import Silent
from harness.models.protocol import Decoding, Prompt
from harness.models.source import BUILTIN, ModelSource
from harness.records import Message, Price
from harness.store.adapters import AdapterStore
from harness.testing.fake_tinker import running_fake_tinker
from harness.testing.fake_tinker.app import FakeTinker
from harness.training.hosted.record import JobRecord
from harness.training.rows import TrainingData

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # the SDK leaves connections open
BASE = "Qwen/Qwen3-8B"
OTHERWISE = {
    "rank": 16,
    "epochs": 1.0,
    "learning_rate": 1e-4,
    "train_unembed": True,
    "base": "other/base",
}
PRICE = Price(BASE, 0.2, 0.6, 0.44, "economics.toml", None)


@pytest.fixture(scope="module")
def service() -> Iterator[FakeTinker]:
    with pytest.MonkeyPatch.context() as patch, running_fake_tinker(bases=[BASE]) as running:
        patch.setenv("TINKER_API_KEY", "tml-secret")
        patch.setenv("TINKER_TELEMETRY", "0")
        yield running
    with warnings.catch_warnings(action="ignore"):
        gc.collect()  # connections that the SDK forgets to close


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    turns = [(f"Order {k}?", f"No {k}.") for k in range(12)]
    told = [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in turns
    ]
    lines = [json.dumps(row) for row in told]
    (tmp_path / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "dev.jsonl").write_text("\n".join(lines[:3]).replace("Order", "Parcel"), encoding="utf-8")
    return Lab(tmp_path, AdapterStore(tmp_path / "store"), Silent())


def tuning(service: FakeTinker, **changes: object) -> TinkerTuning:
    made = TinkerTuning(
        base=BASE,
        tokenizer=BUILTIN,
        train="train.jsonl",
        dev="dev.jsonl",
        epochs=2,
        batch_rows=4,
        save_every=2,
    )
    return replace(made, base_url=service.url, **changes)  # type: ignore[arg-type]


def test_it_is_trained_once_asked_and_found_by_another_machine(service: FakeTinker, lab: Lab) -> None:
    candidate, before = tuning(service), service.billed_tokens["training"]
    variant = Variant("t", candidate, 8, 0)
    candidate.preflight(lab, variant)
    estimate = candidate.estimate(lab, variant)
    assert estimate.training is not None
    assert service.billed_tokens["training"] == before
    prepared = candidate.prepare(lab, variant)
    paid = service.billed_tokens["training"] - before
    assert paid == estimate.training.tokens == estimate.training.most_tokens
    assert prepared.training is not None
    assert (prepared.training.steps, prepared.training.rows) == (4, 8)
    assert [point.step for point in prepared.training.points] == [1, 3, 4]
    assert all(point.dev_loss for point in prepared.training.points)
    (answer,) = prepared.load().answer([Prompt("r", (Message("user", "Order 1?"),))], Decoding(), frozenset())
    assert answer.failure is None
    assert answer.text
    record = JobRecord.read(lab.adapters.folder(prepared.training.fingerprint))
    assert record.model.startswith("tinker://")
    assert record.ends is not None
    assert any("the service stores" in note for note in candidate.notes(lab, variant))
    assert candidate.estimate(lab, variant).training.is_kept  # type: ignore[union-attr]
    # the same by another machine
    elsewhere = Lab(lab.root, AdapterStore(lab.root / "elsewhere"), Silent())
    again = candidate.prepare(elsewhere, variant)
    assert again.identity == prepared.identity
    assert service.billed_tokens["training"] - before == paid
    # the base answers at the same address
    baseline = candidate.own_baseline()
    loaded = baseline.prepare(lab, Variant("b", baseline)).load()
    (answer,) = loaded.answer([Prompt("r", (Message("user", "Order 1?"),))], Decoding(), frozenset())
    assert answer.failure is None


def test_the_cap_refuses_before_anything_is_begun(service: FakeTinker, lab: Lab) -> None:
    candidate, before = tuning(service, learning_rate=1e-4), service.billed_tokens["training"]
    prices = {(BASE, True): PRICE, (BASE, False): PRICE}
    capped = replace(lab, money=Money(Ledger(1e-6), lambda: (prices, "economics.toml")))
    with pytest.raises(BudgetReached):
        candidate.prepare(capped, Variant("t", candidate, 8, 0))
    assert service.billed_tokens["training"] == before


def test_a_model_that_is_stored_no_more_says_what_to_do(service: FakeTinker, lab: Lab) -> None:
    candidate = tuning(service, keep_days=1, dev=None)
    variant = Variant("t", candidate, 4, 0)
    prepared = candidate.prepare(lab, variant)
    assert prepared.training is not None
    later = replace(lab, today=lambda: lab.today() + timedelta(days=3))
    candidate.prepare(later, variant).load()  # somebody has made its time longer: it is still there
    model = JobRecord.read(lab.adapters.folder(prepared.training.fingerprint)).model
    with candidate.service().looking() as rest:
        rest.delete_checkpoint_from_tinker_path(model).result()
    with pytest.raises(HostedTrainingError, match=r"delete .* and run again"):
        candidate.prepare(later, variant).load()


@pytest.mark.parametrize(
    "change", ["rank", "epochs", "learning_rate", "train_unembed", "base", "seed", "size"]
)
def test_what_shapes_the_model_names_another_training(service: FakeTinker, lab: Lab, change: str) -> None:
    plain = tuning(service)
    changes = {change: OTHERWISE[change]} if change in OTHERWISE else {}
    other = replace(plain, **changes)  # type: ignore[arg-type]
    variant = Variant("t", other, 6 if change == "size" else 8, int(change == "seed"))
    one = plain.estimate(lab, Variant("t", plain, 8, 0)).training
    two = other.estimate(lab, variant).training
    assert one is not None
    assert two is not None
    assert one.artifact != two.artifact


def test_what_shapes_nothing_names_the_same(service: FakeTinker, lab: Lab) -> None:
    plain = tuning(service)
    shapes_nothing = {"save_every": 7, "keep_days": None, "keep_states": True, "concurrency": 3}
    other = replace(plain, decoding=Decoding(max_new_tokens=9), **shapes_nothing)  # type: ignore[arg-type]
    estimates = [one.estimate(lab, Variant("t", one, 8, 0)).training for one in (plain, other)]
    assert len({one.artifact for one in estimates if one is not None}) == 1


def test_a_rehearsal_trains_and_asks_at_the_twin_without_a_key(
    service: FakeTinker, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TINKER_API_KEY")
    made = TinkerTuning(base=BASE, train="train.jsonl", epochs=1).redirected(service.url)
    assert (made.tokenizer, made.service().url) == (BUILTIN, service.url)
    assert made.remote(BASE).provider.name == "twin"
    model = made.prepare(lab, Variant("t", made, 4, 0)).load()
    (answer,) = model.answer([Prompt("r", (Message("user", "Order 1?"),))], Decoding(), frozenset())
    assert answer.failure is None


def test_a_base_that_may_think_must_be_told(service: FakeTinker, lab: Lab, tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    empty = "{% if enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    tokenizer.chat_template = CHATML.replace("assistant\n' }}", "assistant\n' }}" + empty)
    tokenizer.save_pretrained(tmp_path / "thinker")
    (tmp_path / "thinker" / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    candidate = tuning(service, tokenizer="thinker")
    with pytest.raises(UsageError, match="thinking=False"):
        candidate.preflight(lab, Variant("t", candidate, 8, 0))
    told = replace(candidate, thinking=False)
    told.preflight(lab, Variant("t", told, 8, 0))


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"rank": 0}, {"epochs": 0}, {"keep_days": 0}, {"learning_rate": 2.0}):
        with pytest.raises(UsageError):
            TinkerTuning(base=BASE, train="t.jsonl", **wrong)


def test_over_the_wire_the_losses_are_the_local_trainer_s(tiny: ModelSource, tmp_path: Path) -> None:
    """A sample of ``python -m benchmarks tinker_curve``: batches are compared there, token for token."""
    data = TrainingData(rows(10), dev=rows(14)[10:])
    ((here, there),) = compare(tmp_path, tiny, data, (9,), epochs=2)
    assert here.steps == len(here.losses) == 4
    assert there.losses == pytest.approx(here.losses, abs=NOISE)
    assert there.dev == pytest.approx(here.dev, abs=NOISE)
