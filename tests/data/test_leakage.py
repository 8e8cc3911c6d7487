from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.data.copies import clusters, copied_rows
from harness.data.leakage import Leak, compare_rows, describe, find_leaks, require_no_leaks
from harness.data.plain_text import plain_words, same_key
from harness.data.rows import read_rows
from harness.errors import LeakError
from harness.records import Message, Row

SUPPORT = Path(__file__).parents[2] / "suites" / "support"
MESSAGES = """\
the parcel van drove past twice and nobody rang, my neighbour watched it happen from her kitchen
screen on the hall thermostat went black after last night's thunderstorm, fuse looks fine
two identical charges of 9.99 left my account on Monday, please put one of them back
since the update the graph tab shows Tuesday in the wrong colour and then closes itself
moving to Portugal in June where heating is pointless, so end the yearly plan before it renews
wrote down the recovery words, lost the notebook, and now the sign-in page laughs at me
could the next version speak to my solar inverter? evenings would be so much cheaper
there is a burnt plastic smell around the relay and the wall behind it feels hot
which of the three wires in a 1970s boiler box goes into the terminal marked N
please delete everything you hold on me, including voice recordings made by the hub
ordered size 15 valves by mistake and the parcel has not left, swap them for size 20
your installer was charming, wiped his boots and fixed a door hinge while he was here
battery icon has been red for a month though I fed it fresh lithium cells each week
our accountant needs the VAT number on last year's receipts or the tax office will not pay
hub blinks purple, manual knows only green and amber, what does purple want from me
we run a newspaper in Bristol and would love a quote about smart homes in old houses
""".splitlines()
SPARE = [
    "lantern",
    "gravel",
    "mirror",
    "tuesday",
    "copper",
    "whistle",
    "orchard",
    "ladder",
    "velvet",
    "anchor",
]


def row(place: str, message: str, reply: str = "ok", system: str = "Sort the tickets of this desk.") -> Row:
    turns = (Message("system", system), Message("user", message), Message("assistant", reply))
    return Row(place, turns, {}, place)


def rows(name: str, texts: Sequence[str]) -> list[Row]:
    return [row(f"{name}.jsonl:{at}", text) for at, text in enumerate(texts, start=1)]


def kinds(train: Sequence[Row], heldout: Sequence[Row]) -> list[str]:
    return [leak.kind for leak in find_leaks(train, heldout)]


# --------------------------------------------------------------------------- copies, whatever the length
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Refund???", "refund"),
        ("12+7?", "12 + 7 = ?".replace(" = ", " ")),
        ("pay the invoice", "p\u200ba\u200by the in\u00advoice"),
        ("open paypal", "оpen pаypаl"),
        ("my order is late", "**my** _order_ is <b>late</b>"),
        ("Müller & Söhne", "M&uuml;ller &amp; S&ouml;hne"),
        ("ｆｕｌｌ ｗｉｄｔｈ", "Full width"),
        ("don't ship it", "don’t ship it"),
        ("cafe order", "Café order"),
        ("white space", "white\u3000 space"),
        ("snake_case_name", "snake case name"),
        ("👍🏽", "👍🏽"),
        ("item thirty-nine", "item 39"),
        ("order 7 20", "order seven twenty"),
        ("100 % wool?", "100% wool"),
        ("x ≠ 5", "x != 5"),
        ("Where is C++ used?", "where is c++ used"),
    ],
)
def test_one_text_in_two_spellings_is_the_same(one: str, other: str) -> None:
    assert same_key(one) == same_key(other)
    assert kinds([row("t:1", one)], [row("h:1", other)]) == ["exact-short"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("12 + 7", "12 - 7"),
        ("12 7", "127"),
        ("twenty three", "20 3"),
        ("-5 + 3", "5 + 3"),
        ("x < 5", "x > 5"),
        ("👍", "👎"),
        ("good 👍", "good 👎"),
        ("12+7?", "12+8?"),
        ("cancel order 17", "cancel order 18"),
        ("ship it", "don't ship it"),
        ("Ana owes Bob", "Bob owes Ana"),
        ("pay $10", "pay €10"),
        ("x ≤ 5", "x ≥ 5"),
        ("x != 5", "x == 5"),
        ("learn C++", "learn C#"),
        ("ok :)", "ok :("),
    ],
)
def test_other_questions_are_not_the_same(one: str, other: str) -> None:
    assert kinds([row("t:1", one)], [row("h:1", other)]) == []


