from __future__ import annotations

import csv
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.data.rows import read_rows
from harness.data.tables import ColumnMap, read_table
from harness.errors import DataError, UnknownName, UsageError

QA = ColumnMap(user="question", assistant="answer")


def table(tmp_path: Path, text: str, name: str = "t.csv") -> str:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    return str(path)


def parquet(
    tmp_path: Path, columns: Mapping[str, Sequence[object]], name: str = "t.parquet", group: int | None = None
) -> str:
    """A file of row groups of ``group`` rows: the least that a reader can hold."""
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / name
    pq.write_table(pa.table(dict(columns)), path, row_group_size=group)
    return str(path)


def messages(user: str, assistant: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


# --------------------------------------------------------------------------------------- the map
def test_a_map_is_read_from_text() -> None:
    assert ColumnMap.parse("user=question, assistant=answer,system=instructions,id=key") == ColumnMap(
        user="question", assistant="answer", system="instructions", id="key"
    )
    assert ColumnMap.parse("messages=conversation") == ColumnMap(messages="conversation")
    assert ColumnMap.parse("prompt=q,completion=a") == ColumnMap(prompt="q", completion="a")
    assert ColumnMap.parse('"user=Question, full",assistant=a=b').user == "Question, full"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "does not say where the conversation stands"),
        ("id=key", "does not say where the conversation stands"),
        ("user=q", "lacks 'assistant'; write one of 'user=COLUMN,assistant=COLUMN'"),
        ("completion=q", "lacks 'prompt'"),
        ("messages=m,user=q", "mixes forms of a conversation"),
        ("prompt=q,assistant=a", "mixes forms of a conversation"),
        ("messages=m,system=s", "'system' without 'user' and 'assistant'"),
        ("user=q,user=r,assistant=a", "gives 'user' twice"),
        ("user=q,assistant=q", "uses the column 'q' twice"),
        ("user:q,assistant=a", "'user:q' .* is no TARGET=COLUMN"),
        ("user=,assistant=a", "is no TARGET=COLUMN"),
        ("usr=q,assistant=a", "unknown part of a row 'usr'. Did you mean 'user'"),
    ],
)
def test_a_map_that_cannot_be_right_is_refused_with_one_that_is(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ColumnMap.parse(text)


# ------------------------------------------------------------------------------------------- CSV
def test_a_csv_becomes_chat_objects_and_other_columns_metadata(tmp_path: Path) -> None:
    path = table(tmp_path, "key,question,answer,rules,lang\r\n7,Why?,So.,Be brief.,NA\r\n8,How?,Thus.,,\r\n")
    columns = ColumnMap(user="question", assistant="answer", system="rules", id="key")
    assert list(read_table(path, columns)) == [
        (
            2,
            {
                "id": "7",
                "lang": "NA",
                "messages": [{"role": "system", "content": "Be brief."}, *messages("Why?", "So.")],
            },
        ),
        (3, {"id": "8", "messages": messages("How?", "Thus.")}),
    ]


def test_what_is_read_is_what_a_row_file_holds(tmp_path: Path) -> None:
    path = table(tmp_path, "id,question,answer,intent\n7,Why?,So.,x\n")
    lines = [json.dumps(chat) for _, chat in read_table(path, QA)]
    jsonl = tmp_path / "t.jsonl"
    jsonl.write_text("\n".join(lines))
    (row,) = read_rows(jsonl)
    assert (row.id, row.question, row.reference, row.text("intent")) == ("7", "Why?", "So.", "x")


CELL = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00") | st.sampled_from('",;\n\r'), max_size=8
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELL, CELL, CELL), max_size=6), st.sampled_from(",;\t"))
def test_every_cell_and_the_line_it_begins_on_is_right(
    tmp_path: Path, cells: list[tuple[str, str, str]], delimiter: str
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(["question", "answer", "note"])
    expected = []
    for q, a, note in cells:
        line = out.getvalue().count("\n") + 1
        writer.writerow([q, a, note])
        turns = [{"role": r, "content": c} if c else {"role": r} for r, c in (("user", q), ("assistant", a))]
        expected.append((line, {**({"note": note} if note else {}), "messages": turns}))
    assert list(read_table(table(tmp_path, out.getvalue()), QA)) == expected


def test_blank_lines_a_byte_order_mark_and_an_index_column_do_no_harm(tmp_path: Path) -> None:
    path = table(tmp_path, '\ufeff,question, answer\n0,a,b\n\n1,"c\n\nd",e\n2,f,g\n')
    assert [(n, chat) for n, chat in read_table(path, QA)] == [
        (2, {"messages": messages("a", "b")}),
        (4, {"messages": messages("c\n\nd", "e")}),
        (7, {"messages": messages("f", "g")}),
    ]


def test_a_tab_or_semicolon_file_is_read_with_its_own_delimiter(tmp_path: Path) -> None:
    for name, text in (("t.tsv", "question\tanswer\na,b\tc\n"), ("t.csv", '"question";"answer"\n"a,b";c\n')):
        assert list(read_table(table(tmp_path, text, name), QA)) == [(2, {"messages": messages("a,b", "c")})]


def test_a_messages_cell_is_json_and_a_bad_one_is_named(tmp_path: Path) -> None:
    turns = json.dumps(messages("a", "b")).replace('"', '""')
    path = table(tmp_path, f'messages,tools\n"{turns}",[]\n"[{{",\n')
    found = read_table(path)
    assert next(found) == (2, {"tools": [], "messages": messages("a", "b")})
    with pytest.raises(DataError, match=r"t\.csv:3: the text in 'messages' is not JSON"):
        next(found)


def test_a_long_conversation_fits_a_cell_and_the_csv_modules_limit_stays(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    long = "x" * 500_000
    assert list(read_table(table(tmp_path, f"question,answer\na,{long}\n"), QA)) == [
        (2, {"messages": messages("a", long)})
    ]
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("question,answer\na,b\nc\n", "3", "1 cells, but the header has 2"),
        ('question,answer\na,b\n"c\nd",e,f\n', "3", "3 cells, but the header has 2"),
        ('question,answer\na,b\nc,"d\ne\n', "3", "not CSV: unexpected end of data"),
        ('question,answer\na,"b" c\n', "2", "not CSV: ',' expected after '\"'"),
        ("question,answer,answer\n", "1", "two columns are called 'answer'"),
        ("", "1", "the file has no header"),
    ],
)
def test_a_broken_csv_is_named_with_its_line(tmp_path: Path, text: str, where: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        list(read_table(table(tmp_path, text), QA))
    assert caught.value.where.endswith(f"t.csv:{where}")
    assert said in caught.value.problem


def test_bytes_that_are_not_utf8_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"question,answer\na,b\nc,caf\xe9\n")
    with pytest.raises(DataError, match=r"t\.csv:3: not UTF-8 \(byte 0xe9 at byte 6\)"):
        list(read_table(str(path), QA))


