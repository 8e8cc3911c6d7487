from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.leakage import require_no_leaks
from harness.data.splits import Split, split_rows
from harness.errors import DataError, UnknownName, UsageError
from harness.records import Json, Message, Row

SEEDS = st.integers(0, 2**32 - 1)
SHARES = st.floats(0.05, 0.95)
COUNTS = st.lists(st.integers(1, 20), min_size=1, max_size=6).filter(lambda counts: sum(counts) > 1)
WORDS = ["lantern", "gravel", "mirror", "copper", "whistle", "orchard", "ladder", "velvet"]
LONG = "the parcel van drove past twice on {} and nobody rang, my neighbour watched it from her kitchen"


def row(at: int, text: str = "", reply: str = "ok", **metadata: Json) -> Row:
    turns = (Message("user", text or f"question {at}"), Message("assistant", reply))
    return Row(f"row-{at}", turns, metadata, f"all.jsonl:{at}")


def classes(counts: list[int]) -> list[Row]:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    return [row(at, intent=f"class {label}") for at, label in enumerate(labels, start=1)]


@st.composite
def grouped(draw: st.DrawFn) -> list[Row]:
    """Rows of three classes, in groups of mixed sizes, some without a group."""
    n = draw(st.integers(5, 40))
    labels = draw(st.lists(st.sampled_from("abc"), min_size=n, max_size=n))
    customers = draw(st.lists(st.one_of(st.none(), st.integers(0, n)), min_size=n, max_size=n))
    days = draw(st.lists(st.integers(1, 28), min_size=n, max_size=n))
    return [
        row(at, intent=label, customer=customer, day=f"2025-03-{day:02}")
        for at, (label, customer, day) in enumerate(zip(labels, customers, days, strict=True), start=1)
    ]


def ids(rows: tuple[Row, ...]) -> list[str]:
    return [r.id for r in rows]


def assert_partition(split: Split, rows: list[Row]) -> None:
    place = {r.id: at for at, r in enumerate(rows)}
    for side in (split.train, split.heldout):
        assert side
        assert ids(side) == sorted(ids(side), key=place.__getitem__)
    assert sorted(ids(split.train) + ids(split.heldout)) == sorted(place)


def biggest(rows: list[Row]) -> int:
    return max(Counter(r.text("customer") or r.id for r in rows).values())


# ---------------------------------------------------------------------------------------- by class
@settings(deadline=None, max_examples=60)
@given(COUNTS, SEEDS, st.data())
def test_every_class_is_held_out_within_one_row_of_its_share(
    counts: list[int], seed: int, data: st.DataObject
) -> None:
    rows = classes(counts)
    wanted = data.draw(st.integers(1, len(rows) - 1))
    split = split_rows(rows, heldout=wanted, seed=seed, stratify="intent")
    assert_partition(split, rows)
    assert len(split.heldout) == wanted
    assert split.notes == ()
    found = Counter(r.text("intent") for r in split.heldout)
    assert all(
        abs(found[f"class {i}"] - wanted * count / len(rows)) < 1 + 1e-9 for i, count in enumerate(counts)
    )


