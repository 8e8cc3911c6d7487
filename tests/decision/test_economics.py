"""Money: known cases to the cent, and configuration mistakes named with their key."""

from __future__ import annotations

import math
import re
from dataclasses import fields
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.decision.economics import Prices, appraise
from harness.decision.economics_file import EconomicsConfig, parse_economics
from harness.decision.money import Evidence, TrainingBill, Usage
from harness.decision.prices import HOSTED, batch_price, price_of, stale
from harness.errors import UnknownName, UsageError
from harness.records import Economics, Outlook, Price, PricedScore

BASE = price_of("gpt-4o-mini", tuned=False)
TUNED = price_of("gpt-4o-mini", tuned=True)
TRAINING = TrainingBill(tokens=500_000)
THOUSAND_A_DAY = EconomicsConfig(requests_per_day=1000, horizon_days=30)
LOCAL = EconomicsConfig(
    requests_per_day=1000,
    served_input_usd_per_mtok=1.0,
    served_output_usd_per_mtok=2.0,
    training_usd_per_hour=3.0,
)


def tuned_against_base(candidate: Price, config: EconomicsConfig = THOUSAND_A_DAY) -> Economics:
    """A million tokens a day, half of them written; the fine-tune's prompts are 40% shorter."""
    return appraise(
        "tuned",
        "base",
        Usage(prompt_tokens=300, completion_tokens=500, n=100),
        Usage(prompt_tokens=500, completion_tokens=500, n=80),
        config,
        TRAINING,
        Prices(candidate=candidate, baseline=BASE),
    )


def test_a_dearer_tuned_model_never_pays_for_itself() -> None:
    result = tuned_against_base(TUNED)
    assert result.training_usd == pytest.approx(1.50)
    assert result.baseline_usd_per_day * 30 == pytest.approx(11.25)
    assert result.candidate_usd_per_day * 30 == pytest.approx(20.70)
    assert result.candidate_usd_per_day * 30 + result.training_usd == pytest.approx(22.20)
    assert result.saving_usd_over_horizon == pytest.approx(11.25 - 22.20)
    assert result.break_even_days is None
    assert any("never paid back" in note for note in result.notes)
    assert result.n_requests_measured == 80


def test_a_tuned_model_priced_as_its_base_breaks_even_after_fifty_days() -> None:
    as_base = Price("own", 0.15, 0.60, 3.00, "the same", "2025-12-01")
    result = tuned_against_base(as_base)
    assert result.saving_usd_per_day == pytest.approx(0.03)
    assert result.break_even_days == pytest.approx(50)
    assert any("horizon of 30 days" in note for note in result.notes)


def test_free_training_that_saves_breaks_even_at_once() -> None:
    config = EconomicsConfig(
        1, served_input_usd_per_mtok=1, served_output_usd_per_mtok=1, training_usd_per_hour=0
    )

    def days(new: Usage, old: Usage) -> float | None:
        return appraise("a", "b", new, old, config, TrainingBill(seconds=9), Prices()).break_even_days

    cheap, dear = Usage(10, 0, 1), Usage(20, 0, 1)
    assert (days(cheap, dear), days(dear, dear), days(dear, cheap)) == (0, None, None)


def test_the_note_on_the_break_even_does_not_contradict_the_page() -> None:
    config = EconomicsConfig(1000, horizon_days=100, data_preparation_usd=0.03 * 90.3 - 1.5)
    (note,) = [
        note
        for note in tuned_against_base(Price("own", 0.15, 0.60, 3.00, "", "2025-12-01"), config).notes
        if "break-even" in note
    ]
    assert note.startswith("by tokens alone, break-even after 90.3 days, past 90 days")  # "90 days" there


def test_where_nothing_was_paid_no_note_speaks_of_paying_back() -> None:
    free = Price("own", 0.15, 0.60, 0.0, "", "2025-12-01")
    assert not any("break-even" in note for note in tuned_against_base(free).notes)


