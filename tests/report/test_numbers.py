from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records import Kind, Rate
from harness.report import numbers

TABLE: list[tuple[Callable[[float | None], str], float | None, str]] = [
    (numbers.points, 0.124, "+12.4"),
    (numbers.points, -0.067, "−6.7"),
    (numbers.points, 0.0, "0.0"),
    (numbers.points, -0.0001, "0.0"),
    (numbers.points, None, "–"),
    (numbers.points, float("nan"), "–"),
    (numbers.percent, 0.865, "86.5%"),
    (numbers.percent, 1.0, "100.0%"),
    (numbers.percent, None, "–"),
    (numbers.usd, 0.0, "$0"),
    (numbers.usd, 0.0042, "$0.0042"),
    (numbers.usd, 0.00000123, "$0.0000012"),
    (numbers.usd, 3e-9, "<$0.00000001"),
    (numbers.usd, -1e-9, "−<$0.00000001"),
    (numbers.usd, 0.4048, "$0.40"),
    (numbers.usd, 0.999, "$1.00"),
    (numbers.usd, 12.3, "$12.30"),
    (numbers.usd, -1234.5, "−$1,234"),
    (numbers.usd, None, "–"),
    (numbers.tokens, 41.3, "41.3"),
    (numbers.tokens, 412.0, "412"),
    (numbers.tokens, 1234.0, "1,234"),
    (numbers.tokens, 9_999.5, "10.0k"),
    (numbers.tokens, 12_345.0, "12.3k"),
    (numbers.tokens, 999_949.0, "999.9k"),
    (numbers.tokens, 4_500_000.0, "4.5M"),
    (numbers.one_sided, 0.05, "5%"),
    (numbers.one_sided, 0.05 / 4, "1.25%"),
    (numbers.one_sided, 0.05 / 3, "1.67%"),
    (numbers.one_sided, 0.05 / 16, "0.313%"),  # 0.3125: a half is rounded up
    (numbers.one_sided, 0.05 * 0.1 / 4, "0.125%"),
    (numbers.one_sided, 0.00005, "<0.01%"),
    (numbers.one_sided, None, "–"),
    (numbers.seconds, 0.42, "0.42 s"),
    (numbers.seconds, 9.999, "10.0 s"),
    (numbers.seconds, 59.97, "1 min 00 s"),
    (numbers.seconds, 245.0, "4 min 05 s"),
    (numbers.seconds, 3_599.9, "1 h 00 min"),
    (numbers.seconds, 3_725.0, "1 h 02 min"),
    (numbers.days, None, "never"),
    (numbers.days, float("inf"), "never"),
    (numbers.days, 0.0, "0 days"),
    (numbers.days, 0.4, "0.4 days"),
    (numbers.days, 1.0, "1 day"),
    (numbers.days, 37.2, "37 days"),
    (numbers.days, 1200.0, "1,200 days"),
    (numbers.p_value, 0.0321, "0.032"),
    (numbers.p_value, 0.0009, "<0.001"),
    (numbers.p_value, 1.0, "1.000"),
    (numbers.p_value, None, "–"),
    (numbers.number, 2000.0, "2,000"),
    (numbers.number, 1.2345, "1.234"),
    (numbers.number, None, "–"),
]


@pytest.mark.parametrize(("shown", "value", "text"), TABLE)
def test_a_number_is_shown_as(shown: Callable[[float | None], str], value: float | None, text: str) -> None:
    assert shown(value) == text


def test_an_interval_needs_both_limits() -> None:
    assert numbers.interval(0.081, 0.167) == "[+8.1, +16.7]"
    assert numbers.interval(0.081, None) == "–"


def test_a_rate_always_carries_its_interval_and_n() -> None:
    assert numbers.rate(Rate(0.41, -0.02, 0.56, 1180)) == "0.41 [−0.02, 0.56], n = 1,180"


def test_a_mean_is_a_share_of_rows_only_when_the_score_is_binary() -> None:
    assert numbers.mean(0.865, Kind.BINARY) == "86.5%"
    assert numbers.mean(0.865, Kind.GRADED) == "86.5"
    assert numbers.score(1.0, Kind.BINARY) == "1"
    assert numbers.score(0.62, Kind.GRADED) == "62"


def test_counts_agree_with_their_nouns() -> None:
    assert numbers.plural(1, "row") == "1 row"
    assert numbers.plural(1200, "row") == "1,200 rows"
    assert numbers.count(3, 1200) == "3 of 1,200"


@given(st.one_of(st.floats(-1e12, 1e12), st.sampled_from([float("nan"), float("inf"), -float("inf")])))
def test_no_number_breaks_the_page(value: float) -> None:
    for shown in (
        numbers.points,
        numbers.percent,
        numbers.p_value,
        numbers.days,
        numbers.number,
        numbers.usd,
    ):
        text = shown(value)
        assert text
        assert "nan" not in text
        assert "inf" not in text


@given(st.floats(min_value=-1, max_value=1))
def test_a_difference_shows_its_sign_and_rounds_to_a_tenth(value: float) -> None:
    text = numbers.points(value)
    shown = float(text.replace("−", "-"))
    assert abs(shown - 100 * value) <= 0.05 + 1e-9
    assert text[0] in "+−" or shown == 0


@pytest.mark.parametrize(("alpha", "told"), [(0.05, "90%"), (0.05 / 4, "97.5%"), (0.00001, "99.998%")])
def test_the_level_of_an_interval_is_never_rounded_to_certainty(alpha: float, told: str) -> None:
    assert numbers.level(alpha) == told
