"""Which seeds, sizes and recipes rows have judged before, whatever became of their file."""

from __future__ import annotations

from dataclasses import replace

from harness.data.fingerprints import asked_keys
from harness.records import Message, Row
from harness.run.past import Past
from harness.store.answers import Judged

ROWS = tuple("abcdefghij")
CURVE = [Judged(frozenset(ROWS), "alone", "r", "qlora", size, 0) for size in (50, 100, 400)]
TRIO = [Judged(frozenset(ROWS), "three", recipe, f"name-{recipe}", 100, 0) for recipe in "rst"]


def row(question: str, *, system: str = "", answer: str = "yes") -> Row:
    first = (Message("system", system),) if system else ()
    return Row("id", (*first, Message("user", question), Message("assistant", answer)))


# --------------------------------------------------------------------------- sizes and seeds
def test_every_size_of_a_curve_was_judged_and_nothing_of_another_recipe() -> None:
    past = Past(ROWS, CURVE)
    assert past.sizes("r") == [50, 100, 400]
    assert past.sizes("another") == []
    assert past.company("r") == {}, "sizes of one recipe are no company"


def test_seeds_are_those_of_one_size() -> None:
    past = Past(ROWS, [*CURVE, replace(CURVE[0], seed=2), replace(CURVE[1], seed=7)])
    assert past.seeds("r", 50) == [0, 2]
    assert past.seeds("r", 100) == [0, 7]
    assert past.sizes("r") == [50, 100, 400]


def test_what_is_not_trained_has_neither_sizes_nor_seeds() -> None:
    past = Past(ROWS, [Judged(frozenset(ROWS), "alone", "prompt", "prompted")])
    assert past.sizes("prompt") == past.seeds("prompt", None) == []


# --------------------------------------------------------------------------- rows
def test_rows_that_are_added_taken_away_or_shuffled_are_still_the_rows_that_judged() -> None:
    for today in ((*ROWS, "new"), ROWS[:3], ROWS[::-1], (*ROWS, *"0123456789")):
        assert Past(today, CURVE).sizes("r") == [50, 100, 400], today


def test_fewer_than_half_of_the_rows_have_judged_nothing() -> None:
    assert Past(ROWS[:4] + tuple("vwxyz"), CURVE).sizes("r") == []
    assert Past(tuple("vwxyz"), CURVE).seeds("r", 100) == []


def test_rows_that_were_judged_in_parts_count_together() -> None:
    parts = [replace(CURVE[1], rows=frozenset(part)) for part in ("abc", "def")]
    assert Past(ROWS, parts[:1]).sizes("r") == []
    assert Past(ROWS, parts).sizes("r") == [100]


def test_a_row_is_told_by_what_it_asks() -> None:
    rows = [row(f"question {n} of all", system="Be brief.") for n in range(4)]
    again = [row(f"Question {n}  of all", system="Be short.", answer="no") for n in range(4)]
    assert asked_keys(rows) == asked_keys(again)
    assert len(set(asked_keys(rows))) == 4


def test_rows_that_differ_in_their_instructions_alone_are_different_rows() -> None:
    rows = [row("What is it?", system=f"The text: number {n}") for n in range(4)]
    assert len(set(asked_keys(rows))) == 4


# --------------------------------------------------------------------------- company
def test_company_is_what_one_run_judged_on_these_rows() -> None:
    past = Past(ROWS, [*TRIO, Judged(frozenset(ROWS), "alone", "u", "later", 100, 0)])
    assert past.company("r") == {"s": "name-s", "t": "name-t"}
    assert past.company("u") == {}


def test_company_of_several_runs_adds_up_and_takes_the_last_names() -> None:
    more = [replace(TRIO[0], beside="two"), Judged(frozenset(ROWS), "two", "v", "v")]
    renamed = [replace(one, beside="again", name=f"new-{one.recipe}") for one in TRIO]
    assert Past(ROWS, [*TRIO, *more, *renamed]).company("r") == {"s": "new-s", "t": "new-t", "v": "v"}


def test_the_first_decision_on_these_rows_was_no_choice_and_stays_what_it_was() -> None:
    alone = replace(TRIO[0], beside="alone")
    assert Past(ROWS, [alone, *TRIO]).company("r", ["r"]) == {}
    assert Past(ROWS, [alone, *TRIO]).company("s", ["s"]).keys() == {"r", "t"}
    assert Past(ROWS, [*TRIO, alone]).company("r", ["r"]).keys() == {"s", "t"}
    later = [*TRIO, Judged(frozenset(ROWS), "pair", "r", "r"), Judged(frozenset(ROWS), "pair", "u", "u")]
    assert Past(ROWS, later).company("r", ["r", "s", "t"]) == {}
    assert Past(ROWS, later).company("r", ["r", "s"]).keys() == {"s", "t", "u"}
    grown = (*ROWS, "new")
    on_more = [replace(one, rows=frozenset(grown)) for one in TRIO]
    assert Past(grown, [alone, *on_more]).company("r", ["r"]).keys() == {"s", "t"}, "first on fewer rows"


def test_company_on_other_rows_is_none() -> None:
    assert Past(tuple("vwxyz"), TRIO).company("r") == {}
    elsewhere = [replace(TRIO[0], rows=frozenset("a")), replace(TRIO[1], rows=frozenset("vwxyz"))]
    assert Past(ROWS, elsewhere).company("r") == {}
