from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.subsets import nested_subsets
from harness.errors import UnknownName, UsageError
from harness.records import Message, Row

SEEDS = st.integers(0, 2**32 - 1)
COUNTS = st.lists(st.integers(1, 25), min_size=1, max_size=8)


def rows_of(counts: list[int]) -> list[Row]:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    return [
        Row(
            f"row-{n}",
            (Message("user", f"question {n}"), Message("assistant", "reply")),
            {"intent": f"class {label}"},
            f"train.jsonl:{n}",
        )
        for n, label in enumerate(labels, start=1)
    ]


@settings(deadline=None)
@given(COUNTS, SEEDS, st.data())
def test_each_size_is_a_prefix_of_the_next(counts: list[int], seed: int, data: st.DataObject) -> None:
    rows = rows_of(counts)
    sizes = data.draw(st.lists(st.integers(1, len(rows)), min_size=1, max_size=6))
    subsets = nested_subsets(rows, sizes, seed, "intent")
    assert list(subsets) == sorted(set(sizes))
    largest = subsets[max(sizes)]
    assert len({row.id for row in largest}) == max(sizes)
    assert all(len(part) == size and part == largest[:size] for size, part in subsets.items())


@settings(deadline=None)
@given(COUNTS, SEEDS)
def test_every_class_of_every_prefix_is_within_one_row_of_its_share(counts: list[int], seed: int) -> None:
    rows, total, classes = rows_of(counts), sum(counts), len(counts)
    subsets = nested_subsets(rows, range(1, total + 1), seed, "intent")
    bound = 1 - 1 / (2 * classes - 2) if classes > 1 else 0.0  # Tijdeman 1980
    for size, part in subsets.items():
        found = Counter(row.text("intent") for row in part)
        off = [abs(found[f"class {i}"] - size * count / total) for i, count in enumerate(counts)]
        assert max(off) <= bound + 1e-9


@settings(deadline=None)
@given(COUNTS, SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_the_file_does_not_matter(counts: list[int], seed: int, rng: random.Random) -> None:
    rows = rows_of(counts)
    moved = [replace(row, where="other:1") for row in rng.sample(rows, len(rows))]
    sizes = [1, len(rows)]
    for stratify in ("intent", None):
        before, after = (nested_subsets(found, sizes, seed, stratify) for found in (rows, moved))
        assert [[r.id for r in part] for part in before.values()] == [
            [r.id for r in part] for part in after.values()
        ]


def test_rows_with_the_same_messages_are_told_apart_by_their_metadata() -> None:
    rows = [
        replace(row, messages=(Message("user", "hi"), Message("assistant", "yes"))) for row in rows_of([2, 2])
    ]
    first = nested_subsets(rows, [1], 0, None)[1]
    assert first == nested_subsets(rows[::-1], [1], 0, None)[1]


def test_another_seed_draws_other_rows() -> None:
    rows = rows_of([40, 40])
    draws = {tuple(row.id for row in nested_subsets(rows, [10], seed, "intent")[10]) for seed in range(5)}
    assert len(draws) == 5


def test_over_seeds_every_row_is_drawn_about_equally_often() -> None:
    rows = rows_of([20, 20])
    drawn = Counter(row.id for seed in range(400) for row in nested_subsets(rows, [10], seed, "intent")[10])
    # binomial(400, 1/4): mean 100, standard deviation 8.7; six of them either way
    assert all(48 < drawn[row.id] < 152 for row in rows)


def test_rows_without_the_field_are_a_class_of_their_own() -> None:
    rows = rows_of([30, 10])
    bare = [replace(row, metadata={}) if row.text("intent") == "class 1" else row for row in rows]
    part = nested_subsets(bare, [20], 0, "intent")[20]
    assert Counter(row.text("intent") for row in part) == {"class 0": 15, None: 5}


def test_a_size_larger_than_the_data_names_the_file_and_both_numbers() -> None:
    with pytest.raises(UsageError, match=r"size 50 is more than train\.jsonl has: 12 rows"):
        nested_subsets(rows_of([6, 6]), [5, 50], 0, "intent")
    with pytest.raises(UsageError, match="the training data has: 0 rows"):
        nested_subsets([], [1], 0, None)


@pytest.mark.parametrize("sizes", [[0], [-5, 5], []])
def test_sizes_below_one_or_none_at_all_are_refused(sizes: list[int]) -> None:
    with pytest.raises(UsageError, match="training size"):
        nested_subsets(rows_of([6]), sizes, 0, None)


def test_a_field_that_no_row_has_is_answered_with_those_there_are() -> None:
    with pytest.raises(UnknownName, match=r"'intnet'\. Did you mean 'intent'"):
        nested_subsets(rows_of([6]), [5], 0, "intnet")
