"""What a point is worth: by name, in any order of the tests, with the break-even worked by hand."""

from __future__ import annotations

import tomllib
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.decision.economics import (
    EconomicsConfig,
    Evidence,
    Prices,
    TrainingBill,
    Usage,
    appraise,
    parse_economics,
)
from harness.decision.payback import limits_of_mean, payback, usd_of_points, with_points
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
        config = parse_economics(tomllib.loads(f"requests_per_day = 1\n{line}"), FILE)
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
    assert parse_economics(tomllib.loads(f"requests_per_day = 1\n{line}"), FILE).value_usd_per_point_per_day


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("value_usd_per_point_per_day = 'much'", "value_usd_per_point_per_day must be a number"),
        ("value_usd_per_point_per_day.intent = -1", "value_usd_per_point_per_day.intent must be a finite"),
        ("value_usd_per_point_per_day.intent = true", "value_usd_per_point_per_day.intent must be a number"),
        ("value_usd_per_point_per_day.support.intent = 5", 'value_usd_per_point_per_day."support/intent" = '),
        ("[value_usd_per_point_per_day]\nintent = 5\nhorizon_days = 9", "horizon_days stands below [value_"),
        ("value_usd_per_point_per_day = [5]", "value_usd_per_point_per_day must be a number"),
    ],
)
def test_a_price_that_is_none_is_named(text: str, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_economics(tomllib.loads(f"requests_per_day = 1\n{text}"), FILE)
    assert str(raised.value).startswith(FILE)
    assert says in str(raised.value)


# --------------------------------------------------------------------------- worked by hand
def test_the_break_even_and_its_interval_are_those_worked_by_hand() -> None:
    """$100 at $2 a day [1, 4]: 50 days [25, 100]; over 30 days, $40 short."""
    found = payback(2.0, (1.0, 4.0), 100.0, 30.0)
    assert (found.days, found.soonest_days, found.latest_days) == (50, 25, 100)
    assert found.usd_over_horizon == -40


def test_a_lower_limit_that_never_pays_is_never_on_that_end() -> None:
    found = payback(2.0, (-1.0, 4.0), 100.0, 30.0)
    assert (found.days, found.soonest_days, found.latest_days) == (50, 25, None)
    assert found.low_usd_per_day == -1  # which tells never from not known
    found = payback(-2.0, (-5.0, 1.0), 100.0, 30.0)
    assert (found.days, found.soonest_days, found.latest_days) == (None, 100, None)
    unknown = payback(2.0, None, 100.0, 30.0)
    assert (unknown.days, unknown.low_usd_per_day, unknown.latest_days) == (50, None, None)


def test_the_interval_of_tokens_is_students_over_paired_rows() -> None:
    """Ten rows that save $0 or $2 in turn: mean 1, sd sqrt(10/9), t(9) at 95% is 1.833."""
    limits = limits_of_mean(1.0, [0.0, 2.0] * 5, 0.05)
    assert limits == pytest.approx((1 - 1.8331 / 3, 1 + 1.8331 / 3), abs=1e-4)
    assert limits_of_mean(1.0, [1.0] * 10, 0.05) == (1, 1)
    assert limits_of_mean(1.0, [0.0, 2.0], 0.05) is None


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
    evidence = Evidence(400, rows, bills, priced, 0.05)
    return appraise("tuned@400", "base", mine, theirs, config, bills[1], Prices(), evidence)


def test_tokens_alone_and_with_the_points_stand_side_by_side() -> None:
    """51 points at $250 are $12,750 a day; 45 are 11,250, 57 are 14,250."""
    money = appraised(INTENT)
    half = 1.7291 * 0.1 * (20 / 19) ** 0.5 / 20**0.5  # t(19) at 95%, sd of 0.9 and 1.1
    tokens, whole = money.tokens_alone, money.with_quality
    assert tokens is not None
    assert whole is not None
    assert tokens.days == money.break_even_days == pytest.approx(101.5)
    assert tokens.low_usd_per_day == pytest.approx(1 - half, abs=1e-5)
    assert tokens.soonest_days == pytest.approx(101.5 / (1 + half), abs=1e-3)
    assert whole.usd_per_day == pytest.approx(12_751)
    assert whole.low_usd_per_day == pytest.approx(11_251 - half, abs=1e-4)
    assert whole.high_usd_per_day == pytest.approx(14_251 + half, abs=1e-4)
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
    assert money.with_quality.soonest_days == pytest.approx(101.5 / 21.05, rel=1e-2)
    assert money.break_even_days == pytest.approx(101.5)


def test_where_one_priced_score_was_not_measured_none_is_priced() -> None:
    gone = PricedScore("support", "tone", 10.0, why="its judge was not admitted")
    assert appraised(INTENT, gone).with_quality is None
    assert appraised().with_quality is None


@given(order=st.permutations([INTENT, PricedScore("b", "tone", 3.0, -0.1, -0.2, 0.0, 50), INTENT]))
def test_no_order_changes_what_points_are_worth(order: list[PricedScore]) -> None:
    """$12,750 twice, $30 less, and $1 of tokens."""
    found = with_points(1.0, (0.5, 1.5), order, 100.0, 30.0)
    assert found is not None
    assert found.usd_per_day == pytest.approx(25_471)
    assert (found.low_usd_per_day, found.high_usd_per_day) == pytest.approx((22_440.5, 28_501.5))


@given(low=st.floats(-2, 2), more=st.floats(0, 2), usd=st.floats(0, 1e6))
def test_nothing_counts_beyond_the_points_that_a_score_has(low: float, more: float, usd: float) -> None:
    found = usd_of_points(PricedScore("s", "x", usd, low + more / 2, low, low + more, 99))
    assert found is not None
    assert all(abs(value) <= 100 * usd for value in found)


# --------------------------------------------------------------------------- rows
def rows_usd(document: str, rows: int | None, training: TrainingBill | None) -> float:
    text = f"requests_per_day = 1\nserved_input_usd_per_mtok = 0\nserved_output_usd_per_mtok = 0\n{document}"
    config = parse_economics(tomllib.loads(f"training_usd_per_hour = 0\n{text}"), FILE)
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
