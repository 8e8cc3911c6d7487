from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.fields import require_field
from harness.data.rows import file_digest, read_rows
from harness.errors import DataError

ROWS = [
    {
        "id": f"r{number}",
        "messages": [
            {"role": "system", "content": "Sort."},
            {"role": "user", "content": f"Wo bleibt mein Päckchen? 📦 {number}"},
            {"role": "assistant", "content": '{"intent": "delivery"}', "weight": 1},
        ],
        "cost": 1.5e3,
    }
    for number in range(4)
]
VALID = "\n".join(json.dumps(row, ensure_ascii=number % 2 == 0) for number, row in enumerate(ROWS)).encode()
EDIT = st.tuples(
    st.integers(0, len(VALID) - 1),
    st.sampled_from(["replace", "insert", "delete", "cut"]),
    st.integers(0, 255),
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows") / "rows.jsonl"


def test_rows_are_read_with_path_and_line(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(VALID)
    rows = read_rows(path)
    assert [row.where for row in rows] == [f"{path}:{n}" for n in (1, 2, 3, 4)]
    assert rows[1].question == "Wo bleibt mein Päckchen? 📦 1"
    assert file_digest(path) == hashlib.sha256(VALID).hexdigest()


def test_a_line_separator_inside_a_text_does_not_end_the_line(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"prompt": "a\u2028b\x85c", "completion": "d"}\r\n\r\n', encoding="utf-8", newline="")
    assert [row.question for row in read_rows(path)] == ["a\u2028b\x85c"]


def test_a_missing_file_is_answered_with_similar_names(tmp_path: Path) -> None:
    for name in ("train.jsonl", "train_v2.jsonl", "zebra.txt"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"no such file; .* has train\.jsonl, train_v2\.jsonl") as caught:
        read_rows(tmp_path / "trian.jsonl")
    assert "zebra" not in str(caught.value)


def test_a_missing_file_in_a_folder_without_the_like_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no \.jsonl file"):
        read_rows(tmp_path / "a.jsonl")
    (tmp_path / "questions-of-june.jsonl").touch()
    with pytest.raises(DataError, match=r"has questions-of-june\.jsonl"):
        file_digest(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match="there is no folder"):
        read_rows(tmp_path / "nowhere" / "a.jsonl")


def test_a_folder_is_no_file_of_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_rows(tmp_path)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (VALID.split(b"\n")[0] + b'\n{"a": "caf\xe9"}\n', r":2: not UTF-8 \(byte 0xe9 at byte 11\)"),
        ("{}".encode("utf-16"), r":1: not UTF-8 \(UTF-16\)"),
        (b"\xef\xbb\xbf" + VALID, ":1: begins with a byte order mark"),
        (b"", r":1: the file has no rows .an empty"),
    ],
)
def test_bytes_that_are_not_utf8_are_named_with_their_line(scratch: Path, data: bytes, says: str) -> None:
    scratch.write_bytes(data)
    with pytest.raises(DataError, match=re.escape(str(scratch)) + says):
        read_rows(scratch)


@settings(max_examples=150, deadline=None)
@given(edits=st.lists(EDIT, min_size=1, max_size=4))
def test_damaged_bytes_give_rows_or_an_error_that_names_a_line(
    scratch: Path, edits: list[tuple[int, str, int]]
) -> None:
    data = bytearray(VALID)
    for place, how, byte in edits:
        end = {"replace": place + 1, "insert": place, "delete": place + 1, "cut": len(data)}[how]
        data[place:end] = b"" if how in ("delete", "cut") else bytes([byte])
    scratch.write_bytes(data)
    refusal = ""
    try:
        read_rows(scratch)
    except DataError as error:
        refusal = str(error)
    assert not refusal or re.match(re.escape(str(scratch)) + r":\d+: .+\n  hint: .", refusal, re.S)
    assert refusal.count("\n") < 20


def test_a_field_that_is_null_everywhere_is_not_offered_in_its_own_place(tmp_path: Path) -> None:
    line = {
        "language": None,
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
    }
    (tmp_path / "held.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="no row has the slice field 'language'") as refused:
        require_field(read_rows(tmp_path / "held.jsonl"), "language", "slice", "held.jsonl")
    assert "Did you mean" not in str(refused.value)