def test_large_sums_in_notes_are_written_out() -> None:
    config = EconomicsConfig(1000, data_preparation_usd=1_234_567)
    as_base = Price("own", 0.15, 0.60, 3.00, "", "2025-12-01")
    assert any("1,234,567 USD (data_prep" in note for note in tuned_against_base(as_base, config).notes)


def test_a_prompt_costs_no_training_and_no_data() -> None:
    config = EconomicsConfig(requests_per_day=10, data_preparation_usd=99)
    usage = Usage(10, 10, 5)
    result = appraise("prompt", "base", usage, usage, config, None, Prices(BASE, BASE))
    assert result.training_usd == 0
    assert result.saving_usd_per_day == 0


def test_data_preparation_and_training_hours_are_both_billed() -> None:
    text = "requests_per_day = 1\ntraining_usd_per_hour = 3\ndata_preparation_usd = 100\n"
    text += "served_input_usd_per_mtok = 0\nserved_output_usd_per_mtok = 0"
    config = parse_economics(text, "economics.toml")
    usage = Usage(1, 1, 1)
    result = appraise("a", "b", usage, usage, config, TrainingBill(seconds=1800), Prices())
    assert result.training_usd == pytest.approx(101.50)
    assert any("0.5 h at 3 USD an hour" in note for note in result.notes)


def test_a_gpu_hour_is_spread_over_the_measured_tokens_and_the_notes_say_so() -> None:
    config = EconomicsConfig(requests_per_day=1000, gpu_usd_per_hour=3.6)
    fast, slow = Usage(500, 500, 9, tokens_per_second=2000), Usage(500, 500, 9, tokens_per_second=1000)
    result = appraise("fast", "slow", fast, slow, config, None, Prices())
    assert result.baseline_price.input_usd_per_mtok == pytest.approx(1.0)  # 3.6 M tokens in an hour
    assert result.candidate_price.output_usd_per_mtok == pytest.approx(0.5)
    assert result.baseline_usd_per_day == pytest.approx(1.0)
    assert any("3.6 USD a GPU hour at 1000 measured tokens a second" in note for note in result.notes)


def test_a_gpu_hour_without_a_measured_speed_is_refused() -> None:
    config = EconomicsConfig(requests_per_day=1, gpu_usd_per_hour=3.6)
    with pytest.raises(UsageError, match="tokens a second"):
        appraise("a", "b", Usage(1, 1, 1), Usage(1, 1, 1), config, None, Prices())


def test_an_unpriced_local_model_or_training_names_the_keys_to_add() -> None:
    bare, usage = EconomicsConfig(requests_per_day=1), Usage(1, 1, 1)
    with pytest.raises(UsageError, match="served_input_usd_per_mtok"):
        appraise("a", "b", usage, usage, bare, None, Prices())
    with pytest.raises(UsageError, match=r"economics\.toml: .*training_usd_per_hour"):
        appraise("a", "b", usage, usage, bare, TrainingBill(seconds=9), Prices(BASE, BASE))


tokens = st.floats(0, 1e5)
saving_usages = st.tuples(tokens, tokens, tokens, tokens)


@given(usages=saving_usages, requests=st.floats(1, 1e7), factor=st.floats(1, 100))
def test_the_saving_grows_with_the_requests(
    usages: tuple[float, float, float, float], requests: float, factor: float
) -> None:
    new, old = Usage(usages[0], usages[1], 1), Usage(usages[2], usages[3], 1)

    def saving(a_day: float) -> float:
        config = EconomicsConfig(a_day, served_input_usd_per_mtok=1, served_output_usd_per_mtok=2)
        return appraise("a", "b", new, old, config, None, Prices()).saving_usd_per_day

    few, many = saving(requests), saving(requests * factor)
    assert abs(many) >= abs(few) * (1 - 1e-9)
    assert few * many >= 0
    assert many == pytest.approx(few * factor, rel=1e-6, abs=1e-6)