def test_a_copy_leaks_whatever_its_system_message() -> None:
    copy = row("train.jsonl:4", MESSAGES[0].upper() + "!!", "another reply", system="Other words entirely.")
    assert find_leaks([copy], [row("heldout.jsonl:9", MESSAGES[0])]) == (
        Leak("train.jsonl:4", "heldout.jsonl:9", "train.jsonl:4", "heldout.jsonl:9", "exact", 1.0),
    )


def test_a_few_short_repeats_are_honest_and_many_are_refused() -> None:
    train = rows("train", ["refund???", *MESSAGES[:8]])
    honest = rows("heldout", ["Refund!", *MESSAGES[8:]])
    assert [leak.kind for leak in require_no_leaks(train, honest).leaks] == ["exact-short"]
    short = [f"blue shirt {k}" for k in range(40)]
    with pytest.raises(LeakError, match=r"copied or edited \(40\)"):
        require_no_leaks(rows("train", short), rows("heldout", short))


# --------------------------------------------------------------------------- word for word in other texts
@pytest.mark.parametrize("around", ["{}", "As you said: {} So be it.", "Here is a question. {}"])
def test_held_out_texts_in_replies_are_refused(around: str) -> None:
    train = [
        row(f"t:{k}", f"write number {k} for me", around.format(text)) for k, text in enumerate(MESSAGES)
    ]
    with pytest.raises(LeakError, match="the held-out text stands word for word in the reply"):
        require_no_leaks(train, rows("heldout", MESSAGES))


def test_two_held_out_texts_in_one_question_are_refused() -> None:
    pairs = [
        f"{one}\nAlso: {other}" for one, other in zip(MESSAGES, [*MESSAGES[3:], *MESSAGES[:3]], strict=True)
    ]
    with pytest.raises(LeakError, match=r"word for word in user text|of the shorter text"):
        require_no_leaks(rows("train", [*pairs, *pairs]), rows("heldout", MESSAGES))


@pytest.mark.parametrize("added", ["{}\n-- \nBest regards, Mary Smith", "Classify this: {}", "{} (call {})"])
def test_short_texts_with_the_same_added_to_each_are_refused(added: str) -> None:
    short = [f"blue shirt {k}" for k in range(40)]
    train = [added.format(text, k) for k, text in enumerate(short)]
    with pytest.raises(LeakError, match="word for word in user text"):
        require_no_leaks(rows("train", train), rows("heldout", short))


def test_short_questions_begin_longer_ones_honestly() -> None:
    things = ("light", "lamp", "fan", "heater", "radio", "oven", "door", "blind")
    heldout = [f"{verb} the {thing}" for verb in ("turn on", "turn off", "dim", "check") for thing in things]
    train = [f"{text} in the {room}" for text in heldout[:8] for room in ("kitchen", "hall", "bath")]
    assert kinds(rows("train", train), rows("heldout", heldout)) == []


def test_one_text_in_a_reply_counts_as_one_and_stops_nothing() -> None:
    quoting = row("t:1", "what did they write?", f"They wrote: {MESSAGES[0]}")
    found = require_no_leaks([quoting, *rows("train", MESSAGES[8:])], rows("heldout", MESSAGES[:8]))
    assert [leak.kind for leak in found.leaks] == ["quoted"]


# --------------------------------------------------------------------------- edits, on real rows
def edited(text: str, rng: random.Random) -> str:
    """A fifth of the words replaced, deleted, or others inserted."""
    words = text.split()
    for _ in range(round(0.2 * len(words))):
        at = rng.randrange(len(words))
        how = rng.choice(("replace", "delete", "insert"))
        if how == "delete":
            del words[at]
        elif how == "replace":
            words[at] = rng.choice(SPARE)
        else:
            words.insert(at, rng.choice(SPARE))
    return " ".join(words)


