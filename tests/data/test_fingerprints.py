from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.fingerprints import bytes_digest, fingerprint, row_fingerprint, rows_fingerprint
from harness.errors import UsageError
from harness.records import Message, Row

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)
ROW = Row("a", (Message("user", "hi"), Message("assistant", "hello")), {"intent": "greeting"}, "f.jsonl:1")


@dataclass(frozen=True)
class Lora:
    r: int
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class QLora:
    r: int
    targets: tuple[str, ...] = ()


def reversed_keys(value: object) -> object:
    if isinstance(value, dict):
        return OrderedDict((key, reversed_keys(item)) for key, item in reversed(value.items()))
    return tuple(reversed_keys(item) for item in value) if isinstance(value, list) else value


def test_the_fingerprint_is_the_sha256_of_canonical_json() -> None:
    assert (
        fingerprint({"b": [1, None], "a": "ü"})
        == hashlib.sha256('{"a":"ü","b":[1,null]}'.encode()).hexdigest()
    )


def test_bytes_have_the_published_sha256() -> None:
    # FIPS 180-2, appendix B.1
    assert bytes_digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@settings(deadline=None)
@given(JSON)
def test_neither_key_order_nor_list_or_tuple_counts(value: object) -> None:
    assert fingerprint(value) == fingerprint(reversed_keys(value))


@settings(deadline=None)
@given(st.dictionaries(st.text(), LEAVES, min_size=1), st.data())
def test_any_changed_value_changes_the_fingerprint(value: dict[str, object], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(value)))
    other = data.draw(LEAVES.filter(lambda item: repr(item) != repr(value[key])))
    assert fingerprint(value) != fingerprint({**value, key: other})


@settings(deadline=None)
@given(st.text(min_size=1), st.data())
def test_any_changed_character_of_a_message_changes_the_row(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.characters(codec="utf-8").filter(lambda c: c != text[place]))
    changed = text[:place] + letter + text[place + 1 :]
    rows = [replace(ROW, messages=(Message("user", content),)) for content in (text, changed)]
    assert row_fingerprint(rows[0]) != row_fingerprint(rows[1])


def test_numbers_of_another_kind_differ() -> None:
    values: list[object] = [1, 1.0, True, "1", 0.0, -0.0, None, "", [], {}]
    assert len({fingerprint(value) for value in values}) == len(values)


def test_text_does_not_run_into_its_neighbour() -> None:
    assert fingerprint(["ab", "c"]) != fingerprint(["a", "bc"])


def test_dataclasses_of_two_names_differ_with_equal_fields() -> None:
    assert fingerprint(Lora(16)) != fingerprint(QLora(16))
    assert fingerprint(Lora(16)) == fingerprint(Lora(16, ()))
    assert fingerprint(Lora(16)) != fingerprint(Lora(8))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"train": Path("a.jsonl")}, r"value\['train'\]: the path 'a.jsonl' names a place"),
        ([1, float("nan")], r"value\[1\]: nan is no JSON number"),
        (float("inf"), "inf is no JSON number"),
        ({1: "a"}, "the key 1 is int"),
        (b"a", "use bytes_digest"),
        ({"a", "b"}, "a set has no order"),
        (Lora, "a type is not JSON"),
        (object(), "a object is not JSON"),
        (Lora(16, (Path("x"),)), r"value.targets\[0\]: the path"),  # type: ignore[arg-type]
    ],
)
def test_what_has_no_canonical_text_is_refused_by_its_place(value: object, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        fingerprint(value)


def test_a_row_is_its_messages_and_weights_and_not_where_it_stands() -> None:
    moved = replace(ROW, id="b", where="g.jsonl:9", metadata={})
    unlearned = replace(ROW, messages=(ROW.messages[0], replace(ROW.messages[1], weight=0)))
    assert row_fingerprint(ROW) == row_fingerprint(moved)
    assert row_fingerprint(ROW) != row_fingerprint(unlearned)


def test_the_order_of_rows_counts() -> None:
    other = replace(ROW, messages=(Message("user", "bye"), Message("assistant", "so long")))
    assert rows_fingerprint([ROW, other]) == rows_fingerprint(iter([ROW, other]))
    assert len({rows_fingerprint(rows) for rows in ([ROW, other], [other, ROW], [ROW], [])}) == 4


def test_half_a_surrogate_pair_has_a_fingerprint_of_its_own() -> None:
    """A model may write one, and what is kept of its answer has a key."""
    assert len({fingerprint(text) for text in ("\ud800", "\ud801", "?", "\ufffd", "")}) == 5