@given(usages=saving_usages, seconds=st.floats(0, 1e6), days=st.floats(1, 1000))
def test_days_and_dollars_agree_with_each_other(
    usages: tuple[float, float, float, float], seconds: float, days: float
) -> None:
    new, old = Usage(usages[0], usages[1], 1), Usage(usages[2], usages[3], 1)
    config = EconomicsConfig(
        1000,
        horizon_days=days,
        served_input_usd_per_mtok=1,
        served_output_usd_per_mtok=2,
        training_usd_per_hour=3,
    )
    result = appraise("a", "b", new, old, config, TrainingBill(seconds=seconds), Prices())
    saving = result.baseline_usd_per_day - result.candidate_usd_per_day
    assert result.saving_usd_per_day == pytest.approx(saving)
    assert (result.break_even_days is None) == (saving <= 0)
    if result.break_even_days is not None and result.break_even_days > 1e-6:
        paid = result.saving_usd_over_horizon >= -1e-9
        assert paid == (days >= result.break_even_days) or days == pytest.approx(result.break_even_days)


# --------------------------------------------------------------------------- published and worked examples
def at_base_prices(written: float, candidate: Price) -> float:
    """Saved a day by a prompt of 200 tokens for one of 2,000, at 100,000 requests."""
    config = EconomicsConfig(requests_per_day=100_000)
    sides = Usage(200, written, 9), Usage(2000, written, 9)
    return appraise("a", "b", *sides, config, None, Prices(candidate, BASE)).saving_usd_per_day


def test_a_shorter_prompt_saves_until_dearer_answers_cost_more() -> None:
    assert at_base_prices(100, BASE) == pytest.approx(27.00)
    assert at_base_prices(0, TUNED) == pytest.approx(24.00)
    assert at_base_prices(400, TUNED) == pytest.approx(0, abs=1e-9)
    assert at_base_prices(401, TUNED) < 0 < at_base_prices(399, TUNED)


def test_a_small_tuned_model_against_a_large_one_a_request() -> None:
    """200 prompt tokens at $0.30 a million against 2,000 at $2.50: $0.00006 against $0.005."""
    prices = Prices(TUNED, price_of("gpt-4o", tuned=False))
    found = appraise(
        "a", "b", Usage(200, 0, 9), Usage(2000, 0, 9), EconomicsConfig(1000), None, prices
    ).outlook
    assert found is not None
    assert found.usd_per_1000_requests.value == pytest.approx(0.06)
    assert found.baseline_usd_per_1000_requests.value == pytest.approx(5.00)


def test_five_points_fewer_escalations_of_10_000_queries_at_5_dollars() -> None:
    """A point is 100 queries, so $500 a day; from 15% to 10% escalated saves $2,500."""
    config = EconomicsConfig(10_000, served_input_usd_per_mtok=0, served_output_usd_per_mtok=0)
    kept = PricedScore("support", "not escalated", 500.0, 0.05, 0.03, 0.07, 400)
    usage = Usage(10, 10, 400)
    found = appraise("a", "b", usage, usage, config, None, Prices(), Evidence(priced=[kept])).outlook
    assert found is not None
    assert found.quality_usd_per_day is not None
    assert found.quality_usd_per_day.value == found.saving_usd_per_day.value == pytest.approx(2500.00)


ALL_PARTS = """
requests_per_day = 1000
horizon_days = 365
hourly_usd = 60
preparation_hours = 10
row_minutes = 0.5
served_input_usd_per_mtok = 10
served_output_usd_per_mtok = 0
training_usd_per_hour = 4
retraining_every_days = 73
retraining_rows = 73
labels_per_month = 365
label_usd = 0.5
review_hours_per_month = 2
"""


def outlook_of(text: str, rows: int = 400, pairs: int = 0, **usages: float) -> Outlook:
    new, old = Usage(100, 0, 9, **usages), Usage(2000, 0, 9, **usages)
    spread = [Usage(2000 + 10 * (k % 5), 0, 1) for k in range(pairs)]
    evidence = Evidence(rows, [(Usage(100, 0, 1), one) for one in spread])
    bill = TrainingBill(seconds=3600)
    config = parse_economics(text, "economics.toml")
    found = appraise("a", "b", new, old, config, bill, Prices(), evidence).outlook
    assert found is not None
    return found