def one_word_replaced(text: str, rng: random.Random) -> str:
    words = text.split()
    words[rng.randrange(len(words))] = rng.choice(SPARE)
    return " ".join(words)


def with_a_sentence(text: str, rng: random.Random) -> str:
    added = rng.choice(("Thanks a lot for looking into it.", "I wrote to you about this last week as well."))
    return f"{text} {added}" if rng.random() < 0.5 else f"{added} {text}"


def reordered(text: str, rng: random.Random) -> str:
    parts = re.split(r"(?<=[.,!?]) ", text)
    words = text.split()
    half = len(words) // 2
    return " ".join(parts[1:] + parts[:1] if len(parts) > 1 else words[half:] + words[:half])


@pytest.mark.parametrize(("change", "bar"), [(edited, 0.95), (with_a_sentence, 0.9), (reordered, 0.9)])
def test_changed_copies_of_real_rows_are_found(
    change: Callable[[str, random.Random], str], bar: float
) -> None:
    rng = random.Random(0)
    train, heldout = read_rows(SUPPORT / "train.jsonl"), read_rows(SUPPORT / "heldout.jsonl")
    assert find_leaks(train, heldout) == ()
    long = [r for r in heldout if len(r.question.split()) >= 12]
    planted = [row(f"copy of {r.id}", change(r.question, rng), r.reference) for r in long]
    pairs = {(leak.train_id, leak.heldout_id) for leak in find_leaks([*train, *planted], heldout)}
    assert sum((f"copy of {r.id}", r.id) in pairs for r in long) / len(long) >= bar


def test_several_edits_of_one_row_do_not_make_its_words_common() -> None:
    rng = random.Random(1)
    train = rows("train", [*MESSAGES[:8], *(edited(MESSAGES[9], rng) for _ in range(6))])
    assert len({leak.train_id for leak in find_leaks(train, rows("heldout", MESSAGES[8:]))}) == 6


def test_rows_of_one_form_are_as_near_as_the_task_is_and_do_not_leak() -> None:
    names = random.Random(2)
    frame = (
        "Please book a table for {} people at the {} restaurant near the {} station on {} evening under {}"
    )
    places = ["central", "harbour", "north", "old", "market", "museum"]
    made = [
        frame.format(*(names.choice(kind) for kind in ("23456789", SPARE, places, SPARE, SPARE)))
        for _ in range(300)
    ]
    assert find_leaks(rows("train", made[:200]), rows("heldout", made[200:])) == ()


def test_boilerplate_around_different_messages_does_not_flag_them() -> None:
    frame = "Read the customer's message below and say which team takes it, in one word. Message: {} Team:"
    train, heldout = (
        rows(n, [frame.format(t) for t in part]) for n, part in (("t", MESSAGES[:8]), ("h", MESSAGES[8:]))
    )
    assert kinds(train, heldout) == []


def test_a_reworded_question_with_its_long_answer_is_a_conversation() -> None:
    answer = "Turn the relay off at the mains, open a window, and call us on the emergency number."
    asked = "why do I notice a burnt plastic smell beside our boiler, should my family go outside now"
    assert kinds([row("t:1", asked)], [row("h:1", MESSAGES[7])]) == []
    assert kinds([row("t:1", asked, answer)], [row("h:1", MESSAGES[7], answer)]) == ["conversation"]
    assert kinds([row("t:1", MESSAGES[0], answer)], [row("h:1", MESSAGES[2], answer)]) == []


# --------------------------------------------------------------------------- other places of a row
@pytest.mark.parametrize(
    ("turns", "part"),
    [
        (
            [("system", f"Examples: {MESSAGES[3]} / {MESSAGES[4]}"), ("user", "hello there")],
            "the system message",
        ),
        ([("user", MESSAGES[3]), ("assistant", "yes"), ("user", "thanks, and now?")], "an earlier turn"),
        ([("user", "hello"), ("assistant", MESSAGES[3]), ("user", "right")], "an earlier turn"),
    ],
)
def test_a_heldout_row_inside_a_training_row_is_found(turns: list[tuple[str, str]], part: str) -> None:
    row_of = Row("t:1", (*(Message(*turn) for turn in turns), Message("assistant", "ok")), {}, "t:1")
    (leak,) = find_leaks([row_of], [row("h:1", MESSAGES[3])])
    assert leak.part == part
    assert part in describe(leak)


