"""What a point is worth: by name, in any order of the tests, with the break-even worked by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.decision.economics import Prices, appraise
from harness.decision.economics_file import EconomicsConfig, parse_economics
from harness.decision.money import Evidence, TrainingBill, Usage
from harness.decision.payback import break_even, resampled, usd_of_points
from harness.decision.point_values import named_scores, only_target
from harness.errors import UsageError
from harness.records import Economics, PricedScore

SCORES = {"support": ["valid JSON", "intent", "urgency"], "retention": ["right answer"]}
TWO = {**SCORES, "billing": ["intent", "tone"]}
FILE = "suites/economics.toml"


# --------------------------------------------------------------------------- names
def test_scores_are_priced_by_name_or_by_suite_and_name() -> None:
    found = named_scores({"urgency": 5, "support/intent": 250, "billing/intent": 7}, TWO, FILE)
    assert found.usd == {
        ("support", "urgency"): 5, ("support", "intent"): 250, ("billing", "intent"): 7,
    }  # fmt: skip
    assert not found.unknown


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("intnt", "unknown score 'intnt'. Did you mean 'intent'?"),
        ("suport/intent", "unknown suite 'suport'. Did you mean 'support'?"),
        ("support/intnt", "unknown score of suite support 'intnt'. Did you mean 'intent'?"),
        ("retention/intent", "unknown score of suite retention 'intent'."),
    ],
)
def test_a_name_that_no_suite_has_is_named_with_the_nearest(name: str, says: str) -> None:
    said = named_scores({name: 1}, SCORES, FILE).unknown[name]
    assert said.startswith(f"{FILE}: value_usd_per_point_per_day: ")
    assert says in said


def test_a_name_of_two_suites_says_how_to_write_it() -> None:
    with pytest.raises(UsageError) as raised:
        named_scores({"intent": 250}, TWO, FILE)
    lines = [line.rstrip() for line in str(raised.value).split(": ")[-1].split(" or ")]
    assert str(raised.value).startswith(FILE)
    for line, suite in zip(lines, ("billing", "support"), strict=True):
        config = parse_economics(f"requests_per_day = 1\n{line}", FILE)
        assert config.value_usd_per_point_per_day == {f"{suite}/intent": 250}


def test_a_score_is_priced_once() -> None:
    with pytest.raises(UsageError, match="'intent' and 'support/intent' price the same score"):
        named_scores({"intent": 1, "support/intent": 2}, SCORES, FILE)


def test_a_plain_number_is_of_the_one_score_that_targets_compare() -> None:
    assert only_target(250, [("support", "intent")] * 2, SCORES, FILE) == {("support", "intent"): 250}


def test_a_plain_number_beside_several_targets_is_refused_alike_in_any_order() -> None:
    targets = [("support", "valid JSON"), ("support", "intent"), ("retention", "right answer")]
    said = set()
    for order in permutations(targets):
        with pytest.raises(UsageError) as raised:
            only_target(250, order, SCORES, FILE)
        said.add(str(raised.value))
    (message,) = said
    assert "targets compare 3: retention/right answer, support/intent, support/valid JSON" in message
    line = message.split("such as: ")[1]
    assert parse_economics(f"requests_per_day = 1\n{line}", FILE).value_usd_per_point_per_day


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("value_usd_per_point_per_day = 'much'", "value_usd_per_point_per_day must be a number"),
        ("value_usd_per_point_per_day.intent = -1", "value_usd_per_point_per_day.intent must be a finite"),
        ("value_usd_per_point_per_day.intent = true", "value_usd_per_point_per_day.intent must be a number"),
        ("value_usd_per_point_per_day.support.intent = 5", 'value_usd_per_point_per_day."support/intent" = '),
        ("[value_usd_per_point_per_day]\nintent = 5\nhorizon_days = 9", "horizon_days stands below [value_"),
        ("value_usd_per_point_per_day = [5]", "value_usd_per_point_per_day is a number or a range of two"),
    ],
)
def test_a_price_that_is_none_is_named(text: str, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_economics(f"requests_per_day = 1\n{text}", FILE)
    assert str(raised.value).startswith(FILE)
    assert says in str(raised.value)


# --------------------------------------------------------------------------- worked by hand
def days(once: float, by_requests: float, fixed: float = 0.0, growth: float = 0.0) -> float:
    (found,) = break_even(*(np.array([each]) for each in (once, by_requests, fixed, growth)))
    return float(found)


def test_break_even_is_that_worked_by_hand() -> None:
    assert days(100, 2) == 50
    assert days(100, 5, fixed=3) == 50
    assert days(0, 2) == 0
    assert days(100, -2) == days(100, 0) == days(0, 0) == days(100, 2, fixed=3) == np.inf


def test_requests_that_grow_pay_sooner_and_those_that_shrink_may_never() -> None:
    """$1 a day doubling each month: (2^(t/30.4) - 1) * 30.4 / ln 2 = 100 at t = 52.2 days."""
    month = 365 / 12
    assert days(100, 1, growth=1.0) == pytest.approx(month * np.log2(1 + 100 * np.log(2) / month))
    assert days(100, 1, growth=-0.5) == np.inf  # $43.9 in all
    assert days(40, 1, growth=-0.5) == pytest.approx(-month * np.log2(1 - 40 * np.log(2) / month))
    assert days(1, 1, fixed=2, growth=0.5) > month  # loses until requests have doubled
    # $3 against $2 a day until they are even after 17.8 days: $8.3 at most
    assert days(8, 3, fixed=2, growth=-0.5) < 17.8
    assert days(9, 3, fixed=2, growth=-0.5) == np.inf


def test_the_interval_of_a_mean_over_resampled_rows_is_students() -> None:
    """Ten rows of 0 or 2 in turn: mean 1, sd sqrt(10/9), t(9) at 95% is 1.833."""
    means = resampled(np.array([[0.0], [2.0]] * 5), None, 0.05)
    assert means is not None
    assert np.quantile(means, (0.05, 0.95)) == pytest.approx((1 - 1.8331 / 3, 1 + 1.8331 / 3), abs=0.03)
    same = resampled(np.ones((10, 1)), None, 0.05)
    assert same is not None
    assert np.ptp(same) == pytest.approx(0, abs=1e-6)
    assert resampled(np.ones((9, 1)), None, 0.05) is None


def test_rows_of_one_group_are_drawn_together() -> None:
    """Each of 20 groups of five equal rows is as one row."""
    one = np.arange(20.0)[:, None]
    apart, together = (
        resampled(rows, groups, 0.05)
        for rows, groups in ((one, None), (np.repeat(one, 5, axis=0), np.repeat(np.arange(20), 5)))
    )
    assert apart is not None
    assert together is not None
    assert together.std() == pytest.approx(apart.std(), rel=1e-6)


CONFIG = EconomicsConfig(
    requests_per_day=1000,
    horizon_days=90,
    served_input_usd_per_mtok=1.0,
    served_output_usd_per_mtok=0.0,
    training_usd_per_hour=3.0,
    training_row_usd=0.25,
)
INTENT = PricedScore("support", "intent", 250.0, 0.51, 0.45, 0.57, 200)


def appraised(*priced: PricedScore, config: EconomicsConfig = CONFIG) -> Economics:
    """1,000 against 2,000 tokens a request at $1 a million and 1,000 requests: $1 saved a day.

    Half an hour of training and 400 rows: $101.50 once.
    """
    mine, theirs = Usage(1000, 0, 20), Usage(2000, 0, 20)
    rows = [(Usage(1000, 0, 1), Usage(1900, 0, 1)), (Usage(1000, 0, 1), Usage(2100, 0, 1))] * 10
    bills = [TrainingBill(seconds=900), TrainingBill(seconds=1800)]
    evidence = Evidence(400, rows, trainings=bills, priced=priced)
    return appraise("tuned@400", "base", mine, theirs, config, bills[1], Prices(), evidence)


def test_tokens_alone_and_with_the_points_stand_side_by_side() -> None:
    """51 points at $250 are $12,750 a day; 45 are 11,250, 57 are 14,250."""
    money = appraised(INTENT)
    half = 1.7291 * 0.1 / 19**0.5  # t(19) at 95%, sd of 0.9 and 1.1
    tokens, whole = money.tokens_alone, money.with_quality
    assert tokens is not None
    assert whole is not None
    assert tokens.days == money.break_even_days == pytest.approx(101.5)
    assert tokens.low_usd_per_day == pytest.approx(1 - half, abs=2e-3)
    assert tokens.soonest_days == pytest.approx(101.5 / (1 + half), abs=0.2)
    assert whole.usd_per_day == pytest.approx(12_751)
    assert whole.low_usd_per_day == pytest.approx(11_251, rel=0.01)
    assert whole.high_usd_per_day == pytest.approx(14_251, rel=0.01)
    assert whole.days == pytest.approx(101.5 / 12_751)
    assert whole.usd_over_horizon == pytest.approx(90 * 12_751 - 101.5)
    assert (money.training_usd, money.data_preparation_usd) == (101.5, 100)
    notes = " ".join(money.notes)
    assert "one training of tuned; the run has 2, of every size and seed, 2.25 USD in all" in notes
    assert "400 rows at 0.25 USD" in notes


def test_a_score_that_fell_costs() -> None:
    money = appraised(PricedScore("support", "tone", 10.0, -0.03, -0.08, 0.02, 200))
    assert money.with_quality is not None
    assert money.with_quality.usd_per_day == pytest.approx(1 - 30)
    assert (money.with_quality.days, money.with_quality.latest_days) == (None, None)
    assert money.with_quality.soonest_days == pytest.approx(101.5 / 21, rel=0.05)
    assert money.break_even_days == pytest.approx(101.5)


def test_where_one_priced_score_was_not_measured_none_is_priced() -> None:
    gone = PricedScore("support", "tone", 10.0, why="its judge was not admitted")
    assert appraised(INTENT, gone).with_quality is None
    assert appraised().with_quality is None


def test_no_order_changes_what_points_are_worth() -> None:
    """$12,750, $30 less, and $1 of tokens."""
    tone = PricedScore("b", "tone", 3.0, -0.1, -0.2, 0.0, 50)
    found = [appraised(*order).with_quality for order in ((INTENT, tone), (tone, INTENT))]
    for each in found:
        assert each is not None
        assert each.usd_per_day == pytest.approx(12_721)
        assert each.low_usd_per_day == pytest.approx(11_221, rel=0.01)


@given(low=st.floats(-2, 2), more=st.floats(0, 2), usd=st.floats(0, 1e6))
def test_nothing_counts_beyond_the_points_that_a_score_has(low: float, more: float, usd: float) -> None:
    found = usd_of_points(PricedScore("s", "x", usd, low + more / 2, low, low + more, 99))
    assert found is not None
    assert all(abs(value) <= 100 * usd for value in found)


# --------------------------------------------------------------------------- rows
def rows_usd(document: str, rows: int | None, training: TrainingBill | None) -> float:
    text = f"requests_per_day = 1\nserved_input_usd_per_mtok = 0\nserved_output_usd_per_mtok = 0\n{document}"
    config = parse_economics(f"training_usd_per_hour = 0\n{text}", FILE)
    usage = Usage(1, 1, 1)
    money = appraise("a", "b", usage, usage, config, training, Prices(), Evidence(rows))
    assert money.data_preparation_usd is not None
    return money.data_preparation_usd


def test_a_candidate_pays_for_the_rows_that_it_uses() -> None:
    trained = TrainingBill(seconds=9)
    assert [rows_usd("training_row_usd = 0.25", n, trained) for n in (50, 400)] == [12.5, 100]
    assert rows_usd("training_row_usd = 0.25", 5, None) == 1.25  # examples in a prompt
    assert rows_usd("training_row_usd = 0.25", None, None) == 0
    both = "training_row_usd = 0.25\ndata_preparation_usd = 70"
    assert [rows_usd(both, n, trained) for n in (50, 400)] == [70, 70]
    assert rows_usd("training_row_usd = 0.25\ndata_preparation_usd = 0", 400, trained) == 0