def test_the_four_parts_are_those_worked_by_hand() -> None:
    """400 rows at half a minute and 10 hours at $60, one hour of training; $19 a day saved by tokens.

    Upkeep a day: ($4 and 73 rows at $0.50) / 73, 12 labels at $0.50, and 24 hours a year at $60.
    """
    found = outlook_of(ALL_PARTS)
    assert (found.preparation_usd.value, found.training_usd.value) == (800, 4)
    assert outlook_of(ALL_PARTS, rows=50).preparation_usd.value == 625
    assert found.inference_usd_per_day.value == pytest.approx(19.00)
    upkeep = (4 + 36.5) / 73 + 6 + 24 * 60 / 365
    assert found.maintenance_usd_per_day.value == pytest.approx(upkeep)
    assert found.break_even_days.value == pytest.approx(804 / (19 - upkeep))
    assert found.usd_over_horizon.value == pytest.approx(365 * (19 - upkeep) - 804)
    assert found.roi is not None
    assert found.roi.value == pytest.approx((365 * (19 - upkeep) - 804) / 804)
    assert found.quality_usd_per_day is None
    assert found.break_even_days.low is None is found.p_never  # no rows, no interval


def test_an_endpoint_by_the_hour_is_paid_whether_anybody_asks_or_not() -> None:
    text = """
    requests_per_day = 1000
    storage_gb = 2
    training_usd_per_mtok = 0
    [prices.tuned]
    hosting_usd_per_hour = 4
    storage_usd_per_gb_month = 0.1
    """
    config = parse_economics(text, "economics.toml")
    prices = Prices(config.prices["tuned", False], BASE)
    usage = Usage(1000, 1000, 9)
    money = appraise("a", "b", usage, usage, config, TrainingBill(1.0), prices)
    assert money.candidate_usd_per_day == pytest.approx(96 + 2.4 / 365)
    assert money.saving_usd_per_day == pytest.approx(0.75 - 96 - 2.4 / 365)


ENDPOINT = """
requests_per_day = 300_000
horizon_days = 30
hosting_hours_per_day = {hours}
hosting_replicas = {replicas}
[prices."llama-8b".tuned]
service = "fireworks up to 16B"
"""
THOUSAND = Usage(1000, 1000, 9)  # tokens in and out: $0.00075 a request by gpt-4o-mini


def endpoint_money(hours: float = 24, replicas: float = 1) -> Economics:
    config = parse_economics(ENDPOINT.format(hours=hours, replicas=replicas), "economics.toml")
    prices = Prices(config.prices["llama-8b", True], BASE)
    return appraise("a", "b", THOUSAND, THOUSAND, config, TrainingBill(tokens=660e6), prices)


@pytest.mark.parametrize(("hours", "replicas", "usd"), [(24, 1, 192), (8, 3, 192), (12, 1, 96), (24, 2, 384)])
def test_an_endpoint_costs_its_hours_times_its_replicas(hours: float, replicas: float, usd: float) -> None:
    """By hand: $8 an hour; 300,000 requests cost $225 by gpt-4o-mini; 660M tokens to train cost $330."""
    money = endpoint_money(hours, replicas)
    assert money.candidate_usd_per_day == pytest.approx(usd)
    assert money.baseline_usd_per_day == pytest.approx(225)
    assert money.training_usd == pytest.approx(330)
    assert money.break_even_days == (pytest.approx(330 / (225 - usd)) if usd < 225 else None)
    assert money.outlook is not None
    assert money.outlook.roi is not None
    assert money.outlook.roi.value == pytest.approx((30 * (225 - usd) - 330) / 330)


@given(st.tuples(st.floats(0, 48), st.floats(0, 48)), st.integers(0, 4))
def test_more_hours_never_cost_less_nor_pay_sooner(hours: tuple[float, float], replicas: int) -> None:
    few, many = (endpoint_money(each, replicas) for each in sorted(hours))
    assert few.candidate_usd_per_day <= many.candidate_usd_per_day
    assert few.saving_usd_per_day >= many.saving_usd_per_day
    assert (few.break_even_days or math.inf) <= (many.break_even_days or math.inf)
    assert few.baseline_usd_per_day == many.baseline_usd_per_day