def test_the_system_message_alone_is_no_leak() -> None:
    long = "You are the first reader of a support desk and sort what people send into tickets."
    train, heldout = ([row(text, text, system=long)] for text in MESSAGES[:2])
    assert kinds(train, heldout) == []


# --------------------------------------------------------------------------- what is said, and accepted
def test_leaks_are_named_by_file_and_line_five_and_the_rest_counted() -> None:
    with pytest.raises(LeakError) as caught:
        require_no_leaks(rows("train", MESSAGES[:8]), rows("heldout", MESSAGES[:8]))
    shown = str(caught.value)
    assert caught.value.where == "train.jsonl:1"
    assert "train.jsonl:5 ~ heldout.jsonl:5" in shown
    assert "and 3 more" in shown
    assert "hint: take these rows out of the training file" in shown


@pytest.mark.parametrize("name", ["heldout.jsonl:2", "train.jsonl:2", "train.jsonl:2 ~ heldout.jsonl:2"])
def test_an_accepted_pair_does_not_refuse_the_others(name: str) -> None:
    train, heldout = rows("train", MESSAGES[:3]), rows("heldout", [*MESSAGES[5:6], MESSAGES[1]])
    assert [leak.heldout_id for leak in require_no_leaks(train, heldout, (name,)).leaks] == [
        "heldout.jsonl:2"
    ]
    with pytest.raises(LeakError):
        require_no_leaks(train, heldout, ("heldout.jsonl:1",))
    assert len(require_no_leaks(train, heldout, "warn").leaks) == 1


def test_rows_that_share_nothing_pass() -> None:
    train, heldout = rows("t", MESSAGES[:8]), rows("h", MESSAGES[8:])
    assert require_no_leaks(train, heldout).leaks == ()
    assert find_leaks([], heldout) == () == find_leaks(train, [])
    assert compare_rows(train, heldout).near == frozenset()


# --------------------------------------------------------------------------- copies among rows of one file
def test_copies_and_numbered_copies_are_one_cluster() -> None:
    texts = [f"{'Ticket ' + str(k) + ': ' if k else ''}{text}" for text in MESSAGES[:3] for k in (0, 13, 990)]
    held = rows("h", [*texts, "refund", "Refund!!", "12+7", "12-7", MESSAGES[5]])
    assert [len(group) for group in copied_rows(held)] == [3, 3, 3, 2]


def test_edited_copies_are_one_cluster_however_many() -> None:
    rng = random.Random(3)
    held = rows("h", [one_word_replaced(text, rng) for text in MESSAGES[:12] for _ in range(8)])
    assert [len(group) for group in copied_rows(held)] == [8] * 12


@pytest.mark.parametrize("frame", ["Hello, {}", "{} please", "Dear team, {} Kind regards", "{} (ticket 12)"])
def test_short_copies_with_a_greeting_are_one_cluster(frame: str) -> None:
    texts = [
        "how do I reset my password",
        "the app crashes on my phone",
        "cancel my yearly subscription before June",
    ]
    held = rows("h", [*texts, *map(frame.format, texts), *MESSAGES, "how do I close my account"])
    assert copied_rows(held) == [[0, 3], [1, 4], [2, 5]]


def test_clusters_join_copies_with_the_rows_own_groups() -> None:
    held = rows("h", [MESSAGES[0], MESSAGES[0] + "!", MESSAGES[1], MESSAGES[2], MESSAGES[3]])
    assert clusters(held, [None, "ana", "ana", None, None]) == ("ana", "ana", "ana", None, None)
    assert clusters(held, [None] * 5, {"h.jsonl:4", "h.jsonl:5"})[3:] == ("copies of h.jsonl:4",) * 2


def test_the_worked_examples_heldout_rows_are_all_distinct() -> None:
    assert copied_rows(read_rows(SUPPORT / "heldout.jsonl")) == []


def test_words_are_split_in_every_script() -> None:
    assert plain_words("T3暖房が STRASSE straße") == ("t3", "暖", "房", "が", "strasse", "strasse")