@settings(deadline=None, max_examples=60)
@given(grouped(), SHARES, SEEDS, st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_the_file_does_not_matter(
    rows: list[Row], share: float, seed: int, rng: random.Random, in_groups: bool
) -> None:
    rows += [
        row(100 + n, LONG.format(day), "ok", intent="a", customer=None) for n, day in enumerate(WORDS[:3])
    ]
    rows = [*rows, replace(rows[-1], id="copy")]
    moved = [replace(r, where="other:1") for r in rng.sample(rows, len(rows))]
    group = "customer" if in_groups else None
    try:
        one = split_rows(rows, heldout=share, seed=seed, stratify="intent", group=group)
    except UsageError:
        with pytest.raises(UsageError):
            split_rows(moved, heldout=share, seed=seed, stratify="intent", group=group)
        return
    other = split_rows(moved, heldout=share, seed=seed, stratify="intent", group=group)
    assert set(ids(one.heldout)) == set(ids(other.heldout))


def test_another_seed_holds_out_other_rows_and_the_same_seed_the_same() -> None:
    rows = classes([30, 30])
    one, again, other = (split_rows(rows, heldout=0.2, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one.heldout != other.heldout


def test_rows_without_the_class_are_a_class_of_their_own() -> None:
    rows = [row(at, **({"intent": "a"} if at <= 30 else {})) for at in range(1, 41)]
    split = split_rows(rows, heldout=8, stratify="intent")
    assert Counter(r.text("intent") for r in split.heldout) == {"a": 6, None: 2}


# ---------------------------------------------------------------------------------------- by group
@settings(deadline=None, max_examples=60)
@given(grouped(), SHARES, SEEDS, st.booleans())
def test_no_group_stands_on_both_sides(rows: list[Row], share: float, seed: int, by_class: bool) -> None:
    try:
        split = split_rows(
            rows, heldout=share, seed=seed, stratify="intent" if by_class else None, group="customer"
        )
    except UsageError:  # no group at all, or none small enough
        return
    assert_partition(split, rows)
    train, heldout = ({r.text("customer") for r in side} - {None} for side in (split.train, split.heldout))
    assert not train & heldout
    wanted = int(share * len(rows) + 0.5)
    assert abs(len(split.heldout) - wanted) <= biggest(rows)
    assert bool(split.notes) >= (len(split.heldout) != wanted)


def test_classes_keep_their_share_though_groups_stay_whole() -> None:
    rng = random.Random(0)
    rows = [row(at, intent=rng.choice("aaab"), customer=f"c{rng.randrange(120)}") for at in range(1, 401)]
    split = split_rows(rows, heldout=0.25, stratify="intent", group="customer")
    found, everywhere = (Counter(r.text("intent") for r in side) for side in (split.heldout, rows))
    assert len(split.heldout) == 100
    assert all(abs(found[c] - 0.25 * everywhere[c]) <= 2 for c in "ab")


def test_the_largest_groups_are_not_all_held_out() -> None:
    rows = [row(at, customer=f"c{at % 10}" if at <= 100 else None) for at in range(1, 201)]
    split = split_rows(rows, heldout=0.2, group="customer")
    assert len({r.text("customer") for r in split.heldout} - {None}) == 2
    assert len(split.heldout) == 40


def test_the_notes_say_how_far_the_result_is_from_what_was_asked() -> None:
    rows = [row(at, intent="a" if at <= 12 else "b", customer=f"c{at // 7}") for at in range(1, 41)]
    split = split_rows(rows, heldout=10, stratify="intent", group="customer")
    text = "\n".join(split.notes)
    assert f"{len(split.heldout)} of 40 rows are held out; 10 were asked for." in text
    assert "classes a row or more from their share, held out (wanted): " in text


def test_groups_that_are_all_too_large_are_named() -> None:
    rows = [row(at, customer=f"c{at % 2}") for at in range(1, 21)]
    with pytest.raises(UsageError, match=r"5 rows are wanted on the held-out side, but 10 .*all\.jsonl:"):
        split_rows(rows, heldout=5, group="customer")
    with pytest.raises(UsageError, match="5 rows are wanted on the training side, but 10"):
        split_rows(rows, heldout=15, group="customer")


# -------------------------------------------------------------------------------- near-duplicates
TEXTS = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join), min_size=4, max_size=14
)


@settings(deadline=None, max_examples=100)
@given(TEXTS, SEEDS, st.data())
def test_no_near_duplicate_stands_on_both_sides(texts: list[str], seed: int, data: st.DataObject) -> None:
    replies = data.draw(st.lists(st.sampled_from(["ok", *texts]), min_size=len(texts), max_size=len(texts)))
    rows = [row(at, text, reply) for at, (text, reply) in enumerate(zip(texts, replies, strict=True))]
    try:
        split = split_rows(rows, heldout=0.5, seed=seed)
    except UsageError as error:
        assert "near-duplicates" in str(error)  # noqa: PT017 - most draws do not raise
        return
    require_no_leaks(split.train, split.heldout)
    assert_partition(split, rows)


def test_edited_copies_stay_together_and_are_counted() -> None:
    rows = [*classes([40]), *(row(50 + n, LONG.format(day)) for n, day in enumerate(WORDS[:4]))]
    for seed in range(20):
        split = split_rows(rows, heldout=0.3, seed=seed)
        assert sum("parcel" in r.question for r in split.heldout) in (0, 4)
        assert split.notes == ("4 rows have near-duplicates; each was kept on the side of its own.",)
        require_no_leaks(split.train, split.heldout)


def test_copies_of_a_short_text_stay_on_one_side() -> None:
    split = split_rows(
        [row(at, "refund???" if at < 4 else f"{at} + {at}?") for at in range(1, 21)], heldout=0.5
    )
    assert sum(r.question == "refund???" for r in split.heldout) in (0, 3)
    require_no_leaks(split.train, split.heldout)


def test_many_copies_of_one_text_take_no_quadratic_memory() -> None:
    rows = [*classes([5_000]), *(row(9_000 + n, LONG.format("Monday")) for n in range(2_000))]
    split = split_rows(rows, heldout=0.5)
    assert sum("parcel" in r.question for r in split.heldout) in (0, 2_000)


# ----------------------------------------------------------------------------------------- by time
@settings(deadline=None, max_examples=60)
@given(grouped(), SHARES, st.booleans())
def test_every_training_row_is_older_than_the_cut(rows: list[Row], share: float, in_groups: bool) -> None:
    try:
        split = split_rows(rows, heldout=share, time="day", group="customer" if in_groups else None)
    except UsageError:  # one day, or a group too large
        return
    assert_partition(split, rows)
    last = max(r.text("day") or "" for r in split.train)
    reach: dict[str, str] = defaultdict(str)
    for r in rows:
        name = (r.text("customer") if in_groups else None) or r.id
        reach[name] = max(reach[name], r.text("day") or "")
    for r in split.heldout:
        assert reach[(r.text("customer") if in_groups else None) or r.id] > last
    if in_groups:
        train, heldout = ({r.text("customer") for r in s} - {None} for s in (split.train, split.heldout))
        assert not train & heldout


def test_the_newest_rows_are_held_out() -> None:
    rows = [row(at, day=f"2025-03-{at:02}") for at in (5, 1, 4, 2, 3)]
    split = split_rows(rows, heldout=2, time="day")
    assert ids(split.heldout) == ["row-5", "row-4"]
    assert split.notes == ("rows of 2025-03-04T00:00:00+00:00 and newer are held out.",)


def test_rows_of_one_instant_go_to_the_same_side_however_it_is_written() -> None:
    noon = [
        "2025-03-02T12:00:00",
        "2025-03-02T12:00:00Z",
        "2025-03-02T14:00:00+02:00",
        1740916800,
        "1740916800",
    ]
    rows = [
        row(1, day="2025-03-01"),
        row(2, day="20250228"),
        *(row(n, day=t) for n, t in enumerate(noon, start=3)),
    ]
    split = split_rows(rows, heldout=3, time="day")
    assert ids(split.train) == ["row-1", "row-2"]
    assert split.notes[0] == "5 of 7 rows are held out; 3 were asked for."


def test_a_groups_older_rows_go_with_its_newest_and_are_counted() -> None:
    rows = [row(at, day=f"2025-03-{at:02}", customer="c" if at in (1, 10) else None) for at in range(1, 11)]
    split = split_rows(rows, heldout=3, time="day", group="customer")
    assert ids(split.heldout) == ["row-1", "row-9", "row-10"]
    assert "1 older rows are held out too" in split.notes[-1]


def test_a_near_duplicate_of_a_new_row_is_not_trained_on() -> None:
    rows = [row(at, day=f"2025-03-{at:02}") for at in range(2, 10)]
    rows += [
        row(1, LONG.format("Monday"), day="2025-03-01"),
        row(10, LONG.format("Friday"), day="2025-03-10"),
    ]
    split = split_rows(rows, heldout=3, time="day")
    assert set(ids(split.heldout)) == {"row-1", "row-9", "row-10"}
    require_no_leaks(split.train, split.heldout)


def test_rows_without_a_date_that_can_be_read_are_named_ten_and_the_rest_counted() -> None:
    bad: list[Json] = [
        "yesterday",
        None,
        True,
        1.7e12,
        "202503010930",
        float("nan"),
        {"y": 1},
        "",
        "03/01/2025",
    ]
    rows = [row(at, day=value) for at, value in enumerate([*bad, "x", "y", "z", "2025-03-01"], start=1)]
    with pytest.raises(DataError) as caught:
        split_rows(rows, heldout=2, time="day")
    shown = str(caught.value)
    assert caught.value.where == "all.jsonl:1"
    assert (
        "12 rows have no date in 'day' that can be read:\n  all.jsonl:1: 'yesterday'\n  all.jsonl:2: no date"
        in shown
    )
    assert "all.jsonl:10" in shown
    assert "all.jsonl:11" not in shown
    assert "and 2 more" in shown
    assert "hint: write an ISO 8601 date" in shown


def test_rows_that_are_all_of_one_day_cannot_be_split_by_time() -> None:
    rows = [row(at, day="2025-03-01") for at in range(1, 5)]
    with pytest.raises(UsageError, match="no cut in time leaves rows on both sides"):
        split_rows(rows, heldout=2, time="day")
    today = datetime(2025, 3, 1, tzinfo=UTC).timestamp()
    one = [row(at, day=today + at, customer="c") for at in range(1, 5)]
    with pytest.raises(UsageError, match="no cut in time"):
        split_rows(one, heldout=2, time="day", group="customer")


def test_a_group_that_reaches_to_the_end_and_is_larger_than_asked_is_named() -> None:
    rows = [row(at, day=f"2025-03-{at:02}", customer="c" if at > 5 else None) for at in range(1, 11)]
    with pytest.raises(
        UsageError, match="2 rows are wanted on the held-out side, but 5 rows belong together"
    ):
        split_rows(rows, heldout=2, time="day", group="customer")


# ---------------------------------------------------------------------------------------- the call
@pytest.mark.parametrize("heldout", [0, 1.0, 0.0, -0.2, 10, -1, 1.5, True, float("nan")])
def test_a_share_or_number_out_of_range_is_refused(heldout: float) -> None:
    with pytest.raises(UsageError, match=r"give a share between 0 and 1, such as 0\.2, or a number"):
        split_rows(classes([10]), heldout=heldout)


def test_a_share_that_leaves_a_side_empty_is_refused() -> None:
    with pytest.raises(UsageError, match="leaves the held-out side empty"):
        split_rows(classes([10]), heldout=0.04)
    with pytest.raises(UsageError, match="leaves the training side empty"):
        split_rows(classes([10]), heldout=0.96)
    with pytest.raises(UsageError, match="1 row cannot be split"):
        split_rows(classes([1]), heldout=0.5)


@pytest.mark.parametrize("option", ["stratify", "group", "time"])
def test_a_field_that_no_row_has_is_named_with_those_that_exist(option: str) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'intent'") as caught:
        split_rows(classes([10]), heldout=0.2, **{option: "intend"})  # type: ignore[arg-type]
    assert "There are: intent." in str(caught.value)


def test_a_split_by_time_cannot_be_stratified_and_says_why() -> None:
    with pytest.raises(UsageError, match="the newest rows have the classes they have"):
        split_rows(classes([10]), heldout=0.2, time="intent", stratify="intent")