def test_a_price_at_second_hand_is_named_as_such() -> None:
    price = price_of("together/meta-llama/Meta-Llama-3.1-8B-Instruct-Reference", tuned=True)
    config = parse_economics("requests_per_day = 1", "economics.toml")
    today = date(2026, 11, 29)
    money = appraise(
        "a", "b", THOUSAND, THOUSAND, config, TrainingBill(1.0), Prices(price, BASE), Evidence(today=today)
    )
    assert any("second-hand: https://www.together.ai/pricing, 2026-05" in note for note in money.notes)
    assert money.outlook is not None
    assert any("was read on 2026-05" in warning for warning in money.outlook.warnings)


@pytest.mark.parametrize(
    ("requests", "hours", "usd"),
    [
        (86_400, 24, 48),  # 2,000 tokens at 2,000 a second: busy for 24 hours
        (86_401, 24, 96),  # so one request more takes a second machine
        (1, 8, 16),
        (86_400, 8, 48),  # three machines
    ],
)
def test_own_machines_are_paid_by_the_hour_as_many_as_the_load_takes(
    requests: int, hours: float, usd: float
) -> None:
    text = f"requests_per_day = {requests}\ngpu_usd_per_hour = 2\ngpu_hours_per_day = {hours}\n"
    config = parse_economics(text + "training_usd_per_hour = 0", "economics.toml")
    served = Usage(1000, 1000, 9, tokens_per_second=2000.0)
    money = appraise("a", "b", served, THOUSAND, config, TrainingBill(seconds=1.0), Prices(None, BASE))
    assert money.candidate_usd_per_day == pytest.approx(usd)
    assert money.saving_usd_per_day == pytest.approx(requests * 0.00075 - usd)
    assert any("2 USD an hour" in note and "measured tokens a second" in note for note in money.notes)
    alike = appraise("a", "b", served, served, config, TrainingBill(seconds=1.0), Prices())
    assert alike.saving_usd_per_day == 0  # the base on the same machine


def test_the_range_of_a_machines_hour_moves_what_it_costs_a_day() -> None:
    text = "requests_per_day = 1\ngpu_usd_per_hour = [1, 3]\ngpu_hours_per_day = 24\n"
    config = parse_economics(text + "training_usd_per_hour = 0", "economics.toml")
    served = Usage(1000, 1000, 1, tokens_per_second=2000.0)
    pairs = [(served, THOUSAND)] * 20
    prices = Prices(None, BASE)
    money = appraise(
        "a", "b", served, THOUSAND, config, TrainingBill(seconds=1.0), prices, Evidence(pairs=pairs)
    )
    assert money.outlook is not None
    saved = money.outlook.saving_usd_per_day
    assert saved.value == pytest.approx(0.00075 - 48)
    assert saved.low == pytest.approx(-72, abs=2)
    assert saved.high == pytest.approx(-24, abs=2)
    assert money.outlook.swings[0].input == "gpu, USD per hour"


def test_an_idle_gpu_costs_as_much_as_a_busy_one() -> None:
    text = "requests_per_day = 1\ngpu_usd_per_hour = 3.6\ngpu_idle_share = 0.75\ntraining_usd_per_hour = 0"
    found = outlook_of(text, tokens_per_second=1000.0)
    assert found.usd_per_1000_requests.value == pytest.approx(0.4)  # 100 tokens at $1 a million, four times


