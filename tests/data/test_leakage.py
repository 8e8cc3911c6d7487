from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.leakage import Leak, find_leaks, require_no_leaks, word_trigrams, words
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
the returned sensor reached your warehouse on the 3rd, yet my bank still shows nothing
kann das Ventil auch senkrecht montiert werden, der Heizkörper hängt direkt unter dem Fenster
le capteur du salon affiche quarante degrés alors que nous portons tous des manteaux
la aplicación se queda en blanco cada vez que abro la pantalla de horarios semanales
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
    "pepper",
    "canyon",
]
INTENTS = [
    "delivery",
    "fault",
    "billing",
    "app",
    "cancel",
    "login",
    "idea",
    "safety",
    "setup",
    "privacy",
    "order",
    "praise",
]


def row(place: str, message: str, reply: str = "ok", system: str = "Sort the tickets of this desk.") -> Row:
    turns = (Message("system", system), Message("user", message), Message("assistant", reply))
    return Row(place, turns, {}, place)


def ticket(number: int) -> str:
    label = {
        "intent": INTENTS[number % len(INTENTS)],
        "urgency": "normal",
        "language": "en",
        "team": "first line",
    }
    return json.dumps(label)


def edited(message: str, rng: random.Random, share: float = 0.2) -> str:
    parts = message.split()
    for place in rng.sample(range(len(parts)), round(share * len(parts))):
        parts[place] = rng.choice(SPARE)
    return " ".join(parts)


def kinds(train: list[Row], heldout: list[Row], threshold: float = 0.3) -> list[str]:
    return [leak.kind for leak in find_leaks(train, heldout, threshold)]


def test_words_are_the_same_in_any_case_punctuation_and_normal_form() -> None:
    assert words("Café, STRASSE!") == words("cafe\u0301 straße")
    assert word_trigrams("a b c d") == {("a", "b", "c"), ("b", "c", "d")}
    assert word_trigrams("a b") == frozenset()
    assert words("T3暖房が") == ("t3", "暖", "房", "が")


TEXTS = st.lists(st.sampled_from(SPARE[:4]), max_size=12).map(" ".join)


@settings(deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=8), st.lists(TEXTS, min_size=1, max_size=8))
def test_the_same_pairs_leak_with_the_two_sides_exchanged(one: list[str], two: list[str]) -> None:
    left = [row(f"a:{n}", text or "x") for n, text in enumerate(one)]
    right = [row(f"b:{n}", text or "x") for n, text in enumerate(two)]
    there = {(k.train_id, k.heldout_id, k.kind, k.containment) for k in find_leaks(left, right)}
    back = {(k.heldout_id, k.train_id, k.kind, k.containment) for k in find_leaks(right, left)}
    assert there == back


def test_a_copy_leaks_whatever_its_case_and_system_message() -> None:
    copy = row("train.jsonl:4", MESSAGES[0].upper() + "!!", "another reply", system="Other words entirely.")
    assert find_leaks([copy], [row("heldout.jsonl:9", MESSAGES[0])]) == (
        Leak("train.jsonl:4", "heldout.jsonl:9", "train.jsonl:4", "heldout.jsonl:9", "exact", 1.0),
    )


def test_the_system_message_alone_is_no_leak() -> None:
    long = "You are the first reader of a support desk and sort what people send into tickets."
    train, heldout = ([row(text, text, system=long)] for text in MESSAGES[:2])
    assert kinds(train, heldout) == []


def test_a_copy_that_many_training_rows_repeat_still_leaks() -> None:
    train = [row(f"t:{n}", MESSAGES[3]) for n in range(60)]
    assert kinds(train, [row("h:1", MESSAGES[3])]) == ["exact"] * 60


@pytest.mark.parametrize("inside", ["train", "heldout"])
def test_a_message_inside_a_longer_one_leaks_either_way(inside: str) -> None:
    short, long = MESSAGES[1], " ".join(MESSAGES[:5])
    train, heldout = (short, long) if inside == "train" else (long, short)
    assert kinds([row("t:1", train)], [row("h:1", heldout)]) == ["message"]


def test_edited_copies_are_found_and_different_rows_are_not_flagged() -> None:
    rng = random.Random(0)
    heldout = [row(f"h:{n}", text, ticket(n)) for n, text in enumerate(MESSAGES[:10])]
    honest = [row(f"t:{n}", text, ticket(n)) for n, text in enumerate(MESSAGES[10:])]
    found = tried = 0
    for _ in range(50):
        copies = [row(f"c:{r.where}", edited(r.question, rng), r.reference) for r in heldout]
        pairs = {(leak.train_where, leak.heldout_where) for leak in find_leaks(honest + copies, heldout)}
        found += sum((f"c:{r.where}", r.where) in pairs for r in heldout)
        tried += len(heldout)
        assert not any(train.startswith("t:") for train, _ in pairs)
    assert found / tried >= 0.95


