"""What calls cost: published prices, cached input, the batch interface, and bounds before a call is sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import NebiusTuning, RemoteModel
from harness.decision.economics_file import parse_economics
from harness.decision.prices import batch_price, billed_as, call_usd, most_usd, price_of
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


# --------------------------------------------------------------------------- services of open models
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


@pytest.mark.parametrize(
    ("service", "model", "training", "hour"),
    [
        ("nebius", LLAMA, 0.40, None),
        ("nebius", "meta-llama/Meta-Llama-3.1-8B-Instruct", 0.40, None),
        ("tinker", "Qwen/Qwen3-8B", 0.44, None),
        ("together", "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference", 0.48, 3.99),
        ("fireworks", "accounts/fireworks/models/llama-v3p1-8b-instruct", 0.50, 8.0),
        ("fireworks", "accounts/fireworks/models/qwen2p5-72b-instruct", 3.00, 8.0),
        ("fireworks", "accounts/fireworks/models/mixtral-8x22b-instruct", 6.00, 8.0),
        ("fireworks", "accounts/fireworks/models/qwen3-30b-a3b", 3.00, 8.0),
    ],
)
def test_one_base_has_its_own_price_at_each_service(
    service: str, model: str, training: float, hour: float | None
) -> None:
    price = price_of(billed_as(service, model), tuned=True)
    assert (price.training_usd_per_mtok, price.hosting_usd_per_hour) == (training, hour)
    assert price.model == f"{service}/{model} (tuned)"
    assert price.date
    assert "https://" in price.source


@pytest.mark.parametrize(
    ("service", "model", "tuned"),
    [
        ("nebius", "openai/gpt-oss-20b", True),  # not below 20B
        ("nebius", "Qwen/Qwen3-14B", True),  # what its answers cost was not read
        ("tinker", "meta-llama/Llama-3.1-8B-Instruct", True),
        ("together", "meta-llama/Llama-3.3-70B-Instruct", True),
        ("fireworks", "accounts/me/models/nameless", True),
        ("fireworks", "accounts/fireworks/models/llama-v3p1-8b-instruct", False),  # a base by the hour
        ("nebius", "gpt-4o-mini", True),  # OpenAI's price is no other service's
        ("somewhere", LLAMA, True),
    ],
)
def test_what_was_not_read_has_no_price(service: str, model: str, tuned: bool) -> None:
    with pytest.raises(UnknownName, match=r'write into economics.toml: \[prices\."'):
        price_of(billed_as(service, model), tuned)


def test_a_base_is_asked_at_the_price_of_its_service_without_the_price_of_tuning() -> None:
    base = price_of(billed_as("tinker", "Qwen/Qwen3-8B"), tuned=False)
    assert (base.input_usd_per_mtok, base.output_usd_per_mtok) == (0.195, 0.60)
    assert (base.training_usd_per_mtok, base.storage_usd_per_gb_month) == (None, None)


def test_a_projects_price_of_a_model_at_a_service_comes_before_that_of_the_model_alone() -> None:
    text = f"""
    requests_per_day = 1
    [prices."{LLAMA}".tuned]
    input_usd_per_mtok = 1
    output_usd_per_mtok = 1
    [prices."nebius/{LLAMA}".tuned]
    input_usd_per_mtok = 2
    output_usd_per_mtok = 2
    """
    own = parse_economics(text, "economics.toml").prices
    assert price_of(billed_as("nebius", LLAMA), True, own).input_usd_per_mtok == 2
    assert price_of(billed_as("fireworks", LLAMA), True, own).input_usd_per_mtok == 1
    assert price_of(LLAMA, True, own).input_usd_per_mtok == 1


def test_a_model_is_billed_as_at_its_service_also_in_a_rehearsal() -> None:
    tuning = NebiusTuning(base=LLAMA, train="train.jsonl")
    redirected = tuning.redirected("http://127.0.0.1:1/v1")
    baseline = tuning.own_baseline()
    for one in (tuning, redirected):
        assert one.endpoint().billed_as == f"nebius/{LLAMA}"
        assert price_of(one.endpoint().billed_as, True) == price_of(f"nebius/{LLAMA}", True)
    for model in (baseline.endpoint(), baseline.redirected("http://127.0.0.1:1/v1").endpoint()):
        assert model is not None
        assert model.billed_as == "nebius/meta-llama/Meta-Llama-3.1-8B-Instruct"
    assert RemoteModel("gpt-4o").billed_as == RemoteModel("gpt-4o", profile="twin").billed_as == "gpt-4o"
    assert RemoteModel("m", base_url="http://127.0.0.1:1/v1", profile="twin/nebius").provider.name == "twin"
    with pytest.raises(UnknownName):
        assert RemoteModel("m", profile="azure/nebius").provider