def test_a_range_widens_the_interval_and_the_tornado_has_its_ends() -> None:
    """Break-even is 804 over 0.019 a request, less upkeep; tokens hardly count."""
    known = outlook_of(ALL_PARTS.replace("= 1000", "= 50_000"), pairs=40)
    ranged = outlook_of(ALL_PARTS.replace("= 1000", "= [20_000, 80_000]"), pairs=40)
    assert ranged.break_even_days.value == known.break_even_days.value
    low, high = ranged.break_even_days.low, ranged.break_even_days.high
    assert low is not None
    assert high is not None
    upkeep = ranged.maintenance_usd_per_day.value or 0
    at_ends = [804 / (requests * 0.019 - upkeep) for requests in (80_000, 20_000)]
    assert (low, high) == pytest.approx(at_ends, rel=0.05)
    first = ranged.swings[0]
    assert (first.input, first.low, first.high) == ("requests per day", 20_000, 80_000)
    assert (first.days_at_high, first.days_at_low) == pytest.approx(at_ends)
    assert first.usd_at_low == pytest.approx(365 * (380 - upkeep) - 804)
    assert [swing.input.partition(" ")[0] for swing in ranged.swings] == ["requests", "tokens"]
    assert ranged.p_never == pytest.approx(1 - (ranged.p_within_90_days or 0), abs=0.01)


def test_every_range_that_counts_is_in_the_tornado() -> None:
    text = ALL_PARTS.replace("hourly_usd = 60", "hourly_usd = [40, 80]").replace("= 4\n", "= [2, 6]\n")
    names = {swing.input for swing in outlook_of(text, pairs=20).swings}
    tokens = "tokens of a request on these rows, USD saved per 1,000 requests"
    assert names == {tokens, "hourly, USD", "training, USD per hour"}


def test_a_model_that_ends_before_it_has_paid_is_warned_of_at_the_top() -> None:
    config = EconomicsConfig(1000, horizon_days=365)
    as_base = Price("own", 0.15, 0.60, 3.00, "the same", "2026-12-01")
    today = date(2026, 12, 1)

    def warnings(ends: date) -> tuple[str, ...]:
        money = appraise(
            "tuned",
            "base",
            Usage(300, 500, 9),
            Usage(500, 500, 9),
            config,
            TRAINING,
            Prices(as_base, as_base),
            Evidence(ends=ends, today=today),
        )
        assert money.outlook is not None
        assert money.outlook.horizon_days == min(365, (ends - today).days)
        return money.outlook.warnings

    (said,) = warnings(date(2027, 1, 14))
    assert said == (
        "tuned stops answering on 2027-01-14, in 44 days: before it has earned its cost, which takes 50 days."
    )
    assert warnings(date(2027, 1, 21)) == ()


@pytest.mark.parametrize(
    ("read", "is_stale"), [("2026-09-01", True), ("2026-10", False), ("2025-12", True), ("soon", False)]
)
def test_a_price_of_more_than_90_days_ago_is_stale(read: str, is_stale: bool) -> None:
    price = Price("gpt-4o-mini", 0.15, 0.60, None, "the price page", read)
    assert bool(stale(price, date(2026, 12, 1))) is is_stale


# --------------------------------------------------------------------------- prices
def test_a_dated_snapshot_and_a_tuned_id_are_priced_as_their_family() -> None:
    assert price_of("gpt-4o-mini-2024-07-18", tuned=False) == BASE
    assert price_of("ft:gpt-4o-mini-2024-07-18:team::abc", tuned=False) == TUNED
    assert price_of("gpt-4o-mini-2024-07-18", tuned=True) == TUNED


def test_an_unknown_price_says_what_to_add_and_where() -> None:
    with pytest.raises(UnknownName, match=r'economics\.toml: \[prices\."gpt-9"\.tuned\]'):
        price_of("gpt-9", tuned=True)
    with pytest.raises(UnknownName, match=r"Did you mean 'gpt-4\.1'"):
        price_of("gpt-41", tuned=False)


def test_prices_without_a_date_are_marked_in_table_and_notes() -> None:
    undated = [price for price in HOSTED.values() if price.date is None]
    assert all("without a date" in price.source for price in undated)
    assert HOSTED["gpt-4o", False].date == "2025-12"
    assert "historic" in HOSTED["davinci-002", True].source
    assert any("no date" in note for note in tuned_against_base(TUNED).notes)