# --------------------------------------------------------------------------------------- columns
def test_a_column_that_does_not_exist_is_named_with_those_that_do(tmp_path: Path) -> None:
    path = table(tmp_path, "questions,answer\na,b\n")
    with pytest.raises(UnknownName) as caught:
        next(read_table(path, QA))
    assert "unknown column 'question'. Did you mean 'questions'? There are: answer, questions." in str(
        caught.value
    )


def test_only_unmistakable_columns_are_taken_without_a_map(tmp_path: Path) -> None:
    assert list(read_table(table(tmp_path, "prompt,completion,n\na,b,1\n"))) == [
        (2, {"n": "1", "prompt": "a", "completion": "b"})
    ]
    with pytest.raises(UsageError) as caught:
        next(read_table(table(tmp_path, "question,answer,n\na,b,1\n")))
    assert (
        "it has question, answer, n. Say it, for example with --columns user=question,assistant=answer"
        in str(caught.value)
    )


def test_an_unmapped_column_is_never_overwritten(tmp_path: Path) -> None:
    path = table(tmp_path, "id,key,question,answer\n1,k,a,b\n")
    with pytest.raises(UsageError, match="a column 'id' that is not mapped"):
        next(read_table(path, ColumnMap(user="question", assistant="answer", id="key")))
    path = table(tmp_path, "messages,question,answer\n[],a,b\n")
    with pytest.raises(UsageError, match="a column 'messages' that is not mapped"):
        next(read_table(path, QA))


