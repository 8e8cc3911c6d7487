"""The cap on spending holds, whatever happens at once."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.decision.plan import PURPOSES
from harness.errors import BudgetReached, HarnessError
from harness.models.ledger import Account, Ledger
from harness.records import SpendingLine


def spend_somehow(ledger: Ledger, rng: random.Random, peaks: list[float]) -> int:
    """40 steps of random cost that are billed or not billed; how many were refused."""
    refused = 0
    for _ in range(40):
        upper = rng.random()
        try:
            reservation = ledger.reserve(upper, Account(rng.choice(PURPOSES)))
        except BudgetReached:
            refused += 1
            continue
        peaks.append(ledger.spent_usd + ledger.reserved_usd)
        if rng.random() < 0.8:
            reservation.settle(upper * rng.random())
        else:
            reservation.release()
    return refused


@pytest.mark.parametrize("seed", range(200))
def test_the_cap_is_never_passed_by_threads(seed: int) -> None:
    rng = random.Random(seed)
    ledger, peaks = Ledger(rng.uniform(0.5, 20)), list[float]()
    assert ledger.max_usd is not None
    seeds = [rng.random() for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        refused = sum(threads.map(lambda s: spend_somehow(ledger, random.Random(s), peaks), seeds))
    assert ledger.spent_usd <= ledger.max_usd
    assert ledger.reserved_usd == 0
    assert sum(line.usd for line in ledger.lines()) == pytest.approx(ledger.spent_usd)
    assert refused > 0 or ledger.max_usd > 10, "the cap was met at all"


@given(seed=st.integers(0, 2**32), cap=st.floats(0, 10))
def test_the_cap_is_never_passed_by_tasks(seed: int, cap: float) -> None:
    rng = random.Random(seed)
    ledger = Ledger(cap)

    async def step() -> None:
        upper = rng.random()
        try:
            reservation = ledger.reserve(upper)
        except BudgetReached:
            return
        assert ledger.spent_usd + ledger.reserved_usd <= cap + 1e-9
        await asyncio.sleep(0)
        reservation.settle(upper * rng.random())

    async def steps() -> None:
        await asyncio.gather(*(step() for _ in range(50)))

    asyncio.run(steps())
    assert ledger.spent_usd <= cap


def test_ten_times_a_tenth_fit_into_one() -> None:
    ledger = Ledger(1.0)
    for _ in range(10):
        ledger.reserve(0.1).settle(0.1)
    assert ledger.spent_usd == 1.0
    with pytest.raises(BudgetReached):
        ledger.reserve(1e-9)


def test_reaching_the_cap_says_what_was_spent_what_is_missing_and_how_to_go_on() -> None:
    ledger = Ledger(2.0)
    ledger.reserve(1.25).settle(1.25)
    ledger.reserve(0.5)
    with pytest.raises(BudgetReached) as caught:
        ledger.reserve(0.75)
    reached = caught.value
    assert isinstance(reached, HarnessError)
    assert reached.may_fit_later, "the half dollar on its way may turn out cheaper"
    told = str(reached.naming("1,203 of 2,000 answers of gpt-4o-mini"))
    for part in ("--max-usd=2", "1.25 USD is spent", "0.5 USD is on its way", "0.75 USD", "1,203 of 2,000"):
        assert part in told
    assert "run the same command again with a higher --max-usd" in told


def test_what_could_never_fit_is_told_apart() -> None:
    ledger = Ledger(2.0)
    ledger.reserve(1.0)
    with pytest.raises(BudgetReached) as caught:
        ledger.reserve(2.5)
    assert not caught.value.may_fit_later


def test_a_bill_above_what_was_set_aside_is_counted_whole() -> None:
    ledger = Ledger(1.0)
    ledger.reserve(0.2).settle(0.9)
    assert ledger.spent_usd == 0.9
    with pytest.raises(BudgetReached):
        ledger.reserve(0.2)


def test_without_a_cap_money_is_counted_and_nothing_refused() -> None:
    ledger = Ledger()
    ledger.reserve(1e6, Account("training")).settle(1e6)
    assert not ledger.is_capped
    assert ledger.lines() == (SpendingLine("training", "", False, 1e6, 1, None, None),)


def test_a_reservation_is_closed_once() -> None:
    reservation = Ledger().reserve(1.0)
    reservation.settle(0.5)
    with pytest.raises(ValueError, match="closed once"):
        reservation.release()


@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("inf")])
def test_only_amounts_of_money_are_taken(amount: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Ledger().reserve(amount)
    with pytest.raises(ValueError, match="no amount"):
        Ledger().reserve(1.0).settle(amount)


def test_bills_are_added_up_by_purpose_and_model() -> None:
    ledger = Ledger(10.0)
    for usd, prompt_tokens in ((0.5, 100), (0.25, 60)):
        ledger.reserve(1.0, Account("answers", "gpt-4o")).settle(usd, 1, prompt_tokens, 7)
    ledger.reserve(1.0, Account("answers", "gpt-4o", is_tuned=True)).settle(0.5, 40, 1_000, 80)
    ledger.reserve(1.0, Account("judging", "gpt-4o")).settle(0.125, 1, 10, 3)
    ledger.reserve(1.0, Account("judging", "gpt-4o")).settle(1.0)  # the bill is not known
    ledger.reserve(1.0, Account("training", "gpt-4o", is_tuned=True)).release()
    assert ledger.lines() == (
        SpendingLine("answers", "gpt-4o", False, 0.75, 2, 160, 14),
        SpendingLine("answers", "gpt-4o", True, 0.5, 40, 1_000, 80),
        SpendingLine("judging", "gpt-4o", False, 1.125, 2, None, None),
    )
    assert ledger.spent_usd == 2.375
