"""Each finding is found where it is, and nowhere else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.findings import CODES, Finding
from harness.data.lint import first_to_fix, lint_rows
from harness.data.repetition import diversity
from harness.data.rows import read_rows
from harness.records import Message, Row, ToolCall

SUITES = Path(__file__).parents[2] / "suites"
SYSTEM = "Turn the customer's message into a support ticket."
CLEAN = read_rows(SUITES / "support" / "train.jsonl")[:60]
OF_THE_FILE = ("class-shift", "language-shift", "length-shift", "low-diversity")


def row(user: str, reply: str, system: str = SYSTEM, **metadata: object) -> Row:
    head = (Message("system", system),) if system else ()
    return Row("", (*head, Message("user", user), Message("assistant", reply)), metadata)


def ticket(user: str, intent: str = "delivery", summary: str = "Asks for the parcel") -> Row:
    return row(user, json.dumps({"intent": intent, "urgency": "normal", "summary": summary}))


def file_of(rows: Sequence[Row]) -> list[Row]:
    return [replace(r, id=r.id or f"new-{at}", where=f"f.jsonl:{at}") for at, r in enumerate(rows, start=1)]


def with_reply(at: int, change: Callable[[str], str]) -> list[Row]:
    old = CLEAN[at]
    new = replace(old, messages=(*old.prompt, Message("assistant", change(old.reference))))
    return file_of([*CLEAN[:at], new, *CLEAN[at + 1 :]])


def only(rows: Sequence[Row], code: str) -> Finding:
    (found,) = lint_rows(rows)
    assert found.code == code, found
    return found


# --------------------------------------------------------------------------- clean files
def test_the_worked_examples_training_rows_are_clean() -> None:
    heldout = read_rows(SUITES / "support" / "heldout.jsonl")
    assert lint_rows(read_rows(SUITES / "support" / "train.jsonl"), heldout, stratify="intent") == ()
    assert lint_rows(read_rows(SUITES / "support" / "train.jsonl"), heldout) == ()


def test_the_replay_rows_are_clean() -> None:
    heldout = read_rows(SUITES / "retention" / "heldout.jsonl")
    assert lint_rows(read_rows(SUITES / "retention" / "replay.jsonl"), heldout) == ()


def questions(rows: int = 80) -> list[str]:
    """Messages of a real file, as payload for other tasks."""
    return [r.question for r in read_rows(SUITES / "support" / "train.jsonl")[100 : 100 + rows]]


def labelled() -> list[Row]:
    labels = ("positive", "negative", "neutral", "none of these", "n")
    return [row(text, labels[at % 5], "Name the mood.") for at, text in enumerate(questions())]


def one_instruction_for_all() -> list[Row]:
    head = "Read the customer's message below and answer with its language as a two-letter code, no more:\n\n"
    return [row(head + text, ("en", "de", "fr")[at % 3], "") for at, text in enumerate(questions())]


def sums() -> list[Row]:
    draw = random.Random(4)
    pairs = dict.fromkeys((draw.randint(10, 40), draw.randint(2, 9)) for _ in range(60))
    plus = [row(f"{a} + {b} =", str(a + b), "") for a, b in pairs]
    return [*plus, *(row(f"{a} - {b} =", str(a - b), "") for a, b in pairs)]


def chat() -> list[Row]:
    prose = "It depends on the boiler, so look at the label first. "
    replies = (
        lambda at, text: f"{prose * (at % 7)}Then write to us about {text.split()[0]}, number {at}.",
        lambda at, text: (
            f"```python\nvalue = {at}  # TODO: read it from the hub\nprint(f'{{{{value}}}}')\n```"
        ),
        lambda at, text: json.dumps({"step": at, "note": text[:20]}),
        lambda at, text: f"Yes, {at} of them.",
    )
    kinds = [0] * 34 + [1, 2] + [3] * 4
    return [row(text, replies[kinds[at % 40]](at, text), "") for at, text in enumerate(questions())]


def greetings_and_conversations() -> list[Row]:
    hello = [
        row(text, f"Hello! What can I do for you, guest {at}?", "") for at, text in enumerate(["hi"] * 8)
    ]
    talks = []
    for at, text in enumerate(questions(60)):
        first = (Message("user", text), Message("assistant", f"Which model, and since when, caller {at}?"))
        talks.append(
            Row("", (*first, Message("user", f"T{at % 3}, since May"), Message("assistant", f"Ok, {at}.")))
        )
        talks.append(Row("", first))  # the same conversation, cut after its first turn
    return [*hello, *talks]


def tool_users() -> list[Row]:
    tools = ({"type": "function", "function": {"name": "find_order", "parameters": {}}},)
    rows = []
    for at, text in enumerate(questions(60)):
        call = ToolCall(f"c{at}", "find_order", json.dumps({"order": f"HL-{at}"}))
        asks = Message("assistant", "", tool_calls=(call,))
        result = Message("tool", '{"state": "sent"}', tool_call_id=f"c{at}")
        rows.append(Row("", (Message("user", text), asks), tools=tools))
        rows.append(
            Row("", (Message("user", text), asks, result, Message("assistant", "It is sent.")), tools=tools)
        )
    return rows


def two_tasks_in_one_file() -> list[Row]:
    general = [r for r in read_rows(SUITES / "retention" / "replay.jsonl") if len(r.reference) < 40]
    return [
        *(replace(r, metadata={}) for r in CLEAN),
        *(replace(r, metadata={}) for r in general[:5]),
    ]


SETS = [
    labelled,
    one_instruction_for_all,
    sums,
    chat,
    greetings_and_conversations,
    tool_users,
    two_tasks_in_one_file,
]


@pytest.mark.parametrize("clean", SETS, ids=lambda made: made.__name__)
def test_clean_files_of_other_kinds_are_clean(clean: Callable[[], list[Row]]) -> None:
    assert lint_rows(file_of(clean())) == ()


def test_no_rows_have_no_findings() -> None:
    assert lint_rows([]) == ()
    assert first_to_fix([]) == ()


# --------------------------------------------------------------------------- copies
def test_a_copy_is_found_case_spacing_and_punctuation_aside() -> None:
    old = CLEAN[10]
    shouted = Message("user", f"  {old.question.upper().replace(' ', '  ')} !!")
    copy = replace(old, messages=(old.messages[0], shouted, old.messages[-1]))
    found = only(file_of([*CLEAN, copy, old]), "exact-duplicate")
    assert found.lines == (11, 61, 62)
    assert found.line == 61
    assert "3 rows" in found.problem


def test_short_messages_repeat_honestly_until_the_fourth() -> None:
    thanks = ticket("thank you so much", "feedback", "Thanks")
    assert lint_rows(file_of([*CLEAN, *[thanks] * 3])) == ()
    found = only(file_of([*CLEAN, *[thanks] * 4]), "exact-duplicate")
    assert found.lines == (61, 62, 63, 64)


def test_an_edited_copy_is_found_and_grouped_with_its_chain() -> None:
    first = "the parcel van drove past our house twice today and nobody rang while my neighbour watched it"
    second = first.replace("today", "yesterday")
    third = second.replace("neighbour", "flatmate") + " from her kitchen window"
    edits = [ticket(text, summary=f"Van drove past {at}") for at, text in enumerate([first, second, third])]
    found = only(file_of([*CLEAN, *edits]), "near-duplicate")
    assert found.lines == (61, 62, 63)
    assert "% of their three-word runs" in found.problem


def test_a_phrase_that_many_rows_hold_does_not_make_them_alike() -> None:
    phrase = "I have read your terms and conditions and I would like to tell you that"
    rows = [ticket(f"{phrase} {text}", summary=f"Case {at}") for at, text in enumerate(questions(60))]
    assert lint_rows(file_of(rows)) == ()


# --------------------------------------------------------------------------- contradictions
def test_one_input_with_two_labels_is_a_contradiction_of_that_field() -> None:
    text = "box arrived with six valves missing and the lid torn off"
    rows = file_of(
        [*CLEAN, ticket(text, "delivery", "Lid torn"), ticket(text.upper(), "refund", "Box torn open")]
    )
    found = only(rows, "contradiction")
    assert found.lines == (61, 62)
    assert "'delivery' (line 61); 'refund' (line 62)" in found.problem
    assert '"intent"' in found.problem


def test_one_input_with_two_short_replies_is_a_contradiction() -> None:
    rows = [*labelled(), row(questions()[0], "negative", "Name the mood.")]
    assert only(file_of(rows), "contradiction").lines == (1, 81)


def test_under_another_system_message_other_labels_do_not_contradict() -> None:
    rows = [
        *labelled(),
        row("where is it", "de", "Name the tongue."),
        row("where is it", "neutral", "Name the mood."),
    ]
    assert lint_rows(file_of(rows)) == ()


def test_a_sign_in_a_sum_is_no_punctuation() -> None:
    rows = [row("how much is 9 + 3 in all", "12", ""), row("how much is 9 - 3 in all", "6", "")]
    codes = {
        found.code
        for found in lint_rows(
            file_of(
                [
                    *sums(),
                    *rows,
                ]
            )
        )
    }
    assert "contradiction" not in codes


def test_free_texts_that_differ_do_not_contradict() -> None:
    rows = file_of(
        [*chat(), row("tell me about it", "It is warm.", ""), row("tell me about it", "It is new.", "")]
    )
    assert lint_rows(rows) == ()


# --------------------------------------------------------------------------- form
def test_prose_among_json_replies_is_another_form() -> None:
    found = only(
        with_reply(20, lambda _: "It is a delivery ticket of normal urgency, about a late parcel."),
        "inconsistent-format",
    )
    assert found.line == 21
    assert found.problem == "the reply is plain text; 59 of 60 are a JSON object"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda reply: f"```json\n{reply}\n```", "is fenced code"),
        (
            lambda reply: reply.replace('"summary"', '"title"'),
            "has the keys intent, title, urgency; 59 of 60 have",
        ),
        (
            lambda reply: json.dumps(dict(reversed(json.loads(reply).items()))),
            "has its keys in the order summary, urgency, intent; 59 of 60 have intent, urgency, summary",
        ),
        (lambda reply: f"{reply}\n", "has whitespace after it; 59 of 60 have no whitespace around it"),
        (lambda reply: f" {reply}", "has whitespace before it"),
    ],
)
def test_another_form_is_named_with_the_usual_one(change: Callable[[str], str], says: str) -> None:
    assert says in only(with_reply(33, change), "inconsistent-format").problem


def test_json_among_labels_is_another_form() -> None:
    rows = [*labelled(), row("nobody rang the bell at noon", '{"mood": "negative"}', "Name the mood.")]
    assert only(file_of(rows), "inconsistent-format").line == 81


def test_at_most_twenty_replies_are_named_and_the_rest_counted() -> None:
    whole = read_rows(SUITES / "support" / "train.jsonl")
    rows = [replace(r, messages=(*r.prompt, Message("assistant", r.reference + "\n"))) for r in whole[:33]]
    found = lint_rows(file_of([*rows, *whole[33:]]))
    assert [f.code for f in found] == ["inconsistent-format"] * 20
    assert "13 more replies" in found[-1].problem
    assert found[-1].lines == tuple(range(20, 34))
    assert "33 replies" in first_to_fix(found)[0]


# --------------------------------------------------------------------------- length and leftovers
def test_a_reply_many_times_as_long_is_an_outlier() -> None:
    long = json.dumps({"intent": "delivery", "urgency": "low", "summary": "late again " * 200})
    found = only(with_reply(5, lambda _: long), "length-outlier")
    assert found.line == 6
    assert f"{len(long):,} characters; the median of 60 replies is" in found.problem


@pytest.mark.parametrize(
    ("left", "shown"),
    [
        ("TODO", "TODO"),
        ("TBD, ask Ana", "TBD"),
        ("FIXME later", "FIXME"),
        ("Lorem ipsum dolor sit", "Lorem ipsum"),
        ("Dear [insert name here], thanks", "[insert name here]"),
        ("Call <your name> back", "<your name>"),
        ("Dear {{customer_name}}, asks for valves", "{{customer_name}}"),
        ("Order xxx is late", "xxx"),
        ("As an AI language model, I cannot say", "As an AI language model"),
        ("asdfasdf", "asdfasdf"),
    ],
)
def test_a_leftover_in_a_reply_is_shown(left: str, shown: str) -> None:
    found = only(
        with_reply(7, lambda reply: json.dumps({**json.loads(reply), "summary": left})), "placeholder"
    )
    assert repr(shown) in found.problem
    assert found.line == 8


def test_a_template_left_unfilled_in_a_users_message_is_shown() -> None:
    found = only(
        file_of([*CLEAN, ticket("hello {{first_name}} here, my hub went dark last night")]), "placeholder"
    )
    assert "the user's message holds the leftover '{{first_name}}'" in found.problem


@pytest.mark.parametrize(
    ("user", "reply"),
    [
        ("put buy milk on my todo list", "TODO: buy milk"),
        ("what does xxx mean at the end of her text", "xxx are three kisses"),
        ("how do I print a name in Jinja", "Write {{ name }} where it belongs."),
        ("write a function", "def f():\n    # TODO: cache this\n    return x[xxx_index]"),
        ("how do I call it", "Run `curl -H 'Key: <your_key>'` first."),
        ("¿qué quiere?", "Lo quiere TODO y lo quiere ya, y TODO el mundo lo sabe."),
        ("which fraction", r"It is \frac{{a}}{{b}}, or x^{{n}}."),
        ("which key", "Press [Enter], then [Insert], see [your account](https://example.com/a)."),
        ("who won in 1996", "Super Bowl XXX went to Dallas; see www.xxx.example.com/xxx/."),
        ("which manager", "Use asdf to install it."),
    ],
)
def test_code_and_honest_text_hold_no_leftovers(user: str, reply: str) -> None:
    assert lint_rows(file_of([*chat(), row(user, reply, "")])) == ()


def test_personal_data_and_secrets_are_found_with_their_lines() -> None:
    mail = ticket("please write to marta.gomez@gmail.com about the valves that never came")
    assert only(file_of([*CLEAN, mail]), "personal-data").line == 61
    key = "ghp_" + "".join(random.Random(1).choices("abcdefghijkmnopqrstuvwxyzABCDEFGH0123456789", k=36))
    assert (
        only(file_of([*CLEAN, ticket(f"my token {key} has stopped working since noon")]), "secret").line == 61
    )


def test_no_finding_of_another_kind_repeats_an_address_either() -> None:
    rows = with_reply(
        9, lambda reply: json.dumps({**json.loads(reply), "summary": "[insert ana.b@gmail.com]"})
    )
    found = lint_rows(rows)
    assert [f.code for f in found] == ["personal-data", "placeholder"]
    assert not any("ana.b" in f.problem for f in found)


# --------------------------------------------------------------------------- the whole file
def templates(rows: int) -> list[Row]:
    names = random.Random(2)
    forms = (
        "I bought a {} last week and now it does not work any more",
        "Could you please tell me where the {} that I ordered is right now",
        "My {} arrived broken and I would like to have my money back",
    )
    words = ["".join(names.choices("bcdfghjklmnprstvaeiou", k=8)) for _ in range(rows)]
    return [ticket(forms[at % 3].format(word), summary=f"About {word}") for at, word in enumerate(words)]


def test_a_file_filled_in_from_templates_has_low_diversity() -> None:
    found = only(file_of(templates(240)), "low-diversity")
    assert "240 of 240 user turns (100%)" in found.problem
    assert f"distinct-3 is {diversity(templates(240)):.2f}" in found.problem
    assert found.line == 240


def test_diversity_is_the_share_of_distinct_runs() -> None:
    rows = [row("one two three four", "a"), row("one two three five", "b")]
    assert diversity(rows) == 1.0  # too short to hold three runs
    rows = [row("one two three four five", "a"), row("one two three six seven", "b")]
    assert diversity(rows) == pytest.approx(5 / 6)
    assert diversity(templates(240)) < 0.5 < diversity(CLEAN)


def test_a_shift_from_the_held_out_rows_stands_at_the_last_line() -> None:
    heldout = read_rows(SUITES / "support" / "heldout.jsonl")
    rows = [r for r in read_rows(SUITES / "support" / "train.jsonl") if r.metadata["intent"] != "delivery"]
    (found,) = lint_rows(file_of(rows), heldout, stratify="intent")
    assert (found.code, found.line) == ("class-shift", len(rows))


def spoilt() -> list[Row]:
    text = "the relay behind the boiler clicks all night and wakes the child"
    return [
        *CLEAN[:50],
        CLEAN[3],
        ticket(text, "device_fault", "Relay clicks"),
        ticket(text, "feedback", "Relay clicks at night"),
        ticket("every night the relay behind the boiler clicks all night and wakes the child twice"),
        ticket("where may it be, write to ana.b@gmail.com or call", summary="Asks where; TBD"),
        row(
            "and the lid was torn off in the rain",
            "A delivery ticket of normal urgency: the lid was torn off, and it rained in.",
        ),
    ]


def by_ids(rows: Sequence[Row]) -> set[tuple[str, frozenset[str]]]:
    return {
        (found.code, frozenset(rows[line - 1].id for line in found.lines or (found.line,)))
        for found in lint_rows(rows)
    }


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(len(spoilt()))))
def test_the_order_of_the_rows_does_not_change_what_is_found(order: list[int]) -> None:
    rows = [replace(r, id=str(at)) for at, r in enumerate(spoilt())]
    first = by_ids(file_of(rows))
    assert by_ids(file_of([rows[at] for at in order])) == first
    assert {code for code, _ in first} == {
        "exact-duplicate",
        "contradiction",
        "near-duplicate",
        "personal-data",
        "placeholder",
        "inconsistent-format",
    }


def test_findings_are_ordered_by_line_and_of_known_codes() -> None:
    found = lint_rows(file_of(spoilt()))
    assert [f.line for f in found] == sorted(f.line for f in found)
    assert all(f.code in CODES and f.hint and f.problem for f in found)


def test_lines_are_those_of_the_file_and_places_where_there_is_none() -> None:
    odd = replace(ticket("mail ana.b@gmail.com at once about it"), where="C:\\data\\f.jsonl:17")
    assert [f.line for f in lint_rows([odd])] == [17]
    assert [f.line for f in lint_rows([replace(odd, where="")])] == [1]


# --------------------------------------------------------------------------- what to do first
def test_the_most_harmful_comes_first_in_at_most_five_sentences() -> None:
    found = lint_rows(file_of(spoilt()))
    sentences = first_to_fix(found)
    assert len(sentences) == 5
    assert sentences[0] == "1 row holds e-mail addresses (line 55): a model repeats what it was trained on."
    assert sentences[1].startswith("2 rows contradict each other (lines 52, 53)")
    assert sentences[2].startswith("1 row holds a placeholder (line 55)")
    assert "1 row is a copy (line 51)" in sentences[4]


def test_the_first_five_lines_are_shown_of_many() -> None:
    rows = [ticket(f"{text} mail me at p{at}.q@gmail.com") for at, text in enumerate(questions(8))]
    (sentence,) = first_to_fix(lint_rows(file_of([*CLEAN, *rows])))
    assert sentence.startswith("8 rows hold e-mail addresses (lines 61, 62, 63, 64, 65 ...)")


def test_errors_of_other_checks_come_before_warnings() -> None:
    error = Finding("bad-weight", 3, "a weight of 2", "use 0 or 1")
    first = first_to_fix([*lint_rows(file_of(spoilt())), error])[0]
    assert first == "bad-weight in 1 row (line 3): use 0 or 1."


@given(st.lists(st.sampled_from(sorted(CODES)), max_size=40))
def test_any_findings_give_at_most_five_sentences(codes: list[str]) -> None:
    sentences = first_to_fix([Finding(code, at, "what is wrong", "hint it") for at, code in enumerate(codes)])
    assert len(sentences) == min(5, len(set(codes)))
    assert all(sentence.endswith(".") for sentence in sentences)