# ------------------------------------------------------------------------- Parquet and the hub
def test_parquet_values_become_plain_python_and_missing_ones_missing_keys(tmp_path: Path) -> None:
    turns = [
        [{"role": "user", "content": "a", "weight": None}, {"role": "assistant", "content": "b", "weight": 0}]
    ]
    path = parquet(
        tmp_path,
        {
            "messages": [*turns, None],
            "score": [0.5, float("nan")],
            "count": [3, None],
            "day": [date(2025, 3, 1), None],
            "at": [datetime(2025, 3, 1, 9, 30), None],
            "price": [Decimal("1.5"), None],
            "tags": [["x", None], []],
        },
    )
    first, second = read_table(path)
    assert first == (
        1,
        {
            "score": 0.5,
            "count": 3,
            "day": "2025-03-01",
            "at": "2025-03-01T09:30:00",
            "price": 1.5,
            "tags": ["x", None],
            "messages": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b", "weight": 0},
            ],
        },
    )
    assert second == (2, {"tags": []})
    assert json.loads(json.dumps(first[1])) == first[1]


def test_a_parquet_path_may_have_any_characters_and_the_table_no_rows(tmp_path: Path) -> None:
    folder = tmp_path / "odd [1] *"
    folder.mkdir()
    assert list(read_table(parquet(folder, {"prompt": ["a"], "completion": ["b"]}))) == [
        (1, {"prompt": "a", "completion": "b"})
    ]
    pa = pytest.importorskip("pyarrow")
    empty = {name: pa.array([], pa.string()) for name in ("prompt", "completion")}
    assert list(read_table(parquet(tmp_path, empty))) == []
    with pytest.raises(UsageError, match="it has prompt, n"):
        next(read_table(parquet(tmp_path, {"prompt": ["a"], "n": [1]})))


@pytest.mark.parametrize(("value", "kind"), [(b"x", "bytes"), (float("inf"), "infinity")])
def test_what_json_cannot_hold_is_named_with_its_column(tmp_path: Path, value: object, kind: str) -> None:
    path = parquet(tmp_path, {"prompt": ["a", "b"], "completion": ["c", "d"], "image": [None, value]})
    with pytest.raises(DataError, match=rf"t\.parquet:2: the column 'image' holds {kind}"):
        list(read_table(path))


def test_numpy_and_pandas_values_become_plain_python() -> None:
    import numpy as np
    import pandas as pd

    from harness.data.tables import _plain

    given = [
        np.float32(0.5),
        np.int64(3),
        np.bool_(True),
        np.float64("nan"),
        pd.NaT,
        pd.Timestamp("2025-03-01"),
    ]
    found = [_plain(value, "c", "t:1") for value in [*given, np.array([1, 2])]]
    assert found == [0.5, 3, True, None, None, "2025-03-01T00:00:00", [1, 2]]
    assert [type(value) for value in found[:3]] == [float, int, bool]


def test_files_that_are_missing_or_broken_are_one_error_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.csv").touch()
    with pytest.raises(DataError, match=r"trian\.csv: there is no such file; .* has train\.csv"):
        next(read_table(str(tmp_path / "trian.csv"), QA))
    with pytest.raises(DataError, match=r"there is no folder .*no\n"):
        next(read_table(str(tmp_path / "no" / "t.parquet"), QA))
    broken = table(tmp_path, "PAR1 and nothing of it", "t.parquet")
    with pytest.raises(DataError, match="cannot be read as Parquet: Parquet magic bytes not found"):
        next(read_table(broken, QA))
    for path in (tmp_path, table(tmp_path, "{}", "t.jsonl")):
        with pytest.raises(UsageError, match=r"is no table; give a file that ends in \.csv"):
            next(read_table(str(path), QA))
    assert capsys.readouterr().err == ""