@pytest.mark.skipif(
    not all((SUPPORT / name).exists() for name in ("train.jsonl", "heldout.jsonl")),
    reason="the worked example's rows are not here",
)
def test_on_the_worked_example_edits_are_found_and_its_own_rows_are_clean() -> None:
    rng = random.Random(0)
    train, heldout = read_rows(SUPPORT / "train.jsonl"), read_rows(SUPPORT / "heldout.jsonl")
    flagged = [leak for leak in find_leaks(train, heldout) if leak.kind != "exact-short"]
    assert len(flagged) <= 0.001 * len(train) * len(heldout)
    comparable = [r for r in heldout if len(words(r.question)) >= 5]
    copies = [row(f"copy of {r.where}", edited(r.question, rng), r.reference) for r in comparable]
    pairs = {(leak.train_where, leak.heldout_where) for leak in find_leaks([*train, *copies], comparable)}
    found = sum((f"copy of {r.where}", r.where) in pairs for r in comparable)
    assert found / len(comparable) >= 0.95


def test_boilerplate_around_different_messages_does_not_flag_them() -> None:
    frame = "Read the customer's message below and say which team takes it, in one word. Message: {} Team:"
    train = [row(f"t:{n}", frame.format(text)) for n, text in enumerate(MESSAGES[:10])]
    heldout = [row(f"h:{n}", frame.format(text)) for n, text in enumerate(MESSAGES[10:])]
    assert kinds(train, heldout) == []
    copy = row("t:copy", frame.format(MESSAGES[15].replace("Bristol", "Leeds")))
    assert [leak.heldout_where for leak in find_leaks([*train, copy], heldout)] == ["h:5"]


def test_labels_as_replies_do_not_make_different_questions_alike() -> None:
    short = [" ".join(text.split()[:6]) for text in MESSAGES]
    train = [row(f"t:{n}", text, ticket(n % 3)) for n, text in enumerate(short[:10])]
    heldout = [row(f"h:{n}", text, ticket(n % 3)) for n, text in enumerate(short[10:])]
    assert kinds(train, heldout) == []


def test_one_answer_to_two_different_questions_is_no_leak() -> None:
    answer = "Returns are free for thirty days; the label is in your account under orders."
    assert kinds([row("t:1", MESSAGES[0], answer)], [row("h:1", MESSAGES[2], answer)]) == []


def test_a_reworded_question_with_its_answer_leaks_as_a_conversation() -> None:
    answer = "Turn the relay off at the mains, open a window, and call us on the emergency number."
    asked = "why do I notice a burnt plastic smell beside our boiler, should my family go outside now"
    assert kinds([row("t:1", asked)], [row("h:1", MESSAGES[7])]) == []
    assert kinds([row("t:1", asked, answer)], [row("h:1", MESSAGES[7], answer)]) == ["conversation"]


def test_one_common_phrase_in_short_messages_is_no_leak() -> None:
    assert kinds([row("t:1", "where is my parcel please")], [row("h:1", "and where is my money")]) == []


def test_short_messages_are_compared_whole_and_do_not_refuse_the_data() -> None:
    train = [row("t:1", "refund???"), row("t:2", "app ded again"), row("t:3", "???")]
    heldout = [row("h:1", "Refund!"), row("h:2", "app dead again"), row("h:3", "? ??"), row("h:4", "!!!")]
    leaks = require_no_leaks(train, heldout)
    assert [(leak.train_where, leak.heldout_where, leak.kind) for leak in leaks] == [
        ("t:1", "h:1", "exact-short"),
        ("t:3", "h:3", "exact-short"),
    ]


def test_the_threshold_is_the_users() -> None:
    half = " ".join(MESSAGES[0].split()[:8] + MESSAGES[1].split()[:8])
    train, heldout = [row("t:1", half)], [row("h:1", MESSAGES[0])]
    assert kinds(train, heldout) == ["message"]
    assert kinds(train, heldout, threshold=0.9) == []


def test_leaks_are_named_by_file_and_line_five_and_the_rest_counted() -> None:
    train = [row(f"train.jsonl:{n}", text) for n, text in enumerate(MESSAGES[:8], start=1)]
    heldout = [row(f"heldout.jsonl:{n}", text) for n, text in enumerate(MESSAGES[:8], start=21)]
    with pytest.raises(LeakError) as caught:
        require_no_leaks(train, heldout)
    shown = str(caught.value)
    assert caught.value.where == "train.jsonl:1"
    assert re.findall(r"train\.jsonl:(\d) ~ heldout\.jsonl:(\d+)", shown) == [
        (str(n), str(n + 20)) for n in range(1, 6)
    ]
    assert "and 3 more" in shown
    assert "hint: take these rows out of the training file" in shown


def test_rows_that_share_nothing_pass() -> None:
    train = [row(f"t:{n}", text) for n, text in enumerate(MESSAGES[:10])]
    heldout = [row(f"h:{n}", text) for n, text in enumerate(MESSAGES[10:])]
    assert require_no_leaks(train, heldout) == ()
    assert find_leaks([], heldout) == () == find_leaks(train, [])
