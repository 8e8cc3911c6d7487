"""What a text mentions: words as words, numbers as numbers."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.scoring.mentions import Mentions


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        *(("5", text) for text in ("-5", "−5", "minus 5", "-$5", "5k", "5 million", "5e3", "3-5", "3–5")),
        *(("5", text) for text in ("0.5", ".5", "5²", "5 1/2", "5_000", "05", "5 Millionen", "4,5")),
        *(("12", text) for text in ("12.50", "12,000", "12.000", "12 000", "12\u202f000", "0.12", "112")),
        *(("2", text) for text in ("1/2", "2½", "2nd", "H2O", "v1.2.3", "2:1")),
        *(("10", text) for text in ("at 10:30", "10^6", "10-11-2024", "F-10")),
        *(("3", text) for text in ("3.14", "3×10^5", "3 x 10⁵", "3rd")),
        ("14", "3.14"),
        ("500", "1,500"),
        ("500", "1 500"),
        ("70", "700"),
        ("1990", "the 1990s"),
        ("49", "+49 30 1234567"),
        ("1234", "call 555-1234"),
        ("7", "agent 007"),
        ("2024", "2024-01-05"),
        ("seven", "twenty-seven"),
        ("five", "five hundred"),
        ("twenty", "twenty five"),
        ("can", "I can't"),
        ("art", "party"),
        ("cafe", "cafe\u0301"),
        ("x", "x\u0302"),
    ],
)
def test_a_part_of_a_number_or_a_word_is_not_mentioned(wanted: str, text: str) -> None:
    assert wanted not in Mentions(text)


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        *(("12", text) for text in ("12 euros", "EUR 12.", "12%", "€12", "12.0", "(12)", "**12**", "a:12,")),
        *(("5", text) for text in ("5kg", "5 kg", "5-star", "+5", "10 minus 5", "=5!", "٥", r"\boxed{5}")),
        ("5 kg", "5kg"),
        ("1000", "1,000"),
        ("1,000", "1000"),
        ("1000000", "1 000 000"),
        ("1234567", "12,34,567"),
        ("1500", "1'500"),
        ("1234.56", "1.234,56"),
        ("1.5", "1,5"),
        ("1234", "1.234"),
        ("3.141", "3.141"),
        ("5000", "5e3"),
        ("300000", "3×10^5"),
        ("5 million", "$5M"),
        ("-5", "It is −5 °C"),
        ("6", "10-4=6"),
        ("10:30", "at 10:30."),
        ("3-5", "3-5 days"),
        ("COVID-19", "covid-19."),
        ("twenty-seven", "Twenty seven"),
        ("one", "five, four, three, two, one"),
        ("Paris", "Paris's"),
        ("Paris", "Answer:Paris.The"),
        ("I", "I'm"),
        ("can’t", "I can't"),
        ("eau", "de l'eau"),
        ("東京", "東京都です"),
        ("ไทย", "ภาษาไทยง่าย"),
        ("café", "CAFE\u0301!"),
        ("Straße", "STRASSE"),
        ("C++", "it is C++!"),
    ],
)
def test_a_number_in_another_form_and_a_word_beside_marks_are_mentioned(wanted: str, text: str) -> None:
    assert wanted in Mentions(text)


def test_case_counts_where_it_is_not_ignored() -> None:
    assert "nyc" not in Mentions("NYC", ignore_case=False)
    assert "NYC" in Mentions("in NYC", ignore_case=False)


@given(st.text(min_size=1).filter(str.strip))
def test_every_text_mentions_itself_in_either_normal_form(text: str) -> None:
    for form in ("NFC", "NFD"):
        assert text in Mentions(unicodedata.normalize(form, text))


@given(st.integers(), st.integers())
def test_a_whole_number_is_only_in_itself(one: int, other: int) -> None:
    assert (str(one) in Mentions(f"It is {other:,}.")) == (one == other)