OFFLINE = """
import sys
from harness.data.tables import ColumnMap, read_table
from harness.errors import HarnessError
for args in [("owner/missing", {}), ("owner/name", {"split": "test"}), ("owner/name", {"config": "other"}),
             ("owner/name", {})]:
    try:
        print(list(read_table(args[0], ColumnMap(user="question", assistant="answer"), **args[1])))
    except HarnessError as error:
        print(type(error).__name__, error)
"""


def test_a_hub_dataset_is_read_from_the_cache_and_one_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {"question": datasets.Value("string"), "answer": datasets.ClassLabel(names=["no", "yes"])}
    )
    built = datasets.Dataset.from_dict({"question": ["a", "b"], "answer": [1, -1]}, features=features)
    folder = tmp_path / "owner___name" / "default" / "0.0.0" / "0123456789abcdef"
    built.save_to_disk(str(tmp_path / "saved"))
    folder.mkdir(parents=True)
    (arrow,) = (tmp_path / "saved").glob("*.arrow")
    # the cached form is a stream of record batches, as the saved one is
    (folder / "name-train.arrow").write_bytes(arrow.read_bytes())
    info = json.loads((tmp_path / "saved" / "dataset_info.json").read_text())
    info |= {"builder_name": "parquet", "dataset_name": "name", "config_name": "default"}
    info |= {
        "version": "0.0.0",
        "splits": {"train": {"name": "train", "num_examples": 2, "dataset_name": "name"}},
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", OFFLINE], env=environment, capture_output=True, text=True, check=True
    )
    missing, split, config, found = run.stdout.replace("\n  hint", " hint").splitlines()
    assert missing.startswith(
        "DataError owner/missing: cannot be read from the Hugging Face hub, and is not in"
    )
    assert "check the name and the network" in missing
    assert split.startswith(
        "UsageError owner/name cannot be read so: Bad split: test. Available splits: ['train']"
    )
    assert config.startswith("UsageError owner/name cannot be read so: Couldn't find cache")
    assert "Available configs in the cache: ['default']" in config
    assert found == str(
        [
            (1, {"messages": messages("a", "yes")}),
            (2, {"messages": [messages("b", "")[0], {"role": "assistant"}]}),
        ]
    )


# ---------------------------------------------------------------------------------------- memory
PEAK = """
import sys
from pathlib import Path
from harness.data.tables import ColumnMap, read_table

def peak_mib():  # ru_maxrss would begin at the parent's
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024

import csv, pyarrow.parquet
found = read_table(sys.argv[1], ColumnMap(user="question", assistant="answer"))
Path("/proc/self/clear_refs").write_text("5")  # forget the imports' peak
before = peak_mib()
count = sum(1 for _ in found)
print(count, peak_mib() - before, before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_of_172_mib_is_never_held_as_a_whole(tmp_path: Path, suffix: str) -> None:
    rng, n = random.Random(0), 60_000
    texts = [rng.randbytes(750).hex() for _ in range(n)]
    path = tmp_path / f"big.{suffix}"
    if suffix == "csv":
        lines = (f"{text},{text[::-1]},{at}\n" for at, text in enumerate(texts))
        path.write_text("question,answer,n\n" + "".join(lines), encoding="utf-8")
    else:
        parquet(tmp_path, {"question": texts, "answer": [text[::-1] for text in texts]}, path.name, 2_000)
    run = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
    count, growth_mib, _ = run.stdout.split()
    assert int(count) == n
    assert path.stat().st_size > 171 * 2**20
    assert float(growth_mib) < 120
