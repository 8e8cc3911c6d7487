"""When training rows differ from held-out ones in class, language or length."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats.contingency import association

from harness.data.findings import Finding
from harness.data.shift import cramers_v, script, shift_findings
from harness.records import Json, Message, Row


def rows(classes: Sequence[Mapping[str, Json]], text: str = "the hub is dark since noon") -> list[Row]:
    return [
        Row(
            f"r{at}", (Message("user", text), Message("assistant", "ok")), dict(metadata), f"f.jsonl:{at + 1}"
        )
        for at, metadata in enumerate(classes)
    ]


def of(counts: Mapping[str, int], field: str = "intent") -> list[Mapping[str, Json]]:
    return [{field: name} for name, count in counts.items() for _ in range(count)]


def shifts(train: Sequence[Row], heldout: Sequence[Row], stratify: str | None = None) -> list[Finding]:
    return list(shift_findings(train, heldout, 99, stratify))


def test_a_class_taken_too_often_is_named_with_shares_counts_p_and_v() -> None:
    train = rows(of({"refund": 120, "billing": 40, "login": 40}))
    heldout = rows(of({"refund": 30, "billing": 40, "login": 30}))
    (found,) = shifts(train, heldout)
    assert (found.code, found.line) == ("class-shift", 99)
    assert '"intent" in 200 training and 100 held-out rows' in found.problem
    assert "too many of refund (60.0%, 120 rows, against 30.0%, 30 rows)" in found.problem
    assert "too few of billing (20.0%, 40 rows, against 40.0%, 40 rows); login" in found.problem
    assert "chi-square test, p < 0.001; Cramér's V = 0.31" in found.problem


def test_the_same_shares_are_no_shift_however_many_rows_each_side_has() -> None:
    assert shifts(rows(of({"a": 3000, "b": 1000})), rows(of({"a": 75, "b": 25}))) == []


def test_a_small_shift_that_many_rows_show_is_not_reported() -> None:
    assert shifts(rows(of({"a": 5300, "b": 4700})), rows(of({"a": 4700, "b": 5300}))) == []


def test_a_large_shift_shows_even_where_one_side_is_a_hundred_times_larger() -> None:
    train, heldout = rows(of({"a": 9000, "b": 1000})), rows(of({"a": 50, "b": 50}))
    assert [found.code for found in shifts(train, heldout)] == ["class-shift"]


def test_few_rows_a_class_are_judged_by_drawn_tables() -> None:
    names = [f"class {at}" for at in range(12)]
    train = rows(of(dict.fromkeys(names[:6], 3)))
    heldout = rows(of(dict.fromkeys(names[6:], 3)))
    (found,) = shifts(train, heldout)
    assert "chi-square by 9,999 drawn tables" in found.problem
    assert shifts(train, heldout) == [found]


def test_an_id_and_a_field_that_few_rows_have_are_not_compared() -> None:
    train = rows([{"ticket": f"T{at}", **({"rare": "x"} if at % 2 else {})} for at in range(100)])
    heldout = rows([{"ticket": f"H{at % 40}", **({"rare": "y"} if at % 2 else {})} for at in range(100)])
    assert shifts(train, heldout) == []


def test_only_the_field_asked_for_is_compared() -> None:
    train = rows([{"intent": "a", "urgency": "low"}] * 80 + [{"intent": "b", "urgency": "low"}] * 20)
    heldout = rows([{"intent": "a", "urgency": "low"}] * 20 + [{"intent": "b", "urgency": "high"}] * 80)
    assert ['"urgency"' in found.problem for found in shifts(train, heldout, "urgency")] == [True]
    assert len(shifts(train, heldout)) == 2
    assert shifts(train, heldout, "absent") == []


@pytest.mark.parametrize("stratify", [None, "language"])
def test_a_language_field_is_reported_once(stratify: str | None) -> None:
    train = rows(of({"en": 190, "de": 10}, "language"))
    heldout = rows(of({"en": 100, "de": 100}, "language"))
    assert [found.code for found in shifts(train, heldout, stratify)] == ["language-shift"]


def test_without_a_language_field_the_script_is_compared() -> None:
    train = rows([{}] * 100, "where is my parcel then")
    heldout = rows([{}] * 60, "where is my parcel then") + rows([{}] * 40, "где моя посылка уже неделю")
    (found,) = shifts(train, heldout)
    assert found.code == "language-shift"
    assert "script of the last user message" in found.problem
    assert "too few of Cyrillic (0.0%, 0 rows, against 40.0%, 40 rows)" in found.problem


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Où est mon colis ?", "Latin"),
        ("Где моя посылка? HL-31120", "Cyrillic"),
        ("我的包裹在哪里", "Han"),
        ("荷物はどこですか", "Kana"),
        ("내 소포는 어디에 있나요", "Hangul"),
        ("أين طردي", "Arabic"),
        ("मेरा पार्सल कहाँ है", "Devanagari"),
        ("Πού είναι το δέμα μου", "Greek"),
        ("12345 !? 🙈", None),
    ],
)
def test_the_script_is_that_of_most_letters(text: str, name: str | None) -> None:
    assert script(text) == name


def test_longer_messages_in_training_are_reported_with_both_medians() -> None:
    draw = random.Random(5)
    train = [rows([{}], " ".join(["word"] * draw.randint(10, 30)))[0] for _ in range(150)]
    heldout = [rows([{}], " ".join(["word"] * draw.randint(5, 15)))[0] for _ in range(80)]
    (found,) = shifts(train, heldout)
    assert found.code == "length-shift"
    assert "longer in training" in found.problem
    assert "(n = 150)" in found.problem
    assert "(n = 80)" in found.problem
    (back,) = shifts(heldout, train)
    assert "shorter in training" in back.problem


def test_nothing_is_compared_with_no_held_out_rows() -> None:
    assert shifts(rows(of({"a": 50, "b": 50})), []) == []


COUNTS = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 40), min_size=1)


@given(COUNTS, COUNTS)
def test_v_is_a_symmetric_distance_between_0_and_1(train: dict[str, int], heldout: dict[str, int]) -> None:
    v = cramers_v(train, heldout)
    assert 0 <= v <= 1 + 1e-12
    assert v == pytest.approx(cramers_v(heldout, train))
    assert cramers_v(train, {name: 3 * count for name, count in train.items()}) == pytest.approx(0, abs=1e-9)


@given(
    st.lists(st.sampled_from("abc"), min_size=20, max_size=20),
    st.lists(st.sampled_from("abc"), min_size=20, max_size=20),
)
def test_v_is_scipys_where_both_sides_have_as_many_rows(train: list[str], heldout: list[str]) -> None:
    names = sorted({*train, *heldout})
    if len(names) > 1:
        table = [[Counter(side)[name] for name in names] for side in (train, heldout)]
        expected = association(table, method="cramer", correction=False)
        assert cramers_v(Counter(train), Counter(heldout)) == pytest.approx(expected)
