"""Rows that have been judged before are found again, and a file that grew is told from one that did not."""

from __future__ import annotations

from random import Random

import pytest

from harness.data.row_sets import MOST_HASHES, are_shared, has_grown, recorded_row_set, row_set
from harness.records import Message, Row, SuiteRow


def rows(numbers: range, name: str = "r") -> list[Row]:
    return [
        Row(f"{name}-{at}", (Message("user", f"question {at}?"), Message("assistant", f"answer {at}")))
        for at in numbers
    ]


def test_a_set_is_the_same_in_any_order_under_other_ids_and_with_copies() -> None:
    here = row_set(rows(range(50)))
    shuffled = rows(range(50), name="line")
    Random(1).shuffle(shuffled)
    assert row_set([*shuffled, shuffled[0]]) == here
    assert here.n == 50


def test_mended_labels_new_spacing_and_a_new_prompt_make_no_new_rows() -> None:
    def told(prompt: str, row: Row) -> Row:
        first, *others = row.messages
        asked = Message("user", first.content.replace(" ", "  "))
        return Row(row.id, (Message("system", prompt), asked, *others[:-1], Message("assistant", "mended")))

    here = row_set(rows(range(50)))
    assert row_set([told("Be brief.", row) for row in rows(range(50))]) == here
    mixed = [told("Be brief.", row) for row in rows(range(50))] + [told("Be kind.", *rows(range(50, 51)))]
    assert has_grown(here, row_set(mixed)), "a row under another prompt leaves the others what they were"


def test_half_of_the_smaller_set_is_enough_to_count() -> None:
    here = row_set(rows(range(100)))
    assert are_shared(row_set(rows(range(50, 150))), here)
    assert not are_shared(row_set(rows(range(51, 151))), here)
    assert are_shared(row_set(rows(range(90, 105))), here)  # a part, with a third of others
    assert not are_shared(row_set(rows(range(100, 200))), here)
    assert not are_shared(row_set([]), here)


@pytest.mark.parametrize(
    ("today", "grew"),
    [
        (range(101), True),
        (range(10, 111), True),  # a tenth replaced, and one more
        (range(11, 130), False),  # too few of the earlier ones are left
        (range(100), False),
        (range(99), False),
        (range(5, 105), False),  # some replaced, none added
    ],
)
def test_a_set_has_grown_where_nine_tenths_are_left_and_there_are_more(today: range, grew: bool) -> None:
    assert has_grown(row_set(rows(range(100))), row_set(rows(today))) is grew


def test_large_sets_are_known_by_a_sample() -> None:
    spans = range(3_000), range(4_000), range(2_000, 5_000)
    earlier, today, other = (row_set(rows(span)) for span in spans)
    assert len(earlier.rows) <= 1.3 * MOST_HASHES
    assert earlier.n == 3_000
    assert has_grown(earlier, today)
    assert not has_grown(today, earlier)
    assert has_grown(row_set(rows(range(100))), today)
    assert not are_shared(earlier, other)


def test_rows_of_a_record_without_fingerprints_are_found_by_question_and_reference() -> None:
    recorded = [SuiteRow(str(at), f"question {at}?", f"answer {at}", {}) for at in range(40)]
    today = rows(range(60))
    found = recorded_row_set(recorded, today)
    assert has_grown(found, row_set(today))
    assert recorded_row_set(recorded, today[:30]).n == 40
