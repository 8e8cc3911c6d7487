"""One cap over calls, batches and a training that are all under way at once."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace
from typing import cast

import anyio
import pytest
from anyio.lowlevel import checkpoint
from batch_service import BatchService, Body, answered

from harness.decision.prices import price_of
from harness.errors import BudgetReached, ModelError
from harness.models.call_scheduler import CallFailed
from harness.models.endpoint import Endpoint
from harness.models.ledger import ANYBODY, Account, Ledger, Reservation, Spending, prompt_bound
from harness.models.progress import Silent
from harness.models.protocol import Decoding, Prompt
from harness.models.remote import OpenRemoteModel, RemoteModel
from harness.models.retry import CallVerdict
from harness.records import Message
from harness.training.hosted.budget import JobBudget, TokenBill

MODEL, MOST_TOKENS = "gpt-4o-mini", 20
PRICE, TUNED = price_of(MODEL, tuned=False), price_of(MODEL, tuned=True)
TURNS = (Message("user", "Where is my parcel?"),)
MOST_PROMPT = prompt_bound(MODEL)(TURNS)


class Watched(Ledger):
    """A ledger that remembers the most that was spent and on its way together."""

    peak_usd = 0.0

    def reserve(self, upper_usd: float, account: Account = ANYBODY, missing: str = "") -> Reservation:
        reservation = super().reserve(upper_usd, account, missing)
        self.peak_usd = max(self.peak_usd, self.spent_usd + self.reserved_usd)
        return reservation


class Provider:
    """Bills what it answers, and answers at random: in full, not at all, or so that the answer is lost."""

    def __init__(self, seed: int) -> None:
        self.rng, self.billed_usd = random.Random(seed), 0.0
        self.batches = BatchService(self.batched, looks=2)

    def tokens(self, batched: bool) -> tuple[int, int]:
        asked, said = self.rng.randint(1, MOST_PROMPT), self.rng.randint(0, MOST_TOKENS)
        usd = (asked * PRICE.input_usd_per_mtok + said * PRICE.output_usd_per_mtok) / 1e6
        self.billed_usd += usd / 2 if batched else usd
        return asked, said

    def batched(self, request: Body) -> Body | int | None:
        way = self.rng.random()
        return 400 if way < 0.1 else None if way < 0.2 else answered("yes", *self.tokens(batched=True))

    async def post(self, path: str, **given: object) -> SimpleNamespace:
        await checkpoint()
        way = self.rng.random()
        if way < 0.1:
            raise CallFailed("HTTP 429", CallVerdict(True, throttled=True, retry_after_s=0.001))
        body = answered("yes", *self.tokens(batched=False))
        if way < 0.2:
            raise CallFailed("no connection", CallVerdict(True), unbilled=False)
        if way < 0.3:
            del body["usage"]
        return SimpleNamespace(content=json.dumps(body).encode())

    def async_client(self, connections: int) -> object:
        return _Entered(self)


class _Entered:
    def __init__(self, provider: Provider) -> None:
        self.post = provider.post

    async def __aenter__(self) -> _Entered:
        return self

    async def __aexit__(self, *error: object) -> None:
        return


async def at_once(seconds: float) -> None:
    """Nothing here takes time."""
    await checkpoint()


def ask(ledger: Ledger, rows: int, at_once: int, *, batch: bool) -> None:
    url = "http://127.0.0.1:9/v1"
    spec = RemoteModel(MODEL, base_url=url, profile="twin", concurrency=at_once, batch=batch, attempts=2)
    spending = Spending(MODEL, PRICE, ledger)
    model = OpenRemoteModel(spec, spending, Silent(), sleep=lambda _: None)
    prompts = [Prompt(f"r{k}", TURNS) for k in range(rows)]
    with suppress(BudgetReached, ModelError):
        list(model.answer(prompts, Decoding(max_new_tokens=MOST_TOKENS), frozenset()))


def tune(ledger: Ledger, rng: random.Random, provider: Provider) -> None:
    bill = TokenBill(1e3, rng.choice([1e3, 1e4, 1e5]))
    budget = JobBudget(Spending(MODEL, TUNED, ledger, "training", is_tuned=True), bill, MODEL)
    with suppress(BudgetReached):
        budget.reserve()
        budget.submitting()
        trained = rng.randint(0, int(bill.most or 0))
        provider.billed_usd += trained * (TUNED.training_usd_per_mtok or 0) / 1e6
        if rng.random() < 0.7:
            budget.settle(rng.choice([trained, None]))
        else:
            budget.leave()


@pytest.mark.parametrize("seed", range(80))
def test_the_cap_is_never_passed_by_calls_batches_and_trainings_together(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anyio, "sleep", at_once)
    rng = random.Random(seed)
    providers = [Provider(rng.randrange(2**32)) for _ in range(3)]
    calling, batching, tuning = providers
    monkeypatch.setattr(Endpoint, "client", lambda endpoint: batching.batches.client())
    monkeypatch.setattr(Endpoint, "async_client", lambda endpoint, n: calling.async_client(n))
    ledger = Watched(10 ** rng.uniform(-4.5, -1))
    rows = rng.randint(1, 60)
    with ThreadPoolExecutor(4) as threads:
        work = [
            threads.submit(ask, ledger, rows, rng.randint(1, 32), batch=False),
            threads.submit(ask, ledger, rng.randint(1, 60), 1, batch=True),
            threads.submit(tune, ledger, random.Random(rng.random()), tuning),
        ]
        for one in work:
            one.result()
    cap = cast("float", ledger.max_usd)
    assert ledger.peak_usd <= cap + 1e-12
    assert ledger.spent_usd <= cap
    assert sum(provider.billed_usd for provider in providers) <= ledger.spent_usd + 1e-9
    assert ledger.reserved_usd == 0
