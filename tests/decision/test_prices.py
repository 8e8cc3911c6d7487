"""What calls cost: published prices, cached input, the batch interface, and bounds before a call is sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.decision.economics_file import parse_economics
from harness.decision.prices import batch_price, call_usd, most_usd, price_of
from harness.errors import UnknownName, UsageError
from harness.records import Price

MINI = price_of("gpt-4o-mini-2024-07-18", tuned=False)
counts = st.integers(0, 10**6)


@pytest.mark.parametrize(
    ("model", "tuned", "cached"),
    [
        ("gpt-4o-mini", False, 0.075),
        ("gpt-4o-mini", True, 0.15),
        ("gpt-4o", False, 1.25),
        ("gpt-4o", True, 1.875),
        ("gpt-4.1", False, 0.50),
        ("gpt-4.1", True, 0.75),
        ("gpt-4.1-mini", False, 0.10),
        ("gpt-4.1-mini", True, 0.20),
        ("gpt-3.5-turbo", False, None),
        ("davinci-002", True, None),
    ],
)
def test_cached_input_has_its_published_price(model: str, tuned: bool, cached: float | None) -> None:
    assert price_of(model, tuned).cached_input_usd_per_mtok == cached


def test_an_answer_costs_its_tokens_cached_ones_at_their_price() -> None:
    cost = call_usd(MINI, 1_000_000, 100_000, cached_prompt_tokens=400_000)
    assert cost == pytest.approx(0.6 * 0.15 + 0.4 * 0.075 + 0.1 * 0.60)


def test_a_batched_answer_costs_half_and_its_cached_input_what_other_input_does() -> None:
    cost = call_usd(batch_price(MINI), 1_000_000, 100_000, cached_prompt_tokens=400_000)
    assert cost == pytest.approx((0.15 + 0.1 * 0.60) / 2)
    assert batch_price(MINI).cached_input_usd_per_mtok is None


def test_a_model_without_a_price_for_cached_input_bills_it_as_input() -> None:
    plain = price_of("gpt-3.5-turbo", tuned=False)
    assert call_usd(plain, 1000, 0, cached_prompt_tokens=900) == pytest.approx(1000 * 0.50 / 1e6)


@given(prompt=counts, cached=counts, written=counts, dear=st.floats(0, 100))
def test_no_call_costs_more_than_the_most_that_it_can(
    prompt: int, cached: int, written: int, dear: float
) -> None:
    price = Price("m", 1.0, 2.0, None, "test", None, dear)
    most = most_usd(price, prompt, 10**6, "m")
    assert call_usd(price, prompt, written, min(cached, prompt)) <= most * (1 + 1e-12)


def test_a_call_that_nothing_bounds_is_refused_with_the_setting_to_add() -> None:
    with pytest.raises(UsageError, match=r"--max-usd cannot hold.*\n.*max_tokens"):
        most_usd(MINI, 100, None, "gpt-4o-mini")


def test_a_missing_price_names_the_model_and_the_file_to_edit() -> None:
    with pytest.raises(UnknownName, match=r'gpt-9.*suites/economics.toml: \[prices."gpt-9"\]'):
        price_of("gpt-9", tuned=False, where="suites/economics.toml")


@pytest.mark.parametrize("tuned", [True, False])
def test_a_snapshot_of_month_and_day_costs_what_its_family_costs(tuned: bool) -> None:
    assert price_of("gpt-3.5-turbo-0125", tuned) == price_of("gpt-3.5-turbo", tuned)
    with pytest.raises(UnknownName):
        price_of("gpt-3.5-turbo-16", tuned)


def test_a_project_may_price_cached_input_itself() -> None:
    table = "input_usd_per_mtok = 1.0\noutput_usd_per_mtok = 2.0\ncached_input_usd_per_mtok = 0.25"
    config = parse_economics(f"requests_per_day = 1\n[prices.mine]\n{table}", "economics.toml")
    assert price_of("mine", False, config.prices).cached_input_usd_per_mtok == 0.25