def test_only_fine_tunes_are_sold_with_training() -> None:
    assert {tuned for (_, tuned), price in HOSTED.items() if price.training_usd_per_mtok is not None} == {
        True
    }


def test_batch_halves_input_and_output() -> None:
    half = batch_price(BASE)
    assert (half.input_usd_per_mtok, half.output_usd_per_mtok) == (0.075, 0.30)


# --------------------------------------------------------------------------- economics.toml
def test_the_worked_example_of_the_page_is_right() -> None:
    page = (Path(__file__).parents[2] / "docs" / "economics.md").read_text(encoding="utf-8")
    dear = tuned_against_base(TUNED)
    as_base = tuned_against_base(Price("own", 0.15, 0.60, 3.00, "the same", "2025-12-01"))
    for said in (
        f"| $3.00 | ${dear.training_usd:.2f} |",
        f"| ${30 * dear.baseline_usd_per_day:.2f} |",
        f"| ${30 * dear.candidate_usd_per_day:.2f}: never pays |",
        f"| ${30 * as_base.candidate_usd_per_day:.2f}: pays after {as_base.break_even_days:.0f} days |",
    ):
        assert said in page
    first = page.partition("```toml\n")[2].partition("```")[0]
    assert parse_economics(first, "economics.toml").ranges == {"requests_per_day": (30_000, 80_000)}


EXAMPLE = Path(__file__).parents[2] / "suites" / "economics.toml"


def test_the_example_configuration_is_valid_and_shows_every_key() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert parse_economics(text, EXAMPLE.name).requests_per_day > 0
    shown = re.findall(r"^(?:# )?(\w+) = ", text, re.MULTILINE)
    every = {f.name for f in fields(EconomicsConfig)} - {"where", "text", "ranges", "prices", "usd_per_unit"}
    assert every - {"value_usd_per_point_per_day"} <= set(shown)
    examples = text.split("has changed: as in", maxsplit=1)[1].splitlines()[1:]
    lines = [line.removeprefix("# ") for line in examples if "=" in line or line.startswith("# [")]
    prices = parse_economics("requests_per_day = 1\n" + "\n".join(lines), EXAMPLE.name).prices
    endpoint = prices["meta-llama/Llama-3.1-8B-Instruct", True]
    assert (endpoint.hosting_usd_per_hour, endpoint.training_usd_per_mtok) == (8.0, 0.5)
    assert (endpoint.date, endpoint.source) == ("2026-10-07", "https://fireworks.ai/pricing")


def test_the_projects_own_price_comes_before_the_table() -> None:
    text = """
    requests_per_day = 10
    [prices."gpt-4o-mini"]
    input_usd_per_mtok = 1
    output_usd_per_mtok = 2
    date = 2026-01-31
    [prices."mine".tuned]
    input_usd_per_mtok = 3
    output_usd_per_mtok = 4
    training_usd_per_mtok = 5
    """
    config = parse_economics(text, "economics.toml")
    assert price_of("gpt-4o-mini-2024-07-18", False, config.prices).input_usd_per_mtok == 1
    assert price_of("gpt-4o-mini", False, config.prices).date == "2026-01-31"
    assert price_of("mine", True, config.prices).training_usd_per_mtok == 5
    with pytest.raises(UnknownName):
        price_of("mine", False, config.prices)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("requests_per_dya = 1", r"unknown key 'requests_per_dya'; did you mean requests_per_day\?"),
        ("horizon_days = 3", "requests_per_day is missing"),
        ("requests_per_day = 0", "requests_per_day must be above 0"),
        ("requests_per_day = true", "must be a number"),
        ("requests_per_day = inf", "finite"),
        (
            "requests_per_day = 1\ngpu_usd_per_hour = -1",
            "gpu_usd_per_hour must be a finite number of 0 or more",
        ),
        ("requests_per_day = 1\nserved_input_usd_per_mtok = 1", "stands alone"),
        (
            "requests_per_day = 1\nserved_input_usd_per_mtok = 1\nserved_output_usd_per_mtok = 1\n"
            "gpu_usd_per_hour = 1",
            "keep one of them",
        ),
        ("requests_per_day = 1\n[prices.x]\ninput_usd_per_mtok = 1", r'\[prices."x"\]: output_usd_per_mtok'),
        ("requests_per_day = 1\nprices = 3", "must be a table"),
        ("requests_per_day = 1\n[prices.x]\nwhere = 1", "unknown key 'where'"),
        ("requests_per_day = 1\nwhere = 'x'", "unknown key 'where'"),
        (
            "requests_per_day = 1\n\nhourly_eur = 3",
            r"toml:3: hourly_eur is in EUR, .* two currencies; write hourly_usd",
        ),
        ("currency = 'EUR'\nrequests_per_day = 1", r"toml:1: currency is EUR, .* add usd_per_eur"),
        (
            "currency = 'EUR'\nusd_per_eur = 1\nrequests_per_day = 1\nhourly_usd = 3",
            r"toml:4: hourly_usd is in USD, and the file's currency is EUR: two currencies; write hourly_eur",
        ),
        (
            "currency = 'EUR'\nusd_per_eur = 1\nrequests_per_day = 1\n[prices.x]\n"
            "input_usd_per_mtok = 1\noutput_eur_per_mtok = 1",
            r"toml:4: \[prices.\"x\"\]: prices in USD and in EUR: two currencies",
        ),
        ("currency = 'euro'", "three capital letters"),
        ("requests_per_day = [5, 2]", r"toml:1: requests_per_day is a range, the smaller number first"),
        ("requests_per_day = 1\nhorizon_days = [5, 9]", "toml:2: horizon_days is one number"),
        (
            "requests_per_day = 1\npreparation_hours = 3",
            "toml:2: preparation_hours says nothing without hourly_usd",
        ),
        (
            "requests_per_day = 1\ngpu_usd_per_hour = 1\ngpu_idle_share = 1",
            "toml:3: gpu_idle_share is a share below 1",
        ),
        (
            "requests_per_day = 1\n[prices.x.tuned]\ntraining_usd_per_mtok = -1",
            "toml:3: training_usd_per_mtok must be",
        ),
        ("requests_per_day = 1\n[prices.x]\nservice = 'fireworks'", "toml:3: .*unknown service 'fireworks'"),
        ("requests_per_day = 1\n[prices.x]\nservice = ['tinker']", "toml:3: .*unknown service"),
        ("requests_per_day = 1\n[prices.x]\nservice = 'nebius below 20B'", "input_usd_per_mtok is missing"),
        ("requests_per_day = nan", "toml:1: requests_per_day must be a finite number"),
        ("requests_per_day = ", "not TOML"),
    ],
)
def test_a_mistake_in_the_configuration_is_named_with_key_and_file(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as raised:
        parse_economics(text, "team/economics.toml")
    assert str(raised.value).startswith("team/economics.toml")


def test_prompts_that_the_service_had_read_before_are_priced_as_such() -> None:
    """A long prompt that every request shares is the case in which a fine-tune saves least."""
    fresh, cached = Usage(1000, 0, 9), Usage(1000, 0, 9, cached_prompt_tokens=800)
    prices = Prices(candidate=BASE, baseline=BASE)
    result = appraise("a", "b", fresh, cached, THOUSAND_A_DAY, None, prices)
    assert result.candidate_usd_per_day == pytest.approx(0.15)
    assert result.baseline_usd_per_day == pytest.approx(0.2 * 0.15 + 0.8 * 0.075)
    assert result.saving_usd_per_day < 0 == result.candidate_cached_prompt_tokens
    assert result.baseline_cached_prompt_tokens == 800


def test_where_no_cheaper_price_is_known_cached_tokens_cost_what_others_do() -> None:
    price = price_of("gpt-3.5-turbo", tuned=False)
    usages = Usage(1000, 10, 9, cached_prompt_tokens=1000), Usage(1000, 10, 9)
    result = appraise("a", "b", *usages, THOUSAND_A_DAY, None, Prices(price, price))
    assert result.saving_usd_per_day == 0
